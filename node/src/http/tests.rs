//! Every endpoint over a real socket against a node made of fixed answers, then hostile clients.

use super::*;
use crate::{Shutdown, ShutdownTrigger, metrics::Metrics, shutdown_channel};
use qbind_crypto::{AccountProof, PathEnd, ProvenAccount};
use qbind_ledger::{FailureReason, Status};
use qbind_profile::{Setting, Source, resolve};
use qbind_storage::{History, HistoryError, HistoryQuery, IndexedTransaction};
use qbind_types::*;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// Nonces choose the fixed answers.
const ACCEPTED: u64 = 0;
const REFUSED: u64 = 1;
const RATE: u64 = 2;
const LOST: u64 = 3;

#[derive(Default)]
struct FixedNode {
    behind: AtomicBool,
    broken: AtomicBool,
}

fn certificate() -> CommitCertificate {
    let vote = (ValidatorIndex(0), Signature::from_slice(&[7; SIGNATURE_BYTES]).unwrap());
    CommitCertificate { epoch: Epoch(0), view: View(9), block: BlockId([1; 32]), votes: vec![vote] }
}

fn committed() -> CommittedBlock {
    let block = Block {
        network: Network::Devnet,
        epoch: Epoch(0),
        height: Height(5),
        view: View(9),
        parent: BlockId([2; 32]),
        proposer: ValidatorIndex(3),
        timestamp_unix_ms: Millis(1_700_000_000_000),
        executed: ExecutedState { height: Height(4), root: StateRoot([3; 32]) },
        batches: vec![BatchRef {
            epoch: Epoch(0),
            creator: ValidatorIndex(1),
            round: 2,
            id: BatchId([4; 32]),
        }],
        next_validators: None,
    };
    let proof = CommitProof { descendants: vec![], certificate: certificate() };
    CommittedBlock { block, proof }
}

fn transaction(nonce: u64) -> Transaction {
    Transaction {
        sender: Address([1; 32]),
        nonce,
        payload: vec![0; 72],
        suite: 100,
        public_key: PublicKey::from_slice(&[5; PUBLIC_KEY_BYTES]).unwrap(),
        signature: Signature::from_slice(&[6; SIGNATURE_BYTES]).unwrap(),
    }
}

fn entry(height: u64, index: u32) -> IndexedTransaction {
    IndexedTransaction {
        id: TxId([8; 32]),
        height: Height(height),
        index,
        sender: Address([index as u8; 32]),
        recipient: Address([9; 32]),
        amount: u128::MAX,
        fee: 7,
        status: match index {
            0 => Status::Success,
            _ => Status::Failed(FailureReason::InsufficientBalance),
        },
    }
}

impl FixedNode {
    fn storage(&self) -> Result<(), ViewError> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(ViewError::Storage { message: "secret path /data/qbind".into() }),
            false => Ok(()),
        }
    }
}

impl NodeView for FixedNode {
    fn submit(&self, transaction: Transaction) -> oneshot::Receiver<Result<TxId, Rejection>> {
        let (sender, receiver) = oneshot::channel();
        let refuse = |code| Rejection { code, message: "no".into(), hint: "try less".into() };
        let answer = match transaction.nonce {
            ACCEPTED => Ok(TxId([8; 32])),
            REFUSED => Err(refuse("E_BALANCE")),
            RATE => Err(refuse("E_RATE")),
            _ => return receiver,
        };
        sender.send(answer).unwrap();
        receiver
    }

    fn transaction(&self, id: &TxId) -> Result<TransactionView, ViewError> {
        self.storage()?;
        Ok(match id.0[0] {
            8 => TransactionView::Committed { height: Height(5), success: true },
            9 => TransactionView::Pending,
            _ => TransactionView::Unknown,
        })
    }

    fn account(&self, _: &Address) -> Result<AccountView, ViewError> {
        Ok(AccountView { balance: u128::MAX, nonce: 4, height: Height(5) })
    }

