//! The live window, and what planned faults cut out of it.

use crate::{
    evidence::Evidence,
    records::paths,
    verdict::{CutWindow, Outcome, Window},
};
use qbind_plan::{Expectation, FaultKind, LIVE_SCHEMA, Plan, Role};
use std::collections::BTreeMap;

/// How far a fault may begin from its planned time.
const START_SLACK_MS: u64 = 5_000;
/// How much longer than planned a fault may last: restarting takes a moment.
const LENGTH_SLACK_MS: u64 = 10_000;

/// When each node counts.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub(crate) start: u64,
    pub(crate) end: u64,
    cuts: Vec<CutWindow>,
    by_node: BTreeMap<String, Vec<(u64, u64)>>,
    /// Faults without recovery, by node: while these last a node may be gone.
    faulted: BTreeMap<String, Vec<(u64, u64)>>,
}

/// Why there are none: the verdict of every gate that needs them, and a note.
pub(crate) type NoWindows = (Outcome, String);

impl Windows {
    /// Holds the live record against the plan.
    pub(crate) fn of(evidence: &Evidence) -> Result<Self, NoWindows> {
        let missing = |path| Err((Outcome::Unknown, evidence.absence(path)));
        let Some(plan) = &evidence.plan else { return missing(paths::PLAN) };
        let Some(live) = &evidence.live else { return missing(paths::LIVE) };
        let invalid = |note: String| Err((Outcome::Invalid, note));
        if live.schema != LIVE_SCHEMA {
            return Err((Outcome::Unknown, format!("{} has another schema", paths::LIVE)));
        }
        let (start, end) = (live.started_unix_ms, live.ended_unix_ms);
        let planned_ms = u64::from(plan.live.window_s) * 1000;
        if end < start || end - start + 1000 < planned_ms {
            return invalid(format!(
                "the live window lasted {} ms, planned were {planned_ms}",
                end.saturating_sub(start)
            ));
        }
        let mut windows = Self {
            start,
            end,
            cuts: Vec::new(),
            by_node: BTreeMap::new(),
            faulted: BTreeMap::new(),
        };
        for fault in &live.faults {
            if !plan.faults.iter().any(|p| p.id == fault.id) {
                return invalid(format!("fault {} was carried out and not planned", fault.id));
            }
        }
        for planned in &plan.faults {
            let mut done = live.faults.iter().filter(|f| f.id == planned.id);
            let (Some(fault), None) = (done.next(), done.next()) else {
                return invalid(format!("fault {} was not carried out exactly once", planned.id));
            };
            if !fault.done {
                return invalid(format!("fault {} was not done: {}", fault.id, fault.note));
            }
            let due = start + planned.at_ms;
            if fault.from_unix_ms.abs_diff(due) > START_SLACK_MS {
                return invalid(format!(
                    "fault {} began {} ms from its planned time",
                    fault.id,
                    fault.from_unix_ms.abs_diff(due)
                ));
            }
            let lasted = fault.healed_unix_ms.saturating_sub(fault.from_unix_ms);
            if fault.healed_unix_ms < fault.from_unix_ms
                || lasted > planned.duration_ms + LENGTH_SLACK_MS
            {
                return invalid(format!(
                    "fault {} lasted {lasted} ms, planned were {}",
                    fault.id, planned.duration_ms
                ));
            }
            if let Some(why) = wrong_nodes(plan, planned, &fault.nodes) {
                return invalid(format!("fault {}: {why}", fault.id));
            }
            let nodes: Vec<String> = match planned.expectation {
                // Nobody commits while the chain halts.
                Expectation::HaltsUntilHealed => {
                    plan.nodes.iter().map(|n| n.name.clone()).collect()
                }
                Expectation::Continues => fault.nodes.clone(),
            };
            for node in nodes {
                let to = fault.healed_unix_ms + planned.recovery_ms;
                windows.by_node.entry(node.clone()).or_default().push((fault.from_unix_ms, to));
                windows
                    .faulted
                    .entry(node.clone())
                    .or_default()
                    .push((fault.from_unix_ms, fault.healed_unix_ms));
                windows.cuts.push(CutWindow {
                    node,
                    fault: fault.id.clone(),
                    from_unix_ms: fault.from_unix_ms,
                    to_unix_ms: to,
                });
            }
        }
        Ok(windows)
    }

    /// Whether `node` is cut out at `at`.
    pub(crate) fn is_cut(&self, node: &str, at: u64) -> bool {
        within(self.by_node.get(node), at)
    }

    /// Whether a cut of `node` and the stretch overlap.
    pub(crate) fn overlaps(&self, node: &str, from: u64, to: u64) -> bool {
        self.by_node.get(node).into_iter().flatten().any(|(a, b)| *a <= to && from <= *b)
    }

    /// Whether any node is cut out at `at`.
    pub(crate) fn is_cut_anywhere(&self, at: u64) -> bool {
        self.by_node.values().flatten().any(|(from, to)| (*from..=*to).contains(&at))
    }

    /// Nodes but `node` that are cut out at `at`.
    pub(crate) fn others_cut(&self, node: &str, at: u64) -> u64 {
        let others = self.by_node.iter().filter(|(name, _)| *name != node);
        others.filter(|(_, cuts)| within(Some(cuts), at)).count() as u64
    }

    /// Milliseconds of `from..to` in which `node` may be gone by plan.
    pub(crate) fn excused_ms(&self, node: &str, from: u64, to: u64) -> u64 {
        let mut cuts: Vec<_> = self.by_node.get(node).cloned().unwrap_or_default();
        cuts.sort_unstable();
        let (mut at, mut sum) = (from, 0);
        for (a, b) in cuts {
            let (a, b) = (a.max(at), b.min(to));
            if a < b {
                sum += b - a;
                at = b;
            }
        }
        sum
    }

    /// As shown in results, with every cut.
    pub(crate) fn shown(&self) -> Window {
        Window { from_unix_ms: self.start, to_unix_ms: self.end, cut: self.cuts.clone() }
    }

    /// As shown by gates that cut nothing.
    pub(crate) fn uncut(&self) -> Window {
        Window { from_unix_ms: self.start, to_unix_ms: self.end, cut: Vec::new() }
    }

    /// Every fault of every node, recovery excluded.
    pub(crate) fn faults(&self) -> usize {
        self.faulted.values().map(Vec::len).sum()
    }
}

fn within(cuts: Option<&Vec<(u64, u64)>>, at: u64) -> bool {
    cuts.into_iter().flatten().any(|(from, to)| (*from..=*to).contains(&at))
}

fn wrong_nodes(
    plan: &Plan,
    planned: &qbind_plan::PlannedFault,
    nodes: &[String],
) -> Option<String> {
    match planned.kind {
        FaultKind::KillLeader => {
            let is_validator =
                |name: &String| plan.node(name).is_some_and(|n| n.role == Role::Validator);
            let one = nodes.len() == 1 && nodes.iter().all(is_validator);
            (!one).then(|| format!("killed {nodes:?}, planned was one validator"))
        }
        FaultKind::CutRegion | FaultKind::LossBurst => {
            let (mut got, mut want) = (nodes.to_vec(), planned.affected.clone());
            got.sort();
            want.sort();
            (got != want).then(|| format!("harmed {got:?}, planned was {want:?}"))
        }
    }
}
