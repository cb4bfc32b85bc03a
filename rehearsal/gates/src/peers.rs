//! G6: peers, as each node counts them and as the others confirm.

use crate::{
    catalogue::known, coverage, evidence::Evidence, feed::Feed, finding::Finding, records::paths,
    series::scalar, verdict::Gate, windows::Windows,
};
use qbind_plan::Plan;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const OUTBOUND: &str = "qbind_p2p_outbound_peers";
const CONNECTED: &str = "qbind_p2p_connected_peers";
const ASNS: &str = "qbind_anti_eclipse_asn_diversity";

/// `/v1/peers`.
#[derive(Deserialize)]
struct Answer {
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    address: String,
    direction: String,
}

pub(crate) fn gate(
    evidence: &Evidence,
    plan: &Plan,
    feeds: &BTreeMap<String, Feed>,
    windows: &Windows,
) -> Gate {
    let mut finding = Finding::over(windows.shown());
    let b = &plan.bounds;
    let others = (plan.nodes.len() as u64).saturating_sub(1);
    let connected_min = b.outbound_target.min(others);
    finding.bound = format!(
        "{OUTBOUND} >= {}, {ASNS} >= {}, {CONNECTED} >= {connected_min}",
        b.outbound_peers_min, b.asn_diversity_min
    );
    finding.evidence = vec![paths::SCRAPE_INDEX.to_owned(), "peers/".to_owned()];
    let warm = windows.start + u64::from(plan.live.warmup_s) * 1000;
    let mut least: BTreeMap<&str, u64> = BTreeMap::new();
    let mut eased = 0u64;
    for node in &plan.nodes {
        let scrapes = evidence.scrapes.get(&node.name).map_or(&[][..], Vec::as_slice);
        if let Some(why) =
            coverage::hole(scrapes, &node.name, feeds.get(&node.name), windows, b.scrape_gap_max_ms)
        {
            finding.unknown(why);
        }
        let mut counted = 0;
        for scrape in scrapes {
            let at = scrape.at_unix_ms;
            let counts = (warm..=windows.end).contains(&at) && !windows.is_cut(&node.name, at);
            let Some(samples) = scrape.samples.as_ref().filter(|_| counts) else { continue };
            counted += 1;
            // A node that is gone by plan is missing on the lists of the others.
            let gone = windows.others_absent(&node.name, at);
            eased += u64::from(gone > 0);
            for (name, bound) in [
                (OUTBOUND, b.outbound_peers_min.saturating_sub(gone)),
                (CONNECTED, connected_min.min(others.saturating_sub(gone))),
                (ASNS, b.asn_diversity_min),
            ] {
                match scalar(samples, name) {
                    Ok(value) => {
                        let value = u64::try_from(value).unwrap_or(0);
                        let lowest = least.entry(name).or_insert(value);
                        *lowest = (*lowest).min(value);
                        let into = at.saturating_sub(windows.start);
                        let what = format!("{name} of {} {into} ms into the window", node.name);
                        finding.at_least(value, bound, &what);
                        finding.samples += 1;
                    }
                    Err(why) => finding.unknown(format!("{}: {name} {}", node.name, why.why())),
                }
            }
        }
        if counted == 0 {
            finding.unknown(format!("no scrape of {} counts", node.name));
        }
    }
    let shown: Vec<String> = least.iter().map(|(name, n)| format!("{name} {n}")).collect();
    finding.value = format!("least: {}", shown.join(", "));
    if eased > 0 {
        finding.remark(format!(
            "{eased} scrapes fell into planned faults of other nodes; each absent node lowers what \
             is required there by one"
        ));
    }
    confirmed(&mut finding, evidence, plan, windows);
    finding.into_gate(known("G6"))
}

/// Outbound links that both ends list, on the last lists outside cut windows.
fn confirmed(finding: &mut Finding, evidence: &Evidence, plan: &Plan, windows: &Windows) {
    let ip = |address: &str| address.rsplit_once(':').map_or(address, |(ip, _)| ip).to_owned();
    let by_ip: BTreeMap<String, &str> =
        plan.nodes.iter().map(|n| (ip(&n.http), n.name.as_str())).collect();
    if by_ip.len() < plan.nodes.len() {
        finding.unknown("nodes of the plan share addresses: their peers cannot be told apart");
    }
    let mut lists: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for node in &plan.nodes {
        let answers = match evidence.peers_of(&node.name) {
            Ok(answers) => answers,
            Err(why) => {
                finding.unknown(why);
                continue;
            }
        };
        let usable = answers.iter().rev().filter(|a| {
            let at = a.at_unix_ms;
            (windows.start..=windows.end).contains(&at) && !windows.is_cut_anywhere(at)
        });
        let mut bodies = usable.filter_map(|a| a.body.as_ref());
        let Some(answer) = bodies.find_map(|body| Answer::deserialize(body).ok()) else {
            let path = paths::peers(&node.name);
            finding.unknown(format!("{path} holds no usable list of peers outside cut windows"));
            continue;
        };
        let (mut outbound, mut all) = (BTreeSet::new(), BTreeSet::new());
        for peer in &answer.peers {
            // Who lists itself confirms nothing.
            let named = by_ip.get(&ip(&peer.address)).filter(|name| **name != node.name);
            if let Some(name) = named {
                all.insert(*name);
                if peer.direction == "outbound" {
                    outbound.insert(*name);
                }
            }
        }
        lists.insert(&node.name, (outbound, all));
    }
    for (node, (outbound, _)) in &lists {
        let agree = |other: &&&str| match lists.get(**other) {
            Some((_, theirs)) => theirs.contains(node),
            // Their list is missing, which is noted above.
            None => true,
        };
        let both = outbound.iter().filter(agree).count() as u64;
        let what = format!("outbound peers of {node} that the other side confirms");
        finding.at_least(both, plan.bounds.outbound_peers_min, &what);
        finding.samples += 1;
    }
}
