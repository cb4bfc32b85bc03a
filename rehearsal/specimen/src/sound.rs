//! A sound run: seven validators and some RPC nodes in three regions, blocks and transfers at an even pace,
//! three planned faults.

use qbind_crypto::{
    SecretKey, address_of, batch_id, block_id, genesis_hash, preimage, sha3_256, tx_id,
    verify_evidence,
};
use qbind_gates::{Evidence, STEPS, Scrape, StepFile, Stored, records::*, series};
use qbind_ledger::{BlockInput, EvidenceCheck, Genesis, Ledger, Params, SerialRunner, Status};
use qbind_measure::{RawMeasurement, RawPair, Schedule};
use qbind_plan::*;
use qbind_types::*;
use serde_json::json;
use std::{collections::BTreeMap, sync::OnceLock};

pub(crate) const START: u64 = 1_800_000_000_000;
const NET: Network = Network::Mainnet;
/// Blocks are made for so long before the window.
const BEFORE_MS: u64 = 5_000;
/// And after it.
const AFTER_MS: u64 = 10_000;
const FIRST_BLOCK: u64 = START - BEFORE_MS;
/// Name, continent, validators.
const REGIONS: [(&str, &str, u64); 3] =
    [("eu", "europe", 3), ("us", "america", 2), ("ap", "asia", 2)];

/// How much of a run there is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// RPC nodes of each region; there are seven validators.
    pub rpc: u64,
    /// Seconds of the live window.
    pub window_s: u64,
    /// Milliseconds from block to block.
    pub block_ms: u64,
    /// Batches in a block of the window.
    pub batches: u64,
    /// Transfers per second.
    pub rate: u64,
    /// Milliseconds from poll to poll of the commit feeds.
    pub poll_ms: u64,
}

impl Shape {
    /// Ten nodes for a hundred seconds: what faults are planted in.
    pub const SMALL: Self =
        Self { rpc: 1, window_s: 100, block_ms: 1_000, batches: 1, rate: 10, poll_ms: 1_000 };

    fn window_ms(&self) -> u64 {
        self.window_s * 1_000
    }

    /// All blocks of the run.
    fn blocks(&self) -> u64 {
        (BEFORE_MS + self.window_ms() + AFTER_MS) / self.block_ms
    }
}

/// What the run's program is, in place of a program.
pub(crate) const NODE_BINARY: &[u8] = b"qbind-node of a specimen";

/// The evidence of a sound run; made once.
pub fn sound() -> Evidence {
    static SOUND: OnceLock<Evidence> = OnceLock::new();
    SOUND.get_or_init(|| sound_of(&Shape::SMALL)).clone()
}

/// Keys of each kind, of which so many are used.
fn keys(kind: &'static [u8], count: u64) -> Vec<SecretKey> {
    (0..count).map(|i| SecretKey::from_seed(&sha3_256(&[kind, &i.to_be_bytes()]))).collect()
}

/// The secret of validator index `i`.
pub(crate) fn secret(i: u64) -> &'static SecretKey {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    &KEYS.get_or_init(|| keys(b"validator", 7))[usize::try_from(i).unwrap()]
}

/// The secret of load account `i`; those from 20 on are the council's.
fn account(i: u64) -> &'static SecretKey {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    &KEYS.get_or_init(|| keys(b"account", 27))[usize::try_from(i).unwrap()]
}

fn one_way(from: &str, to: &str) -> u64 {
    match (from.min(to), from.max(to)) {
        ("eu", "us") => 35_000,
        ("ap", "us") => 75_000,
        _ => 101_000,
    }
}

/// A committed block of the small run, of `batches` on `parent`, signed by the first five validators.
pub(crate) fn committed(
    height: u64,
    parent: BlockId,
    executed: ExecutedState,
    batches: Vec<BatchRef>,
) -> CommittedBlock {
    committed_at(height, FIRST_BLOCK + height * Shape::SMALL.block_ms, parent, executed, batches)
}

