//! `qbindctl account --prove` believes certificates and hashes, and no node.

use qbind_crypto::{
    AccountProof, EMPTY_TREE, PathEnd, ProvenAccount, SecretKey, account_key, block_id,
    genesis_hash, inner_hash, leaf_hash, preimage, state_root, validators_id,
};
use qbind_types::*;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    thread,
};

const NETWORK: Network = Network::Testnet;
const ALICE: Address = Address([0xa1; 32]);
const BOB: Address = Address([0xb2; 32]);
const NOBODY: Address = Address([0xc3; 32]);
/// The last block; the first epoch ends at height 2.
const TIP: u64 = 5;

/// A chain of five blocks and two epochs, really signed; everybody's keys.
struct Chain {
    dir: tempfile::TempDir,
    genesis: PathBuf,
    blocks: Vec<CommittedBlock>,
    sets: Vec<ValidatorSet>,
    keys: Vec<SecretKey>,
}

fn keys() -> Vec<SecretKey> {
    (1..=5u8).map(|n| SecretKey::from_seed(&[n; 32])).collect()
}

fn set(epoch: u64, keys: &[SecretKey]) -> ValidatorSet {
    let member = |(id, key): (u64, &SecretKey)| ValidatorInfo {
        id,
        address: Address([id as u8; 32]),
        public_key: key.public_key(),
        previous_key: None,
        power: VotingPower(100),
    };
    ValidatorSet::new(Epoch(epoch), (1..).zip(keys).map(member).collect()).expect("a set")
}

fn account(address: &Address) -> ProvenAccount {
    ProvenAccount { nonce: 3, balance: u128::from(address.0[0]) << 64 }
}

type Leaf = ([u8; 32], [u8; 32]);

fn bit(key: &[u8; 32], at: usize) -> bool {
    key[at / 8] >> (7 - at % 8) & 1 == 1
}

fn split(leaves: &[Leaf], depth: usize) -> (&[Leaf], &[Leaf]) {
    leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, depth)))
}

fn subtree(leaves: &[Leaf], depth: usize) -> [u8; 32] {
    match leaves {
        [] => EMPTY_TREE,
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let (left, right) = split(leaves, depth);
            inner_hash(&subtree(left, depth + 1), &subtree(right, depth + 1))
        }
    }
}

/// A state of two accounts: the proof of one, or of an absence.
fn proof(address: Address) -> (AccountProof, StateRoot) {
    let leaf = |of: &Address| (account_key(of), account(of).value_hash());
    let mut leaves = [leaf(&ALICE), leaf(&BOB)];
    leaves.sort_unstable();
    let key = account_key(&address);
    let (mut rest, mut siblings) = (&leaves[..], Vec::new());
    while rest.len() > 1 {
        let depth = siblings.len();
        let (left, right) = split(rest, depth);
        let (with, beside) = if bit(&key, depth) { (right, left) } else { (left, right) };
        siblings.push(subtree(beside, depth + 1));
        rest = with;
    }
    siblings.reverse();
    let end = match rest {
        [] => PathEnd::Empty,
        [(own, _), ..] if *own == key => PathEnd::Account(account(&address)),
        [(key, value), ..] => PathEnd::Other { key: *key, value: *value },
    };
    let system_root = SystemRoot([5; 32]);
    let root = state_root(&subtree(&leaves, 0), &system_root);
    (AccountProof { address, end, siblings, system_root }, root)
}

fn sign(block: Block, keys: &[SecretKey]) -> CommittedBlock {
    let (epoch, view, id) = (block.epoch, block.view, block_id(&block));
    let message = preimage::commit(NETWORK, epoch, view, &id);
    let votes = (0u16..).map(ValidatorIndex).zip(keys.iter().map(|k| k.sign(&message))).collect();
    let certificate = CommitCertificate { epoch, view, block: id, votes };
    CommittedBlock { block, proof: CommitProof { descendants: Vec::new(), certificate } }
}

impl Chain {
    fn new() -> Self {
        let keys = keys();
        let sets = vec![set(0, &keys[..4]), set(1, &keys[1..])];
        let dir = tempfile::tempdir().expect("a directory");
        let genesis = dir.path().join("genesis.json");
        let validators: Vec<Value> = sets[0]
            .members()
            .iter()
            .map(|m| {
                json!({"id": m.id, "address": m.address, "pqc_public_key": m.public_key,
                    "stake": "100"})
            })
            .collect();
        let allocations: Vec<Value> = sets[0]
            .members()
            .iter()
            .map(|m| json!({"address": m.address, "amount": "1000"}))
            .collect();
        let file = json!({"chain_id": "proofs", "network": NETWORK, "genesis_time_unix_ms": 1,
            "epoch_blocks": 8, "allocations": allocations, "validators": validators});
        let bytes = serde_json::to_vec(&file).expect("JSON");
        std::fs::write(&genesis, &bytes).expect("written");
        let mut chain = Self { dir, genesis, blocks: Vec::new(), sets, keys };
        let mut parent = BlockId(genesis_hash(&bytes).0);
        for height in 1..=TIP {
            let epoch = usize::from(height > 2);
            let next = (height == 2).then(|| validators_id(NETWORK, &chain.sets[1]));
            let block = chain.block(height, epoch, parent, next);
            parent = block_id(&block);
            let keys = &chain.keys[epoch..epoch + 4];
            chain.blocks.push(sign(block, keys));
        }
        chain
    }

