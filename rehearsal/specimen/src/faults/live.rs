//! What goes wrong while the load runs.

use super::*;

/// What no gate can rest on.
const UNMEASURED: &str = "G5 UNKNOWN, G7 UNKNOWN, G9 UNKNOWN, G10 UNKNOWN, G13 UNKNOWN";

pub(super) fn g5() -> Cases {
    fn lag(e: &mut Evidence, node: &str, ms: u64, from: u64, to: u64) {
        for line in e.feeds.get_mut(node).unwrap().held() {
            match line {
                FeedLine::Commit { committed_unix_ms, height, .. }
                    if (from..=to).contains(height) =>
                {
                    *committed_unix_ms += ms;
                }
                _ => {}
            }
        }
        let lines = e.feeds.get_mut(node).unwrap().held();
        *lines = polled(std::mem::take(lines), &Shape::SMALL);
    }
    vec![
        ("seven blocks behind", "G5 FAIL", |e| lag(e, "us-v1", 7_000, 1, 115)),
        ("behind by no more than the bound", "", |e| lag(e, "us-v1", 3_500, 1, 115)),
        ("behind while it is cut out", "", |e| {
            for line in e.feeds.get_mut("ap-v1").unwrap().held() {
                if let FeedLine::Commit { height: 71..=79, committed_unix_ms, .. } = line {
                    *committed_unix_ms = START + 74_900;
                }
            }
            lag(e, "ap-v1", 0, 1, 115);
        }),
        ("behind, then gone ever further", "G5 FAIL", |e| {
            for k in 0..16 {
                lag(e, "us-v1", 1_000, 20 + 5 * k, 115);
            }
        }),
        ("the chain stands still", "G5 FAIL", |e| {
            for lines in e.feeds.values_mut().map(Stored::held) {
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
            for line in e.feeds.get_mut("us-v1").unwrap().held() {
                if let FeedLine::Commit { committed_unix_ms, .. } = line {
                    *committed_unix_ms -= 4_000;
                }
            }
        }),
        ("a height is claimed and never handed over", "G5 UNKNOWN", |e| {
            for line in e.feeds.get_mut("us-v1").unwrap().held() {
                if let FeedLine::Poll { tip, .. } = line {
                    *tip = u64::MAX;
                }
            }
        }),
        ("a clock a minute ahead", "G5 FAIL", |e| {
            for line in e.feeds.get_mut("us-v1").unwrap().held() {
                if let FeedLine::Commit { committed_unix_ms, .. } = line {
                    *committed_unix_ms += 60_000;
                }
            }
        }),
        ("a feed that is silent for a while", "G5 UNKNOWN", |e| {
            for line in e.feeds.get_mut("us-v1").unwrap().held() {
                let FeedLine::Poll { at_unix_ms, duration_ms, .. } = *line else { continue };
                if (START + 60_000..START + 80_000).contains(&at_unix_ms) {
                    let error = "HTTP status 503".to_owned();
                    *line = FeedLine::Gap { at_unix_ms, duration_ms, error };
                }
            }
        }),
        ("a clock two seconds ahead", "G5 UNKNOWN", |e| {
            for line in e.feeds.get_mut("us-v1").unwrap().held() {
                if let FeedLine::Commit { committed_unix_ms, .. } = line {
                    *committed_unix_ms += 2_000;
                }
            }
        }),
        ("no samples", UNMEASURED, |e| e.samples = None),
        ("a prober that was late", UNMEASURED, |e| {
            for pair in &mut e.samples.as_mut().unwrap().pairs {
                pair.late_us.fill(5_001);
            }
        }),
        ("a pair not measured", UNMEASURED, |e| {
            e.samples.as_mut().unwrap().pairs.pop();
        }),
        ("a silent pair", "G5 INVALID, G7 INVALID, G9 INVALID, G10 INVALID, G13 INVALID", |e| {
            e.samples.as_mut().unwrap().pairs[0].rtt_ns.fill(-1)
        }),
    ]
}

pub(super) fn g6() -> Cases {
    vec![
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
            for lines in e.peers.values_mut().map(Stored::held) {
                for line in lines {
                    let list = line.body.as_mut().unwrap()["peers"].as_array_mut().unwrap();
                    list.retain(|p| {
                        !p["address"].as_str().unwrap().starts_with(&format!("{first}:"))
                    });
                }
            }
        }),
        ("counts itself among its peers", "G6 FAIL", |e| {
            let own = e.plan.as_ref().unwrap().nodes[0].http.clone();
            let name = e.plan.as_ref().unwrap().nodes[0].name.clone();
            for line in e.peers.get_mut(&name).unwrap().held() {
                let list = line.body.as_mut().unwrap()["peers"].as_array_mut().unwrap();
                let outbound = list.iter_mut().find(|peer| peer["direction"] == "outbound");
                outbound.unwrap()["address"] = json!(own);
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
    ]
}

pub(super) fn g7_g8_g10() -> Cases {
    vec![
        ("slower than the band", "G7 FAIL, G10 FAIL", |e| latencies(e, |n| 1_500_000 + n % 9)),
        ("over twice the floor only", "G10 FAIL", |e| {
            e.steps.get_mut("t234").unwrap().result["scenarios"][0]["facts"]["baseline"]["p50_us"] =
                json!(900_000);
            latencies(e, |n| 900_000 + n % 9);
        }),
        ("a long tail", "G8 FAIL", |e| {
            latencies(e, |n| if n % 20 == 0 { 11_000_000 } else { 340_000 });
        }),
        ("an interval on both sides of the bound", "G8 UNKNOWN", |e| {
            latencies(e, |n| if n % 300 < 3 { 12_000_000 } else { 340_000 });
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
        ("records left out", "G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.transactions.truncate(990);
        }),
        ("slow until a cut comes", "G8 UNKNOWN", |e| {
            let due = 55_000_000..63_000_000;
            for tx in e.transactions.iter_mut().filter(|tx| tx.node.starts_with("ap")) {
                if due.contains(&tx.scheduled_us) {
                    tx.committed_us = Some(tx.scheduled_us + 11_000_000);
                }
            }
        }),
        ("less load than planned", "G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.plan.as_mut().unwrap().load.rate_per_second = 11;
        }),
        ("load that thins out", "G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.transactions[900].scheduled_us += 50_000;
        }),
        ("load long before the window", "G7 UNKNOWN, G8 UNKNOWN, G10 UNKNOWN", |e| {
            e.load.as_mut().unwrap().started_unix_ms -= 6_000;
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
    ]
}

pub(super) fn g9() -> Cases {
    vec![
        ("a change in every third view", "G9 FAIL", |e| {
            for (k, scrape) in e.scrapes.get_mut("us-rpc1").unwrap().iter_mut().enumerate() {
                let body = metrics(4, 60 + 300 * k as u64, "0")
                    .replace("changes_total 1", &format!("changes_total {}", 100 * k));
                scrape.samples = Some(series::parse(&body).unwrap());
            }
        }),
        ("series absent", "G9 UNKNOWN", |e| {
            for (k, scrape) in e.scrapes.get_mut("us-rpc1").unwrap().iter_mut().enumerate() {
                let body = metrics(4, 9 + k as u64, "0")
                    .replace("qbind_consensus_view_changes_total 1\n", "");
                scrape.samples = Some(series::parse(&body).unwrap());
            }
        }),
    ]
}