fn committed_at(
    height: u64,
    at_unix_ms: u64,
    parent: BlockId,
    executed: ExecutedState,
    batches: Vec<BatchRef>,
) -> CommittedBlock {
    let view = View(height);
    let block = Block {
        network: NET,
        epoch: Epoch(0),
        height: Height(height),
        view,
        parent,
        proposer: ValidatorIndex(u16::try_from(height % 7).unwrap()),
        timestamp_unix_ms: Millis(at_unix_ms),
        executed,
        batches,
        next_validators: None,
    };
    let id = block_id(&block);
    let message = preimage::commit(NET, Epoch(0), view, &id);
    let votes = (0..5).map(|i| (ValidatorIndex(i), secret(u64::from(i)).sign(&message))).collect();
    let certificate = CommitCertificate { epoch: Epoch(0), view, block: id, votes };
    CommittedBlock { block, proof: CommitProof { descendants: Vec::new(), certificate } }
}

/// A certified batch, acked by the first five validators.
pub(crate) fn certified(
    creator: u16,
    round: u64,
    transactions: Vec<Transaction>,
) -> CertifiedBatch {
    let creator = ValidatorIndex(creator);
    let mut batch = Batch {
        epoch: Epoch(0),
        creator,
        round,
        parents: Vec::new(),
        transactions,
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap(),
    };
    let reference = BatchRef { epoch: Epoch(0), creator, round, id: batch_id(NET, &batch) };
    batch.signature = secret(u64::from(creator.0)).sign(&preimage::batch(NET, &reference));
    let ack = |i: u16| {
        let index = ValidatorIndex(i);
        (index, secret(u64::from(i)).sign(&preimage::ack(NET, &reference, index)))
    };
    let certificate = BatchCertificate { batch: reference, acks: (0..5).map(ack).collect() };
    CertifiedBatch { batch, certificate }
}

/// A transfer of 10 from load account `from`.
pub(crate) fn transfer(from: u64, nonce: u64) -> Transaction {
    let key = account(from);
    let recipient = address_of(&account((from + 1) % 20).public_key());
    let payload =
        Payload::V1(TransferV1 { recipient, amount: 10, gas_limit: 40_000, max_fee_per_gas: 1 });
    let mut tx = Transaction {
        sender: address_of(&key.public_key()),
        nonce,
        payload: payload.encode(),
        suite: 100,
        public_key: key.public_key(),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap(),
    };
    tx.signature = key.sign(&preimage::transaction(NET, &tx));
    tx
}

/// A report by the last validator's owner; the same each time, so that the second is refused.
fn report(nonce: u64) -> Transaction {
    let signed = |id: u8| {
        let (epoch, creator) = (Epoch(0), ValidatorIndex(2));
        let batch = BatchRef { epoch, creator, round: 99, id: BatchId([id; 32]) };
        SignedBatchRef { batch, signature: secret(2).sign(&preimage::batch(NET, &batch)) }
    };
    let evidence = Box::new(qbind_types::Evidence::Batches { first: signed(1), second: signed(2) });
    let (recipient, amount, gas_limit, max_fee_per_gas) = (REGISTRY, 0, 200_000, 1);
    let transfer = TransferV1 { recipient, amount, gas_limit, max_fee_per_gas };
    let key = secret(6);
    let mut tx = Transaction {
        sender: address_of(&key.public_key()),
        nonce,
        payload: Payload::Call(transfer, Box::new(RegistryCall::Report(evidence))).encode(),
        suite: 100,
        public_key: key.public_key(),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).unwrap(),
    };
    tx.signature = key.sign(&preimage::transaction(NET, &tx));
    tx
}

