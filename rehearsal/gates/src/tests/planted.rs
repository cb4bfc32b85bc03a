//! Every gate has violations that turn exactly it red, and missing data that makes it UNKNOWN.

use super::cluster::*;
use crate::{Evidence, Outcome, Verdict, evaluate, records::*, series};
use qbind_crypto::{block_id, preimage};
use qbind_types::*;
use serde_json::{Value, json};

type Plant = fn(&mut Evidence);

/// Gates that are not PASS, as `G1 FAIL`.
fn not_green(plant: Plant) -> (Vec<String>, Verdict, String) {
    let mut evidence = green();
    plant(&mut evidence);
    let result = evaluate(&evidence);
    let red = result.gates.iter().filter(|g| g.verdict != Outcome::Pass);
    let list = red.clone().map(|g| format!("{} {}", g.id, g.verdict)).collect();
    let notes: Vec<String> = red.map(|g| format!("{}: {}", g.id, g.note)).collect();
    (list, result.verdict, notes.join("\n"))
}

fn check(cases: &[(&str, &str, Plant)]) {
    for (name, expected, plant) in cases {
        let (list, _, notes) = not_green(*plant);
        assert_eq!(list.join(", "), *expected, "{name}\n{notes}");
    }
}

fn commit(evidence: &mut Evidence, node: &str, at: u64, change: impl Fn(&mut FeedLine)) {
    for line in evidence.feeds.get_mut(node).unwrap() {
        if matches!(line, FeedLine::Commit { height, .. } if *height == at) {
            change(line);
        }
    }
}

/// Rebuilds the block at `height` and its certificate.
fn rebuild(evidence: &mut Evidence, height: u64, change: impl Fn(&mut CommittedBlock)) {
    let mut block: CommittedBlock = decode(&evidence.blocks[&height]).unwrap();
    change(&mut block);
    evidence.blocks.insert(height, encode(&block));
}

fn scraped(evidence: &mut Evidence, node: &str, body: &str) {
    for scrape in evidence.scrapes.get_mut(node).unwrap() {
        scrape.samples = Some(series::parse(body).unwrap());
    }
}

fn config(evidence: &mut Evidence, key: &str, value: Value) {
    evidence.configs.get_mut("us-v1").unwrap()["config"][key] = value;
}

fn latencies(evidence: &mut Evidence, us: impl Fn(u64) -> u64) {
    for tx in &mut evidence.transactions {
        tx.committed_us = Some(tx.scheduled_us + us(tx.n));
    }
}

#[test]
fn a_sound_run_passes_every_gate() {
    let result = evaluate(&green());
    for gate in &result.gates {
        assert_eq!(gate.verdict, Outcome::Pass, "{}: {}", gate.id, gate.note);
        assert!(gate.samples > 0, "{} checked nothing", gate.id);
        assert!(!gate.evidence.is_empty() && !gate.value.is_empty() && !gate.bound.is_empty());
    }
    assert_eq!(result.gates.len(), 13);
    assert_eq!(result.verdict, Verdict::Pass);
    assert_eq!(evaluate(&green()), result, "the same evidence, the same result");
}

