//! The index of RPC nodes: transactions by place in the chain and by account.
//!
//! Written in the same atomic batch as the block, and only where it is asked for. Places ascend and
//! nothing is ever inserted before one, so whoever reads from one place on sees everything once while
//! blocks arrive.

use crate::{Store, StoreError, schema};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};
use qbind_ledger::Status;
use qbind_replica::CommitRecord;
use qbind_types::{Address, Height, TxId, decode, encode};
use rocksdb::{Direction, IteratorMode, WriteBatch};
use thiserror::Error;

/// A place in the chain: a height, and a place in its block's list of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The block.
    pub height: Height,
    /// In its list.
    pub index: u32,
}

impl Place {
    /// Bytes of its key.
    const BYTES: usize = 12;

    fn key(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..8].copy_from_slice(&self.height.0.to_be_bytes());
        key[8..].copy_from_slice(&self.index.to_be_bytes());
        key
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let key: &[u8; Self::BYTES] = key.try_into().ok()?;
        let (height, index) = key.split_at(8);
        Some(Self {
            height: Height(u64::from_be_bytes(height.try_into().ok()?)),
            index: u32::from_be_bytes(index.try_into().ok()?),
        })
    }

    /// The first one of a height.
    fn first(height: Height) -> Self {
        Self { height, index: 0 }
    }

    fn next(self) -> Self {
        match self.index.checked_add(1) {
            Some(index) => Self { index, ..self },
            None => Self::first(Height(self.height.0.saturating_add(1))),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.height, self.index)
    }
}

/// The text is no place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected HEIGHT-INDEX")]
pub struct ParsePlaceError;

impl FromStr for Place {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        let (height, index) = text.split_once('-').ok_or(ParsePlaceError)?;
        let place = Self {
            height: Height(height.parse().map_err(|_| ParsePlaceError)?),
            index: index.parse().map_err(|_| ParsePlaceError)?,
        };
        // One text for one place.
        if place.to_string() == text { Ok(place) } else { Err(ParsePlaceError) }
    }
}

/// A transaction that used its nonce, as the index tells it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct IndexedTransaction {
    /// Its id.
    pub id: TxId,
    /// The block it is in.
    pub height: Height,
    /// Its place in the block's list.
    pub index: u32,
    /// Who paid.
    pub sender: Address,
    /// Who was to receive.
    pub recipient: Address,
    /// How much was to move.
    pub amount: u128,
    /// What the sender paid for gas.
    pub fee: u128,
    /// Whether the amount moved.
    pub status: Status,
}

impl IndexedTransaction {
    /// Where it is.
    pub fn place(&self) -> Place {
        Place { height: self.height, index: self.index }
    }
}

/// Which part of the index is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// What this account paid or received; everybody's if there is none.
    pub account: Option<Address>,
    /// First height.
    pub from: Height,
    /// Last height.
    pub to: Height,
    /// Only what comes after this place: the last one of the page before.
    pub after: Option<Place>,
    /// At most this many.
    pub limit: usize,
}

/// One page of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// First height that is indexed here.
    pub from: Height,
    /// Last height that is indexed here.
    pub to: Height,
    /// In chain order.
    pub items: Vec<IndexedTransaction>,
    /// Whether more was there when this was read.
    pub has_more: bool,
}

/// Why the index gives no page.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// This node keeps no index.
    #[error("this node keeps no index of transactions")]
    NoIndex,
    /// What followed the place asked for is not there any more: a page would hide a gap.
    #[error("the index begins at height {from}, what followed {after} is no longer kept")]
    Pruned {
        /// First height of the index.
        from: Height,
        /// The place asked for.
        after: Place,
    },
    /// Not a place this node can have named.
    #[error("the index ends at height {to}, {after} is beyond it")]
    Beyond {
        /// Last height of the index.
        to: Height,
        /// The place asked for.
        after: Place,
    },
    /// The disk's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn account_key(account: &Address, place: Place) -> [u8; 32 + Place::BYTES] {
    let mut key = [0; 32 + Place::BYTES];
    key[..32].copy_from_slice(&account.0);
    key[32..].copy_from_slice(&place.key());
    key
}

const DAMAGED: StoreError = StoreError::Damaged { what: "index of transactions" };

