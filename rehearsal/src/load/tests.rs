//! Networks that behave, lose, repeat, refuse, die and stall.

use super::*;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path as UrlPath, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use qbind_crypto::{Verifier, sha3_256, tx_id};
use qbind_gates::records::{Fate, LoadTransaction};
use qbind_plan::Role;
use qbind_types::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
};

/// What is wrong with one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    /// Accepts every tenth transfer and forgets it.
    Loses,
    /// Puts every tenth transfer into two blocks, with success both times.
    Repeats,
    /// Refuses the third nonce of every account for good.
    Refuses,
    /// Is not ready, ever.
    NotReady,
    /// Takes requests and never answers.
    Stalls,
    /// Is full every other time.
    Full,
}

/// The chain all nodes of a test share.
#[derive(Default)]
struct Chain {
    blocks: Vec<Vec<(TxId, bool)>>,
    nonces: HashMap<Address, u64>,
    seen: HashSet<TxId>,
}

struct Node {
    manner: Manner,
    chain: Arc<Mutex<Chain>>,
    verifier: Verifier,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    /// Next nonce this node expects, by sender.
    next: HashMap<Address, u64>,
    waiting: Vec<Transaction>,
    held: HashSet<TxId>,
    count: u64,
}

fn error(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({"schema": "qbind.error/v1", "code": code}))).into_response()
}

async fn submit(State(node): State<Arc<Node>>, body: Bytes) -> Response {
    match node.manner {
        Manner::NotReady => return error(503, "E_NOT_READY"),
        Manner::Stalls => return std::future::pending().await,
        _ => {}
    }
    let Ok(tx) = decode::<Transaction>(&body) else { return error(400, "E_PAYLOAD") };
    if node.verifier.verify_transaction(tx.clone()).is_err() {
        return error(400, "E_SIGNATURE");
    }
    let id = tx_id(Network::Devnet, &tx);
    let mut pool = node.pool.lock().unwrap();
    pool.count += 1;
    if node.manner == Manner::Full && pool.count % 2 == 1 {
        return error(429, "E_FULL");
    }
    if node.manner == Manner::Refuses && tx.nonce == 2 {
        return error(400, "E_BALANCE");
    }
    let committed = node.chain.lock().unwrap().nonces.get(&tx.sender).copied().unwrap_or(0);
    let next = pool.next.get(&tx.sender).copied().unwrap_or(0).max(committed);
    if !pool.held.insert(id) {
        return error(409, "E_DUPLICATE");
    }
    if tx.nonce != next {
        pool.held.remove(&id);
        return error(409, "E_NONCE");
    }
    pool.next.insert(tx.sender, next + 1);
    if node.manner != Manner::Loses || pool.count % 10 != 0 {
        pool.waiting.push(tx);
    }
    (StatusCode::ACCEPTED, Json(json!({"schema": "qbind.submit/v1", "tx_id": id}))).into_response()
}

/// Whoever asks makes the next block: no timer is needed.
async fn transactions(
    State(node): State<Arc<Node>>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Json<Value> {
    // The pool's lock is let go before the chain's is taken: `submit` holds both, pool first.
    let waiting = std::mem::take(&mut node.pool.lock().unwrap().waiting);
    let mut chain = node.chain.lock().unwrap();
    let (mut block, mut again) = (Vec::new(), Vec::new());
    for tx in waiting {
        let id = tx_id(Network::Devnet, &tx);
        let expected = chain.nonces.entry(tx.sender).or_default();
        let success = tx.nonce == *expected;
        if success {
            *expected += 1;
        }
        chain.seen.insert(id);
        block.push((id, success));
        if node.manner == Manner::Repeats && success && chain.seen.len() % 10 == 0 {
            again.push((id, true));
        }
    }
    for new in [block, again] {
        if !new.is_empty() {
            chain.blocks.push(new);
        }
    }
    let list: Vec<Value> = (1u64..)
        .zip(&chain.blocks)
        .filter(|(height, _)| *height >= query["from"])
        .take(usize::try_from(query["limit"]).unwrap())
        .map(|(height, block)| {
            let list: Vec<Value> =
                block.iter().map(|(id, ok)| json!({"id": id, "success": ok})).collect();
            json!({"height": height, "committed_unix_ms": 0, "transactions": list})
        })
        .collect();
    Json(json!({"schema": "s", "tip": chain.blocks.len(), "blocks": list}))
}

async fn commits(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({"schema": "s", "tip": node.chain.lock().unwrap().blocks.len(), "commits": []}))
}