    fn block(
        &self,
        height: u64,
        epoch: usize,
        parent: BlockId,
        next_validators: Option<ValidatorsId>,
    ) -> Block {
        let view = View(height + 3);
        Block {
            network: NETWORK,
            epoch: Epoch(epoch as u64),
            height: Height(height),
            view,
            parent,
            proposer: self.sets[epoch].leader(view),
            timestamp_unix_ms: Millis(1_764_000_000_000),
            executed: ExecutedState { height: Height(height - 1), root: proof(ALICE).1 },
            batches: Vec::new(),
            next_validators,
        }
    }

    fn tip(&self) -> &CommittedBlock {
        self.blocks.last().expect("five blocks")
    }

    /// What an honest node answers.
    fn answer(&self, address: Address) -> Value {
        answer(self.tip(), &proof(address).0)
    }

    /// Runs the program against a node that answers so when asked for a proof.
    fn ask(&self, address: Address, answer: Value, arguments: &[&str]) -> Output {
        let node = serve(self, answer);
        let node = format!("http://{node}");
        let genesis = self.genesis.to_str().expect("text");
        let address = address.to_string();
        let fixed = ["account", "--prove", &address, "--node", &node, "--genesis", genesis];
        run(&[&fixed[..], arguments].concat())
    }
}

fn answer(committed: &CommittedBlock, proof: &AccountProof) -> Value {
    json!({
        "schema": "qbind.account-proof/v1",
        "height": committed.block.executed.height,
        "proof": hex::encode(encode(proof)),
        "committed": hex::encode(encode(committed)),
    })
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_qbindctl")).args(arguments).output();
    output.expect("cargo built it")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A node of the chain that says what it is told to where a proof is asked for; gone with the test.
fn serve(chain: &Chain, proof: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let blocks: Vec<Vec<u8>> = chain.blocks.iter().map(encode).collect();
    let sets: Vec<Vec<u8>> = chain.sets.iter().map(encode).collect();
    let told = json!({"schema": "qbind.account/v1", "balance": "7", "nonce": 1, "height": 4});
    let answer = Arc::new(move |path: &str| -> Option<Vec<u8>> {
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let at = |list: &[Vec<u8>], n: usize| list.get(n).cloned();
        match parts[..] {
            ["accounts", _, "proof"] => Some(proof.to_string().into_bytes()),
            ["accounts", _] => Some(told.to_string().into_bytes()),
            ["blocks", height, "raw"] => at(&blocks, height.parse::<usize>().ok()? - 1),
            ["validators", epoch, "raw"] => at(&sets, epoch.parse().ok()?),
            _ => None,
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                lines.take_while(|line| line.as_ref().is_ok_and(|l| !l.is_empty())).for_each(drop);
                let path = first.split(' ').nth(1).unwrap_or_default();
                let (status, body) = match answer(path) {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", b"{}".to_vec()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let mut stream = stream;
                // A client that has seen enough leaves.
                stream.write_all(&[head.as_bytes(), &body].concat()).unwrap_or_default();
            });
        }
    });
    address
}

#[track_caller]
fn refused(output: &Output, code: i32, what: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}{}", text(&output.stdout));
    assert!(said.contains(what), "`{what}` is not in: {said}");
    assert!(output.stdout.is_empty(), "nothing is claimed");
}

