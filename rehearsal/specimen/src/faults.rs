//! Faults to plant in a sound run, each with the gates it must turn, and no others.

mod added;
mod chain;
mod live;
mod setup;

pub use added::sound_with_added_gates;

use crate::sound::*;
use qbind_crypto::{block_id, preimage};
use qbind_gates::{Evidence, Stored, records::*, series};
use qbind_types::*;
use serde_json::{Value, json};

/// One fault.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The gates it is about.
    pub group: &'static str,
    /// What is wrong.
    pub name: &'static str,
    /// Gates that are not PASS any more, in order, as `G1 FAIL, G2 UNKNOWN`; empty where the rules allow
    /// it.
    pub expected: &'static str,
    /// Plants it.
    pub plant: fn(&mut Evidence),
}

type Cases = Vec<(&'static str, &'static str, fn(&mut Evidence))>;

/// All faults.
pub fn faults() -> Vec<Fault> {
    let groups: [(&str, Cases); 13] = [
        ("G1", chain::g1()),
        ("G2", chain::g2()),
        ("G3", chain::g3()),
        ("G4", chain::g4()),
        ("G5", live::g5()),
        ("G6", live::g6()),
        ("G7 G8 G10", live::g7_g8_g10()),
        ("G9", live::g9()),
        ("G11", setup::g11()),
        ("G12", setup::g12()),
        ("G13", setup::g13()),
        ("plan", setup::as_planned()),
        ("X1", added::added()),
    ];
    let of = |(group, cases): (&'static str, Cases)| {
        cases.into_iter().map(move |(name, expected, plant)| Fault { group, name, expected, plant })
    };
    groups.into_iter().flat_map(of).collect()
}

fn commit(evidence: &mut Evidence, node: &str, at: u64, change: impl Fn(&mut FeedLine)) {
    for line in evidence.feeds.get_mut(node).unwrap().held() {
        if matches!(line, FeedLine::Commit { height, .. } if *height == at) {
            change(line);
        }
    }
}

/// Whether it says that this height was committed.
fn is_commit(line: &FeedLine, at: u64) -> bool {
    matches!(line, FeedLine::Commit { height, .. } if *height == at)
}

/// Rebuilds the block at `height` and its certificate.
fn rebuild(evidence: &mut Evidence, height: u64, change: impl Fn(&mut CommittedBlock)) {
    let mut block: CommittedBlock = decode(&evidence.blocks[&height].bytes().unwrap()).unwrap();
    change(&mut block);
    evidence.blocks.insert(height, encode(&block).into());
}

fn config(evidence: &mut Evidence, key: &str, value: Value) {
    evidence.configs.get_mut("us-v1").unwrap()["config"][key] = value;
}

fn latencies(evidence: &mut Evidence, us: impl Fn(u64) -> u64) {
    for tx in &mut evidence.transactions {
        tx.committed_us = Some(tx.scheduled_us + us(tx.n));
    }
}