async fn account(State(node): State<Arc<Node>>, UrlPath(address): UrlPath<Address>) -> Json<Value> {
    let chain = node.chain.lock().unwrap();
    Json(json!({"nonce": chain.nonces.get(&address).copied().unwrap_or(0)}))
}

async fn serve(name: &str, manner: Manner, chain: &Arc<Mutex<Chain>>) -> Target {
    let member = ValidatorInfo {
        id: 1,
        address: Default::default(),
        previous_key: None,
        public_key: SecretKey::from_seed(&[9; 32]).public_key(),
        power: VotingPower(1),
    };
    let set = Arc::new(ValidatorSet::new(Epoch(0), vec![member]).unwrap());
    let node = Arc::new(Node {
        manner,
        chain: chain.clone(),
        verifier: Verifier::new(Network::Devnet, set),
        pool: Mutex::default(),
    });
    let router = Router::new()
        .route("/v1/transactions", post(submit))
        .route("/v1/commits", get(commits))
        .route("/v1/commits/transactions", get(transactions))
        .route("/v1/accounts/{address}", get(account))
        .with_state(node);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Target { name: name.into(), region: name.into(), role: Role::Validator, http }
}

struct Outcome {
    summary: LoadSummary,
    records: Vec<LoadTransaction>,
    chain: Arc<Mutex<Chain>>,
}

/// Offers 200 transfers in two seconds from ten accounts.
async fn offer(manners: &[Manner], change: impl FnOnce(&mut Options)) -> Outcome {
    let chain = Arc::new(Mutex::default());
    let mut targets = Vec::new();
    for (i, manner) in manners.iter().enumerate() {
        targets.push(serve(&format!("n{i}"), *manner, &chain).await);
    }
    let mut options = Options {
        network: Network::Devnet,
        rate_per_second: 100,
        window: Duration::from_secs(2),
        drain: Duration::from_secs(20),
        resubmit_after: Duration::from_millis(600),
        timeout: Duration::from_millis(400),
        follow_poll: Duration::from_millis(20),
        accounts: (0..10u64).map(|i| sha3_256(&[&i.to_be_bytes()])).collect(),
        followed: targets.clone(),
        targets,
        amount: 1,
        gas_limit: 50_000,
        max_fee_per_gas: 1,
    };
    change(&mut options);
    let dir = tempfile::tempdir().unwrap();
    let load = Load::prepare(options).await.unwrap();
    let summary = load.run(dir.path()).await.unwrap();
    let text = fs::read_to_string(dir.path().join(paths::TRANSACTIONS)).unwrap();
    let records: Vec<LoadTransaction> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let stored = fs::read_to_string(dir.path().join(paths::LOAD_SUMMARY)).unwrap();
    assert_eq!(serde_json::from_str::<LoadSummary>(&stored).unwrap(), summary);
    assert_eq!(records.len(), 200);
    Outcome { summary, records, chain }
}

