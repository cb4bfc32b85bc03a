//! The live window, and what planned faults cut out of it.

use crate::{
    evidence::Evidence,
    feed::Feed,
    records::{LinkCounters, paths},
    verdict::{CutWindow, Outcome, Window},
};
use qbind_plan::{
    ExecutedFault, Expectation, FaultKind, LIVE_SCHEMA, Plan, PlannedFault, PlannedLink, Role,
    TIME_MAX_UNIX_MS,
};
use std::collections::BTreeMap;

/// How far a fault may begin from its planned time.
const START_SLACK_MS: u64 = 5_000;
/// How much longer than planned a fault may last: restarting takes a moment.
const LENGTH_SLACK_MS: u64 = 10_000;
/// How much shorter.
const SHORT_SLACK_MS: u64 = 1_000;
/// How much longer than planned the live window may be: what is started is ended.
const WINDOW_SLACK_MS: u64 = 60_000;
/// Packets a burst must have been expected to lose before their absence says that there was none.
const SURE: u128 = 20;
/// Finding the victim of a kill takes a moment, and so does its last answer.
const KILLING_MS: u64 = 2_000;
/// The first answer may come before the restart is on record.
const RESTARTING_MS: u64 = 1_000;

/// When each node counts.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    pub(crate) start: u64,
    pub(crate) end: u64,
    cuts: Vec<CutWindow>,
    by_node: BTreeMap<String, Vec<(u64, u64)>>,
    /// All cuts as one, without overlaps, ascending.
    anywhere: Vec<(u64, u64)>,
    /// Cuts of faults that take a node from the others, by node: killed, or cut off.
    absent: BTreeMap<String, Vec<(u64, u64)>>,
    /// Planned harm, counted once for each node.
    faults: usize,
}

/// Why there are none: the verdict of every gate that needs them, and a note.
pub(crate) type NoWindows = (Outcome, String);

impl Windows {
    /// Holds the live record against the plan, and against what was seen.
    pub(crate) fn of(
        evidence: &Evidence,
        feeds: &BTreeMap<String, Feed>,
    ) -> Result<Self, NoWindows> {
        let missing = |path| Err((Outcome::Unknown, evidence.absence(path)));
        let Some(plan) = &evidence.plan else { return missing(paths::PLAN) };
        let Some(live) = &evidence.live else { return missing(paths::LIVE) };
        let invalid = |note: String| Err((Outcome::Invalid, note));
        if live.schema != LIVE_SCHEMA {
            return Err((Outcome::Unknown, format!("{} has another schema", paths::LIVE)));
        }
        let (start, end) = (live.started_unix_ms, live.ended_unix_ms);
        let planned_ms = u64::from(plan.live.window_s) * 1000;
        if end > TIME_MAX_UNIX_MS {
            return invalid("the live window ended in the far future".to_owned());
        }
        if end < start
            || end - start + 1000 < planned_ms
            || end - start > planned_ms + WINDOW_SLACK_MS
        {
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
            anywhere: Vec::new(),
            absent: BTreeMap::new(),
            faults: 0,
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
                || fault.healed_unix_ms > TIME_MAX_UNIX_MS
                || lasted + SHORT_SLACK_MS < planned.duration_ms
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
            if let Some(why) = unseen(evidence, feeds, plan, planned, fault) {
                return invalid(format!("fault {} is on record and was not seen: {why}", fault.id));
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
                let cut = (fault.from_unix_ms, to);
                windows.by_node.entry(node.clone()).or_default().push(cut);
                windows.faults += 1;
                let is_harmed = fault.nodes.contains(&node);
                if is_harmed && matches!(planned.kind, FaultKind::KillLeader | FaultKind::CutRegion)
                {
                    windows.absent.entry(node.clone()).or_default().push(cut);
                }
                windows.cuts.push(CutWindow {
                    node,
                    fault: fault.id.clone(),
                    from_unix_ms: fault.from_unix_ms,
                    to_unix_ms: to,
                });
            }
        }
        windows.anywhere = merged(windows.by_node.values().flatten().copied().collect());
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
        let after = self.anywhere.partition_point(|(_, to)| *to < at);
        self.anywhere.get(after).is_some_and(|(from, _)| *from <= at)
    }

