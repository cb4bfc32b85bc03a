//! Real signed transfers at a set rate, each followed from the schedule to its commit.
//!
//! Open loop: transfer `n` is due at `n / rate`, whatever became of those before it, and latency
//! counts from when it was due, so a node that stalls cannot hide behind a client that waits.
//! Each account's nonces go out in order, to one node; when that node is down, or a transfer it
//! accepted is not committed in time, the account moves to another node and hands it every
//! transfer that is still open. That is safe: a transfer is one id and one nonce, however often it
//! is submitted.
//!
//! Bounded in count (rate x window), in time (window and drain) and in memory (what is open).
//!
//! ```text
//! signer thread ─► schedule ─► account (one each, in nonce order) ─► POST /v1/transactions
//!                                 ▲ still open?                        │
//!                                 └──────── ledger of transfers ◄──────┴─ followers: commits
//! ```

mod account;
mod follow;
mod ledger;
mod schedule;
#[cfg(test)]
mod tests;

use ledger::Ledger;
use qbind_crypto::{SecretKey, address_of};
use qbind_gates::records::{LoadSummary, paths};
use qbind_plan::Plan;
use qbind_scrape::{FetchError, Fetcher, Target};
use qbind_types::{Address, Network};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use thiserror::Error;
use tokio::{sync::watch, time::Instant};

/// What to offer, to whom, for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose domain tags the signatures carry.
    pub network: Network,
    /// Transfers due per second.
    pub rate_per_second: u32,
    /// How long transfers are due.
    pub window: Duration,
    /// How long to wait for open transfers afterwards.
    pub drain: Duration,
    /// An accepted transfer not seen committed by then goes to another node.
    pub resubmit_after: Duration,
    /// For one request.
    pub timeout: Duration,
    /// Between polls of a followed node; bounds how late a commit is seen.
    pub follow_poll: Duration,
    /// Seeds of pre-funded accounts.
    pub accounts: Vec<[u8; 32]>,
    /// Nodes that take transfers.
    pub targets: Vec<Target>,
    /// Nodes whose commits are followed.
    pub followed: Vec<Target>,
    /// What each transfer moves.
    pub amount: u128,
    /// Gas limit of each transfer.
    pub gas_limit: u64,
    /// Price of each transfer.
    pub max_fee_per_gas: u128,
}

impl Options {
    /// As a plan says: transfers to all nodes, commits followed at one node of each region.
    pub fn of_plan(plan: &Plan, accounts: Vec<[u8; 32]>) -> Self {
        let targets = Target::of_plan(plan);
        let mut followed: Vec<Target> = Vec::new();
        for target in &targets {
            if followed.iter().all(|f| f.region != target.region) {
                followed.push(target.clone());
            }
        }
        let seconds = |s: u32| Duration::from_secs(u64::from(s));
        let wanted = usize::try_from(plan.load.accounts).unwrap_or(usize::MAX);
        Self {
            network: plan.genesis.network,
            rate_per_second: plan.load.rate_per_second,
            window: seconds(plan.live.window_s),
            drain: seconds(plan.load.drain_s),
            resubmit_after: seconds(plan.load.resubmit_after_s),
            timeout: Duration::from_secs(3),
            follow_poll: Duration::from_millis(20),
            accounts: accounts.into_iter().take(wanted).collect(),
            targets,
            followed,
            amount: 1,
            gas_limit: 50_000,
            max_fee_per_gas: 1,
        }
    }

    fn total(&self) -> u64 {
        let micros = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(u64::from(self.rate_per_second)) / 1_000_000
    }
}

/// Most transfers of one load.
const TRANSFERS: u64 = 5_000_000;

/// Why there is no load.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The caller's fault.
    #[error("cannot offer this load: {reason}")]
    Options {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The host's fault.
    #[error("cannot make an HTTP client: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// No node told the nonce of an account.
    #[error("no node answered /v1/accounts/{address}; is the network up and past genesis?")]
    Account {
        /// Whose.
        address: Address,
        /// What the last node said.
        #[source]
        source: FetchError,
    },
    /// The operator's disk.
    #[error("cannot write {}: check space and permissions", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Our fault.
    #[error("the {task} task of the load generator panicked; report this as a bug")]
    Task {
        /// Which.
        task: &'static str,
    },
}

/// One account, ready to send.
#[derive(Clone)]
struct Sender {
    key: Arc<SecretKey>,
    address: Address,
    nonce: u64,
}

/// A figure for a progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Due so far.
    pub offered: u64,
    /// Accepted so far.
    pub accepted: u64,
    /// Seen committed so far.
    pub committed: u64,
}

/// A load that is prepared: keys derived, nonces known.
pub struct Load {
    options: Options,
    fetcher: Fetcher,
    senders: Vec<Sender>,
    ledger: Arc<Ledger>,
}