fn fates(records: &[LoadTransaction], fate: Fate) -> usize {
    records.iter().filter(|r| r.fate == fate).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_commits_once_on_sound_nodes() {
    let Outcome { summary, records, chain } = offer(&[Manner::Good, Manner::Good], |_| {}).await;
    assert_eq!((summary.offered, summary.accepted, summary.committed), (200, 200, 200));
    assert_eq!((summary.lost, summary.duplicated, summary.rejected), (0, 0, 0));
    assert_eq!(chain.lock().unwrap().seen.len(), 200);
    for record in &records {
        assert_eq!(record.scheduled_us, record.n * 10_000, "a fixed grid");
        assert!(record.sent_us.unwrap() >= record.scheduled_us);
        assert!(record.committed_us.unwrap() > record.scheduled_us);
    }
    let offered: u64 = summary.series.iter().map(|s| s.offered).sum();
    let committed: u64 = summary.series.iter().map(|s| s.committed).sum();
    assert_eq!((offered, committed), (200, 200));
    assert!(summary.latency_us.p50 > 0 && summary.latency_us.p50 <= summary.latency_us.max);
    for account in 0..10 {
        let nonces: Vec<u64> =
            records.iter().filter(|r| r.account == account).map(|r| r.nonce).collect();
        assert_eq!(nonces, (0..20).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_transfers_are_found() {
    let drain = Duration::from_millis(500);
    let only = |o: &mut Options| {
        o.drain = drain;
        o.resubmit_after = Duration::from_secs(60);
    };
    let Outcome { summary, records, .. } = offer(&[Manner::Loses], only).await;
    // A lost nonce keeps the later ones of its account from committing too.
    assert!(summary.lost > 0, "{summary:?}");
    assert_eq!(fates(&records, Fate::Lost) as u64, summary.lost);
    assert!(records.iter().all(|r| r.fate != Fate::Lost || r.accepted_us.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_rescues_what_one_forgets() {
    let Outcome { summary, chain, .. } = offer(&[Manner::Loses, Manner::Good], |_| {}).await;
    assert_eq!((summary.lost, summary.committed), (0, 200), "{summary:?}");
    assert!(summary.resubmitted > 0);
    assert_eq!(summary.duplicated, 0);
    let chain = chain.lock().unwrap();
    let successes = chain.blocks.iter().flatten().filter(|(_, ok)| *ok).count();
    assert_eq!(successes, 200, "each exactly once, however often it was submitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_transfers_are_found() {
    let Outcome { summary, records, .. } = offer(&[Manner::Repeats], |_| {}).await;
    assert!(summary.duplicated > 0, "{summary:?}");
    assert_eq!(fates(&records, Fate::Duplicated) as u64, summary.duplicated);
    assert_eq!(summary.committed, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_counted_by_code_and_block_their_account() {
    let Outcome { summary, records, .. } = offer(&[Manner::Refuses], |_| {}).await;
    assert_eq!(summary.rejected, 10, "the third nonce of each account");
    assert_eq!(summary.codes, BTreeMap::from([("E_BALANCE".to_owned(), 10)]));
    assert_eq!(fates(&records, Fate::Skipped), 170);
    assert_eq!((summary.committed, summary.lost), (20, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_leave_nodes_that_are_down() {
    let manners = [Manner::NotReady, Manner::Stalls, Manner::Good];
    let Outcome { summary, records, .. } = offer(&manners, |o| {
        // A port nobody listens on.
        let mut dead = o.targets[0].clone();
        dead.http = "127.0.0.1:1".into();
        o.targets.insert(0, dead);
    })
    .await;
    assert_eq!((summary.committed, summary.lost), (200, 0), "{summary:?}");
    assert!(records.iter().all(|r| r.node == "n2"), "accepted by the one that answers");
    for code in ["E_NOT_READY", "CLIENT_TIMEOUT", "CLIENT_UNREACHABLE"] {
        assert!(summary.codes.contains_key(code), "{code}: {:?}", summary.codes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_is_asked_again_and_the_wait_counts() {
    let Outcome { summary, .. } = offer(&[Manner::Full], |_| {}).await;
    assert_eq!((summary.committed, summary.lost), (200, 0), "{summary:?}");
    assert!(summary.codes["E_FULL"] > 0);
    assert!(summary.latency_us.p50 > 200_000, "waiting is part of latency: {summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_by_itself_when_nobody_answers() {
    let only = |o: &mut Options| {
        o.drain = Duration::from_millis(300);
        o.window = Duration::from_millis(2000);
    };
    let Outcome { summary, records, .. } = offer(&[Manner::Stalls], only).await;
    assert_eq!((summary.accepted, summary.committed, summary.lost), (0, 0, 0));
    assert_eq!(fates(&records, Fate::Unanswered), 200);
}

#[tokio::test]
async fn impossible_loads_are_refused() {
    let options = Options {
        network: Network::Devnet,
        rate_per_second: 0,
        window: Duration::from_secs(1),
        drain: Duration::ZERO,
        resubmit_after: Duration::ZERO,
        timeout: Duration::from_millis(100),
        follow_poll: Duration::from_millis(10),
        accounts: vec![[1; 32]],
        targets: Vec::new(),
        followed: Vec::new(),
        amount: 1,
        gas_limit: 1,
        max_fee_per_gas: 1,
    };
    let refusal = |options: Options| async move {
        Load::prepare(options).await.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(refusal(options.clone()).await.contains("at least one account"));
    let nobody = Target {
        name: "x".into(),
        region: "x".into(),
        role: Role::Rpc,
        http: "127.0.0.1:1".into(),
    };
    let targets = vec![nobody];
    let options = Options { followed: targets.clone(), targets, ..options };
    assert!(refusal(options.clone()).await.contains("0 transfers"));
    let options = Options { rate_per_second: 5, ..options };
    assert!(refusal(options).await.contains("is the network up"));
}
