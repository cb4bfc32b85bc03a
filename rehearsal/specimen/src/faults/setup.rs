//! What was not prepared, emulated or planned as it should have been.

use super::*;

pub(super) fn g11() -> Cases {
    fn step(e: &mut Evidence) -> &mut Value {
        &mut e.steps.get_mut("t222").unwrap().result
    }
    vec![
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
        ("changed after it was done", "G11 FAIL", |e| {
            e.steps.get_mut("t222").unwrap().sha3 = "0x00".into();
        }),
        ("repeated until it passed", "G11 FAIL", |e| {
            e.failed_steps.insert("t222".to_owned());
        }),
        ("not in the journal", "G11 UNKNOWN", |e| {
            e.noted_steps.as_mut().unwrap().remove("t222");
        }),
        ("nothing checked", "G11 UNKNOWN", |e| step(e)["scenarios"] = json!([])),
    ]
}

pub(super) fn g12() -> Cases {
    vec![
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
            let line = e.statuses.get_mut("us-v1").unwrap().held().last_mut().unwrap();
            line.body.as_mut().unwrap()["binary_sha3"] = json!("0xdd");
        }),
        ("two regions only", "G12 FAIL", |e| {
            for node in &mut e.plan.as_mut().unwrap().nodes {
                if node.region == "ap" {
                    node.role = qbind_plan::Role::Rpc;
                }
            }
            for lines in e.statuses.values_mut().flat_map(Stored::held) {
                let body = lines.body.as_mut().unwrap();
                if body["name"].as_str().unwrap().starts_with("ap-") {
                    body["role"] = json!("rpc");
                }
            }
        }),
        ("more power than genesis gives", "G12 INVALID", |e| {
            e.plan.as_mut().unwrap().nodes[0].power = Some(1_200_000);
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
    ]
}

pub(super) fn g13() -> Cases {
    fn link<'a>(e: &'a mut Evidence, path: &str) -> &'a mut LinkCounters {
        &mut e.links.get_mut(path).unwrap().links[0]
    }
    vec![
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
            for rtt in &mut e.samples.as_mut().unwrap().pairs[0].rtt_ns {
                *rtt += 3_000_000;
            }
        }),
        ("loses in the live window", "G13 INVALID", |e| {
            link(e, "links/live-end.json").lost_random = 40;
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
    ]
}

pub(super) fn as_planned() -> Cases {
    const INVALID: &str = "G1 INVALID, G2 INVALID, G3 INVALID, G4 INVALID, G5 INVALID, G6 INVALID, \
                           G7 INVALID, G8 INVALID, G9 INVALID, G10 INVALID";
    let unplanned: fn(&mut Evidence) =
        |e| e.live.as_mut().unwrap().faults[0].id = "surprise".into();
    vec![
        ("an unplanned fault", INVALID, unplanned),
        ("a fault left out", INVALID, |e| drop(e.live.as_mut().unwrap().faults.pop())),
        ("a fault not done", INVALID, |e| e.live.as_mut().unwrap().faults[1].done = false),
        ("a fault cut short", INVALID, |e| {
            e.live.as_mut().unwrap().faults[1].healed_unix_ms -= 5_000;
        }),
        ("a kill nobody noticed", INVALID, |e| {
            let victim = e.feeds.get_mut("eu-v2").unwrap().held();
            victim.retain(|line| !matches!(line, FeedLine::Gap { .. }));
        }),
        ("a killed node that answers", INVALID, |e| {
            let victim = e.feeds.get_mut("eu-v2").unwrap().held();
            let gap = victim.iter_mut().filter(|line| matches!(line, FeedLine::Gap { .. })).nth(1);
            let at_unix_ms = START + 22_500;
            *gap.unwrap() = FeedLine::Poll { at_unix_ms, duration_ms: 3, tip: 1 };
        }),
        ("a cut that lost nothing", INVALID, |e| {
            for link in &mut e.links.get_mut("links/live-end.json").unwrap().links {
                link.lost_partition = 0;
            }
        }),
        ("a burst that lost nothing", INVALID, |e| {
            for link in &mut e.links.get_mut("links/live-end.json").unwrap().links {
                link.lost_random = 0;
            }
        }),
        ("a long window", INVALID, |e| e.live.as_mut().unwrap().ended_unix_ms += 90_000),
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
    ]
}