#[test]
fn g1_divergence() {
    check(&[
        ("one node has another block", "G1 FAIL", |e| {
            commit(e, "ap-rpc1", 40, |line| {
                if let FeedLine::Commit { block_id, .. } = line {
                    *block_id = BlockId([1; 32]);
                }
            });
        }),
        ("a node changes its mind", "G1 FAIL", |e| {
            let lines = e.feeds.get_mut("eu-v1").unwrap();
            let mut again = lines[30].clone();
            if let FeedLine::Commit { block_id, .. } = &mut again {
                *block_id = BlockId([1; 32]);
            }
            lines.push(again);
        }),
        ("below quorum", "G1 FAIL, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            rebuild(e, 50, |b| drop(b.proof.certificate.votes.pop()));
        }),
        ("forged signature", "G1 FAIL, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            rebuild(e, 50, |b| {
                let other = b.proof.certificate.votes[1].1.clone();
                b.proof.certificate.votes[0].1 = other;
            });
        }),
        (
            "certified by votes of another network",
            "G1 FAIL, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN",
            |e| {
                rebuild(e, 50, |b| {
                    let (view, id) = (b.block.view, block_id(&b.block));
                    let message = preimage::commit(Network::Testnet, Epoch(0), view, &id);
                    for (index, signature) in &mut b.proof.certificate.votes {
                        *signature = secret(u64::from(index.0)).sign(&message);
                    }
                });
            },
        ),
        ("not on the chain", "G1 FAIL, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let old: CommittedBlock = decode(&e.blocks[&50]).unwrap();
            let (executed, batches) = (old.block.executed, old.block.batches);
            e.blocks.insert(50, encode(&committed(50, BlockId([3; 32]), executed, batches)));
        }),
        ("equivocation seen", "G1 FAIL", |e| {
            let body = metrics(4, 9, "0")
                + "qbind_consensus_validator_equivocations_total{validator=\"3\"} 1\n";
            let last = e.scrapes.get_mut("us-v2").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        ("a vote for two blocks of one view", "G1 FAIL, G2 UNKNOWN", |e| {
            // Beyond the common tip, so that nothing else depends on it: the same view again.
            let tip: CommittedBlock = decode(&e.blocks[&115]).unwrap();
            let mut twin = committed(116, block_id(&tip.block), tip.block.executed, Vec::new());
            twin.block.view = View(115);
            twin.block.proposer = tip.block.proposer;
            let id = block_id(&twin.block);
            let message = preimage::commit(Network::Mainnet, Epoch(0), View(115), &id);
            twin.proof.certificate.view = View(115);
            twin.proof.certificate.block = id;
            for (index, signature) in &mut twin.proof.certificate.votes {
                *signature = secret(u64::from(index.0)).sign(&message);
            }
            e.blocks.insert(116, encode(&twin));
        }),
        ("validators nobody elected", "G4 FAIL", |e| {
            let tip: CommittedBlock = decode(&e.blocks[&115]).unwrap();
            let mut last = committed(116, block_id(&tip.block), tip.block.executed, Vec::new());
            last.block.next_validators = Some(ValidatorsId([7; 32]));
            let id = block_id(&last.block);
            let message = preimage::commit(Network::Mainnet, Epoch(0), View(116), &id);
            last.proof.certificate.block = id;
            for (index, signature) in &mut last.proof.certificate.votes {
                *signature = secret(u64::from(index.0)).sign(&message);
            }
            e.blocks.insert(116, encode(&last));
        }),
        ("block missing", "G1 UNKNOWN, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            e.blocks.remove(&50);
        }),
        ("feed missing", "G1 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN, G5 UNKNOWN", |e| {
            e.feeds.remove("us-v1");
        }),
        ("feed stops answering", "G1 UNKNOWN, G5 UNKNOWN", |e| {
            let lines = e.feeds.get_mut("us-v1").unwrap();
            lines.retain(
                |l| !matches!(l, FeedLine::Poll { at_unix_ms, .. } if *at_unix_ms > START + 50_000),
            );
        }),
        ("no genesis", "G1 UNKNOWN, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN, G12 UNKNOWN", |e| {
            e.genesis = None;
        }),
        ("violations are not exported", "G1 UNKNOWN", |e| {
            let body =
                metrics(4, 9, "0").replace("qbind_consensus_safety_violations_total 0\n", "");
            let last = e.scrapes.get_mut("us-v2").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
    ]);
}