impl Store {
    /// Indexes every block committed from now on. An index that lacks the last committed blocks begins
    /// anew, so that what it holds has no gap.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn with_index(mut self) -> Result<Self, StoreError> {
        let height: Height =
            self.get(schema::META, schema::KEY_HEIGHT, "height")?.unwrap_or_default();
        let span = self.index_span()?;
        if span.is_none_or(|(_, to)| to != height) {
            let mut batch = WriteBatch::default();
            let end = [0xff; 32 + Place::BYTES + 1];
            for family in [schema::HISTORY, schema::ACCOUNT_HISTORY] {
                batch.delete_range_cf(self.family(family), &[0u8; 0][..], &end[..]);
            }
            let meta = self.family(schema::META);
            batch.put_cf(meta, schema::KEY_INDEXED_FROM, encode(&Height(height.0 + 1)));
            batch.put_cf(meta, schema::KEY_INDEXED_TO, encode(&height));
            self.write_synced(batch, "begin the index of transactions")?;
        }
        self.is_indexing = true;
        Ok(self)
    }

    /// First and last height of the index, if there is one.
    fn index_span(&self) -> Result<Option<(Height, Height)>, StoreError> {
        let what = "span of the index";
        let from = self.get(schema::META, schema::KEY_INDEXED_FROM, what)?;
        let to = self.get(schema::META, schema::KEY_INDEXED_TO, what)?;
        Ok(from.zip(to))
    }

    pub(crate) fn index_block(&self, batch: &mut WriteBatch, record: &CommitRecord) {
        let height = record.committed.block.height;
        let outcomes = record.transactions.iter().zip(&record.receipts).zip(&record.transfers);
        for ((id, receipt), transfer) in outcomes {
            // Without effect here, it may have its effect in another block.
            if matches!(receipt.status, Status::Skipped(_)) {
                continue;
            }
            let entry = IndexedTransaction {
                id: *id,
                height,
                index: receipt.tx_index,
                sender: transfer.sender,
                recipient: transfer.recipient,
                amount: transfer.amount,
                fee: receipt.fee,
                status: receipt.status,
            };
            let place = entry.place();
            batch.put_cf(self.family(schema::HISTORY), place.key(), encode(&entry));
            for account in [transfer.sender, transfer.recipient] {
                // Paying oneself writes one key twice.
                let key = account_key(&account, place);
                batch.put_cf(self.family(schema::ACCOUNT_HISTORY), key, [0u8; 0]);
            }
        }
        batch.put_cf(self.family(schema::META), schema::KEY_INDEXED_TO, encode(&height));
    }

    /// One page of the index.
    ///
    /// # Errors
    /// The asker's fault, or the disk's; see [`HistoryError`].
    pub fn history(&self, query: &HistoryQuery) -> Result<History, HistoryError> {
        if !self.is_indexing {
            return Err(HistoryError::NoIndex);
        }
        let (from, to) = self.index_span()?.ok_or(HistoryError::NoIndex)?;
        let start = match query.after {
            Some(after) if after.height > to => return Err(HistoryError::Beyond { to, after }),
            Some(after) if after.height < from => return Err(HistoryError::Pruned { from, after }),
            Some(after) => after.next(),
            None => Place::first(from),
        };
        let start = start.max(Place::first(query.from));
        let last = to.min(query.to);
        let mut page = History { from, to, items: Vec::new(), has_more: false };
        let mut take = |place: Place| -> Result<bool, StoreError> {
            if place.height > last {
                return Ok(false);
            }
            if page.items.len() == query.limit {
                page.has_more = true;
                return Ok(false);
            }
            // What is being pruned may be gone already.
            page.items.extend(self.get(schema::HISTORY, &place.key(), "indexed transaction")?);
            Ok(true)
        };
        match &query.account {
            Some(account) => self.each_place(account, start, &mut take)?,
            None => self.each_key(schema::HISTORY, &start.key(), |key| {
                take(Place::of_key(key).ok_or(DAMAGED)?)
            })?,
        }
        Ok(page)
    }

    fn each_place(
        &self,
        account: &Address,
        start: Place,
        take: &mut impl FnMut(Place) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.each_key(schema::ACCOUNT_HISTORY, &account_key(account, start), |key| {
            match key.strip_prefix(&account.0) {
                Some(place) => take(Place::of_key(place).ok_or(DAMAGED)?),
                None => Ok(false),
            }
        })
    }

    /// Visits keys from `start` on until `visit` says `false`.
    fn each_key(
        &self,
        family: &str,
        start: &[u8],
        mut visit: impl FnMut(&[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(start, Direction::Forward);
        for item in self.db.iterator_cf(self.family(family), mode) {
            let (key, _) =
                item.map_err(|source| StoreError::Io { what: "scan the database", source })?;
            if !visit(&key)? {
                break;
            }
        }
        Ok(())
    }

    /// Forgets the index of heights below `height`, at most `most` transactions at once; returns how
    /// many it forgot. Whoever prunes calls it until that is fewer than `most`.
    ///
    /// # Errors
    /// The disk's fault.
    pub fn prune_index(&self, height: Height, most: usize) -> Result<usize, StoreError> {
        let Some((from, to)) = self.index_span()? else { return Ok(0) };
        let height = height.min(Height(to.0.saturating_add(1)));
        if from >= height {
            return Ok(0);
        }
        let mut found = Vec::new();
        let mode = IteratorMode::Start;
        for item in self.db.iterator_cf(self.family(schema::HISTORY), mode).take(most) {
            let (_, value) =
                item.map_err(|source| StoreError::Io { what: "scan the index", source })?;
            let entry: IndexedTransaction = decode(&value).map_err(|_| DAMAGED)?;
            if entry.height >= height {
                break;
            }
            found.push(entry);
        }
        let mut batch = WriteBatch::default();
        for entry in &found {
            batch.delete_cf(self.family(schema::HISTORY), entry.place().key());
            for account in [&entry.sender, &entry.recipient] {
                let key = account_key(account, entry.place());
                batch.delete_cf(self.family(schema::ACCOUNT_HISTORY), key);
            }
        }
        // Of a height of which some are gone nothing is shown any more.
        let kept = match found.last() {
            Some(last) if found.len() == most => Height(last.height.0 + 1),
            _ => height,
        };
        let meta = self.family(schema::META);
        batch.put_cf(meta, schema::KEY_INDEXED_FROM, encode(&kept));
        let what = "prune the index of transactions";
        self.db.write(batch).map_err(|source| StoreError::Io { what, source })?;
        Ok(found.len())
    }
}
