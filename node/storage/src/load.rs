//! What a node starts from.

use crate::{Store, StoreError, schema};
use borsh::BorshDeserialize;
use qbind_consensus::SafetyRecord;
use qbind_dag::PendingTransaction;
use qbind_ledger::{
    Account, Genesis, Ledger, LevelRunner, Params, Registry, RestoreError, Slashing, System, Tally,
    monetary,
};
use qbind_types::{
    Address, Batch, BatchCertificate, BatchRef, Block, CommittedBlock, Epoch, EpochStart, Height,
    StateRoot, ValidatorIndex, decode,
};
use rocksdb::{Direction, IteratorMode};
use std::collections::BTreeMap;

/// Heights whose state roots are loaded.
const ROOTS: u64 = 4_096;
/// Rounds of a creator before the first not included one that are loaded, to be served.
const ROUNDS_BEFORE: u64 = 4;

/// Everything the core needs to go on.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The safety record, if this validator ever signed.
    pub safety: Option<SafetyRecord>,
    /// The last committed block.
    pub committed: Option<CommittedBlock>,
    /// Uncommitted blocks.
    pub pending_blocks: Vec<Block>,
    /// All accounts; empty before [`Store::store_genesis`].
    pub accounts: Vec<(Address, Account)>,
    /// What changed with the last block beside accounts.
    pub tally: Tally,
    /// The validators' registry, if a block changed it.
    pub registry: Option<Registry>,
    /// What is held against validators.
    pub slashing: Slashing,
    /// What the monetary engine remembers.
    pub monetary: monetary::State,
    /// What the epoch of the next block starts from, if it is not genesis.
    pub start: Option<EpochStart>,
    /// State roots of the last heights.
    pub roots: Vec<(Height, StateRoot)>,
    /// Lowest height that is here with its batches.
    pub lowest: Height,
    /// First round of each creator in this epoch that no committed block includes.
    pub included: BTreeMap<ValidatorIndex, u64>,
    /// The last own batch.
    pub own_batch: Option<Batch>,
    /// Batches of open rounds.
    pub batches: Vec<Batch>,
    /// Certificates of open rounds.
    pub certificates: Vec<BatchCertificate>,
    /// Acks of open rounds.
    pub acks: Vec<BatchRef>,
    /// Accepted transactions.
    pub mempool: Vec<PendingTransaction>,
}

impl Loaded {
    /// The ledger after `height`, of the accounts and the other parts, which are taken out; what no
    /// block changed is as in genesis. Its root is to be compared.
    ///
    /// # Errors
    /// The world's fault: the accounts are damaged.
    pub fn ledger(
        &mut self,
        genesis: &Genesis,
        params: Params,
        height: Height,
        runner: &dyn LevelRunner,
    ) -> Result<Ledger, RestoreError> {
        let registry = self.registry.take().unwrap_or_else(|| genesis.registry());
        let slashing = std::mem::take(&mut self.slashing);
        let monetary = std::mem::take(&mut self.monetary);
        let system = System { tally: self.tally, registry, slashing, monetary };
        let accounts = std::mem::take(&mut self.accounts);
        Ledger::restore_with(params, height, system, accounts, runner)
    }
}

impl Store {
    /// The state beside the accounts.
    pub(crate) fn system(&self, genesis: &Genesis) -> Result<System, StoreError> {
        let registry = self.get(schema::META, schema::KEY_REGISTRY, "validators' registry")?;
        let slashing = self.get(schema::META, schema::KEY_SLASHING, "slashing")?;
        let monetary = self.get(schema::META, schema::KEY_MONETARY, "monetary state")?;
        Ok(System {
            tally: self.get(schema::META, schema::KEY_TALLY, "tally")?.unwrap_or_default(),
            registry: registry.unwrap_or_else(|| genesis.registry()),
            slashing: slashing.unwrap_or_default(),
            monetary: monetary.unwrap_or_default(),
        })
    }
}