    /// Nodes but `node` that are killed, cut off, or on their way back at `at`.
    pub(crate) fn others_absent(&self, node: &str, at: u64) -> u64 {
        let others = self.absent.iter().filter(|(name, _)| *name != node);
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

    /// Every fault of every node.
    pub(crate) fn faults(&self) -> usize {
        self.faults
    }
}

/// The same instants without overlaps.
fn merged(mut cuts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    cuts.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (from, to) in cuts {
        match out.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

fn within(cuts: Option<&Vec<(u64, u64)>>, at: u64) -> bool {
    cuts.into_iter().flatten().any(|(from, to)| (*from..=*to).contains(&at))
}

fn wrong_nodes(plan: &Plan, planned: &PlannedFault, nodes: &[String]) -> Option<String> {
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

/// Why a fault on record left no trace: a killed node's API is silent, and an emulator that cuts or loses
/// counts what it cut or lost.
fn unseen<'a>(
    evidence: &'a Evidence,
    feeds: &BTreeMap<String, Feed>,
    plan: &Plan,
    planned: &PlannedFault,
    fault: &ExecutedFault,
) -> Option<String> {
    let (from, to) = (fault.from_unix_ms, fault.healed_unix_ms);
    match planned.kind {
        FaultKind::KillLeader => {
            let node = fault.nodes.first()?;
            // Without a feed there is nothing to see, which G1 notes.
            let feed = feeds.get(node)?;
            let answered = feed
                .polls
                .iter()
                .find(|at| (from + KILLING_MS..to.saturating_sub(RESTARTING_MS)).contains(at));
            if let Some(at) = answered {
                return Some(format!("{node} answered {} ms after it", at - from));
            }
            let silent = feed.gaps.iter().any(|at| (from..=to).contains(at));
            (!silent).then(|| format!("nobody asked {node} and got no answer"))
        }
        FaultKind::CutRegion | FaultKind::LossBurst if plan.target == "lab" => {
            let [.., before, after] = paths::LINK_SNAPSHOTS;
            // Without counters there is nothing to see, which G13 notes.
            let (before, after) = (evidence.links.get(before)?, evidence.links.get(after)?);
            let is_hit = |link: &&PlannedLink| {
                let ends = [Some(link.from.as_str()), Some(link.to.as_str())];
                match planned.kind {
                    FaultKind::CutRegion => ends.contains(&planned.region.as_deref()),
                    _ => {
                        ends.contains(&planned.from.as_deref())
                            && ends.contains(&planned.to.as_deref())
                    }
                }
            };
            plan.links.iter().filter(is_hit).find_map(|link| {
                let find = |links: &'a [LinkCounters]| {
                    links.iter().find(|l| l.from == link.from && l.to == link.to)
                };
                let packets_in = |l: &LinkCounters| l.packets_in;
                let lost = |l: &LinkCounters| match planned.kind {
                    FaultKind::CutRegion => l.lost_partition,
                    _ => l.lost_random,
                };
                let (before, after) = (find(&before.links)?, find(&after.links)?);
                // A burst of little loss on few packets may well lose none.
                let packets = u128::from(packets_in(after).saturating_sub(packets_in(before)));
                let sure = planned.kind == FaultKind::CutRegion
                    || packets
                        * u128::from(planned.duration_ms)
                        * u128::from(planned.loss_bps.unwrap_or(0))
                        >= SURE * 10_000 * u128::from(plan.live.window_s) * 1000;
                (sure && lost(after) <= lost(before))
                    .then(|| format!("the emulator lost nothing from {} to {}", link.from, link.to))
            })
        }
        FaultKind::CutRegion | FaultKind::LossBurst => None,
    }
}
