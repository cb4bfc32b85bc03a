//! The faults.

use crate::{
    Ended,
    proxy::{Question, Reply},
    saboteur::Saboteur,
};
use qbind_crypto::sha3_256;
use serde_json::{Value, json};
use std::{sync::OnceLock, time::Duration};

/// One fault, and what must come of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The verdict; one of these where timing decides.
    verdict: &'static str,
    /// One of these must be among the gates that did not pass; or, without a verdict, in the reason.
    signs: &'static [&'static str],
    /// Told of each stage as it begins.
    pub(crate) plant: fn(&Saboteur, &str),
}

impl Case {
    pub(crate) fn is_caught_by(&self, ended: &Ended) -> bool {
        let is_seen =
            |sign: &&str| ended.red.iter().any(|red| red == sign) || ended.why.contains(sign);
        self.verdict.split('|').any(|verdict| ended.verdict == verdict)
            && self.signs.iter().any(is_seen)
    }
}

const NETWORK: &str = "lab: the network between the regions";
const NODES: &str = "lab: starting every node";
pub(crate) const LIVE: &str = "live:";
const GATES: &str = "gates:";

/// Into the live window.
const SOON: Duration = Duration::from_secs(20);

fn json_of(question: Question<'_>, path: &str) -> Option<Value> {
    let is_it = question.path.split('?').next() == Some(path);
    is_it.then(|| serde_json::from_str(question.answer?).ok()).flatten()
}

fn body(value: &Value) -> Option<Reply> {
    Some(Reply::Body(value.to_string()))
}

/// Changes each commit of a feed from a height on.
fn commits(question: Question<'_>, from: u64, change: fn(&mut Value)) -> Option<Reply> {
    let mut answer = json_of(question, "/v1/commits")?;
    for commit in answer["commits"].as_array_mut()? {
        if commit["height"].as_u64()? >= from {
            change(commit);
        }
    }
    body(&answer)
}

/// A hash that follows from another, so that everybody who lies tells the same lie.
fn other(hash: &Value) -> Value {
    json!(format!("0x{}", hex::encode(sha3_256(&[hash.as_str().unwrap_or_default().as_bytes()]))))
}

fn metric(question: Question<'_>, name: &str, value: &str) -> Option<Reply> {
    let text = question.answer.filter(|_| question.path == "/metrics")?;
    let lines = text.lines().map(|line| match line.strip_prefix(name) {
        Some(rest) if rest.starts_with([' ', '{']) => {
            format!("{} {value}\n", line.rsplit_once(' ').map_or(line, |(series, _)| series))
        }
        _ => format!("{line}\n"),
    });
    Some(Reply::Body(lines.collect()))
}