fn genesis(shape: &Shape) -> Vec<u8> {
    let validators: Vec<_> = (0..7u64)
        .map(|i| {
            let key = secret(i).public_key();
            json!({"id": i + 1, "address": address_of(&key), "pqc_public_key": key,
                   "stake": "1000000"})
        })
        .collect();
    let funds = (0..7).map(secret).chain((0..20).map(account));
    let allocations: Vec<_> = funds
        .map(|k| json!({"address": address_of(&k.public_key()), "amount": "1000000000000"}))
        .collect();
    let council: Vec<_> = (20..27).map(|i| address_of(&account(i).public_key())).collect();
    serde_json::to_vec_pretty(&json!({
        "chain_id": "qbind-mainnet-v0", "network": "mainnet", "genesis_time_unix_ms": 1,
        "allocations": allocations, "validators": validators,
        "council": {"members": council, "threshold": 5},
        // No election within the run.
        "epoch_blocks": shape.blocks().max(2_400) + 1,
    }))
    .unwrap()
}

/// The run that the evidence below tells of.
const MANIFEST: &str = "
schema: qbind.manifest/v1
name: test
form: quick
gate_type: mainnet_launch
seed: 42
measure: { probes_per_pair: 1000, rate_per_second: 50, warmup_probes: 50, payload_bytes: 64 }
steps: { form: short }
load: { rate_per_second: 10, accounts: 20, drain_s: 15, resubmit_after_s: 8 }
live: { window_s: 100, warmup_s: 10, scrape_interval_ms: 5000, commit_poll_ms: 500 }
gates: { bootstrap_resamples: 60 }
faults:
  - { id: kill-leader, kind: kill_leader, at_s: 20, duration_s: 5, recovery_s: 30 }
  - id: loss-burst
    kind: loss_burst
    from: '@2'
    to: '@3'
    loss_bps: 500
    at_s: 42
    duration_s: 8
    recovery_s: 10
  - { id: cut-third-region, kind: cut_region, region: '@3', at_s: 65, duration_s: 10, recovery_s: 10 }
";

fn plan(shape: &Shape, genesis: &[u8]) -> Plan {
    let mut nodes = Vec::new();
    let (mut id, mut host) = (0, 0);
    for (region, _, validators) in REGIONS {
        for k in 1..=validators + shape.rpc {
            host += 1;
            let is_validator = k <= validators;
            id += u64::from(is_validator);
            nodes.push(PlannedNode {
                name: match is_validator {
                    true => format!("{region}-v{k}"),
                    false => format!("{region}-rpc{}", k - validators),
                },
                region: region.into(),
                role: if is_validator { Role::Validator } else { Role::Rpc },
                validator_id: is_validator.then_some(id),
                power: is_validator.then_some(1_000_000),
                http: format!("10.{host}.0.1:9090"),
            });
        }
    }
    let mut links = Vec::new();
    for (from, ..) in REGIONS {
        for (to, ..) in REGIONS.iter().filter(|r| r.0 != from) {
            links.push(PlannedLink {
                from: from.into(),
                to: (*to).into(),
                delay_us: one_way(from, to),
                jitter_us: 4_000,
                loss_bps: 0,
            });
        }
    }
    let cluster = Cluster {
        target: "lab".into(),
        topology: TopologyRef { name: "test".into(), sha3: digest_of(b"topology") },
        genesis: GenesisRef {
            sha3: qbind_crypto::genesis_hash(genesis),
            network: NET,
            chain_id: "qbind-mainnet-v0".into(),
        },
        binaries: vec![BinaryRef { name: "qbind-node".into(), sha3: digest_of(NODE_BINARY) }],
        regions: REGIONS
            .iter()
            .map(|r| PlannedRegion { id: r.0.into(), continent: r.1.into() })
            .collect(),
        nodes,
        links,
        load_accounts: 20,
    };
    let manifest = MANIFEST
        .replace(
            "load: { rate_per_second: 10,",
            &format!("load: {{ rate_per_second: {},", shape.rate),
        )
        .replace("window_s: 100,", &format!("window_s: {},", shape.window_s))
        .replace("commit_poll_ms: 500", &format!("commit_poll_ms: {}", shape.poll_ms.min(500)));
    Manifest::parse("test.yaml", &manifest).unwrap().resolve(&cluster).unwrap()
}

