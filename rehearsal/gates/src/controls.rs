//! Negative controls: this run's own evidence with one violation planted, once for each gate, must turn
//! that gate red and no unrelated one. A gate that stays green here could not have failed this run.

use crate::{
    added, evaluate,
    evidence::Evidence,
    lint::readers,
    measured::Measured,
    records::{Fate, FeedLine, paths},
    series::{Sample, Samples},
    verdict::{GatesResult, Outcome},
};
use qbind_types::{BlockId, StateRoot};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Schema of the file `controls.json`.
pub const CONTROLS_SCHEMA: &str = "qbind.controls/v1";

/// All controls of a run: `controls.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controls {
    /// Always [`CONTROLS_SCHEMA`].
    pub schema: String,
    /// One for each gate.
    pub controls: Vec<Control>,
}

impl Controls {
    /// How many turned exactly their gate red.
    pub fn caught(&self) -> usize {
        self.controls.iter().filter(|control| control.caught).count()
    }

    /// Those whose gate stayed green, or took others with it.
    pub fn missed(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(|control| !control.caught && control.skipped.is_empty())
    }

    /// The file: two spaces of indentation and a final newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts") + "\n"
    }
}

/// What a control did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The gate that had to turn red.
    pub gate: String,
    /// What was planted.
    pub injected: String,
    /// Gates that were PASS and are not any more.
    pub turned_red: Vec<String>,
    /// Whether it was that gate, and no unrelated one.
    pub caught: bool,
    /// Why nothing could be planted or shown; empty where it was.
    #[serde(default)]
    pub skipped: String,
}

/// Plants the violation; nothing where this evidence has no place for it.
type Plant = fn(&mut Evidence) -> Option<()>;

const CONTROLS: &[(&str, &str, Plant)] = &[
    ("G1", "one node commits another block at one height", |e| {
        let (lines, at) = middle(e)?;
        let FeedLine::Commit { block_id, .. } = &mut lines[at] else { return None };
        *block_id = BlockId([0xee; 32]);
        Some(())
    }),
    ("G2", "one node counts a block that does not match its batches", |e| {
        set_series(e, "qbind_dag_coupling_block_mismatch_total", |_| 1)
    }),
    ("G3", "one transfer takes effect twice", |e| {
        let tx = e.transactions.iter_mut().find(|tx| tx.fate == Fate::Committed)?;
        tx.fate = Fate::Duplicated;
        Some(())
    }),
    ("G4", "one node has another state at one height", |e| {
        let (lines, at) = middle(e)?;
        let FeedLine::Commit { state_root, .. } = &mut lines[at] else { return None };
        *state_root = StateRoot([0xee; 32]);
        Some(())
    }),
    ("G5", "one node commits a minute after the others", |e| {
        for line in e.feeds.values_mut().next()?.held() {
            if let FeedLine::Commit { committed_unix_ms, seen_unix_ms, .. } = line {
                *committed_unix_ms = committed_unix_ms.saturating_add(60_000);
                *seen_unix_ms = seen_unix_ms.saturating_add(60_000);
            }
        }
        Some(())
    }),
    ("G6", "one node has a single outbound peer", |e| {
        set_series(e, "qbind_p2p_outbound_peers", |_| 1)
    }),
    ("G7", "the baseline is four times as fast as the run", |e| {
        let scenarios = e.steps.get_mut("t234")?.result["scenarios"].as_array_mut()?;
        for facts in scenarios.iter_mut().filter_map(|s| s.pointer_mut("/facts/baseline")) {
            if let Some(tps) = facts["tps_milli"].as_u64() {
                facts["tps_milli"] = json!(tps.saturating_mul(4));
            }
        }
        Some(())
    }),
    ("G8", "one accepted transfer is never committed", |e| {
        let tx = e.transactions.iter_mut().find(|tx| tx.fate == Fate::Committed)?;
        (tx.fate, tx.committed_us, tx.height) = (Fate::Lost, None, None);
        Some(())
    }),
    ("G9", "the views of one node change all the time", |e| {
        set_series(e, "qbind_consensus_view_changes_total", |scrape| 1_000 * scrape)
    }),
    ("G10", "every transfer takes three times the floor", |e| {
        let plan = e.plan.as_ref()?;
        let floor = Measured::of(e, plan).floor(plan).ok()?;
        // A baseline so slow that only the floor is broken.
        let scenarios = e.steps.get_mut("t234")?.result["scenarios"].as_array_mut()?;
        for facts in scenarios.iter_mut().filter_map(|s| s.pointer_mut("/facts/baseline")) {
            if facts["p50_us"].is_u64() {
                facts["p50_us"] = json!(floor.saturating_mul(10));
            }
        }
        for tx in e.transactions.iter_mut().filter(|tx| tx.committed_us.is_some()) {
            tx.committed_us = Some(tx.scheduled_us.saturating_add(floor.saturating_mul(3)));
        }
        Some(())
    }),
    ("G11", "one of the seven steps failed", |e| {
        e.steps.get_mut("t222")?.result["verdict"] = json!("FAIL");
        Some(())
    }),
    ("G12", "one node runs without discovery", |e| {
        e.configs.values_mut().next()?["config"]["enable_discovery"] = json!(false);
        Some(())
    }),
    ("G13", "the emulator delays one link by 20 ms more than asked", |e| {
        let links = &mut e.links.get_mut(paths::LINK_SNAPSHOTS[1])?.links;
        for bin in &mut links.first_mut()?.datagram_delay_bins {
            bin.0 += 20_000;
        }
        Some(())
    }),
];