    fn account_proof(&self, address: &Address) -> Result<Option<AccountProofView>, ViewError> {
        let account = ProvenAccount { nonce: 4, balance: u128::MAX };
        let end = if address.0[0] == 2 { PathEnd::Empty } else { PathEnd::Account(account) };
        let (siblings, system_root) = (vec![[7; 32]; 3], SystemRoot([8; 32]));
        let proof = AccountProof { address: *address, end, siblings, system_root };
        let view = AccountProofView { proof, committed: committed() };
        Ok((address.0[0] != 3).then_some(view))
    }

    /// An index that begins at height 3 and ends at 5, with two transactions a block.
    fn history(&self, query: &HistoryQuery) -> Result<History, HistoryError> {
        let (from, to) = (Height(3), Height(5));
        match query.after {
            _ if self.behind.load(Ordering::SeqCst) => return Err(HistoryError::NoIndex),
            Some(after) if after.height > to => return Err(HistoryError::Beyond { to, after }),
            Some(after) if after.height < from => return Err(HistoryError::Pruned { from, after }),
            _ => {}
        }
        let all = (3..=5).flat_map(|height| [0, 1].map(|index| entry(height, index)));
        let mut items: Vec<_> = all
            .filter(|t| query.after.is_none_or(|after| t.place() > after))
            .filter(|t| (query.from..=query.to).contains(&t.height))
            .filter(|t| query.account.is_none_or(|a| t.sender == a))
            .collect();
        let has_more = items.len() > query.limit;
        items.truncate(query.limit);
        Ok(History { from, to, items, has_more })
    }

    fn block(&self, height: Height) -> Result<Option<BlockView>, ViewError> {
        let view = BlockView {
            committed: committed(),
            id: BlockId([1; 32]),
            state_root: StateRoot([6; 32]),
            transactions: vec![TxId([8; 32])],
        };
        Ok(self.committed(height)?.map(|_| view))
    }

    fn committed(&self, height: Height) -> Result<Option<CommittedBlock>, ViewError> {
        let lowest = Height(4);
        let is_pruned = (1..lowest.0).contains(&height.0);
        if is_pruned {
            return Err(ViewError::Pruned { lowest });
        }
        Ok((height == Height(5)).then(committed))
    }

    fn epoch_end(&self, epoch: Epoch) -> Result<Option<CommittedBlock>, ViewError> {
        Ok((epoch == Epoch(0)).then(committed))
    }

    fn batch(&self, id: &BatchId) -> Result<Option<Vec<u8>>, ViewError> {
        Ok((id.0[0] == 4).then(|| vec![1, 2, 3]))
    }

    fn commits(&self, from: Height, limit: usize) -> Result<Page<Commit>, ViewError> {
        let item = |height| Commit {
            height: Height(height),
            view: View(9),
            block_id: BlockId([1; 32]),
            state_root: StateRoot([6; 32]),
            system_root: SystemRoot([7; 32]),
            committed_unix_ms: Millis(7),
            transactions: 1,
        };
        let items = (from.0..).take(limit).take_while(|h| *h <= 5).map(item).collect();
        Ok(Page { tip: Height(5), items })
    }

    fn committed_transactions(
        &self,
        from: Height,
        _: usize,
    ) -> Result<Page<CommittedTransactions>, ViewError> {
        let transactions = vec![CommittedTransaction { id: TxId([8; 32]), success: false }];
        let item =
            CommittedTransactions { height: from, committed_unix_ms: Millis(7), transactions };
        Ok(Page { tip: Height(5), items: vec![item] })
    }