#[test]
fn g2_mismatch() {
    fn any_batch(e: &mut Evidence) -> (String, CertifiedBatch) {
        let (name, raw) = e.batches.iter().next().unwrap();
        (name.clone(), decode(raw).unwrap())
    }
    check(&[
        ("reported", "G2 FAIL", |e| {
            let last = e.scrapes.get_mut("ap-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&metrics(4, 106, "1")).unwrap());
        }),
        ("certificate below quorum", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.certificate.acks.pop();
            e.batches.insert(name, encode(&batch));
        }),
        ("forged ack", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.certificate.acks[0].1 = batch.certificate.acks[1].1.clone();
            e.batches.insert(name, encode(&batch));
        }),
        ("other content", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.batch.transactions.pop();
            e.batches.insert(name, encode(&batch));
        }),
        ("a transaction nobody signed", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.batch.transactions[0].signature = batch.batch.transactions[1].signature.clone();
            e.batches.insert(name, encode(&batch));
        }),
        ("batch missing", "G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, _) = any_batch(e);
            e.batches.remove(&name);
        }),
        ("counter is NaN", "G2 UNKNOWN", |e| {
            let last = e.scrapes.get_mut("ap-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&metrics(4, 106, "NaN")).unwrap());
        }),
        ("counter has labels nobody expects", "G2 UNKNOWN", |e| {
            let name = "qbind_dag_coupling_block_mismatch_total";
            let body = metrics(4, 106, "0") + &format!("{name}{{a=\"b\"}} 0\n");
            let last = e.scrapes.get_mut("ap-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        (
            "a node's metrics unreachable for the whole window",
            "G1 UNKNOWN, G2 UNKNOWN, G6 UNKNOWN, G9 UNKNOWN",
            |e| {
                for scrape in e.scrapes.get_mut("us-v1").unwrap() {
                    scrape.samples = None;
                }
            },
        ),
        ("a hole nothing explains", "G2 UNKNOWN, G6 UNKNOWN", |e| {
            for scrape in &mut e.scrapes.get_mut("us-v1").unwrap()[3..8] {
                scrape.samples = None;
            }
        }),
    ]);
}

#[test]
fn g3_double_spend() {
    /// A chain whose block 110 repeats a transfer of block 6, and what the nodes say of it.
    fn replayed_transfer(e: &mut Evidence, claim: char) {
        let tip: CommittedBlock = decode(&e.blocks[&115]).unwrap();
        let made = certified(3, 900, vec![transfer(0, 0)]);
        let executed = tip.block.executed;
        let block = committed(116, block_id(&tip.block), executed, vec![made.certificate.batch]);
        let root = match &e.feeds["eu-v1"][114] {
            FeedLine::Commit { state_root, .. } => *state_root,
            other => panic!("{other:?}"),
        };
        let id = qbind_crypto::tx_id(Network::Mainnet, &made.batch.transactions[0]);
        for lines in e.feeds.values_mut() {
            lines.push(FeedLine::Commit {
                height: 116,
                view: 116,
                block_id: block_id(&block.block),
                state_root: root,
                system_root: SYSTEM,
                committed_unix_ms: START + 111_000,
                transactions: 1,
                seen_unix_ms: START + 111_000,
            });
        }
        for (node, claims) in &mut e.claims {
            claims.push(ClaimLine {
                height: 116,
                transactions: 1,
                ids_sha3: format!("0x{}", hex::encode(qbind_crypto::sha3_256(&[&id.0]))),
                success: if node == "us-v2" { claim.into() } else { '0'.into() },
            });
        }
        e.batches.insert(hex::encode(made.certificate.batch.id.0), encode(&made));
        e.blocks.insert(116, encode(&block));
    }
    check(&[
        ("a repeated transfer is skipped by all", "", |e| replayed_transfer(e, '0')),
        // The same lie breaks the replayed balances.
        ("a node says it succeeded again", "G3 FAIL, G4 FAIL", |e| replayed_transfer(e, '1')),
        ("the client saw it twice", "G3 FAIL", |e| {
            e.transactions[7].fate = Fate::Duplicated;
        }),
        ("the summary counts duplicates", "G3 FAIL", |e| {
            e.load.as_mut().unwrap().duplicated = 1;
        }),
        ("no claims", "G3 UNKNOWN", |e| {
            e.claims.remove("eu-v3");
        }),
        ("claims about other transactions", "G3 UNKNOWN", |e| {
            e.claims.get_mut("eu-v3").unwrap()[40].ids_sha3 = "0x00".into();
        }),
    ]);
}