fn live(plan: &Plan) -> LiveRecord {
    let mut live = LiveRecord::new(START, START + u64::from(plan.live.window_s) * 1000);
    live.faults = plan
        .faults
        .iter()
        .map(|f| ExecutedFault {
            id: f.id.clone(),
            nodes: match f.kind {
                FaultKind::KillLeader => vec!["eu-v2".into()],
                _ => f.affected.clone(),
            },
            from_unix_ms: START + f.at_ms,
            healed_unix_ms: START + f.heals_at_ms(),
            done: true,
            note: String::new(),
        })
        .collect();
    live
}

/// Who is accused is found guilty by the signatures alone.
struct Court;

impl EvidenceCheck for Court {
    fn proves(&self, validators: &ValidatorSet, evidence: &qbind_types::Evidence) -> bool {
        verify_evidence(NET, validators, evidence).is_ok()
    }
}

/// Chain, batches, feeds, claims and the load's records.
fn chain(evidence: &mut Evidence, shape: &Shape) {
    let bytes = evidence.genesis.clone().unwrap();
    let facts = Genesis::parse(&bytes).unwrap();
    let plan = evidence.plan.clone().unwrap();
    let set = facts.validator_set();
    let params = Params { locks: facts.locks(), ..Params::mainnet() };
    let mut ledger = Ledger::from_genesis(&facts, params);
    // The block before the first is the genesis file.
    let mut parent = BlockId(genesis_hash(&bytes).0);
    let mut executed = ExecutedState { height: Height(0), root: ledger.state_root() };
    let mut n = 0u64;
    for height in 1..=shape.blocks() {
        let mut batches = Vec::new();
        // The owner of the last validator reports that the third made two batches of one round.
        if height == 3 {
            batches.push(certified(6, 0, vec![report(0), report(1)]));
        }
        // Those due since the block before.
        let into = (height * shape.block_ms).saturating_sub(BEFORE_MS);
        let due = shape.rate * into.min(shape.window_ms()) / 1_000;
        if (1..=shape.window_ms()).contains(&into) {
            for k in 0..shape.batches {
                let transactions = (n..due).filter(|n| n % shape.batches == k);
                let transactions = transactions.map(|n| transfer(n % 20, n / 20)).collect();
                let creator = u16::try_from((height + k) % 7).unwrap();
                batches.push(certified(creator, height, transactions));
            }
        }
        let refs = batches.iter().map(|batch| batch.certificate.batch).collect();
        let at_unix_ms = FIRST_BLOCK + height * shape.block_ms;
        let made = committed_at(height, at_unix_ms, parent, executed, refs);
        let id = block_id(&made.block);
        let transactions: Vec<&Transaction> =
            batches.iter().flat_map(|b| &b.batch.transactions).collect();
        let input = BlockInput {
            height: Height(height),
            epoch: made.block.epoch,
            time: made.block.timestamp_unix_ms,
            proposer: set.get(made.block.proposer).unwrap().address,
            transactions: &transactions,
        };
        let applied = ledger.apply(&input, &SerialRunner, &Court);
        let (root, system_root) = (applied.state_root, applied.system_root);
        let ids: Vec<TxId> = transactions.iter().map(|tx| tx_id(NET, tx)).collect();
        let parts: Vec<&[u8]> = ids.iter().map(|i| &i.0[..]).collect();
        for node in &plan.nodes {
            let late = if node.region == "ap" { 150 } else { 0 };
            let at = at_unix_ms + late;
            evidence.feeds.entry(node.name.clone()).or_default().held().push(FeedLine::Commit {
                height,
                view: height,
                block_id: id,
                state_root: root,
                system_root,
                committed_unix_ms: at,
                transactions: ids.len() as u64,
                seen_unix_ms: at + 100,
            });
            evidence.claims.entry(node.name.clone()).or_default().held().push(ClaimLine {
                height,
                transactions: ids.len() as u64,
                ids_sha3: format!("0x{}", hex::encode(sha3_256(&parts))),
                success: applied
                    .receipts
                    .iter()
                    .map(|r| if r.status == Status::Success { '1' } else { '0' })
                    .collect(),
            });
        }
        let mut loaded: Vec<(u64, TxId, u64)> = Vec::new();
        for (tx, id) in transactions.iter().zip(&ids).filter(|_| height > 3) {
            let account = (0..20).find(|i| address_of(&account(*i).public_key()) == tx.sender);
            loaded.push((tx.nonce * 20 + account.unwrap(), *id, tx.nonce));
        }
        loaded.sort_unstable();
        for (n, id, nonce) in loaded {
            let scheduled_us = n * 1_000_000 / shape.rate;
            evidence.transactions.push(LoadTransaction {
                n,
                id,
                account: u32::try_from(n % 20).unwrap(),
                nonce,
                node: plan.nodes[usize::try_from(n).unwrap() % plan.nodes.len()].name.clone(),
                scheduled_us,
                sent_us: Some(scheduled_us + 50),
                accepted_us: Some(scheduled_us + 5_000),
                committed_us: Some(scheduled_us + 250_000 + n % 7 * 1_000),
                height: Some(height),
                submissions: 1,
                fate: Fate::Committed,
                code: None,
            });
        }
        n = n.max(due);
        evidence.blocks.insert(height, encode(&made).into());
        for batch in batches {
            let name = hex::encode(batch.certificate.batch.id.0);
            evidence.batches.insert(name, encode(&batch).into());
        }
        (parent, executed) = (id, ExecutedState { height: Height(height), root });
    }
    for lines in evidence.feeds.values_mut().map(Stored::held) {
        *lines = polled(std::mem::take(lines), shape);
    }
    let victim = evidence.feeds.get_mut("eu-v2").unwrap().held();
    for line in victim {
        // Killed from the 20th second to the 25th.
        let FeedLine::Poll { at_unix_ms, duration_ms, .. } = *line else { continue };
        if (START + 21_000..START + 25_000).contains(&at_unix_ms) {
            let error = "connection refused".to_owned();
            *line = FeedLine::Gap { at_unix_ms, duration_ms, error };
        }
    }
    evidence.load = Some(LoadSummary {
        schema: LOAD_SCHEMA.into(),
        started_unix_ms: START,
        window_ms: shape.window_ms(),
        ended_unix_ms: START + shape.window_ms() + 5_000,
        rate_per_second: shape.rate,
        targets: plan.nodes.iter().map(|n| n.name.clone()).collect(),
        followed: vec!["eu-v1".into()],
        offered: n,
        submitted: n,
        accepted: n,
        rejected: 0,
        codes: BTreeMap::new(),
        committed: n,
        lost: 0,
        duplicated: 0,
        resubmitted: 0,
        late_sends: 0,
        tps_milli: shape.rate * 1_000,
        latency_us: LatencyUs::default(),
        series: Vec::new(),
    });
}