/// The commit in the middle of the first node's feed.
fn middle(evidence: &mut Evidence) -> Option<(&mut Vec<FeedLine>, usize)> {
    let lines = evidence.feeds.values_mut().next()?.held();
    let commits: Vec<usize> =
        (0..lines.len()).filter(|at| matches!(lines[*at], FeedLine::Commit { .. })).collect();
    let at = *commits.get(commits.len() / 2)?;
    Some((lines, at))
}

/// Sets a series of the first node, in each scrape to a value that follows from its number.
fn set_series(evidence: &mut Evidence, name: &str, value: fn(i64) -> i64) -> Option<()> {
    let scrapes = evidence.scrapes.values_mut().next()?;
    let mut set = None;
    for (number, scrape) in (0..).zip(scrapes) {
        let series = scrape.samples.iter_mut().flat_map(Samples::iter_mut);
        for one in series.filter(|series| &*series.name == name) {
            one.value = Sample::Integer(value(number));
            set = Some(());
        }
    }
    set
}

type Planter<'a> = dyn Fn(&mut Evidence) -> Option<()> + Sync + 'a;

/// One violation to plant.
struct Injection<'a> {
    gate: &'a str,
    injected: String,
    plant: Box<Planter<'a>>,
}

/// Plants a violation for every gate of `evidence`, one at a time. Pure; takes as long as judging the run
/// once more for each gate, two at a time.
pub fn controls(evidence: &Evidence) -> Controls {
    let sound = evaluate(evidence);
    let added = evidence.plan.as_ref().map_or(&[][..], |plan| &plan.added_gates);
    let readers = readers(added);
    let known = CONTROLS.iter().filter(|(gate, ..)| sound.gate(gate).is_some());
    let known = known.map(|(gate, injected, plant)| Injection {
        gate,
        injected: (*injected).to_owned(),
        plant: Box::new(plant),
    });
    let added = added.iter().map(|gate| Injection {
        gate: &gate.id,
        injected: added::said(gate),
        plant: Box::new(|evidence| added::violate(gate, evidence)),
    });
    let wanted: Vec<_> = known.chain(added).collect();
    let (even, odd): (Vec<_>, Vec<_>) = wanted.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    let run = |half: &[(usize, &Injection)]| -> Vec<(usize, Control)> {
        half.iter().map(|(at, one)| (*at, control(evidence, &sound, &readers, one))).collect()
    };
    let mut done = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(&odd));
        let mut done = run(&even);
        done.extend(other.join().expect("judging does not panic"));
        done
    });
    done.sort_by_key(|(at, _)| *at);
    let controls = done.into_iter().map(|(_, control)| control).collect();
    Controls { schema: CONTROLS_SCHEMA.to_owned(), controls }
}

fn control(
    evidence: &Evidence,
    sound: &GatesResult,
    readers: &BTreeMap<String, BTreeSet<String>>,
    Injection { gate, injected, plant }: &Injection,
) -> Control {
    let mut control = Control {
        gate: (*gate).to_owned(),
        injected: injected.clone(),
        turned_red: Vec::new(),
        caught: false,
        skipped: String::new(),
    };
    if sound.gate(gate).is_some_and(|gate| gate.verdict != Outcome::Pass) {
        control.skipped = "it is not green in this run, so it can fail".to_owned();
        return control;
    }
    let mut planted = evidence.clone();
    if plant(&mut planted).is_none() {
        control.skipped = "this evidence has nothing to plant it in".to_owned();
        return control;
    }
    let again = evaluate(&planted);
    let turned: BTreeSet<&str> = sound
        .gates
        .iter()
        .filter(|before| before.verdict == Outcome::Pass)
        .filter(|before| again.gate(&before.id).is_none_or(|g| g.verdict != Outcome::Pass))
        .map(|before| before.id.as_str())
        .collect();
    // What a plan adds must fail: that it could become UNKNOWN is no news.
    let is_red = match gate.starts_with('X') {
        true => again.gate(gate).is_some_and(|g| g.verdict == Outcome::Fail),
        false => turned.contains(gate),
    };
    control.caught = is_red && turned.iter().all(|id| id == gate || is_related(gate, id, readers));
    control.turned_red = turned.into_iter().map(str::to_owned).collect();
    control
}

/// Whether two gates cannot but turn together: one is an added one, and both read the same series.
fn is_related(one: &str, other: &str, readers: &BTreeMap<String, BTreeSet<String>>) -> bool {
    [one, other].into_iter().any(|id| id.starts_with('X'))
        && readers.values().any(|ids| ids.contains(one) && ids.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_added_gate_may_turn_with_another_and_only_by_one_series() {
        let ids = |of: &[&str]| of.iter().map(|id| (*id).to_owned()).collect();
        let readers = BTreeMap::from([
            ("peers".to_owned(), ids(&["G6", "X1"])),
            ("view".to_owned(), ids(&["G1", "G9", "X2"])),
        ]);
        let related = |one, other| is_related(one, other, &readers);
        assert!(related("X1", "G6") && related("G6", "X1") && related("X2", "G9"));
        assert!(!related("X1", "X2") && !related("X1", "G9") && !related("G6", "X2"));
        assert!(!related("G1", "G9"), "no gate of the guide takes another with it");
    }
}
