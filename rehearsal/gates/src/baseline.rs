//! G12: configuration, layout, digests.

use crate::{
    catalogue::known, chain::founders, evidence::Evidence, finding::Finding, records::paths,
    verdict::Gate,
};
use qbind_links::RegionLayout;
use qbind_plan::{Plan, Role, digest_of};
use qbind_types::{Network, ValidatorSet};
use serde_json::Value;

/// What a key must be (guide, section 3.1).
enum Need {
    True,
    OneOf(&'static [&'static str]),
    Positive,
    Present,
}

const BASELINE: [(&str, Need, &str); 11] = [
    ("enable_discovery", Need::True, "P2P discovery"),
    ("anti_eclipse_enforce", Need::True, "anti-eclipse enforcement"),
    ("dag_coupling_mode", Need::OneOf(&["enforce", "warn"]), "DAG coupling"),
    ("mempool_max_txs_per_sender", Need::Positive, "mempool quota per sender"),
    ("mempool_max_bytes_per_sender", Need::Positive, "mempool quota per sender"),
    ("mempool_eviction_mode", Need::OneOf(&["enforce"]), "mempool rate limiting"),
    ("mempool_eviction_max_per_interval", Need::Positive, "mempool rate limiting"),
    ("monetary_mode", Need::OneOf(&["shadow"]), "monetary mode"),
    ("slashing_mode", Need::OneOf(&["record-only"]), "slashing mode"),
    ("genesis_path", Need::Present, "genesis source"),
    ("expect_genesis_hash", Need::Present, "genesis hash verification"),
];

pub(crate) fn gate(evidence: &Evidence, plan: &Plan) -> Gate {
    let mut finding = Finding::default();
    finding.bound = "guide 3.1 on every node, layout 3.2, digests as planned".to_owned();
    finding.evidence =
        vec!["config/".into(), "status/".into(), paths::GENESIS.into(), paths::PLAN.into()];
    layout(&mut finding, plan);
    let genesis = plan.genesis.sha3.to_string();
    match &evidence.genesis {
        Some(bytes) => {
            finding.samples += 1;
            if digest_of(bytes) != genesis {
                finding.invalid(format!("{} is not the planned genesis", paths::GENESIS));
            }
            match founders(bytes) {
                Ok((_, set)) => validators(&mut finding, plan, &set),
                Err(why) => finding.unknown(format!("{}: {why}", paths::GENESIS)),
            }
        }
        None => finding.unknown(evidence.absence(paths::GENESIS)),
    }
    let binary = plan.binaries.iter().find(|b| b.name == "qbind-node").map(|b| b.sha3.as_str());
    if binary.is_none() {
        finding.unknown("the plan names no qbind-node binary");
    }
    let mut compared = 0;
    for node in &plan.nodes {
        let path = paths::config(&node.name);
        match evidence.configs.get(&node.name) {
            Some(config) => {
                compared += 1;
                let config = config.get("config").unwrap_or(config);
                configuration(&mut finding, plan, &node.name, config, &genesis);
            }
            None => finding.unknown(evidence.absence(&path)),
        }
        status(&mut finding, evidence, plan, &node.name, &genesis, binary);
    }
    finding.value = format!("{compared} of {} configurations compared", plan.nodes.len());
    finding.into_gate(known("G12"))
}

fn layout(finding: &mut Finding, plan: &Plan) {
    let regions: Vec<RegionLayout> = plan
        .regions
        .iter()
        .map(|r| RegionLayout {
            region: r.id.clone(),
            continent: r.continent.clone(),
            validators: plan
                .validators()
                .filter(|n| n.region == r.id)
                .map(|n| n.power.unwrap_or(0))
                .collect(),
        })
        .collect();
    let check = qbind_links::check_layout(&regions);
    finding.samples += 1;
    for fault in check.faults {
        finding.fail(format!("layout: {fault}"));
    }
}

/// Layout and latency floor rest on who validates with which power: the plan must say what genesis does.
fn validators(finding: &mut Finding, plan: &Plan, set: &ValidatorSet) {
    let mut planned: Vec<_> = plan.validators().map(|n| (n.validator_id, n.power)).collect();
    let members = set.members().iter();
    let mut founders: Vec<_> = members.map(|m| (Some(m.id), Some(m.power.0))).collect();
    planned.sort_unstable();
    founders.sort_unstable();
    if planned != founders {
        finding.invalid(format!(
            "the plan has {} validators with their power, {} others",
            planned.len(),
            paths::GENESIS
        ));
    }
}

/// A value as one word: `RecordOnly`, `record_only` and `record-only` are the same.
fn word(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        out.push(if c == '_' { '-' } else { c.to_ascii_lowercase() });
    }
    out
}

/// A key of a node's effective configuration as one word; empty if it has none.
pub(crate) fn value(config: &Value, key: &str) -> String {
    config.get("config").unwrap_or(config).get(key).map(word).unwrap_or_default()
}

fn configuration(finding: &mut Finding, plan: &Plan, node: &str, config: &Value, genesis: &str) {
    for (key, need, what) in &BASELINE {
        finding.samples += 1;
        let Some(value) = config.get(*key).filter(|v| !v.is_null()) else {
            finding.unknown(format!("{node}: effective configuration has no {key} ({what})"));
            continue;
        };
        let (is_ok, want) = match need {
            Need::True => (*value == Value::Bool(true), "true".to_owned()),
            Need::OneOf(words) => (words.contains(&word(value).as_str()), words.join(" or ")),
            Need::Positive => (value.as_u64().is_some_and(|n| n > 0), "above 0".to_owned()),
            Need::Present => (value.as_str().is_some_and(|s| !s.is_empty()), "set".to_owned()),
        };
        if !is_ok {
            finding.fail(format!("{node}: {key} is {value}, the guide requires {want} ({what})"));
        }
        if *key == "dag_coupling_mode" && word(value) == "warn" {
            match plan.genesis.network {
                Network::Mainnet => {
                    finding.fail(format!("{node}: {key} is warn, MainNet requires enforce"));
                }
                _ => finding.remark(format!("{node}: {key} is warn, enforce is recommended")),
            }
        }
        if *key == "expect_genesis_hash" && word(value) != genesis {
            finding.invalid(format!("{node} expects genesis {value}, the plan {genesis}"));
        }
    }
}

fn status(
    finding: &mut Finding,
    evidence: &Evidence,
    plan: &Plan,
    node: &str,
    genesis: &str,
    binary: Option<&str>,
) {
    let path = paths::status(node);
    let network = plan.genesis.network.to_string();
    let lines = match evidence.statuses_of(node) {
        Ok(lines) => lines,
        Err(why) => {
            finding.unknown(why);
            return;
        }
    };
    let mut answers = 0;
    for body in lines.iter().filter_map(|a| a.body.as_ref()) {
        answers += 1;
        let role = plan.node(node).map(|n| match n.role {
            Role::Validator => "validator",
            Role::Rpc => "rpc",
            Role::Sentry => "sentry",
        });
        for (key, want) in [
            ("genesis_hash", Some(genesis)),
            ("binary_sha3", binary),
            ("network", Some(network.as_str())),
            ("name", Some(node)),
            ("role", role),
        ] {
            finding.samples += 1;
            let got = &body[key];
            if let (Some(want), Some(got)) = (want, got.as_str())
                && want != got
            {
                finding.invalid(format!("{node} says {key} is {got}, the plan {want}"));
            }
            if got.as_str().is_none() {
                finding.unknown(format!("{path} has no {key}"));
            }
        }
    }
    if answers == 0 {
        finding.unknown(format!("{path} holds no answer"));
    }
}