fn at(stage: &str, name: &str) -> bool {
    stage.starts_with(name)
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "divergent execution on one node",
        verdict: "FAIL",
        signs: &["G4 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("us-v1", |q| {
                    commits(q, 20, |c| c["state_root"] = other(&c["state_root"]))
                });
            }
        },
    },
    Case {
        name: "created balance, all nodes agree",
        verdict: "FAIL",
        signs: &["G4 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                for node in s.nodes() {
                    s.stand_between(&node, |q| {
                        commits(q, 20, |c| c["state_root"] = other(&c["state_root"]))
                    });
                }
            }
        },
    },
    Case {
        name: "equivocation under f, seen by one node",
        verdict: "FAIL",
        signs: &["G1 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("jp-v1", |q| {
                    metric(q, "qbind_consensus_validator_equivocations_total", "1")
                });
            }
        },
    },
    Case {
        name: "equivocation over f: one node on another branch",
        verdict: "FAIL",
        signs: &["G1 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("jp-rpc1", |q| {
                    commits(q, 20, |c| c["block_id"] = other(&c["block_id"]))
                });
            }
        },
    },
    Case {
        name: "forged mismatch counter",
        verdict: "FAIL",
        signs: &["G2 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("eu-v2", |q| {
                    metric(q, "qbind_dag_coupling_block_mismatch_total", "1")
                });
            }
        },
    },
    Case {
        name: "lying metrics: peers nobody confirms",
        verdict: "FAIL",
        signs: &["G6 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("us-rpc1", |q| {
                    let mut answer = json_of(q, "/v1/peers")?;
                    for peer in answer["peers"].as_array_mut()? {
                        peer["address"] = json!("10.99.0.1:9000");
                    }
                    body(&answer)
                });
            }
        },
    },
    Case {
        name: "metrics that are no numbers",
        verdict: "none",
        signs: &["cannot bind the gates"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("eu-v2", |q| {
                    metric(q, "qbind_dag_coupling_block_mismatch_total", "NaN")
                });
            }
        },
    },
    Case {
        name: "metrics that are no numbers any more",
        verdict: "INCONCLUSIVE",
        signs: &["G2 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("eu-v2", |q| {
                    q.live?;
                    metric(q, "qbind_dag_coupling_block_mismatch_total", "NaN")
                });
            }
        },
    },
    Case {
        name: "frozen counters",
        verdict: "INCONCLUSIVE",
        signs: &["G2 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("us-v2", |q| {
                    static FIRST: OnceLock<String> = OnceLock::new();
                    let text = q.answer.filter(|_| q.path == "/metrics")?;
                    q.live.filter(|live| *live > SOON)?;
                    Some(Reply::Body(FIRST.get_or_init(|| text.to_owned()).clone()))
                });
            }
        },
    },
    Case {
        name: "withheld node: its feed ends in the window",
        verdict: "INCONCLUSIVE",
        signs: &["G1 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("jp-v2", |q| (q.live > Some(SOON)).then_some(Reply::Status(503)));
            }
        },
    },
    Case {
        name: "scrape gaps",
        verdict: "INCONCLUSIVE",
        signs: &["G2 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("us-v1", |q| {
                    let is_gap = q.live.is_some_and(|live| (10..40).contains(&live.as_secs()));
                    (q.path == "/metrics" && is_gap).then_some(Reply::Status(503))
                });
            }
        },
    },
    Case {
        name: "clock step of half a minute",
        // By its own word it was ninety blocks ahead; that our clock contradicts it stands in the note.
        verdict: "FAIL",
        signs: &["G5 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("eu-rpc1", |q| {
                    commits(q, 150, |c| {
                        let ms = c["committed_unix_ms"].as_u64().unwrap_or_default();
                        c["committed_unix_ms"] = json!(ms - 30_000);
                    })
                });
            }
        },
    },
    Case {
        name: "lost transactions",
        verdict: "FAIL",
        signs: &["G8 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                for node in s.nodes() {
                    s.stand_between(&node, |q| {
                        // The answer is the node's own to another transfer: it was asked, and took nothing.
                        static ACCEPTED: OnceLock<String> = OnceLock::new();
                        if q.path != "/v1/transactions" || q.sent.is_empty() {
                            return None;
                        }
                        match q.answer {
                            None => {
                                let is_swallowed = sha3_256(&[q.sent])[0].is_multiple_of(16);
                                let accepted = ACCEPTED.get().filter(|_| is_swallowed)?;
                                Some(Reply::Body(accepted.clone()))
                            }
                            Some(answer) => {
                                ACCEPTED.get_or_init(|| answer.to_owned());
                                None
                            }
                        }
                    });
                }
            }
        },
    },
    Case {
        name: "wrong genesis on one node",
        verdict: "none",
        signs: &["get every node ready"],
        plant: |s, stage| {
            if at(stage, NODES) {
                let text = std::fs::read_to_string(s.out.join("genesis.json")).expect("a genesis");
                let own = s.out.join("network/nodes/us-v1/genesis.json");
                std::fs::write(&own, text + "\n").expect("a disk");
                let shared = s.out.join("network/genesis.json");
                let (from, to) = (shared.display().to_string(), own.display().to_string());
                s.edit_toml("us-v1", &from, &to);
            }
        },
    },
    Case {
        name: "a node that says another genesis",
        verdict: "INVALID",
        signs: &["G12 INVALID"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("us-v1", |q| {
                    let mut answer = json_of(q, "/v1/status")?;
                    answer["genesis_hash"] = other(&answer["genesis_hash"]);
                    body(&answer)
                });
            }
        },
    },
    Case {
        name: "wrong binary",
        verdict: "INVALID",
        signs: &["G12 INVALID"],
        plant: |s, stage| {
            // There while nodes start, and gone before anybody looks.
            if at(stage, NODES) {
                s.swap_binary(|bytes| bytes.extend(b"another build"));
            }
            if at(stage, LIVE) {
                s.swap_binary(|bytes| bytes.truncate(bytes.len() - b"another build".len()));
            }
        },
    },
    Case {
        name: "a binary exchanged after the plan",
        verdict: "none",
        signs: &["the subject qbind-node is not what plan.yaml fixed"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.swap_binary(|bytes| bytes.extend(b"another build"));
            }
        },
    },
    Case {
        name: "Warn instead of Enforce",
        verdict: "none",
        signs: &["DagCouplingNotEnforced"],
        plant: |s, stage| {
            if at(stage, NODES) {
                let (from, to) =
                    ("dag_coupling_mode = \"enforce\"", "dag_coupling_mode = \"warn\"");
                s.edit_toml("jp-v1", from, to);
            }
        },
    },
    Case {
        name: "a node that runs with Warn all the same",
        verdict: "FAIL",
        signs: &["G12 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("jp-v1", |q| {
                    let mut answer = json_of(q, "/v1/config")?;
                    answer["config"]["dag_coupling_mode"] = json!("warn");
                    body(&answer)
                });
            }
        },
    },
    Case {
        name: "peers from one ASN",
        verdict: "FAIL",
        signs: &["G6 FAIL"],
        plant: |s, stage| {
            if at(stage, NODES) {
                s.stand_between("eu-v3", |q| metric(q, "qbind_anti_eclipse_asn_diversity", "1"));
            }
        },
    },
    Case {
        name: "slow commits",
        verdict: "FAIL",
        signs: &["G7 FAIL", "G8 FAIL"],
        plant: |s, stage| {
            if at(stage, LIVE) {
                // Three of seven stand still for eight seconds of every ten: no quorum without them.
                for second in (2..60).step_by(10) {
                    for node in ["eu-v1", "us-v1", "jp-v1"] {
                        s.signal_later(node, Duration::from_secs(second), libc::SIGSTOP);
                        s.signal_later(node, Duration::from_secs(second + 8), libc::SIGCONT);
                    }
                }
            }
        },
    },
    Case {
        name: "a node killed that was not planned",
        // It cannot be judged, and who had dialled it may fall below the least of peers.
        verdict: "INCONCLUSIVE|FAIL",
        signs: &["G1 UNKNOWN", "G2 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, LIVE) {
                s.signal_later("us-rpc1", Duration::from_secs(20), libc::SIGKILL);
            }
        },
    },
    Case {
        name: "a node that stands still",
        verdict: "FAIL",
        signs: &["G5 FAIL", "G8 FAIL"],
        plant: |s, stage| {
            if at(stage, LIVE) {
                s.signal_later("jp-rpc1", Duration::from_secs(10), libc::SIGSTOP);
                s.signal_later("jp-rpc1", Duration::from_secs(24), libc::SIGCONT);
            }
        },
    },
    Case {
        name: "skipped step",
        verdict: "INCONCLUSIVE",
        signs: &["G11 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, GATES) {
                std::fs::remove_dir_all(s.out.join("steps/t222")).expect("a step");
            }
        },
    },
    Case {
        name: "edited step",
        verdict: "FAIL",
        signs: &["G11 FAIL"],
        plant: |s, stage| {
            if at(stage, GATES) {
                s.edit("steps/t222/result.json", |text| text + "\n");
            }
        },
    },
    Case {
        name: "emulator off",
        verdict: "INVALID",
        signs: &["G13 INVALID"],
        plant: |s, stage| {
            if at(stage, NETWORK) {
                s.edit("network/topology.yaml", |text| {
                    numbers(&numbers(&text, "delay_us: ", |_| 0), "jitter_us: ", |_| 0)
                });
            }
        },
    },
    Case {
        name: "emulator too mild",
        verdict: "INVALID",
        signs: &["G13 INVALID"],
        plant: |s, stage| {
            if at(stage, NETWORK) {
                s.edit("network/topology.yaml", |text| {
                    numbers(&text, "delay_us: ", |us| us * 9 / 10)
                });
            }
        },
    },
    Case {
        name: "plan changed after the start",
        verdict: "none",
        signs: &["plan.yaml was changed since the run began"],
        plant: |s, stage| {
            if at(stage, GATES) {
                let (from, to) = ("commit_p99_max_ms: 10000", "commit_p99_max_ms: 60000");
                s.edit("plan.yaml", |text| text.replace(from, to));
            }
        },
    },
    Case {
        name: "records of transfers left out",
        verdict: "INCONCLUSIVE",
        signs: &["G8 UNKNOWN"],
        plant: |s, stage| {
            if at(stage, GATES) {
                s.edit("load/transactions.jsonl", |text| {
                    text.split_inclusive('\n').filter(|line| line.len() % 7 > 0).collect()
                });
            }
        },
    },
];

/// A topology with other numbers behind a key.
fn numbers(text: &str, key: &str, change: fn(u64) -> u64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(key) {
        let (before, after) = rest.split_at(at + key.len());
        out += before;
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        out += &change(after[..digits].parse().unwrap_or(0)).to_string();
        rest = &after[digits..];
    }
    out + rest
}
