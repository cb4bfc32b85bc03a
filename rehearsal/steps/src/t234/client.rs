//! A client: sends at a set rate, whatever comes back, and watches for the commits.

use super::{Baseline, Error, Spec, cluster::Cluster};
use qbind_crypto::{SecretKey, preimage, tx_id};
use qbind_lab::network::{LoadAccount, NetworkProfile};
use qbind_types::{
    Address, Network, Payload, Signature, Transaction, TransferV0, TransferV1, TxId, encode,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

/// How often the commits are asked for, and so the resolution of what is measured.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// How long commits may follow the last submission.
const DRAIN: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// Most blocks of one answer.
const PAGE: u64 = 500;
/// Enough gas for any transfer.
const GAS_LIMIT: u64 = 50_000;
/// What a unit of gas is offered.
const FEE_PER_GAS: u128 = 10;

#[derive(Deserialize)]
struct Submitted {
    tx_id: TxId,
}

#[derive(Deserialize)]
struct Refused {
    code: String,
}

#[derive(Deserialize)]
struct Committed {
    blocks: Vec<CommittedBlock>,
}

#[derive(Deserialize)]
struct CommittedBlock {
    height: u64,
    transactions: Vec<CommittedTransaction>,
}

#[derive(Deserialize)]
struct CommittedTransaction {
    id: TxId,
    success: bool,
}

#[derive(Deserialize)]
struct Commits {
    commits: Vec<Commit>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Commit {
    height: u64,
    block_id: String,
    state_root: String,
}

/// What a node said to a transaction.
enum Answer {
    Accepted(TxId),
    Refused(String),
    None,
}

/// An account that sends to one node, one transaction after the other: a refused one leaves no gap
/// in its nonces.
struct Sender {
    http: reqwest::Client,
    node: SocketAddr,
    network: Network,
    gas: bool,
    address: Address,
    secret: SecretKey,
    recipient: Address,
    nonce: u64,
}

impl Sender {
    fn sign(&self) -> Transaction {
        let (recipient, amount) = (self.recipient, u128::from(self.nonce) + 1);
        let payload = if self.gas {
            let (gas_limit, max_fee_per_gas) = (GAS_LIMIT, FEE_PER_GAS);
            Payload::V1(TransferV1 { recipient, amount, gas_limit, max_fee_per_gas })
        } else {
            Payload::V0(TransferV0 { recipient, amount })
        };
        let mut transaction = Transaction {
            sender: self.address,
            nonce: self.nonce,
            payload: payload.encode(),
            suite: 100,
            public_key: self.secret.public_key(),
            signature: Signature::from_slice(&[0; qbind_types::SIGNATURE_BYTES])
                .expect("the length is its own"),
        };
        transaction.signature =
            self.secret.sign(&preimage::transaction(self.network, &transaction));
        transaction
    }

    async fn post(&self, transaction: &Transaction) -> Answer {
        let request = self
            .http
            .post(format!("http://{}/v1/transactions", self.node))
            .header("content-type", "application/octet-stream")
            .body(encode(transaction))
            .timeout(REQUEST);
        let Ok(response) = request.send().await else { return Answer::None };
        if response.status().is_success() {
            let own = tx_id(self.network, transaction);
            return match response.json::<Submitted>().await {
                // A node that takes it under another name has not taken this transaction.
                Ok(submitted) if submitted.tx_id == own => Answer::Accepted(own),
                _ => Answer::None,
            };
        }
        response
            .json::<Refused>()
            .await
            .map_or(Answer::None, |refused| Answer::Refused(refused.code))
    }
}

/// One attempt of a sender.
struct Attempt {
    wanted: Instant,
    sent: Instant,
    answer: Answer,
}

/// Offers the load and follows it to its commits.
pub(super) async fn offer(spec: &Spec, cluster: &mut Cluster) -> Result<Baseline, Error> {
    let http = reqwest::Client::new();
    let accounts = cluster.network().load_accounts()?;
    let nodes: Vec<SocketAddr> = cluster.validators().map(|node| node.http).collect();
    let mut senders = senders(spec, &http, &accounts, &nodes);
    let probe = senders.pop().expect("the cluster has one account more than senders");
    let (forged_answer, sound_answer, probed) = probe_signatures(&probe).await;

    let mut watch = Watch::new(http.clone(), nodes[0]);
    let start = Instant::now() + Duration::from_millis(200);
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for (at, sender) in senders.into_iter().enumerate() {
        tasks.spawn(send(spec.clone(), at, sender, start, report.clone()));
    }
    drop(report);

    let mut load = Load::starting(start);
    let mut ticks = interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drained_by = None;
    loop {
        tokio::select! {
            attempt = reports.recv(), if drained_by.is_none() => match attempt {
                Some(attempt) => load.note(attempt),
                None => drained_by = Some(Instant::now() + DRAIN),
            },
            _ = ticks.tick() => {
                watch.poll().await?;
                if let Some(limit) = drained_by {
                    let waits = load.accepted.keys().any(|id| !watch.seen.contains_key(id));
                    if !waits || Instant::now() > limit {
                        break;
                    }
                }
                cluster.still_runs()?;
            }
        }
    }
    // A task that panicked would have left part of the load unsent.
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a sender only sends");
    }
    let (heights, differing_heights) = compare(&http, cluster).await?;
    let mut baseline = load.summarise(spec, &watch, probed);
    (baseline.heights, baseline.differing_heights) = (heights, differing_heights);
    (baseline.forged_answer, baseline.sound_answer) = (forged_answer, sound_answer);
    Ok(baseline)
}

fn senders(
    spec: &Spec,
    http: &reqwest::Client,
    accounts: &[LoadAccount],
    nodes: &[SocketAddr],
) -> Vec<Sender> {
    let (network, gas) = match spec.profile {
        NetworkProfile::Mainnet => (Network::Mainnet, true),
        NetworkProfile::TestnetBeta => (Network::Testnet, true),
        NetworkProfile::Devnet => (Network::Devnet, false),
    };
    let sender = |(at, account): (usize, &LoadAccount)| Sender {
        http: http.clone(),
        node: nodes[at % nodes.len()],
        network,
        gas,
        address: account.address,
        secret: SecretKey::from_seed(&account.seed),
        recipient: accounts[(at + 1) % accounts.len()].address,
        nonce: 0,
    };
    accounts.iter().enumerate().map(sender).collect()
}

/// A signature with one flipped bit, then the same transaction as it was signed.
async fn probe_signatures(probe: &Sender) -> (String, String, Option<TxId>) {
    let sound = probe.sign();
    let mut forged = sound.clone();
    let mut bytes = *forged.signature.as_bytes();
    bytes[bytes.len() / 2] ^= 1;
    forged.signature = Signature::from_slice(&bytes).expect("its length has not changed");
    let forged_answer = describe(&probe.post(&forged).await);
    let answer = probe.post(&sound).await;
    let id = if let Answer::Accepted(id) = answer { Some(id) } else { None };
    (forged_answer, describe(&answer), id)
}

fn describe(answer: &Answer) -> String {
    match answer {
        Answer::Accepted(_) => "accepted".to_owned(),
        Answer::Refused(code) => code.clone(),
        Answer::None => "no answer".to_owned(),
    }
}

/// Sends every `senders`-th transaction of the schedule, starting with number `at`.
async fn send(
    spec: Spec,
    at: usize,
    mut sender: Sender,
    start: Instant,
    report: mpsc::UnboundedSender<Attempt>,
) {
    let total = u64::from(spec.tps) * u64::from(spec.seconds);
    for number in (at as u64..total).step_by(spec.senders.max(1) as usize) {
        let wanted = start + Duration::from_micros(number * 1_000_000 / u64::from(spec.tps.max(1)));
        sleep_until(wanted).await;
        let transaction = sender.sign();
        let sent = Instant::now();
        let answer = sender.post(&transaction).await;
        if matches!(answer, Answer::Accepted(_)) {
            sender.nonce += 1;
        }
        if report.send(Attempt { wanted, sent, answer }).is_err() {
            return;
        }
    }
}

/// What was sent, by the client's clock.
struct Load {
    first: Instant,
    submitted: u64,
    accepted: BTreeMap<TxId, Instant>,
    rejections: BTreeMap<String, u64>,
    failed: u64,
    lateness: Duration,
}

impl Load {
    fn starting(first: Instant) -> Self {
        Self {
            first,
            submitted: 0,
            accepted: BTreeMap::new(),
            rejections: BTreeMap::new(),
            failed: 0,
            lateness: Duration::ZERO,
        }
    }

    fn note(&mut self, attempt: Attempt) {
        self.submitted += 1;
        self.lateness = self.lateness.max(attempt.sent.saturating_duration_since(attempt.wanted));
        match attempt.answer {
            Answer::Accepted(id) => {
                self.accepted.insert(id, attempt.wanted);
            }
            Answer::Refused(code) => *self.rejections.entry(code).or_default() += 1,
            Answer::None => self.failed += 1,
        }
    }

    fn summarise(&self, spec: &Spec, watch: &Watch, probed: Option<TxId>) -> Baseline {
        let mut latencies = Vec::new();
        let mut last = self.first;
        for (id, wanted) in &self.accepted {
            if let Some(seen) = watch.seen.get(id) {
                latencies.push(micros(seen.saturating_duration_since(*wanted)));
                last = last.max(*seen);
            }
        }
        latencies.sort_unstable();
        let took = micros(last.saturating_duration_since(self.first)).max(1);
        let committed = latencies.len() as u64;
        let foreign = |id: &&TxId| !self.accepted.contains_key(id) && Some(**id) != probed;
        Baseline {
            validators: spec.validators,
            rpc: spec.rpc,
            offered_tps: spec.tps,
            tps_milli: committed.saturating_mul(1_000_000_000) / took,
            p50_us: percentile(&latencies, 50),
            p90_us: percentile(&latencies, 90),
            p99_us: percentile(&latencies, 99),
            submitted: self.submitted,
            accepted: self.accepted.len() as u64,
            rejected: self.rejections.values().sum(),
            rejections: self.rejections.clone(),
            failed: self.failed,
            committed,
            duplicates: watch.duplicates,
            unsuccessful: watch.unsuccessful.len() as u64,
            foreign: watch.seen.keys().filter(foreign).count() as u64,
            lateness_us: micros(self.lateness),
            heights: 0,
            differing_heights: 0,
            forged_answer: String::new(),
            sound_answer: String::new(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Nearest rank of an ascending list; 0 of an empty one.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// What one node says is committed, and when this client first saw it.
struct Watch {
    http: reqwest::Client,
    node: SocketAddr,
    next: u64,
    seen: BTreeMap<TxId, Instant>,
    duplicates: u64,
    unsuccessful: BTreeSet<TxId>,
}

impl Watch {
    fn new(http: reqwest::Client, node: SocketAddr) -> Self {
        let (seen, unsuccessful) = (BTreeMap::new(), BTreeSet::new());
        Self { http, node, next: 1, seen, duplicates: 0, unsuccessful }
    }

    async fn poll(&mut self) -> Result<(), Error> {
        let path = format!("/v1/commits/transactions?from={}&limit={PAGE}", self.next);
        let answer: Committed = get(&self.http, self.node, &path).await?;
        let now = Instant::now();
        for block in answer.blocks {
            self.next = self.next.max(block.height + 1);
            for transaction in block.transactions {
                if self.seen.insert(transaction.id, now).is_some() {
                    self.duplicates += 1;
                }
                if !transaction.success {
                    self.unsuccessful.insert(transaction.id);
                }
            }
        }
        Ok(())
    }
}

/// Compares all nodes up to the lowest tip; returns how many heights, and how many differ.
async fn compare(http: &reqwest::Client, cluster: &Cluster) -> Result<(u64, u64), Error> {
    let mut chains = Vec::new();
    for node in cluster.network().nodes() {
        let mut chain: BTreeMap<u64, Commit> = BTreeMap::new();
        loop {
            let from = chain.last_key_value().map_or(1, |(height, _)| height + 1);
            let path = format!("/v1/commits?from={from}&limit={PAGE}");
            let answer: Commits = get(http, node.http, &path).await?;
            if answer.commits.is_empty() {
                break;
            }
            chain.extend(answer.commits.into_iter().map(|c| (c.height, c)));
        }
        chains.push(chain);
    }
    Ok(differences(&chains))
}

fn differences(chains: &[BTreeMap<u64, Commit>]) -> (u64, u64) {
    let Some((first, others)) = chains.split_first() else { return (0, 0) };
    let shared = first.iter().filter(|(height, _)| others.iter().all(|c| c.contains_key(height)));
    let (mut compared, mut differing) = (0, 0);
    for (height, commit) in shared {
        compared += 1;
        differing += u64::from(others.iter().any(|c| c.get(height) != Some(commit)));
    }
    (compared, differing)
}

async fn get<T: DeserializeOwned>(
    http: &reqwest::Client,
    node: SocketAddr,
    path: &str,
) -> Result<T, Error> {
    let failed = |source| Error::Answer { node, path: path.to_owned(), source };
    let request = http.get(format!("http://{node}{path}")).timeout(REQUEST);
    let response = request.send().await.and_then(reqwest::Response::error_for_status);
    response.map_err(failed)?.json().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(&[], 50), 0);
        assert_eq!(percentile(&[7], 99), 7);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([50, 90, 99].map(|p| percentile(&hundred, p)), [50, 90, 99]);
        assert_eq!(percentile(&[1, 2, 3], 50), 2);
    }

    fn chain(ids: &[&str]) -> BTreeMap<u64, Commit> {
        let commit = |(i, id): (usize, &&str)| {
            let height = i as u64 + 1;
            (height, Commit { height, block_id: (*id).into(), state_root: "r".into() })
        };
        ids.iter().enumerate().map(commit).collect()
    }

    #[test]
    fn only_heights_that_all_have_are_compared() {
        assert_eq!(differences(&[chain(&["a", "b", "c"]), chain(&["a", "b"])]), (2, 0));
        assert_eq!(differences(&[chain(&["a", "b"]), chain(&["a", "x"])]), (2, 1));
        let mut other_state = chain(&["a", "b"]);
        other_state.get_mut(&1).unwrap().state_root = "s".into();
        assert_eq!(differences(&[chain(&["a", "b"]), other_state]), (2, 1));
    }
}