#[test]
fn g4_balances() {
    check(&[
        ("a node reports another root", "G4 FAIL", |e| {
            commit(e, "us-v2", 60, |line| {
                if let FeedLine::Commit { state_root, .. } = line {
                    *state_root = StateRoot([1; 32]);
                }
            });
        }),
        ("a node says another word of the state beside accounts", "G4 FAIL", |e| {
            commit(e, "us-v2", 60, |line| {
                if let FeedLine::Commit { system_root, .. } = line {
                    *system_root = SystemRoot([1; 32]);
                }
            });
        }),
        ("all nodes agree on a wrong root", "G4 FAIL", |e| {
            let nodes: Vec<String> = e.feeds.keys().cloned().collect();
            for node in nodes {
                commit(e, &node, 115, |line| {
                    if let FeedLine::Commit { state_root, .. } = line {
                        *state_root = StateRoot([1; 32]);
                    }
                });
            }
        }),
        ("a header carries a wrong root", "G4 FAIL", |e| {
            let tip: CommittedBlock = decode(&e.blocks[&115]).unwrap();
            let wrong = ExecutedState { height: Height(114), root: StateRoot([1; 32]) };
            e.blocks.insert(116, encode(&committed(116, block_id(&tip.block), wrong, vec![])));
        }),
        (
            "the genesis of another chain",
            "G1 FAIL, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN, G12 INVALID",
            |e| {
                // The block before the first is the genesis file.
                let text = String::from_utf8(e.genesis.clone().unwrap()).unwrap();
                let richer = text.replacen("1000000000000", "2000000000000", 1);
                e.genesis = Some(richer.into_bytes());
            },
        ),
        ("a node denies a success", "G4 FAIL", |e| {
            e.claims.get_mut("eu-v3").unwrap()[40].success = "1111111110".into();
        }),
    ]);
}

#[test]
fn g5_height() {
    fn lag(e: &mut Evidence, node: &str, ms: u64, from: u64, to: u64) {
        for line in e.feeds.get_mut(node).unwrap() {
            match line {
                FeedLine::Commit { committed_unix_ms, height, .. }
                    if (from..=to).contains(height) =>
                {
                    *committed_unix_ms += ms;
                }
                _ => {}
            }
        }
    }
    check(&[
        ("seven blocks behind", "G5 FAIL", |e| lag(e, "us-v1", 7_000, 1, 115)),
        ("behind by no more than the bound", "", |e| lag(e, "us-v1", 3_500, 1, 115)),
        ("behind while it is cut out", "", |e| lag(e, "ap-v1", 9_000, 72, 74)),
        ("behind, then gone ever further", "G5 FAIL", |e| {
            for k in 0..16 {
                lag(e, "us-v1", 1_000, 20 + 5 * k, 115);
            }
        }),
        ("the chain stands still", "G5 FAIL", |e| {
            for lines in e.feeds.values_mut() {
                for line in lines {
                    if let FeedLine::Commit { committed_unix_ms, .. } = line {
                        *committed_unix_ms = START - 1;
                    }
                    if let FeedLine::Poll { tip, .. } = line {
                        *tip = 115;
                    }
                }
            }
        }),
        ("a clock that contradicts the polls", "G5 UNKNOWN", |e| {
            for line in e.feeds.get_mut("us-v1").unwrap() {
                if let FeedLine::Commit { committed_unix_ms, .. } = line {
                    *committed_unix_ms -= 4_000;
                }
            }
        }),
        ("no matrix", "G5 UNKNOWN, G7 UNKNOWN, G9 UNKNOWN, G10 UNKNOWN, G13 UNKNOWN", |e| {
            e.matrix = None;
        }),
    ]);
}

