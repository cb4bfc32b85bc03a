//! What nodes can do to the chain and the state.

use super::*;

pub(super) fn g1() -> Cases {
    vec![
        ("one node has another block", "G1 FAIL", |e| {
            commit(e, "ap-rpc1", 40, |line| {
                if let FeedLine::Commit { block_id, .. } = line {
                    *block_id = BlockId([1; 32]);
                }
            });
        }),
        ("a node changes its mind", "G1 FAIL", |e| {
            let lines = e.feeds.get_mut("eu-v1").unwrap().held();
            let mut again = lines.iter().find(|l| is_commit(l, 30)).unwrap().clone();
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
            let old: CommittedBlock = decode(&e.blocks[&50].bytes().unwrap()).unwrap();
            let (executed, batches) = (old.block.executed, old.block.batches);
            e.blocks.insert(50, encode(&committed(50, BlockId([3; 32]), executed, batches)).into());
        }),
        ("equivocation seen", "G1 FAIL", |e| {
            let body = metrics(4, 9, "0")
                + "qbind_consensus_validator_equivocations_total{validator=\"3\"} 1\n";
            let last = e.scrapes.get_mut("us-v2").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        ("a vote for two blocks of one view", "G1 FAIL, G2 UNKNOWN", |e| {
            // Beyond the common tip, so that nothing else depends on it: the same view again.
            let tip: CommittedBlock = decode(&e.blocks[&115].bytes().unwrap()).unwrap();
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
            e.blocks.insert(116, encode(&twin).into());
        }),
        ("validators nobody elected", "G4 FAIL", |e| {
            let tip: CommittedBlock = decode(&e.blocks[&115].bytes().unwrap()).unwrap();
            let mut last = committed(116, block_id(&tip.block), tip.block.executed, Vec::new());
            last.block.next_validators = Some(ValidatorsId([7; 32]));
            let id = block_id(&last.block);
            let message = preimage::commit(Network::Mainnet, Epoch(0), View(116), &id);
            last.proof.certificate.block = id;
            for (index, signature) in &mut last.proof.certificate.votes {
                *signature = secret(u64::from(index.0)).sign(&message);
            }
            e.blocks.insert(116, encode(&last).into());
        }),
        ("a block under a second height", "G1 FAIL, G2 UNKNOWN", |e| {
            let copy = e.blocks[&50].clone();
            e.blocks.insert(117, copy);
        }),
        ("block missing", "G1 UNKNOWN, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN", |e| {
            e.blocks.remove(&50);
        }),
        ("feed missing", "G1 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN, G5 UNKNOWN", |e| {
            e.feeds.remove("us-v1");
        }),
        ("feed stops answering", "G1 UNKNOWN, G5 UNKNOWN", |e| {
            let lines = e.feeds.get_mut("us-v1").unwrap().held();
            lines.retain(
                |l| !matches!(l, FeedLine::Poll { at_unix_ms, .. } if *at_unix_ms > START + 50_000),
            );
        }),
        ("no genesis", "G1 UNKNOWN, G2 UNKNOWN, G3 UNKNOWN, G4 UNKNOWN, G12 UNKNOWN", |e| {
            e.genesis = None;
        }),
        ("equivocations are not exported", "G1 UNKNOWN", |e| {
            let name = "qbind_consensus_validator_equivocations_total";
            let body = metrics(4, 9, "0").replace(&format!("{name}{{validator=\"1\"}} 0\n"), "");
            let last = e.scrapes.get_mut("us-v2").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
        ("violations are not exported", "G1 UNKNOWN", |e| {
            let body =
                metrics(4, 9, "0").replace("qbind_consensus_safety_violations_total 0\n", "");
            let last = e.scrapes.get_mut("us-v2").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&body).unwrap());
        }),
    ]
}

pub(super) fn g2() -> Cases {
    fn any_batch(e: &mut Evidence) -> (String, CertifiedBatch) {
        let (name, raw) = e.batches.iter().next().unwrap();
        (name.clone(), decode(&raw.bytes().unwrap()).unwrap())
    }
    vec![
        ("reported", "G2 FAIL", |e| {
            let last = e.scrapes.get_mut("ap-v1").unwrap().last_mut().unwrap();
            last.samples = Some(series::parse(&metrics(4, 106, "1")).unwrap());
        }),
        ("certificate below quorum", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.certificate.acks.pop();
            e.batches.insert(name, encode(&batch).into());
        }),
        ("forged ack", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.certificate.acks[0].1 = batch.certificate.acks[1].1.clone();
            e.batches.insert(name, encode(&batch).into());
        }),
        ("other content", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.batch.transactions.pop();
            e.batches.insert(name, encode(&batch).into());
        }),
        ("a transaction nobody signed", "G2 FAIL, G3 UNKNOWN, G4 UNKNOWN", |e| {
            let (name, mut batch) = any_batch(e);
            batch.batch.transactions[0].signature = batch.batch.transactions[1].signature.clone();
            e.batches.insert(name, encode(&batch).into());
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
        ("metrics that stand still", "G2 UNKNOWN, G6 UNKNOWN", |e| {
            let scrapes = e.scrapes.get_mut("us-v1").unwrap();
            let first = scrapes[0].samples.clone();
            scrapes.iter_mut().for_each(|scrape| scrape.samples = first.clone());
        }),
        ("a hole nothing explains", "G2 UNKNOWN, G6 UNKNOWN", |e| {
            for scrape in &mut e.scrapes.get_mut("us-v1").unwrap()[3..8] {
                scrape.samples = None;
            }
        }),
    ]
}

pub(super) fn g3() -> Cases {
    /// A chain whose block 110 repeats a transfer of block 6, and what the nodes say of it.
    fn replayed_transfer(e: &mut Evidence, claim: char) {
        let tip: CommittedBlock = decode(&e.blocks[&115].bytes().unwrap()).unwrap();
        let made = certified(3, 900, vec![transfer(0, 0)]);
        let executed = tip.block.executed;
        let block = committed(116, block_id(&tip.block), executed, vec![made.certificate.batch]);
        let lines = e.feeds.get_mut("eu-v1").unwrap().held();
        let tip_line = lines.iter().find(|line| is_commit(line, 115)).unwrap();
        let FeedLine::Commit { state_root, system_root, .. } = *tip_line else {
            unreachable!("found as a commit")
        };
        let id = qbind_crypto::tx_id(Network::Mainnet, &made.batch.transactions[0]);
        for lines in e.feeds.values_mut().map(Stored::held) {
            lines.push(FeedLine::Commit {
                height: 116,
                view: 116,
                block_id: block_id(&block.block),
                state_root,
                system_root,
                committed_unix_ms: START + 130_000,
                transactions: 1,
                seen_unix_ms: START + 130_003,
            });
        }
        for (node, claims) in &mut e.claims {
            claims.held().push(ClaimLine {
                height: 116,
                transactions: 1,
                ids_sha3: format!("0x{}", hex::encode(qbind_crypto::sha3_256(&[&id.0]))),
                success: if node == "us-v2" { claim.into() } else { '0'.into() },
            });
        }
        e.batches.insert(hex::encode(made.certificate.batch.id.0), encode(&made).into());
        e.blocks.insert(116, encode(&block).into());
    }
    vec![
        ("a repeated transfer is skipped by all", "", |e| replayed_transfer(e, '0')),
        // The same lie breaks the replayed balances.
        ("a node says it succeeded again", "G3 FAIL, G4 FAIL", |e| replayed_transfer(e, '1')),
        ("the client saw it twice", "G3 FAIL", |e| {
            e.transactions[7].fate = Fate::Duplicated;
        }),
        ("the summary counts duplicates", "G3 FAIL", |e| {
            e.load.as_mut().unwrap().duplicated = 1;
        }),
        ("claims with a hole", "G3 UNKNOWN", |e| {
            e.claims.get_mut("eu-v3").unwrap().held().remove(40);
        }),
        ("no claims", "G3 UNKNOWN", |e| {
            e.claims.remove("eu-v3");
        }),
        ("claims about other transactions", "G3 UNKNOWN", |e| {
            e.claims.get_mut("eu-v3").unwrap().held()[40].ids_sha3 = "0x00".into();
        }),
    ]
}

pub(super) fn g4() -> Cases {
    vec![
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
            let tip: CommittedBlock = decode(&e.blocks[&115].bytes().unwrap()).unwrap();
            let wrong = ExecutedState { height: Height(114), root: StateRoot([1; 32]) };
            e.blocks
                .insert(116, encode(&committed(116, block_id(&tip.block), wrong, vec![])).into());
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
            e.claims.get_mut("eu-v3").unwrap().held()[40].success = "1111111110".into();
        }),
    ]
}