impl Load {
    /// Derives keys and asks the nodes for each account's nonce.
    ///
    /// # Errors
    /// Impossible options, or no node that answers.
    pub async fn prepare(options: Options) -> Result<Self, LoadError> {
        let wrong = |reason: &str| Err(LoadError::Options { reason: reason.to_owned() });
        let total = options.total();
        if options.accounts.is_empty() || options.targets.is_empty() || options.followed.is_empty()
        {
            return wrong("it needs at least one account, one target and one followed node");
        }
        if total == 0 || total > TRANSFERS {
            return wrong(&format!("{total} transfers; expected 1 to {TRANSFERS}"));
        }
        if options.follow_poll.is_zero() || options.timeout.is_zero() {
            return wrong("a poll interval or timeout of zero");
        }
        let fetcher = Fetcher::new(options.timeout)
            .map_err(|e| LoadError::Client { reason: e.to_string() })?;
        let seeds = options.accounts.clone();
        let keys = tokio::task::spawn_blocking(move || {
            let key = |seed| {
                let key = SecretKey::from_seed(seed);
                let address = address_of(&key.public_key());
                (Arc::new(key), address)
            };
            seeds.iter().map(key).collect::<Vec<_>>()
        });
        let keys = keys.await.map_err(|_| LoadError::Task { task: "key" })?;
        let mut senders = Vec::with_capacity(keys.len());
        for (i, (key, address)) in keys.into_iter().enumerate() {
            let nonce = account::nonce(&fetcher, &options.targets, i, address).await?;
            senders.push(Sender { key, address, nonce });
        }
        let ledger = Arc::new(Ledger::new());
        Ok(Self { options, fetcher, senders, ledger })
    }

    /// Counts so far, from any thread.
    pub fn progress(&self) -> impl Fn() -> Progress + Send + Sync + 'static {
        let ledger = self.ledger.clone();
        move || ledger.progress()
    }

    /// Offers the load, waits for what is open, and writes `load/transactions.jsonl` and
    /// `load/summary.json` under `dir`. Ends by itself after window and drain.
    ///
    /// # Errors
    /// The files cannot be written, or a task panicked.
    pub async fn run(self, dir: &Path) -> Result<LoadSummary, LoadError> {
        let Self { options, fetcher, senders, ledger } = self;
        let total = options.total();
        let options = Arc::new(options);
        let signed = schedule::sign(options.clone(), senders.clone(), ledger.clone());
        let (stop, stopped) = watch::channel(false);
        // Where each followed chain stands now; earlier blocks hold nothing of ours.
        let mut followers = Vec::new();
        for target in &options.followed {
            let from = follow::tip(&fetcher, target).await;
            followers.push((target.clone(), from));
        }
        let mut signed = schedule::filled(signed, total).await;
        let (start, started_unix_ms) = (Instant::now(), unix_ms());
        ledger.start(start);
        let followers: Vec<_> = followers
            .into_iter()
            .map(|(target, from)| {
                let follow = follow::run(
                    fetcher.clone(),
                    target,
                    from,
                    options.follow_poll,
                    ledger.clone(),
                    stopped.clone(),
                );
                tokio::spawn(follow)
            })
            .collect();
        let (accounts, queues): (Vec<_>, Vec<_>) = (0..senders.len())
            .map(|i| account::spawn(i, &options, &fetcher, &ledger, &stopped))
            .unzip();
        schedule::run(&mut signed, &queues, &options, &ledger, start).await;
        drop(queues);
        let deadline = start + options.window + options.drain;
        ledger.settled(total, deadline).await;
        stop.send_replace(true);
        for task in accounts {
            task.await.map_err(|_| LoadError::Task { task: "account" })?;
        }
        for task in followers {
            task.await.map_err(|_| LoadError::Task { task: "follower" })?;
        }
        let ended_unix_ms = unix_ms();
        let names = |list: &[Target]| list.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let summary = ledger.summary(ledger::Frame {
            started_unix_ms,
            ended_unix_ms,
            window_ms: u64::try_from(options.window.as_millis()).unwrap_or(u64::MAX),
            rate_per_second: u64::from(options.rate_per_second),
            targets: names(&options.targets),
            followed: names(&options.followed),
        });
        store(dir, &ledger, &summary)?;
        Ok(summary)
    }
}

fn store(dir: &Path, ledger: &Ledger, summary: &LoadSummary) -> Result<(), LoadError> {
    let path = dir.join(paths::TRANSACTIONS);
    let failed = |source| LoadError::Write { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
    for record in ledger.records() {
        let line = serde_json::to_string(&record).expect("strings and numbers only");
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    let path = dir.join(paths::LOAD_SUMMARY);
    let text = serde_json::to_string_pretty(summary).expect("strings and numbers only");
    fs::write(&path, text + "\n").map_err(|source| LoadError::Write { path, source })
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
