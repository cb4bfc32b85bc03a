//! What an operator or a profile may choose, and the bounds nobody may.

use qbind_types::{Millis, Network, ValidatorIndex, limits};

/// Bounds that no profile changes.
pub mod bounds {
    /// Rounds of one creator kept beyond its last committed one; later batches and certificates are
    /// refused and fetched once the chain has caught up.
    pub const ROUNDS_AHEAD: u64 = 32;
    /// Own batches not yet committed at which this node stops making more and refuses clients.
    pub const OWN_BACKLOG: u64 = 16;
    /// Own batches without a certificate at one time: enough to fill a round trip of 200 ms at one
    /// batch per 50 ms.
    pub const UNCERTIFIED: usize = 4;
    /// Rounds after the last certified one of a creator for which acks are kept: what an honest
    /// creator has open, twice.
    pub const ACKS_AHEAD: u64 = 8;
    /// Committed batches of one creator kept in memory to be served; older ones come from the store.
    pub const ROUNDS_KEPT: u64 = 8;
    /// Batches of one creator that wait for their predecessor; further ones are refused, their
    /// creator sends them again.
    pub const WAITING_PER_CREATOR: usize = 4;
    /// Batches this node looks for; further wishes are refused, whoever needs them asks again.
    pub const WANTED: usize = 768;
    /// Requests without an answer at one time; the rest waits its turn.
    pub const FETCHES: usize = 384;
    /// Requests after which an uncertified reference, which may be forged, is forgotten.
    pub const FETCH_ATTEMPTS: u32 = 24;
    /// Peers whose requests are counted; when full, those of past intervals give way, and if there
    /// are none the request is refused.
    pub const REQUESTERS: usize = 1_024;
    /// Batches served to one peer per second; further requests are refused.
    pub const SERVED_PER_SECOND: u32 = 1_024;
    /// Full batches' worth of gas in own batches not yet committed from which on transactions wait in
    /// the pool: there who pays more still overtakes, in a batch nobody does.
    pub const BATCHES_AHEAD: u64 = 2;
    /// Times a transaction without effect is put in a batch again before it is dropped.
    pub const ATTEMPTS: u32 = 8;
    /// Transactions a full node forwards in one message.
    pub const FORWARDED: usize = 1_000;
}

/// What happens when a full pool must drop transactions to accept better ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionMode {
    /// Unlimited and unmetered.
    Off,
    /// Metered: over the limit it is noted, and done.
    Warn,
    /// Metered: over the limit the newcomer is refused.
    Enforce,
}

/// Limits of the pool of pending transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Most transactions in all; the worst paid gives way.
    pub capacity: usize,
    /// Most transactions of one sender, counted until they are committed.
    pub sender_transactions: usize,
    /// Most bytes of one sender, counted until they are committed.
    pub sender_bytes: usize,
    /// How far a nonce may be ahead of the account's.
    pub nonce_window: u64,
    /// Most gas of one transaction.
    pub transaction_gas: u64,
    /// Better paid first; otherwise first come, first served, and nothing is evicted.
    pub fee_priority: bool,
    /// What limits evictions.
    pub eviction_mode: EvictionMode,
    /// Evictions per interval.
    pub evictions_per_interval: u32,
    /// The interval.
    pub eviction_interval: Millis,
    /// Age at which a transaction that is in no batch is dropped.
    pub lifetime: Millis,
}

impl Default for MempoolConfig {
    /// The limits of MainNet.
    fn default() -> Self {
        Self {
            capacity: 10_000,
            sender_transactions: 1_000,
            sender_bytes: 8 * 1024 * 1024,
            nonce_window: 1_000,
            transaction_gas: u64::MAX,
            fee_priority: true,
            eviction_mode: EvictionMode::Enforce,
            evictions_per_interval: 1_000,
            eviction_interval: Millis(10_000),
            lifetime: Millis(3 * 3_600_000),
        }
    }
}

/// What one node's data layer needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagConfig {
    /// Which chain.
    pub network: Network,
    /// This node's place in the validator set; a full node has none: it holds and fetches batches
    /// and forwards its clients' transactions, but makes and acks nothing.
    pub me: Option<ValidatorIndex>,
    /// Least distance of two own batches, unless the next is full.
    pub batch_interval: Millis,
    /// Most transactions in a batch, own or foreign.
    pub batch_max_transactions: usize,
    /// Most encoded transaction bytes in a batch, own or foreign.
    pub batch_max_bytes: usize,
    /// Most gas the transactions of an own batch may use together; not above a block's limit, or
    /// the batch could never be proposed.
    pub batch_max_gas: u64,
    /// First wait before a batch or certificate is sent again; doubles up to eight times itself.
    pub resend: Millis,
    /// First wait before another peer is asked for a batch; doubles up to eight times itself.
    pub fetch_timeout: Millis,
    /// How long a full node waits before it forwards a transaction to the next validator.
    pub forward_retry: Millis,
    /// The pool.
    pub mempool: MempoolConfig,
}

impl DagConfig {
    /// MainNet's limits for the validator `me`, or a full node.
    pub fn new(network: Network, me: Option<ValidatorIndex>) -> Self {
        Self {
            network,
            me,
            batch_interval: Millis(50),
            batch_max_transactions: 4_000,
            batch_max_bytes: 2 * 1024 * 1024,
            batch_max_gas: u64::MAX,
            resend: Millis(1_000),
            fetch_timeout: Millis(500),
            forward_retry: Millis(5_000),
            mempool: MempoolConfig::default(),
        }
    }

    /// The limit on transactions, never above the wire's.
    pub(crate) fn batch_transactions(&self) -> usize {
        self.batch_max_transactions.min(limits::BATCH_TRANSACTIONS)
    }
}

/// `first` doubled `attempts` times, at most eightfold.
pub(crate) fn backed_off(first: Millis, attempts: u32) -> Millis {
    Millis(first.0.max(1) << attempts.min(3))
}