    fn status(&self) -> StatusView {
        StatusView {
            name: "eu-v1".into(),
            role: "validator",
            validator_id: Some(1),
            validator_index: Some(ValidatorIndex(0)),
            network: Network::Devnet,
            chain_id: "qbind-devnet".into(),
            genesis_hash: GenesisHash([1; 32]),
            binary_sha3: "0xab".into(),
            version: "0.1.0",
            height: Height(5),
            lowest_height: Height(4),
            epoch: Epoch(3),
            view: View(9),
            view_lag: 0,
            peers: 1,
            profile: "devnet",
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        vec![PeerView {
            peer_id: "0x01".into(),
            validator_id: None,
            address: "10.11.0.2:9000".into(),
            direction: PeerDirection::Outbound,
            asn: Some(64_511),
        }]
    }

    fn validators(&self, epoch: Option<Epoch>) -> Result<Option<ValidatorsView>, ViewError> {
        let public_key = PublicKey::from_slice(&[5; PUBLIC_KEY_BYTES]).unwrap();
        let validators = vec![ValidatorView {
            id: 1,
            address: Address([6; 32]),
            public_key,
            previous_key: None,
            power: VotingPower(10),
        }];
        let epoch = epoch.unwrap_or(Epoch(3));
        Ok((epoch <= Epoch(3)).then_some(ValidatorsView { epoch, validators }))
    }

    fn validators_raw(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, ViewError> {
        Ok((epoch <= Epoch(3)).then(|| vec![7, 7]))
    }

    fn slashing(&self) -> SlashingView {
        SlashingView {
            mode: "record-only",
            epoch: Epoch(3),
            oldest_epoch: Epoch(0),
            validators: vec![SlashedView {
                id: 7,
                stake: Some(10),
                pending: 1,
                total_slashed: "2".into(),
                jailed_until_epoch: Epoch(9),
                jail_count: 1,
                offences: [("O1_double_sign", 2)].into(),
            }],
        }
    }

    fn evidence(&self) -> Vec<EvidenceView> {
        vec![EvidenceView {
            offence: "O1_double_sign",
            validator_id: 7,
            epoch: Epoch(3),
            at: 41,
            file: "O1_double_sign-7-3-41.bin".into(),
            bytes: 5_200,
            found_unix_ms: None,
        }]
    }

    fn monetary(&self) -> MonetaryView {
        let last = DecisionView {
            epoch: Epoch(2),
            phase: "bootstrap",
            next_phase: "bootstrap",
            recommendation: "stay",
            r_inf_annual_bps: 770,
            fees: "298816".into(),
            ema_fees_per_epoch: "298816".into(),
            smoothed_annual_fee_revenue: "15705768960".into(),
            staked: u128::MAX.to_string(),
            fee_coverage_bps: 3,
            stake_ratio_bps: 4_000,
            volatility_bps: 10_000,
            issuance: "1474505".into(),
        };
        let (mode, phase) = ("shadow", "bootstrap");
        MonetaryView { mode, phase, r_target_annual_bps: 775, last: Some(last) }
    }

    fn registry(&self) -> RegistryView {
        let key = PublicKey::from_slice(&[5; PUBLIC_KEY_BYTES]).unwrap();
        let rotation = RotationView {
            new_key: key.clone(),
            effective_epoch: Epoch(9),
            old_key_until: Epoch(12),
        };
        RegistryView {
            epoch: Epoch(3),
            earliest_epoch: Epoch(4),
            election_height: Height(9_600),
            validators: vec![RegisteredView {
                id: 1,
                owner: Address([6; 32]),
                key,
                stake: 10,
                is_leaving: false,
                rotation: Some(rotation),
            }],
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let behind = self.behind.load(Ordering::SeqCst);
        behind.then(|| "view lag 40, ready below 10".to_string()).into_iter().collect()
    }
}

struct Running {
    address: SocketAddr,
    node: Arc<FixedNode>,
    metrics: Arc<Metrics>,
    trigger: ShutdownTrigger,
    server: JoinHandle<()>,
}

async fn running() -> Running {
    running_with(|_| ()).await
}

async fn running_with(change: impl FnOnce(&mut Server)) -> Running {
    let settings = [Setting {
        source: Source::Flag,
        place: "--name".into(),
        key: "name".into(),
        text: "eu-v1".into(),
    }];
    let resolved = Arc::new(resolve(&settings).unwrap());
    let metrics = Arc::new(Metrics::new(&resolved.config, &[1]));
    let node = Arc::new(FixedNode::default());
    let app = App::new(node.clone(), metrics.clone(), resolved);
    let mut server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    change(&mut server);
    let address = server.address();
    let (trigger, shutdown): (_, Shutdown) = shutdown_channel();
    let server = tokio::spawn(server.serve(app, shutdown));
    Running { address, node, metrics, trigger, server }
}

impl Running {
    /// Sends `head` and `body`, returns status and body.
    async fn raw(&self, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early may close while we still send; its answer counts.
        stream.write_all(body).await.unwrap_or_default();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end");
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[split + 4..].to_vec())
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n");
        self.raw(&head, b"").await
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, kind: &str, body: &[u8]) -> (u16, Value) {
        let head = format!(
            "POST /v1/transactions HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (status, body) = self.raw(&head, body).await;
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn id(byte: u8) -> String {
    format!("0x{}", hex::encode([byte; 32]))
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let n = running().await;
    assert_eq!(n.get("/healthz").await, (200, b"ok\n".to_vec()));
    let ready = json!({"schema": "qbind.ready/v1", "ready": true, "reasons": []});
    assert_eq!(n.json("/readyz").await, (200, ready));
    n.node.behind.store(true, Ordering::SeqCst);
    let (status, body) = n.json("/readyz").await;
    assert_eq!((status, &body["reasons"][0]), (503, &json!("view lag 40, ready below 10")));
    let (status, text) = n.get("/metrics").await;
    let text = String::from_utf8(text).unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE qbind_consensus_view_lag gauge"), "{text}");
    assert!(text.contains("qbind_http_requests_total{class=\"5xx\"} 1"), "{text}");
}

#[tokio::test]
async fn transactions_are_taken_as_bytes_and_as_json() {
    let n = running().await;
    let bytes = encode(&transaction(ACCEPTED));
    let taken = json!({"schema": "qbind.submit/v1", "tx_id": id(8)});
    assert_eq!(n.post("application/octet-stream", &bytes).await, (202, taken.clone()));
    let body = json!({"transaction": hex::encode(&bytes)}).to_string();
    assert_eq!(n.post("application/json", body.as_bytes()).await, (202, taken.clone()));
    let body = json!({"transaction": format!("0x{}", hex::encode(&bytes))}).to_string();
    assert_eq!(n.post("application/json; charset=utf-8", body.as_bytes()).await, (202, taken));
}

#[tokio::test]
async fn refusals_have_code_and_hint() {
    let n = running().await;
    let post = async |nonce| n.post("application/octet-stream", &encode(&transaction(nonce))).await;
    let (status, body) = post(REFUSED).await;
    let expected = json!({"schema": "qbind.error/v1", "code": "E_BALANCE", "message": "no",
        "hint": "try less"});
    assert_eq!((status, body), (400, expected));
    assert_eq!(post(RATE).await.0, 429);
    let (status, body) = post(LOST).await;
    assert_eq!((status, &body["code"]), (503, &json!("E_NOT_READY")));
    n.node.behind.store(true, Ordering::SeqCst);
    let (status, body) = post(ACCEPTED).await;
    assert_eq!((status, &body["code"]), (503, &json!("E_NOT_READY")));
    let text = n.metrics.render();
    assert!(text.contains("qbind_mempool_rejected_total{reason=\"other\"} 1"), "{text}");
    assert!(text.contains("qbind_mempool_rejected_total{reason=\"full\"} 1"), "{text}");
}

#[tokio::test]
async fn transaction_status() {
    let n = running().await;
    let schema = "qbind.transaction/v1";
    let get = async |byte| n.json(&format!("/v1/transactions/{}", id(byte))).await;
    let committed = json!({"schema": schema, "status": "committed", "height": 5, "success": true});
    assert_eq!(get(8).await, (200, committed));
    assert_eq!(get(9).await, (200, json!({"schema": schema, "status": "pending"})));
    assert_eq!(get(1).await, (200, json!({"schema": schema, "status": "unknown"})));
}

#[tokio::test]
async fn accounts_keep_every_digit() {
    let n = running().await;
    let (status, body) = n.json(&format!("/v1/accounts/{}", id(1))).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({"schema": "qbind.account/v1", "address": id(1), "nonce": 4, "height": 5,
            "balance": "340282366920938463463374607431768211455"})
    );
}

#[tokio::test]
async fn blocks_and_batches() {
    let n = running().await;
    let (status, body) = n.json("/v1/blocks/5").await;
    assert_eq!(status, 200);
    let raw = encode(&committed());
    assert_eq!(
        body,
        json!({"schema": "qbind.block/v1", "height": 5, "epoch": 0, "view": 9, "block_id": id(1),
            "parent": id(2), "proposer": 3, "timestamp_unix_ms": 1_700_000_000_000u64,
            "state_root": id(6), "batches": [{"epoch": 0, "creator": 1, "round": 2, "id": id(4)}],
            "next_validators": null, "transactions": [id(8)], "raw": hex::encode(&raw)})
    );
    let (status, bytes) = n.get("/v1/blocks/5/raw").await;
    assert_eq!((status, decode::<CommittedBlock>(&bytes)), (200, Ok(committed())));
    assert_eq!(n.get(&format!("/v1/batches/{}/raw", id(4))).await, (200, vec![1, 2, 3]));
    for path in ["/v1/blocks/6".to_string(), format!("/v1/batches/{}/raw", id(9))] {
        let (status, body) = n.json(&path).await;
        assert_eq!((status, &body["code"]), (404, &json!("E_NOT_FOUND")), "{path}");
    }
}

#[tokio::test]
async fn feeds_are_paged() {
    let n = running().await;
    let (status, body) = n.json("/v1/commits?from=3&limit=2").await;
    assert_eq!(status, 200);
    let item = |height| {
        json!({"height": height, "view": 9, "block_id": id(1), "state_root": id(6), "system_root": id(7),
            "committed_unix_ms": 7, "transactions": 1})
    };
    let expected = json!({"schema": "qbind.commits/v1", "tip": 5, "commits": [item(3), item(4)]});
    assert_eq!(body, expected);
    assert_eq!(n.json("/v1/commits").await.1["commits"].as_array().unwrap().len(), 5);
    let (status, body) = n.json("/v1/commits/transactions?from=4").await;
    let transactions = json!([{"id": id(8), "success": false}]);
    let blocks = json!([{"height": 4, "committed_unix_ms": 7, "transactions": transactions}]);
    let schema = "qbind.committed-transactions/v1";
    assert_eq!((status, body), (200, json!({"schema": schema, "tip": 5, "blocks": blocks})));
}

#[tokio::test]
async fn status_config_peers_validators() {
    let n = running().await;
    let (_, status) = n.json("/v1/status").await;
    assert_eq!(
        status,
        json!({"schema": "qbind.status/v1", "name": "eu-v1", "role": "validator",
            "validator_id": 1, "validator_index": 0, "network": "devnet",
            "chain_id": "qbind-devnet", "genesis_hash": id(1), "binary_sha3": "0xab",
            "version": "0.1.0", "height": 5, "lowest_height": 4, "epoch": 3, "view": 9, "view_lag": 0, "peers": 1,
            "profile": "devnet"})
    );
    let (_, config) = n.json("/v1/config").await;
    assert_eq!(config["schema"], "qbind.config/v1");
    assert_eq!(
        (&config["config"]["name"], &config["origin"]["name"]),
        (&json!("eu-v1"), &json!("flag"))
    );
    assert_eq!(config["origin"]["enable_gas"], "profile");
    assert_eq!(config["config"]["data_dir"], Value::Null);
    let (_, peers) = n.json("/v1/peers").await;
    let peer = json!({"peer_id": "0x01", "address": "10.11.0.2:9000", "direction": "outbound",
        "asn": 64_511});
    assert_eq!(peers, json!({"schema": "qbind.peers/v1", "peers": [peer]}));
    let (_, validators) = n.json("/v1/validators").await;
    let one = &validators["validators"][0];
    assert_eq!(
        (&validators["epoch"], &one["id"], &one["power"]),
        (&json!(3), &json!(1), &json!(10))
    );
    let (status, error) = n.json("/v1/validators?epoch=4").await;
    assert_eq!((status, &error["code"]), (404, &json!("E_NOT_FOUND")));
    let (status, _) = n.json("/v1/validators?epoch=x").await;
    assert_eq!(status, 400);
    let (_, slashing) = n.json("/v1/slashing").await;
    assert_eq!(slashing["validators"][0]["offences"]["O1_double_sign"], 2);
    let (_, found) = n.json("/v1/evidence").await;
    assert_eq!(found["evidence"][0]["file"], "O1_double_sign-7-3-41.bin");
    let (_, registry) = n.json("/v1/registry").await;
    assert_eq!(registry["earliest_epoch"], 4);
    assert_eq!(registry["validators"][0]["rotation"]["old_key_until"], 12);
    let (_, monetary) = n.json("/v1/monetary").await;
    assert_eq!(monetary["schema"], "qbind.monetary/v1");
    assert_eq!((&monetary["mode"], &monetary["last"]["epoch"]), (&json!("shadow"), &json!(2)));
    assert_eq!(monetary["last"]["staked"], u128::MAX.to_string());
    assert_eq!(one["public_key"].as_str().unwrap().len(), 2 + 2 * PUBLIC_KEY_BYTES);
}

#[tokio::test]
async fn hostile_bodies_are_refused_with_a_reason() {
    let n = running().await;
    let good = encode(&transaction(ACCEPTED));
    let mut trailing = good.clone();
    trailing.push(0);
    let bytes = "application/octet-stream";
    for (kind, body, expected) in [
        (bytes, vec![], 400),
        (bytes, vec![0xff; 64 * 1024], 400),
        (bytes, vec![0xff; 64 * 1024 + 1], 413),
        (bytes, good[..good.len() - 1].to_vec(), 400),
        (bytes, trailing, 400),
        ("text/plain", good.clone(), 415),
        ("application/json", b"{}".to_vec(), 400),
        ("application/json", br#"{"transaction":"zz"}"#.to_vec(), 400),
        ("application/json", br#"{"transaction":"00","more":1}"#.to_vec(), 400),
        ("application/json", br#"{"transaction":["00"]}"#.to_vec(), 400),
        ("application/json", "[".repeat(8_000).into_bytes(), 400),
    ] {
        let (status, answer) = n.post(kind, &body).await;
        assert_eq!((status, &answer["code"]), (expected, &json!("E_PAYLOAD")), "{answer}");
        assert!(!answer["hint"].as_str().unwrap().is_empty());
    }
    // A length that is announced and never sent, and no length at all.
    let head = "POST /v1/transactions HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
                Content-Type: application/octet-stream\r\nContent-Length: 99999999999\r\n\r\n";
    assert_eq!(n.raw(head, b"").await.0, 413);
}

#[tokio::test]
async fn bad_paths_queries_and_methods_are_json_errors() {
    let n = running().await;
    for (path, status, code) in [
        ("/", 404, "E_PATH"),
        ("/v1/blocks/x", 400, "E_PATH"),
        ("/v1/blocks/-1", 400, "E_PATH"),
        ("/v1/blocks/99999999999999999999", 400, "E_PATH"),
        ("/v1/blocks/%ff", 400, "E_PATH"),
        ("/v1/transactions/0x12", 400, "E_PATH"),
        ("/v1/accounts/nobody", 400, "E_PATH"),
        ("/v1/commits?limit=0", 400, "E_QUERY"),
        ("/v1/commits?limit=1001", 400, "E_QUERY"),
        ("/v1/commits?from=x", 400, "E_QUERY"),
        ("/v1/commits?form=1", 400, "E_QUERY"),
        ("/v1/commits/transactions?limit=-1", 400, "E_QUERY"),
        ("/v1/batches/../../etc/passwd/raw", 404, "E_PATH"),
    ] {
        let (got, body) = n.json(path).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{path}: {body}");
    }
    let head = "DELETE /v1/status HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n";
    let (status, body) = n.raw(head, b"").await;
    assert_eq!(status, 405);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["code"], "E_METHOD");
}

#[tokio::test]
async fn storage_faults_do_not_tell_strangers_about_the_disk() {
    let n = running().await;
    n.node.broken.store(true, Ordering::SeqCst);
    let (status, body) = n.json(&format!("/v1/transactions/{}", id(8))).await;
    assert_eq!((status, &body["code"]), (500, &json!("E_STORAGE")));
    assert!(!body.to_string().contains("/data"), "{body}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let n = running().await;
    let error = Server::bind(n.address).await.unwrap_err().to_string();
    assert!(error.contains(&n.address.to_string()) && error.contains("--http-addr"), "{error}");
}

#[tokio::test]
async fn garbage_ends_the_connection_not_the_server() {
    let n = running().await;
    let (status, _) = n.raw("\u{1}\u{2}garbage\r\n\r\n", b"").await;
    assert_eq!(status, 400);
    let head = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500));
    assert_eq!(n.raw(&head, b"").await.0, 431);
    assert_eq!(n.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn who_never_takes_its_answers_is_let_go() {
    let n = running_with(|server| server.patience = Duration::from_millis(300)).await;
    let mut client = TcpStream::connect(n.address).await.unwrap();
    // Until the server, of which nobody takes anything, takes nothing itself; then it hangs up.
    let request = b"GET /metrics HTTP/1.1\r\nHost: n\r\n\r\n";
    let hung_up = async { while client.write_all(request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), hung_up).await.expect("it hangs up");
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends() {
    let n = running().await;
    let mut idle = TcpStream::connect(n.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    n.trigger.request();
    n.server.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn an_account_is_handed_over_with_all_that_proves_it() {
    let n = running().await;
    let (status, body) = n.json(&format!("/v1/accounts/{}/proof", id(1))).await;
    assert_eq!(status, 200);
    let is = |key: &str| body[key].clone();
    assert_eq!(is("schema"), "qbind.account-proof/v1");
    assert_eq!((is("balance"), is("nonce")), (json!(u128::MAX.to_string()), json!(4)));
    assert_eq!((is("height"), is("block_height")), (json!(4), json!(5)));
    let bytes = |key: &str| hex::decode(body[key].as_str().unwrap()).unwrap();
    let proof: AccountProof = decode(&bytes("proof")).unwrap();
    assert_eq!((proof.address, proof.siblings.len()), (Address([1; 32]), 3));
    assert_eq!(decode::<CommittedBlock>(&bytes("committed")), Ok(committed()));
    let (_, absent) = n.json(&format!("/v1/accounts/{}/proof", id(2))).await;
    assert_eq!((&absent["exists"], &absent["balance"]), (&json!(false), &json!("0")));
    let (status, none) = n.json(&format!("/v1/accounts/{}/proof", id(3))).await;
    assert_eq!((status, &none["code"]), (503, &json!("E_NO_PROOF")));
    let (status, wrong) = n.json("/v1/accounts/0x12/proof").await;
    assert_eq!((status, &wrong["code"]), (400, &json!("E_PATH")));
}

#[tokio::test]
async fn the_index_is_read_page_by_page() {
    let n = running().await;
    let (status, first) = n.json("/v1/transactions?limit=4").await;
    assert_eq!(status, 200);
    assert_eq!((&first["indexed_from"], &first["indexed_to"]), (&json!(3), &json!(5)));
    assert_eq!((&first["cursor"], &first["more"]), (&json!("4-1"), &json!(true)));
    let entry = json!({"id": id(8), "height": 3, "index": 1, "sender": id(1), "recipient": id(9),
        "amount": u128::MAX.to_string(), "fee": "7", "status": "failed",
        "reason": "insufficient_balance"});
    assert_eq!(first["transactions"][1], entry);
    assert_eq!(first["transactions"][0]["status"], "success");
    let (_, second) = n.json("/v1/transactions?limit=4&cursor=4-1").await;
    assert_eq!((&second["cursor"], &second["more"]), (&json!("5-1"), &json!(false)));
    assert_eq!(second["transactions"].as_array().unwrap().len(), 2);
    let (_, end) = n.json("/v1/transactions?cursor=5-1").await;
    assert_eq!((&end["cursor"], &end["transactions"]), (&json!("5-1"), &json!([])));
    let (_, range) = n.json("/v1/transactions?from_height=4&to_height=4").await;
    assert_eq!(range["transactions"].as_array().unwrap().len(), 2);
    let (_, of) = n.json(&format!("/v1/accounts/{}/transactions?from=4&limit=1", id(1))).await;
    assert_eq!((&of["cursor"], &of["more"]), (&json!("4-1"), &json!(true)));
}

#[tokio::test]
async fn a_wrong_page_is_refused_with_its_code() {
    let n = running().await;
    let of = |rest: &str| format!("/v1/accounts/{}/transactions?{rest}", id(1));
    let (range, limit, cursor) = (of("to_height=4"), of("limit=9999"), of("cursor=x-y"));
    for (path, status, code) in [
        ("/v1/transactions?limit=0", 400, "E_QUERY"),
        ("/v1/transactions?limit=1001", 400, "E_QUERY"),
        ("/v1/transactions?limit=-1", 400, "E_QUERY"),
        ("/v1/transactions?from_height=5&to_height=4", 400, "E_QUERY"),
        ("/v1/transactions?from=5", 400, "E_QUERY"),
        ("/v1/transactions?cursor=", 400, "E_CURSOR"),
        ("/v1/transactions?cursor=5", 400, "E_CURSOR"),
        ("/v1/transactions?cursor=05-1", 400, "E_CURSOR"),
        ("/v1/transactions?cursor=6-0", 400, "E_CURSOR"),
        ("/v1/transactions?cursor=2-9", 410, "E_PRUNED"),
        (range.as_str(), 400, "E_QUERY"),
        (limit.as_str(), 400, "E_QUERY"),
        (cursor.as_str(), 400, "E_CURSOR"),
        ("/v1/accounts/0x12/transactions", 400, "E_PATH"),
    ] {
        let (got, body) = n.json(path).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert!(!body["hint"].as_str().unwrap().is_empty());
    }
    n.node.behind.store(true, Ordering::SeqCst);
    let (status, body) = n.json("/v1/transactions").await;
    assert_eq!((status, &body["code"]), (404, &json!("E_NO_INDEX")));
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_says_so_but_an_epochs_end_stays() {
    let n = running().await;
    for path in ["/v1/blocks/3", "/v1/blocks/3/raw"] {
        let (status, body) = n.json(path).await;
        assert_eq!((status, &body["code"]), (410, &json!("E_PRUNED")), "{path}");
        assert_eq!(body["message"], "this node has deleted heights below 4");
        assert!(body["hint"].as_str().unwrap().contains("archival"), "{body}");
    }
    assert_eq!(n.get("/v1/epochs/0/end/raw").await, (200, encode(&committed())));
    let (status, body) = n.json("/v1/epochs/1/end/raw").await;
    assert_eq!((status, &body["code"]), (404, &json!("E_NOT_FOUND")));
}
