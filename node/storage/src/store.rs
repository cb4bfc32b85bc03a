//! Reading and writing.

use crate::{
    CommitIndex, StoreError, TransactionIndex,
    schema::{self, FAMILIES, SCHEMA},
};
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_consensus::SafetyRecord;
use qbind_dag::PendingTransaction;
use qbind_ledger::{Account, Status};
use qbind_replica::CommitRecord;
use qbind_types::{
    Address, Batch, BatchCertificate, BatchId, BatchRef, Block, CertifiedBatch, CommittedBlock,
    Epoch, EpochStart, GenesisHash, Height, Millis, TxId, ValidatorIndex, ValidatorSet, decode,
    encode,
};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Options, WriteBatch,
    WriteOptions,
};
use std::{collections::BTreeMap, path::Path};

/// One node's database.
pub struct Store {
    pub(crate) db: DB,
    /// Whether committed transactions are indexed; see [`Store::with_index`].
    pub(crate) is_indexing: bool,
}

impl Store {
    /// Opens the database in `dir`, creating it for this genesis if there is none.
    ///
    /// # Errors
    /// The operator's fault (another chain, a newer schema, another process) or the disk's.
    pub fn open(dir: &Path, genesis: GenesisHash) -> Result<Self, StoreError> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf_descriptors(&options, dir, families())
            .map_err(|source| StoreError::Open { path: dir.to_owned(), source })?;
        let store = Self { db, is_indexing: false };
        store.check_identity(genesis)?;
        Ok(store)
    }

    /// Opens a database that is there, of whatever chain.
    pub(crate) fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        let db = DB::open_cf_descriptors(&options(), dir, families());
        let db = db.map_err(|source| StoreError::Open { path: dir.to_owned(), source })?;
        Ok(Self { db, is_indexing: false })
    }

    /// Opens the database of whatever chain in `dir`, for tools, while no node runs.
    ///
    /// # Errors
    /// The operator's fault (another release's schema, another process) or the disk's.
    pub fn open_found(dir: &Path) -> Result<Self, StoreError> {
        let store = Self::open_existing(dir)?;
        match store.get::<u32>(schema::META, schema::KEY_SCHEMA, "schema version")? {
            Some(SCHEMA) => Ok(store),
            Some(found) => Err(StoreError::Schema { found, known: SCHEMA }),
            None => Err(StoreError::Damaged { what: "schema version" }),
        }
    }

    /// The last committed height; 0 at genesis.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn height(&self) -> Result<Height, StoreError> {
        let height = self.get(schema::META, schema::KEY_HEIGHT, "height")?;
        Ok(height.unwrap_or_default())
    }

    /// Opens a database that nobody writes, and writes nothing.
    pub(crate) fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let db = DB::open_cf_descriptors_read_only(&options(), dir, families(), false);
        let db = db.map_err(|source| StoreError::Open { path: dir.to_owned(), source })?;
        Ok(Self { db, is_indexing: false })
    }

    fn check_identity(&self, genesis: GenesisHash) -> Result<(), StoreError> {
        match self.get::<u32>(schema::META, schema::KEY_SCHEMA, "schema version")? {
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(self.family(schema::META), schema::KEY_SCHEMA, encode(&SCHEMA));
                batch.put_cf(self.family(schema::META), schema::KEY_GENESIS, encode(&genesis));
                self.write_synced(batch, "initialise the database")
            }
            Some(found) if found != SCHEMA => Err(StoreError::Schema { found, known: SCHEMA }),
            Some(_) => {
                let found: GenesisHash = self
                    .get(schema::META, schema::KEY_GENESIS, "genesis hash")?
                    .ok_or(StoreError::Damaged { what: "genesis hash" })?;
                if found == genesis {
                    return Ok(());
                }
                let (found, expected) = (found.to_string(), genesis.to_string());
                Err(StoreError::Genesis { found, expected })
            }
        }
    }

    pub(crate) fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("opened with every family")
    }

    pub(crate) fn get<T: BorshDeserialize>(
        &self,
        family: &str,
        key: &[u8],
        what: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let bytes = self
            .db
            .get_pinned_cf(self.family(family), key)
            .map_err(|source| StoreError::Io { what: "read the database", source })?;
        let value = bytes.map(|b| decode(&b)).transpose();
        value.map_err(|_| StoreError::Damaged { what })
    }

    fn put(
        &self,
        family: &str,
        key: &[u8],
        value: &impl BorshSerialize,
        what: &'static str,
    ) -> Result<(), StoreError> {
        self.db
            .put_cf(self.family(family), key, encode(value))
            .map_err(|source| StoreError::Io { what, source })
    }

    pub(crate) fn write_synced(
        &self,
        batch: WriteBatch,
        what: &'static str,
    ) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|source| StoreError::Io { what, source })
    }

    /// Writes the accounts, the validators and the file of genesis; before the first start only.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn store_genesis(
        &self,
        accounts: impl Iterator<Item = (Address, Account)>,
        validators: &ValidatorSet,
        file: &[u8],
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(schema::META), schema::KEY_GENESIS_FILE, file);
        let key = schema::epoch_key(validators.epoch());
        batch.put_cf(self.family(schema::EPOCHS), key, encode(validators));
        for (address, account) in accounts {
            let value = (account.nonce, account.balance);
            batch.put_cf(self.family(schema::ACCOUNTS), address.0, encode(&value));
        }
        self.write_synced(batch, "store the accounts of genesis")
    }

    /// An account after the last committed block; empty if it was never written.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn account(&self, address: &Address) -> Result<Account, StoreError> {
        let value = self.get::<(u64, u128)>(schema::ACCOUNTS, &address.0, "account")?;
        let (nonce, balance) = value.unwrap_or_default();
        Ok(Account { nonce, balance })
    }

    /// Whether this transaction was accepted here and waits.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn is_pending(&self, id: &TxId) -> Result<bool, StoreError> {
        self.db
            .get_pinned_cf(self.family(schema::MEMPOOL), id.0)
            .map(|found| found.is_some())
            .map_err(|source| StoreError::Io { what: "read the database", source })
    }

    /// Makes everything written so far durable: one fsync of the write-ahead log.
    ///
    /// # Errors
    /// The disk's fault; nothing may be signed.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db
            .flush_wal(true)
            .map_err(|source| StoreError::Io { what: "sync the write-ahead log", source })
    }

    /// Writes the safety record; durable after [`Store::sync`].
    ///
    /// # Errors
    /// The disk's fault; nothing may be signed.
    pub fn persist_safety(&self, record: &SafetyRecord) -> Result<(), StoreError> {
        self.put(schema::META, schema::KEY_SAFETY, record, "persist the safety record")
    }

    /// Writes the last own batch; durable after [`Store::sync`].
    ///
    /// # Errors
    /// The disk's fault; it must not be signed.
    pub fn persist_own_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        self.put(schema::META, schema::KEY_OWN, batch, "persist the own batch")
    }

    /// Writes which batch of a round is acked; durable after [`Store::sync`].
    ///
    /// # Errors
    /// The disk's fault; the ack must not be signed.
    pub fn persist_ack(&self, reference: &BatchRef) -> Result<(), StoreError> {
        let key = schema::round_key(reference);
        self.put(schema::ACKS, &key, reference, "persist an ack")
    }

    /// Keeps an uncommitted block.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn store_block(&self, id: &qbind_types::BlockId, block: &Block) -> Result<(), StoreError> {
        let key = schema::pending_key(block.view, id);
        self.put(schema::PENDING_BLOCKS, &key, block, "store a block")
    }

    /// Keeps a batch.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn store_batch(&self, reference: &BatchRef, batch: &Batch) -> Result<(), StoreError> {
        let mut both = WriteBatch::default();
        let key = schema::batch_key(reference);
        both.put_cf(self.family(schema::BATCHES), key, encode(batch));
        both.put_cf(self.family(schema::BATCH_IDS), reference.id.0, encode(reference));
        self.db.write(both).map_err(|source| StoreError::Io { what: "store a batch", source })
    }

    /// Keeps a certificate.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn store_certificate(&self, certificate: &BatchCertificate) -> Result<(), StoreError> {
        let key = schema::batch_key(&certificate.batch);
        self.put(schema::CERTIFICATES, &key, certificate, "store a certificate")
    }

    /// Keeps an accepted transaction: it survives the end of the process, not of the machine.
    ///
    /// # Errors
    /// The disk's fault; the client must not be told "accepted".
    pub fn store_pending(&self, pending: &PendingTransaction) -> Result<(), StoreError> {
        self.put(schema::MEMPOOL, &pending.id.0, pending, "store a transaction")
    }

    /// Drops transactions that are committed or given up.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn forget_pending(&self, ids: &[TxId]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for id in ids {
            batch.delete_cf(self.family(schema::MEMPOOL), id.0);
        }
        self.db
            .write(batch)
            .map_err(|source| StoreError::Io { what: "forget transactions", source })
    }

    /// Writes a committed block and all it changes, atomically.
    ///
    /// # Errors
    /// The disk's fault; the node must stop.
    pub fn commit(&self, record: &CommitRecord, now_unix: Millis) -> Result<(), StoreError> {
        let block = &record.committed.block;
        let key = schema::height_key(block.height);
        let mut included = self.included()?;
        for r in &block.batches {
            included.insert(r.creator, r.round.saturating_add(1));
        }
        let transactions: Vec<(TxId, bool)> = record
            .transactions
            .iter()
            .zip(&record.receipts)
            .map(|(id, receipt)| (*id, receipt.is_success()))
            .collect();
        let mut batch = WriteBatch::default();
        for (id, receipt) in record.transactions.iter().zip(&record.receipts) {
            // A transaction without effect here may have had its effect in an earlier block.
            if !matches!(receipt.status, Status::Skipped(_)) {
                let index =
                    TransactionIndex { height: block.height, success: receipt.is_success() };
                batch.put_cf(self.family(schema::TRANSACTIONS), id.0, encode(&index));
            }
        }
        for (address, account) in &record.changes {
            let value = (account.nonce, account.balance);
            batch.put_cf(self.family(schema::ACCOUNTS), address.0, encode(&value));
        }
        let index = CommitIndex {
            height: block.height,
            view: block.view,
            id: record.id,
            state_root: record.state_root,
            system_root: record.system_root,
            committed_unix_ms: now_unix,
            transactions,
        };
        batch.put_cf(self.family(schema::COMMITTED), key, encode(&record.committed));
        batch.put_cf(self.family(schema::INDEX), key, encode(&index));
        let meta = self.family(schema::META);
        batch.put_cf(meta, schema::KEY_HEIGHT, encode(&block.height));
        batch.put_cf(meta, schema::KEY_TALLY, encode(&record.tally));
        if let Some(registry) = &record.registry {
            batch.put_cf(meta, schema::KEY_REGISTRY, encode(registry));
            for set in registry.sets() {
                let key = schema::epoch_key(set.epoch());
                batch.put_cf(self.family(schema::EPOCHS), key, encode(&**set));
            }
        }
        if let Some(slashing) = &record.slashing {
            batch.put_cf(meta, schema::KEY_SLASHING, encode(slashing));
        }
        if let Some(closed) = &record.monetary {
            batch.put_cf(meta, schema::KEY_MONETARY, encode(&closed.state));
        }
        if block.ends_epoch() {
            let (epoch, height, view) = (block.next_epoch(), block.height, block.view);
            let start = EpochStart { epoch, height, view, block: record.id };
            batch.put_cf(meta, schema::KEY_START, encode(&start));
            let key = schema::epoch_key(block.epoch);
            batch.put_cf(self.family(schema::EPOCH_ENDS), key, encode(&record.committed));
            included.clear();
        }
        batch.put_cf(meta, schema::KEY_INCLUDED, encode(&included));
        if self.is_indexing {
            self.index_block(&mut batch, record);
        }
        // Blocks of views up to this one can no longer be committed, or are.
        let end = schema::pending_key(block.view.next(), &qbind_types::BlockId::default());
        batch.delete_range_cf(self.family(schema::PENDING_BLOCKS), &[0; 40][..], &end[..]);
        self.db.write(batch).map_err(|source| StoreError::Io { what: "commit a block", source })
    }

    /// The validators of an epoch that has started, or is about to.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn validators(&self, epoch: Epoch) -> Result<Option<ValidatorSet>, StoreError> {
        self.get(schema::EPOCHS, &schema::epoch_key(epoch), "validators of an epoch")
    }

    pub(crate) fn included(&self) -> Result<BTreeMap<ValidatorIndex, u64>, StoreError> {
        let what = "included rounds";
        Ok(self.get(schema::META, schema::KEY_INCLUDED, what)?.unwrap_or_default())
    }

    /// A batch with its certificate, if both are here.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn certified_batch(
        &self,
        reference: &BatchRef,
    ) -> Result<Option<CertifiedBatch>, StoreError> {
        let key = schema::batch_key(reference);
        let batch = self.get(schema::BATCHES, &key, "batch")?;
        let certificate = self.get(schema::CERTIFICATES, &key, "certificate")?;
        Ok(batch.zip(certificate).map(|(batch, certificate)| CertifiedBatch { batch, certificate }))
    }

    /// As above, found by id alone.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn certified_batch_by_id(
        &self,
        id: &BatchId,
    ) -> Result<Option<CertifiedBatch>, StoreError> {
        match self.get::<BatchRef>(schema::BATCH_IDS, &id.0, "batch id")? {
            Some(reference) => self.certified_batch(&reference),
            None => Ok(None),
        }
    }

    /// The committed block of a height.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn committed(&self, height: Height) -> Result<Option<CommittedBlock>, StoreError> {
        self.get(schema::COMMITTED, &schema::height_key(height), "committed block")
    }

    /// What the commit feed says of a height.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn commit_index(&self, height: Height) -> Result<Option<CommitIndex>, StoreError> {
        self.get(schema::INDEX, &schema::height_key(height), "commit index")
    }

    /// Where a transaction ended.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn transaction(&self, id: &TxId) -> Result<Option<TransactionIndex>, StoreError> {
        self.get(schema::TRANSACTIONS, &id.0, "transaction index")
    }

    /// Bytes of the database's files.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        FAMILIES.iter().map(|name| self.family_bytes(name)).sum()
    }

    pub(crate) fn family_bytes(&self, name: &str) -> Result<u64, StoreError> {
        let mut total = 0;
        for property in ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"] {
            let value = self.db.property_int_value_cf(self.family(name), property);
            let what = "read the database's size";
            total += value.map_err(|source| StoreError::Io { what, source })?.unwrap_or(0);
        }
        Ok(total)
    }

    /// The bytes of the genesis file.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn genesis_file(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.db
            .get_cf(self.family(schema::META), schema::KEY_GENESIS_FILE)
            .map_err(|source| StoreError::Io { what: "read the database", source })
    }

    /// When this database was made of a snapshot, if it was.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn synced(&self) -> Result<Option<Millis>, StoreError> {
        self.get(schema::META, schema::KEY_SYNCED, "time of the fast sync")
    }

    /// It no longer matters that this database was made of a snapshot.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn forget_synced(&self) -> Result<(), StoreError> {
        self.db
            .delete_cf(self.family(schema::META), schema::KEY_SYNCED)
            .map_err(|source| StoreError::Io { what: "forget the fast sync", source })
    }
}

/// Bytes in memory, and in the log, that are in no other file yet.
const MOST_UNWRITTEN: usize = 64 << 20;
/// Bytes of what was read last.
const CACHE: usize = 64 << 20;

fn options() -> Options {
    let mut options = Options::default();
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options.set_max_open_files(512);
    options.set_keep_log_file_num(4);
    options.set_max_total_wal_size(MOST_UNWRITTEN as u64);
    options.set_db_write_buffer_size(MOST_UNWRITTEN);
    options
}

fn families() -> [ColumnFamilyDescriptor; FAMILIES.len()] {
    // One for all: by default each has its own.
    let cache = Cache::new_lru_cache(CACHE);
    FAMILIES.map(|name| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        crate::prune::prepare(name, &mut options);
        ColumnFamilyDescriptor::new(name, options)
    })
}