/// The feed of a node that is polled at this pace and made these commits, in order of their heights.
pub(crate) fn polled(commits: Vec<FeedLine>, shape: &Shape) -> Vec<FeedLine> {
    let commits = commits.into_iter().filter(|line| matches!(line, FeedLine::Commit { .. }));
    let mut commits = commits.peekable();
    let (mut lines, mut tip) = (Vec::new(), 0);
    for poll in 0..=(shape.window_ms() + 30_000) / shape.poll_ms {
        let now = START + poll * shape.poll_ms;
        let is_there = |line: &FeedLine| match line {
            FeedLine::Commit { committed_unix_ms, .. } => *committed_unix_ms <= now,
            _ => false,
        };
        let answer: Vec<FeedLine> =
            std::iter::from_fn(|| commits.next_if(|line| is_there(line))).collect();
        tip += answer.len() as u64;
        lines.push(FeedLine::Poll { at_unix_ms: now, duration_ms: 3, tip });
        for mut line in answer {
            if let FeedLine::Commit { seen_unix_ms, .. } = &mut line {
                *seen_unix_ms = now + 3;
            }
            lines.push(line);
        }
    }
    lines
}

/// A `/metrics` body.
pub(crate) fn metrics(outbound: u64, view: u64, mismatch: &str) -> String {
    format!(
        "# TYPE qbind_p2p_outbound_peers gauge\nqbind_p2p_outbound_peers {outbound}\n\
         qbind_consensus_validator_equivocations_total{{validator=\"1\"}} 0\n\
         qbind_p2p_connected_peers 9\nqbind_anti_eclipse_asn_diversity 3\n\
         qbind_consensus_current_view {view}\nqbind_consensus_view_changes_total 1\n\
         qbind_consensus_safety_violations_total 0\n\
         qbind_dag_coupling_block_mismatch_total {mismatch}\nqbind_unrelated{{a=\"b\"}} 1.5\n"
    )
}