#[test]
fn a_true_balance_and_a_true_absence_are_proved_across_epochs() {
    let chain = Chain::new();
    for address in [ALICE, BOB] {
        let output = chain.ask(address, chain.answer(address), &[]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let balance = format!("balance  {}", account(&address).balance);
        for part in [&*balance, "nonce    3", "height   4, state root 0x", "\nPROVED\n"] {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }
    let output = chain.ask(NOBODY, chain.answer(NOBODY), &["--output", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let is = |key: &str| said[key].clone();
    assert_eq!((is("proved"), is("exists")), (json!(true), json!(false)), "{said}");
    assert_eq!((is("balance"), is("height"), is("block_height")), (json!("0"), json!(4), json!(5)));
}

#[test]
fn every_lie_ends_with_1_and_is_named() {
    let chain = Chain::new();
    // Another balance, another nonce, no account.
    let rich = ProvenAccount { balance: u128::MAX, ..account(&ALICE) };
    let later = ProvenAccount { nonce: 4, ..account(&ALICE) };
    for end in [PathEnd::Account(rich), PathEnd::Account(later), PathEnd::Empty] {
        let lie = AccountProof { end, ..proof(ALICE).0 };
        let output = chain.ask(ALICE, answer(chain.tip(), &lie), &[]);
        refused(&output, 1, "proves nothing about height 4: the proof of account 0xa1");
    }
    // Another system root.
    let lie = AccountProof { system_root: SystemRoot([6; 32]), ..proof(ALICE).0 };
    refused(&chain.ask(ALICE, answer(chain.tip(), &lie), &[]), 1, "leads to state root");
    // Somebody else's balance.
    let output = chain.ask(ALICE, chain.answer(BOB), &[]);
    refused(&output, 1, "proves account 0xb2");
    // A block that names another root, with the certificate of the true one.
    let mut other = chain.tip().clone();
    other.block.executed.root = StateRoot([9; 32]);
    let output = chain.ask(ALICE, answer(&other, &proof(ALICE).0), &[]);
    refused(&output, 1, "does not show the chain of this genesis: height 5");
    // The same, signed by too few, and by validators of the epoch before.
    let few = sign(other.block.clone(), &chain.keys[1..3]);
    refused(&chain.ask(ALICE, answer(&few, &proof(ALICE).0), &[]), 1, "height 5");
    let old = sign(other.block.clone(), &chain.keys[..4]);
    refused(&chain.ask(ALICE, answer(&old, &proof(ALICE).0), &[]), 1, "height 5");
    // A block of an epoch that never was.
    let mut future = chain.tip().block.clone();
    future.epoch = Epoch(2);
    let future = sign(future, &chain.keys[1..]);
    refused(&chain.ask(ALICE, answer(&future, &proof(ALICE).0), &[]), 1, "is of epoch 2");
    // The right block, said to be of another height.
    let mut said = chain.answer(ALICE);
    said["height"] = json!(3);
    refused(&chain.ask(ALICE, said, &[]), 1, "names that of height");
    // No proof at all, in JSON.
    for garbage in [json!({"height": 4, "proof": "zz", "committed": ""}), json!([]), json!(1)] {
        refused(&chain.ask(ALICE, garbage, &[]), 1, "not the expected content");
    }
}

#[test]
fn another_genesis_proves_nothing() {
    let chain = Chain::new();
    let other = std::fs::read_to_string(&chain.genesis).expect("written");
    let stranger = SecretKey::from_seed(&[77; 32]).public_key().to_string();
    let other = other.replace(&chain.keys[0].public_key().to_string(), &stranger);
    let path = chain.dir.path().join("other.json");
    std::fs::write(&path, other).expect("written");
    let output = chain.ask(ALICE, chain.answer(ALICE), &["--genesis", "/nowhere/genesis.json"]);
    assert_eq!(output.status.code(), Some(64), "twice the same flag is wrong usage");
    let node = format!("http://{}/", serve(&chain, chain.answer(ALICE)));
    let (address, path) = (ALICE.to_string(), path.to_str().expect("text"));
    let output = run(&["account", &address, "--prove", "--node", &node, "--genesis", path]);
    refused(&output, 1, "does not show the chain of this genesis: height 2");
}

#[test]
fn a_node_that_is_not_there_tells_nothing_and_without_proof_it_is_believed() {
    let chain = Chain::new();
    let address = ALICE.to_string();
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let genesis = chain.genesis.to_str().expect("text");
    let gone = gone.to_string();
    let output = run(&["account", &address, "--prove", "--node", &gone, "--genesis", genesis]);
    refused(&output, 2, "cannot fetch the account's proof");
    refused(&run(&["account", &address, "--node", &gone]), 2, "cannot fetch the account");
    let refusing = chain.ask(ALICE, Value::Null, &[]);
    refused(&refusing, 1, "not the expected content");
    let node = serve(&chain, Value::Null).to_string();
    let output = run(&["account", &address, "--node", &node]);
    let said = text(&output.stdout);
    assert!(said.contains("balance  7") && said.contains("not proved"), "{said}");
    assert_eq!(run(&["account", "0x12", "--node", &node]).status.code(), Some(64));
    let output = run(&["account", &address, "--prove", "--node", &node]);
    assert_eq!(output.status.code(), Some(64), "--prove needs a genesis file");
}
