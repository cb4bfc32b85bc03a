//! Nodes that behave, and nodes that are slow, broken, huge, dead or lying.

use crate::*;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use qbind_crypto::{batch_id, block_id, sha3_256};
use qbind_gates::records::{BlockLine, ClaimLine, FeedLine, ScrapeLine, paths};
use qbind_plan::Role;
use qbind_types::*;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fs, path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::runtime::Handle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    /// Never answers.
    Slow,
    /// Status 500, and JSON that is none.
    Broken,
    /// Bodies without end.
    Huge,
    /// A good feed, and the bytes of another block.
    Liar,
    /// Skips a height in its feed.
    Gappy,
}

struct Node {
    manner: Manner,
    blocks: Vec<(BlockId, Vec<u8>)>,
    batches: HashMap<String, Vec<u8>>,
    /// How many blocks it shows.
    height: u64,
}

type Shared = Arc<Mutex<Node>>;

fn signature() -> Signature {
    Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap()
}

/// A chain nobody signed: the scraper stores, it does not judge.
fn chain(length: u64, manner: Manner) -> Node {
    let mut node = Node { manner, blocks: Vec::new(), batches: HashMap::new(), height: length };
    let mut parent = BlockId([9; 32]);
    for height in 1..=length {
        let creator = ValidatorIndex(0);
        let batch = Batch {
            epoch: Epoch(0),
            creator,
            round: height,
            parents: Vec::new(),
            transactions: Vec::new(),
            signature: signature(),
        };
        let reference = BatchRef {
            epoch: Epoch(0),
            creator,
            round: height,
            id: batch_id(Network::Devnet, &batch),
        };
        let certificate = BatchCertificate { batch: reference, acks: Vec::new() };
        let raw = encode(&CertifiedBatch { batch, certificate });
        node.batches.insert(reference.id.to_string(), raw);
        let block = Block {
            network: Network::Devnet,
            epoch: Epoch(0),
            height: Height(height),
            view: View(height),
            parent,
            proposer: creator,
            timestamp_unix_ms: Millis(height),
            executed: ExecutedState { height: Height(0), root: StateRoot([0; 32]) },
            batches: vec![reference],
            next_validators: None,
        };
        parent = block_id(&block);
        let certificate =
            CommitCertificate { epoch: Epoch(0), view: View(height), block: parent, votes: vec![] };
        let proof = CommitProof { descendants: Vec::new(), certificate };
        node.blocks.push((parent, encode(&CommittedBlock { block, proof })));
    }
    node
}

/// Slow, broken and huge nodes give no answer of use to anything.
async fn refusal(manner: Manner) -> Option<Response> {
    match manner {
        Manner::Slow => std::future::pending().await,
        Manner::Broken => Some((StatusCode::INTERNAL_SERVER_ERROR, "{\"not json").into_response()),
        Manner::Huge => Some(vec![b'x'; 65 << 20].into_response()),
        Manner::Good | Manner::Liar | Manner::Gappy => None,
    }
}

fn manner(node: &Shared) -> Manner {
    node.lock().unwrap().manner
}

async fn metrics(State(node): State<Shared>) -> Response {
    match refusal(manner(&node)).await {
        Some(response) => response,
        None => "# TYPE up gauge\nup 1\n".into_response(),
    }
}

async fn own(State(node): State<Shared>) -> Response {
    match refusal(manner(&node)).await {
        Some(response) => response,
        None => axum::Json(json!({"schema": "x", "peers": []})).into_response(),
    }
}