fn scrapes(evidence: &mut Evidence, shape: &Shape) {
    let plan = evidence.plan.clone().unwrap();
    for node in &plan.nodes {
        for seq in 0..=shape.window_s / 5 {
            let at_unix_ms = START + seq * 5_000;
            // The victim is gone for one scrape.
            let is_down = node.name == "eu-v2" && (20_000..25_000).contains(&(seq * 5_000));
            let body = metrics(4, 6 + seq * 5_000 / shape.block_ms, "0");
            let samples = (!is_down).then(|| series::parse(&body).unwrap());
            let scrapes = evidence.scrapes.entry(node.name.clone()).or_default();
            scrapes.push(Scrape { seq, at_unix_ms, samples });
            let body = |body| AnswerLine { seq, at_unix_ms, body: Some(body), error: None };
            let peers = json!({"schema": "qbind.peers/v1", "peers": peer_list(&plan, &node.name)});
            evidence.peers.entry(node.name.clone()).or_default().held().push(body(peers));
            let role = if node.role == Role::Validator { "validator" } else { "rpc" };
            let status = json!({
                "schema": "qbind.status/v1", "name": node.name, "role": role,
                "network": "mainnet", "genesis_hash": plan.genesis.sha3, "binary_sha3": plan.binaries[0].sha3,
            });
            evidence.statuses.entry(node.name.clone()).or_default().held().push(body(status));
        }
        let config = json!({"schema": "qbind.config/v1", "config": {
            "enable_discovery": true, "anti_eclipse_enforce": true,
            "dag_coupling_mode": "enforce", "mempool_max_txs_per_sender": 1000,
            "mempool_max_bytes_per_sender": 8388608, "mempool_eviction_mode": "enforce",
            "mempool_eviction_max_per_interval": 1000, "monetary_mode": "shadow",
            "slashing_mode": "record-only", "genesis_path": "/g.json",
            "expect_genesis_hash": plan.genesis.sha3,
        }});
        evidence.configs.insert(node.name.clone(), config);
    }
}

/// Node i dials the next four; everyone is connected with everyone it dials or is dialled by.
fn peer_list(plan: &Plan, node: &str) -> Vec<serde_json::Value> {
    let n = plan.nodes.len();
    let me = plan.nodes.iter().position(|p| p.name == node).unwrap();
    let mut out = Vec::new();
    for (other, peer) in plan.nodes.iter().enumerate() {
        let ahead = (other + n - me) % n;
        let ip = peer.http.split(':').next().unwrap();
        if (1..=4).contains(&ahead) {
            out.push(json!({"address": format!("{ip}:9000"), "direction": "outbound"}));
        } else if (1..=4).contains(&((me + n - other) % n)) {
            out.push(json!({"address": format!("{ip}:41234"), "direction": "inbound"}));
        }
    }
    out
}