#[test]
fn g6_peers() {
    check(&[
        ("three outbound", "G6 FAIL", |e| {
            let last = e.scrapes.get_mut("us-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&metrics(3, 106, "0")).unwrap());
        }),
        ("one ASN", "G6 FAIL", |e| {
            let body = metrics(4, 106, "0").replace("asn_diversity 3", "asn_diversity 1");
            let last = e.scrapes.get_mut("us-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        ("seven connected", "G6 FAIL", |e| {
            let body = metrics(4, 106, "0").replace("connected_peers 9", "connected_peers 7");
            let last = e.scrapes.get_mut("us-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        ("claims peers that know nothing of it", "G6 FAIL", |e| {
            let first =
                e.plan.as_ref().unwrap().nodes[0].http.split(':').next().unwrap().to_owned();
            for lines in e.peers.values_mut() {
                for line in lines {
                    let list = line.body.as_mut().unwrap()["peers"].as_array_mut().unwrap();
                    list.retain(|p| {
                        !p["address"].as_str().unwrap().starts_with(&format!("{first}:"))
                    });
                }
            }
        }),
        ("no lists", "G6 UNKNOWN", |e| {
            e.peers.remove("us-v1");
        }),
        ("series absent", "G6 UNKNOWN", |e| {
            let body = metrics(4, 106, "0").replace("qbind_p2p_outbound_peers 4\n", "");
            let last = e.scrapes.get_mut("us-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
    ]);
}

#[test]
fn g7_g8_g10_performance() {
    check(&[
        ("slower than the band", "G7 FAIL, G10 FAIL", |e| latencies(e, |n| 1_500_000 + n % 9)),
        ("over twice the floor only", "G10 FAIL", |e| {
            e.steps.get_mut("t234").unwrap().result["scenarios"][0]["facts"]["baseline"]["p50_us"] =
                json!(900_000);
            latencies(e, |n| 900_000 + n % 9);
        }),
        ("a long tail", "G8 FAIL", |e| {
            latencies(e, |n| if n % 20 == 0 { 11_000_000 } else { 350_000 });
        }),
        ("an interval on both sides of the bound", "G8 UNKNOWN", |e| {
            latencies(e, |n| if n % 300 < 3 { 12_000_000 } else { 350_000 });
        }),
        ("a third of the load commits", "G7 FAIL", |e| {
            for tx in &mut e.transactions {
                if tx.n % 3 > 0 {
                    (tx.fate, tx.committed_us, tx.height) = (Fate::Rejected, None, None);
                }
            }
            e.plan.as_mut().unwrap().bounds.latency_samples_min = 100;
        }),
        ("one transfer lost", "G8 FAIL", |e| {
            let tx = &mut e.transactions[500];
            (tx.fate, tx.committed_us, tx.height) = (Fate::Lost, None, None);
        }),
        ("a commit the chain does not hold", "G8 FAIL", |e| {
            e.transactions[500].height = Some(20);
        }),
        ("records left out", "G8 UNKNOWN", |e| {
            e.transactions.truncate(990);
        }),
        ("the client was late", "G8 UNKNOWN", |e| {
            e.load.as_mut().unwrap().late_sends = 100;
        }),
        ("no load", "G3 UNKNOWN, G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.load = None;
        }),
        ("too few latencies", "G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.plan.as_mut().unwrap().bounds.latency_samples_min = 10_000;
        }),
        ("baseline at another load", "G7 UNKNOWN", |e| {
            e.steps.get_mut("t234").unwrap().result["scenarios"][0]["facts"]["baseline"]["offered_tps"] =
                json!(500);
        }),
        ("faster than the band is a remark", "", |e| latencies(e, |_| 100_000)),
    ]);
    let mut fast = green();
    latencies(&mut fast, |_| 100_000);
    let note = evaluate(&fast).gate("G7").unwrap().note.clone();
    assert!(note.contains("baseline is stale"), "{note}");
}

#[test]
fn g9_view_changes() {
    check(&[
        ("a change in every third view", "G9 FAIL", |e| {
            for (k, scrape) in e.scrapes.get_mut("us-rpc1").unwrap().iter_mut().enumerate() {
                let body = metrics(4, 60 + 300 * k as u64, "0")
                    .replace("changes_total 1", &format!("changes_total {}", 100 * k));
                scrape.samples = Some(series::parse(&body).unwrap());
            }
        }),
        ("series absent", "G9 UNKNOWN", |e| {
            let body = metrics(4, 9, "0").replace("qbind_consensus_view_changes_total 1\n", "");
            scraped(e, "us-rpc1", &body);
        }),
    ]);
}

#[test]
fn g11_steps() {
    fn step(e: &mut Evidence) -> &mut Value {
        &mut e.steps.get_mut("t222").unwrap().result
    }
    check(&[
        ("failed", "G11 FAIL", |e| step(e)["verdict"] = json!("FAIL")),
        ("a check does not hold", "G11 FAIL", |e| {
            step(e)["scenarios"][0]["checks"][0]["ok"] = json!(false);
        }),
        ("a scenario failed and the step says PASS", "G11 FAIL", |e| {
            step(e)["scenarios"][0]["verdict"] = json!("FAIL");
        }),
        ("missing", "G11 UNKNOWN", |e| {
            e.steps.remove("t222");
        }),
        ("the baseline's step missing", "G7 UNKNOWN, G11 UNKNOWN", |e| {
            e.steps.remove("t234");
        }),
        ("the result of another step", "G11 UNKNOWN", |e| step(e)["id"] = json!("T238")),
        ("nothing checked", "G11 UNKNOWN", |e| step(e)["scenarios"] = json!([])),
    ]);
}

#[test]
fn g12_baseline() {
    check(&[
        ("discovery off", "G12 FAIL", |e| config(e, "enable_discovery", json!(false))),
        ("anti-eclipse off", "G12 FAIL", |e| config(e, "anti_eclipse_enforce", json!(false))),
        ("coupling off", "G12 FAIL", |e| config(e, "dag_coupling_mode", json!("off"))),
        ("coupling warn on MainNet", "G12 FAIL", |e| config(e, "dag_coupling_mode", json!("warn"))),
        ("no quota", "G12 FAIL", |e| config(e, "mempool_max_txs_per_sender", json!(0))),
        // Block 3 holds a report: what follows from it is not guessed.
        ("slashing", "G3 UNKNOWN, G4 UNKNOWN, G12 FAIL", |e| {
            config(e, "slashing_mode", json!("enforce-all"));
        }),
        ("monetary", "G4 UNKNOWN, G12 FAIL", |e| config(e, "monetary_mode", json!("active"))),
        ("other spellings are the same", "", |e| config(e, "slashing_mode", json!("RecordOnly"))),
        ("no genesis path", "G12 FAIL", |e| config(e, "genesis_path", json!(""))),
        ("expects another genesis", "G12 INVALID", |e| {
            config(e, "expect_genesis_hash", json!("0x11"));
        }),
        ("another binary", "G12 INVALID", |e| {
            let line = e.statuses.get_mut("us-v1").unwrap().last_mut().unwrap();
            line.body.as_mut().unwrap()["binary_sha3"] = json!("0xdd");
        }),
        ("two regions only", "G12 FAIL", |e| {
            for node in &mut e.plan.as_mut().unwrap().nodes {
                if node.region == "ap" {
                    node.role = qbind_plan::Role::Rpc;
                }
            }
            for lines in e.statuses.values_mut().flatten() {
                let body = lines.body.as_mut().unwrap();
                if body["name"].as_str().unwrap().starts_with("ap-") {
                    body["role"] = json!("rpc");
                }
            }
        }),
        ("no configuration", "G3 UNKNOWN, G4 UNKNOWN, G12 UNKNOWN", |e| {
            e.configs.remove("us-v1");
        }),
        ("key absent", "G3 UNKNOWN, G4 UNKNOWN, G12 UNKNOWN", |e| {
            config(e, "slashing_mode", Value::Null);
        }),
        ("no status", "G12 UNKNOWN", |e| {
            e.statuses.remove("us-v1");
        }),
    ]);
}

#[test]
fn g13_emulation() {
    fn link<'a>(e: &'a mut Evidence, path: &str) -> &'a mut LinkCounters {
        &mut e.links.get_mut(path).unwrap().links[0]
    }
    check(&[
        ("slower than asked", "G13 INVALID", |e| {
            for bin in &mut link(e, "links/measure-end.json").datagram_delay_bins {
                bin.0 += 2_000;
            }
        }),
        ("jitter as none", "G13 INVALID", |e| {
            let bins = &mut link(e, "links/measure-end.json").datagram_delay_bins;
            *bins = vec![(35_000, 2_000)];
        }),
        ("loses what it should not", "G13 INVALID", |e| {
            link(e, "links/measure-end.json").lost_random = 40;
        }),
        ("late in the live window", "G13 INVALID", |e| {
            for bin in &mut link(e, "links/live-end.json").ordered_delay_bins {
                bin.0 += 9_000;
            }
        }),
        ("probes disagree", "G13 INVALID", |e| {
            e.matrix.as_mut().unwrap()[0].p50_us += 3_000;
        }),
        ("no snapshot", "G13 UNKNOWN", |e| {
            e.links.remove("links/live-end.json");
        }),
        ("too few datagrams", "G13 UNKNOWN", |e| {
            link(e, "links/measure-end.json").datagram_delay_bins.truncate(10);
        }),
        ("emulator restarted", "G13 UNKNOWN", |e| {
            link(e, "links/live-start.json").packets_in = 9_999;
        }),
    ]);
}

#[test]
fn a_run_that_was_not_as_planned_is_invalid_and_still_shows_safety() {
    const INVALID: &str = "G1 INVALID, G2 INVALID, G3 INVALID, G4 INVALID, G5 INVALID, G6 INVALID, \
                           G7 INVALID, G8 INVALID, G9 INVALID, G10 INVALID";
    let unplanned: Plant = |e| e.live.as_mut().unwrap().faults[0].id = "surprise".into();
    check(&[
        ("an unplanned fault", INVALID, unplanned),
        ("a fault left out", INVALID, |e| drop(e.live.as_mut().unwrap().faults.pop())),
        ("a fault not done", INVALID, |e| e.live.as_mut().unwrap().faults[1].done = false),
        ("a fault too long", INVALID, |e| {
            e.live.as_mut().unwrap().faults[1].healed_unix_ms += 60_000;
        }),
        ("a fault at another time", INVALID, |e| {
            e.live.as_mut().unwrap().faults[0].from_unix_ms -= 8_000;
        }),
        ("more nodes harmed", INVALID, |e| {
            e.live.as_mut().unwrap().faults[0].nodes.push("us-v1".into());
        }),
        ("a short window", INVALID, |e| e.live.as_mut().unwrap().ended_unix_ms -= 30_000),
    ]);
    let (list, verdict, _) = not_green(|e| {
        e.live.as_mut().unwrap().faults[0].id = "surprise".into();
        commit(e, "ap-rpc1", 40, |line| {
            if let FeedLine::Commit { block_id, .. } = line {
                *block_id = BlockId([1; 32]);
            }
        });
    });
    assert_eq!((list[0].as_str(), verdict), ("G1 FAIL", Verdict::Fail));
}

#[test]
fn the_overall_verdict_adds_up() {
    for (name, expected, plant) in [
        (
            "hard fail over invalid",
            Verdict::Fail,
            (|e| {
                config(e, "enable_discovery", json!(false));
                e.matrix.as_mut().unwrap()[0].p50_us += 3_000;
            }) as Plant,
        ),
        ("invalid over unknown", Verdict::Invalid, |e| {
            e.steps.remove("t222");
            e.matrix.as_mut().unwrap()[0].p50_us += 3_000;
        }),
        ("unknown", Verdict::Inconclusive, |e| {
            e.steps.remove("t222");
        }),
        ("soft failure passes", Verdict::Pass, |e| {
            e.plan.as_mut().unwrap().bounds.floor_max_permille = 10;
        }),
        ("no plan", Verdict::Inconclusive, |e| e.plan = None),
        ("nothing at all", Verdict::Inconclusive, |e| *e = Evidence::default()),
    ] {
        let (_, verdict, notes) = not_green(plant);
        assert_eq!(verdict, expected, "{name}\n{notes}");
    }
}