impl Store {
    /// Reads what a node starts from.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        let height: Option<Height> = self.get(schema::META, schema::KEY_HEIGHT, "height")?;
        let mut loaded = Loaded {
            safety: self.get(schema::META, schema::KEY_SAFETY, "safety record")?,
            own_batch: self.get(schema::META, schema::KEY_OWN, "own batch")?,
            tally: self.get(schema::META, schema::KEY_TALLY, "tally")?.unwrap_or_default(),
            registry: self.get(schema::META, schema::KEY_REGISTRY, "validators' registry")?,
            slashing: self.get(schema::META, schema::KEY_SLASHING, "slashing")?.unwrap_or_default(),
            monetary: self
                .get(schema::META, schema::KEY_MONETARY, "monetary state")?
                .unwrap_or_default(),
            start: self.get(schema::META, schema::KEY_START, "epoch's start")?,
            lowest: self.lowest()?,
            included: self.included()?,
            pending_blocks: self.all(schema::PENDING_BLOCKS, "pending block")?,
            mempool: self.all(schema::MEMPOOL, "pending transaction")?,
            ..Loaded::default()
        };
        if let Some(height) = height {
            loaded.committed = self.committed(height)?;
            for h in height.0.saturating_sub(ROOTS)..=height.0 {
                loaded
                    .roots
                    .extend(self.commit_index(Height(h))?.map(|i| (i.height, i.state_root)));
            }
        }
        self.load_accounts(&mut loaded)?;
        self.load_rounds(&mut loaded)?;
        Ok(loaded)
    }

    fn load_accounts(&self, loaded: &mut Loaded) -> Result<(), StoreError> {
        self.each(schema::ACCOUNTS, &[], |key, value| {
            let damaged = StoreError::Damaged { what: "account" };
            let Ok(address) = <[u8; 32]>::try_from(key) else { return Err(damaged) };
            let (nonce, balance) = decode(value).map_err(|_| damaged)?;
            loaded.accounts.push((Address(address), Account { nonce, balance }));
            Ok(true)
        })
    }

    /// Batches, certificates and acks from a little before each creator's open round on.
    fn load_rounds(&self, loaded: &mut Loaded) -> Result<(), StoreError> {
        let epoch = loaded.start.map_or(Epoch(0), |start| start.epoch);
        loaded.own_batch = loaded.own_batch.take().filter(|own| own.epoch == epoch);
        for creator in (0..256).map(ValidatorIndex) {
            let open = loaded.included.get(&creator).copied().unwrap_or(0);
            let round = open.saturating_sub(ROUNDS_BEFORE);
            let start = BatchRef { epoch, creator, round, id: qbind_types::BatchId::default() };
            let key = schema::round_key(&start);
            loaded.batches.extend(self.of_creator::<Batch>(schema::BATCHES, &key, "batch")?);
            let what = "certificate";
            loaded.certificates.extend(self.of_creator(schema::CERTIFICATES, &key, what)?);
            loaded.acks.extend(self.of_creator::<BatchRef>(schema::ACKS, &key, "ack")?);
        }
        Ok(())
    }

    fn of_creator<T: BorshDeserialize>(
        &self,
        family: &str,
        start: &[u8],
        what: &'static str,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.each(family, start, |key, value| {
            if key.get(..schema::CREATOR_BYTES) != start.get(..schema::CREATOR_BYTES) {
                return Ok(false);
            }
            found.push(decode(value).map_err(|_| StoreError::Damaged { what })?);
            Ok(true)
        })?;
        Ok(found)
    }

    fn all<T: BorshDeserialize>(
        &self,
        family: &str,
        what: &'static str,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.each(family, &[], |_, value| {
            found.push(decode(value).map_err(|_| StoreError::Damaged { what })?);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Visits keys from `start` on until `visit` says `false`.
    pub(crate) fn each(
        &self,
        family: &str,
        start: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(start, Direction::Forward);
        for item in self.db.iterator_cf(self.family(family), mode) {
            let (key, value) =
                item.map_err(|source| StoreError::Io { what: "scan the database", source })?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }
}