async fn commits(
    State(node): State<Shared>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Response {
    if let Some(response) = refusal(manner(&node)).await {
        return response;
    }
    let node = node.lock().unwrap();
    let heights = (query["from"]..=node.height).take(usize::try_from(query["limit"]).unwrap());
    let list: Vec<_> = heights
        .filter(|h| node.manner != Manner::Gappy || *h != 2)
        .map(|h| {
            let id = node.blocks[usize::try_from(h).unwrap() - 1].0;
            json!({"height": h, "view": h, "block_id": id, "state_root": StateRoot([0; 32]), "system_root": SystemRoot([0; 32]),
                   "committed_unix_ms": h, "transactions": 2})
        })
        .collect();
    axum::Json(json!({"schema": "qbind.commits/v1", "tip": node.height, "commits": list}))
        .into_response()
}

async fn claims(
    State(node): State<Shared>,
    Query(query): Query<BTreeMap<String, u64>>,
) -> Response {
    if let Some(response) = refusal(manner(&node)).await {
        return response;
    }
    let node = node.lock().unwrap();
    let heights = (query["from"]..=node.height).take(usize::try_from(query["limit"]).unwrap());
    let list: Vec<_> = heights
        .map(|h| {
            json!({"height": h, "committed_unix_ms": h, "transactions": [
                {"id": TxId([1; 32]), "success": true}, {"id": TxId([2; 32]), "success": false},
            ]})
        })
        .collect();
    axum::Json(json!({"schema": "s", "tip": node.height, "blocks": list})).into_response()
}

async fn block(State(node): State<Shared>, Path(height): Path<u64>) -> Response {
    if let Some(response) = refusal(manner(&node)).await {
        return response;
    }
    let node = node.lock().unwrap();
    let shift = if node.manner == Manner::Liar { 2 } else { 1 };
    match node.blocks.get(usize::try_from(height).unwrap().wrapping_sub(shift)) {
        Some((_, raw)) => Bytes::from(raw.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn batch(State(node): State<Shared>, Path(id): Path<String>) -> Response {
    if let Some(response) = refusal(manner(&node)).await {
        return response;
    }
    let node = node.lock().unwrap();
    if node.manner == Manner::Liar {
        return Bytes::from_static(b"no batch").into_response();
    }
    match node.batches.get(&id) {
        Some(raw) => Bytes::from(raw.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn serve(node: Node) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(node));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/status", get(own))
        .route("/v1/peers", get(own))
        .route("/v1/config", get(own))
        .route("/v1/commits", get(commits))
        .route("/v1/commits/transactions", get(claims))
        .route("/v1/blocks/{height}/raw", get(block))
        .route("/v1/batches/{id}/raw", get(batch))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, shared)
}

fn target(name: &str, http: String) -> Target {
    Target { name: name.into(), region: "a".into(), role: Role::Validator, http }
}

fn options() -> Options {
    Options {
        scrape_interval: Duration::from_millis(100),
        commit_poll: Duration::from_millis(20),
        timeout: Duration::from_millis(1500),
        drain: Duration::from_secs(10),
        left: 0,
    }
}

async fn until(scraper: &Scraper, done: impl Fn(&ScrapeSummary) -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..6000 {
        ticks.tick().await;
        if done(&scraper.summary()) {
            return;
        }
    }
    panic!("never happened: {:?}", scraper.summary());
}

fn lines<T: DeserializeOwned>(dir: &path::Path, name: &str) -> Vec<T> {
    let text = fs::read_to_string(dir.join(name)).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_nodes_cost_their_own_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut targets = Vec::new();
    for (name, kind) in [
        ("good", Manner::Good),
        ("slow", Manner::Slow),
        ("broken", Manner::Broken),
        ("huge", Manner::Huge),
        ("liar", Manner::Liar),
    ] {
        targets.push(target(name, serve(chain(5, kind)).await.0));
    }
    // A port nobody listens on any more.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    targets.push(target("dead", dead.local_addr().unwrap().to_string()));
    drop(dead);
    let out = dir.path().to_owned();
    let scraper = Scraper::start(&Handle::current(), targets, options(), out).unwrap();
    until(&scraper, |s| s.blocks == 5 && s.scrapes >= 4 && s.failed_scrapes >= 4).await;
    let summary = scraper.stop().await.unwrap();
    assert_eq!((summary.blocks, summary.batches, summary.missing_blocks), (5, 5, 0));
    assert_eq!(summary.tips, BTreeMap::from([("good".into(), 5), ("liar".into(), 5)]));

    let index: Vec<ScrapeLine> = lines(dir.path(), paths::SCRAPE_INDEX);
    let error = |node: &str| {
        let line = index.iter().find(|l| l.node == node).unwrap();
        assert_eq!(line.file, None, "{node}");
        line.error.clone().unwrap()
    };
    assert_eq!(error("slow"), "no complete answer within 1500 ms");
    assert_eq!(error("broken"), "HTTP status 500");
    assert_eq!(error("huge"), "the body exceeds 4194304 bytes");
    assert!(error("dead").starts_with("no connection"), "{}", error("dead"));
    let good = index.iter().find(|l| l.node == "good").unwrap();
    let body = fs::read_to_string(dir.path().join(good.file.as_ref().unwrap())).unwrap();
    assert_eq!((body.as_str(), good.bytes), ("# TYPE up gauge\nup 1\n", body.len() as u64));

    for node in ["slow", "broken", "huge", "dead"] {
        let feed: Vec<FeedLine> = lines(dir.path(), &paths::commits(node));
        assert!(!feed.is_empty() && feed.iter().all(|l| matches!(l, FeedLine::Gap { .. })));
    }
    let feed: Vec<FeedLine> = lines(dir.path(), &paths::commits("good"));
    let commits = feed.iter().filter(|l| matches!(l, FeedLine::Commit { .. })).count();
    assert_eq!(commits, 5, "each height once, however often it was polled");
    assert!(feed.iter().any(|l| matches!(l, FeedLine::Poll { tip: 5, .. })));
    let claims: Vec<ClaimLine> = lines(dir.path(), &paths::transactions("good"));
    assert_eq!(claims.len(), 5);
    assert_eq!(claims[0].success, "10");
    let digest = hex::encode(sha3_256(&[&[1; 32], &[2; 32]]));
    assert_eq!(claims[0].ids_sha3, format!("0x{digest}"));

    let blocks: Vec<BlockLine> = lines(dir.path(), paths::BLOCK_INDEX);
    assert!(blocks.iter().all(|b| b.node == "good"), "never the liar's bytes: {blocks:?}");
    assert!(blocks.iter().flat_map(|b| &b.refused).any(|r| r.starts_with("liar: ")));
    let expected = chain(5, Manner::Good);
    for (i, (_, raw)) in (1u64..).zip(&expected.blocks) {
        assert_eq!(fs::read(dir.path().join(paths::block(i))).unwrap(), *raw);
    }
    assert!(dir.path().join(paths::config("good")).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_mind_and_new_blocks_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = chain(6, Manner::Good);
    node.height = 3;
    let (http, shared) = serve(node).await;
    let out = dir.path().to_owned();
    let scraper =
        Scraper::start(&Handle::current(), vec![target("a", http)], options(), out).unwrap();
    until(&scraper, |s| s.tips.get("a") == Some(&3)).await;
    // The last height it reported becomes another block, then the chain goes on.
    shared.lock().unwrap().blocks[2].0 = BlockId([7; 32]);
    let path = dir.path().join(paths::commits("a"));
    let both = |text: &str| text.contains(&BlockId([7; 32]).to_string());
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..6000 {
        ticks.tick().await;
        if both(&fs::read_to_string(&path).unwrap()) {
            break;
        }
    }
    shared.lock().unwrap().height = 6;
    until(&scraper, |s| s.tips.get("a") == Some(&6)).await;
    scraper.stop().await.unwrap();
    let feed: Vec<FeedLine> = lines(dir.path(), &paths::commits("a"));
    let third = feed.iter().filter(|l| matches!(l, FeedLine::Commit { height: 3, .. })).count();
    assert_eq!(third, 2, "both things it said of height 3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_with_a_hole_is_no_feed_and_missing_blocks_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (gappy, _) = serve(chain(4, Manner::Gappy)).await;
    let mut silent = chain(4, Manner::Good);
    silent.batches.clear();
    let (silent, _) = serve(silent).await;
    let targets = vec![target("gappy", gappy), target("silent", silent)];
    let options = Options { drain: Duration::from_millis(50), ..options() };
    let out = dir.path().to_owned();
    let scraper = Scraper::start(&Handle::current(), targets, options, out).unwrap();
    until(&scraper, |s| s.feed_gaps > 0 && s.tips.get("silent") == Some(&4)).await;
    let summary = scraper.stop().await.unwrap();
    assert_eq!((summary.blocks, summary.missing_blocks), (0, 4));
    let feed: Vec<FeedLine> = lines(dir.path(), &paths::commits("gappy"));
    let FeedLine::Gap { error, .. } = &feed[0] else { panic!("{feed:?}") };
    assert!(error.contains("heights [1, 3, 4]"), "{error}");
}

#[tokio::test]
async fn names_that_would_leave_the_directory_are_refused() {
    for name in ["../x", "", "A", "a/b"] {
        let targets = vec![target(name, "127.0.0.1:1".into())];
        let result = Scraper::start(&Handle::current(), targets, options(), "/nonexistent".into());
        assert!(matches!(result, Err(ScrapeError::Name { .. })), "{name:?}");
    }
    let twice = vec![target("a", "127.0.0.1:1".into()), target("a", "127.0.0.1:2".into())];
    assert!(Scraper::start(&Handle::current(), twice, options(), "/nonexistent".into()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_scrape_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (http, _) = serve(chain(2, Manner::Good)).await;
    // A file where a folder is needed.
    fs::write(dir.path().join("blocks"), b"").unwrap();
    let out = dir.path().to_owned();
    let scraper =
        Scraper::start(&Handle::current(), vec![target("a", http)], options(), out).unwrap();
    let error = scraper.stop().await.unwrap_err();
    assert!(matches!(error, ScrapeError::Store { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_blocks_are_left_until_the_load_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let targets = vec![target("good", serve(chain(5, Manner::Good)).await.0)];
    let options = Options { left: 3, ..options() };
    let out = dir.path().to_owned();
    let scraper = Scraper::start(&Handle::current(), targets, options, out).unwrap();
    until(&scraper, |s| s.tips.get("good") == Some(&5) && s.blocks == 2 && s.scrapes >= 4).await;
    assert_eq!(scraper.summary().blocks, 2);
    let summary = scraper.stop().await.unwrap();
    assert_eq!((summary.blocks, summary.missing_blocks), (5, 0));
}