fn links(evidence: &mut Evidence) {
    let plan = evidence.plan.clone().unwrap();
    let mut pairs = Vec::new();
    let mut zero = LinkSnapshot { links: Vec::new() };
    let (mut after, mut live) = (zero.clone(), zero.clone());
    for (n, link) in (1u8..).zip(&plan.links) {
        // Evenly spread, so that p95 - p50 is 5 ms.
        let rtt = (0..1_000).map(|k| (2 * link.delay_us - 5_555 + k * 11_110 / 999) * 1_000);
        pairs.push(RawPair {
            from: link.from.clone(),
            to: link.to.clone(),
            source: [10, 0, 0, n].into(),
            target: [10, 0, 1, n].into(),
            phase_us: 0,
            late_us: vec![5; 1_000],
            rtt_ns: rtt.map(|ns| i64::try_from(ns).unwrap()).collect(),
            duplicates: Some(0),
            program_stamped: 0,
            refused: 0,
            largest_clock_step_us: 0,
            clock_steps: 0,
        });
        let bins: Vec<(u64, u64)> =
            (0..80).map(|b| (link.delay_us - 4_000 + b * 100, 25)).collect();
        let counters = |packets: u64, bins: &[(u64, u64)]| LinkCounters {
            from: link.from.clone(),
            to: link.to.clone(),
            packets_in: packets,
            delivered: packets,
            lost_random: 0,
            lost_queue: 0,
            lost_partition: 0,
            datagram_delay_bins: bins.to_vec(),
            ordered_delay_bins: bins.to_vec(),
        };
        zero.links.push(counters(0, &[]));
        after.links.push(counters(4_000, &bins));
        let mut harmed = counters(8_000, &bins);
        let ends = [link.from.as_str(), link.to.as_str()];
        harmed.lost_random = if ends.contains(&"eu") { 0 } else { 9 };
        harmed.lost_partition = if ends.contains(&"ap") { 300 } else { 0 };
        live.links.push(harmed);
    }
    let schedule = Schedule::quick(plan.seed);
    evidence.samples = Some(RawMeasurement { schedule, started_unix_ms: START - 90_000, pairs });
    for (path, snapshot) in paths::LINK_SNAPSHOTS.iter().zip([&zero, &after, &zero, &live]) {
        evidence.links.insert((*path).to_owned(), snapshot.clone());
    }
}

fn steps(evidence: &mut Evidence, shape: &Shape) {
    for id in STEPS {
        let facts = match id {
            "t234" => {
                json!({"baseline": {
                    "offered_tps": shape.rate, "tps_milli": shape.rate * 998, "p50_us": 60_000,
                }})
            }
            _ => json!({}),
        };
        let check = json!({"name": "c", "expected": "1", "got": "1", "ok": true});
        let result = json!({
            "schema": "qbind.step/v1", "id": id.to_uppercase(), "title": "t", "verdict": "PASS",
            "scenarios": [{"name": "s", "verdict": "PASS", "checks": [check], "facts": facts}],
        });
        let sha3 = digest_of(result.to_string().as_bytes());
        evidence.noted_steps.get_or_insert_default().insert(id.to_owned(), sha3.clone());
        evidence.steps.insert(id.to_owned(), StepFile { result, sha3 });
    }
}

/// The evidence of a sound run of this shape.
pub fn sound_of(shape: &Shape) -> Evidence {
    let genesis = genesis(shape);
    let plan = plan(shape, &genesis);
    let mut evidence = Evidence {
        live: Some(live(&plan)),
        plan: Some(plan),
        genesis: Some(genesis),
        ..Evidence::default()
    };
    chain(&mut evidence, shape);
    scrapes(&mut evidence, shape);
    links(&mut evidence);
    steps(&mut evidence, shape);
    evidence
}
