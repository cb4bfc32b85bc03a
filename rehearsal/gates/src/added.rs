//! Gates that the plan adds to the guide's: facts about metrics, nodes' words about themselves.

mod control;
mod facts;
mod selector;

use crate::{
    coverage,
    evidence::Evidence,
    feed::Feed,
    finding::{Finding, margin},
    records::paths,
    verdict::{Gate, Severity, Vantage},
    windows::{NoWindows, Windows},
};
pub(crate) use control::{said, violate};
use qbind_plan::{AddedGate, Fact, Millionths, Plan, PlannedNode, Weight};
pub(crate) use selector::{Edge, Selector, Unread};
use std::collections::{BTreeMap, BTreeSet};

/// A value in millionths; wide enough for sums of what 53 bits hold.
type Value = i128;
const ONE: Value = 1_000_000;

/// Every gate the plan adds.
pub(crate) fn gates(
    evidence: &Evidence,
    plan: &Plan,
    feeds: &BTreeMap<String, Feed>,
    windows: &Result<Windows, NoWindows>,
) -> Vec<Gate> {
    let each = plan.added_gates.iter().map(|gate| {
        let mut finding = Finding::default();
        match windows {
            Ok(windows) => {
                finding = Finding::over(windows.shown());
                let selector = Selector::of(gate);
                Judge { evidence, plan, feeds, windows, gate, selector }.judge(&mut finding);
            }
            Err(why) => finding.as_found(why),
        }
        finding.bound = gate.bound();
        finding.evidence = vec![paths::SCRAPE_INDEX.to_owned()];
        let head = (gate.id.as_str(), gate.title.as_str(), gate.query());
        finding.into_added(head, severity(gate), Vantage::SelfReported)
    });
    each.collect()
}

/// What an added gate does to the overall verdict.
pub fn severity(gate: &AddedGate) -> Severity {
    match gate.severity {
        Weight::Hard => Severity::Hard,
        Weight::Soft => Severity::Soft,
        Weight::Informational => Severity::Informational,
    }
}

struct Judge<'a> {
    evidence: &'a Evidence,
    plan: &'a Plan,
    feeds: &'a BTreeMap<String, Feed>,
    windows: &'a Windows,
    gate: &'a AddedGate,
    selector: Selector,
}

/// One scrape of one node.
struct Point {
    seq: u64,
    at: u64,
    value: Value,
}

impl Judge<'_> {
    fn judge(&self, finding: &mut Finding) {
        let mut worst: Option<Value> = None;
        let mut rounds: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
        let nodes: Vec<_> = self.plan.nodes.iter().filter(|node| self.gate.means(node)).collect();
        if nodes.is_empty() {
            finding.unknown("no node of the plan is meant");
        }
        for node in &nodes {
            let name = node.name.as_str();
            let scrapes = self.evidence.scrapes.get(name).map_or(&[][..], Vec::as_slice);
            let max_ms = self.plan.bounds.scrape_gap_max_ms;
            if let Some(why) =
                coverage::hole(scrapes, name, self.feeds.get(name), self.windows, max_ms)
            {
                finding.unknown(why);
            }
            let counted = self.counted(name, scrapes);
            if counted.is_empty() {
                finding.unknown(format!("no scrape of {name} counts"));
                continue;
            }
            finding.samples += counted.len() as u64;
            let Some(table) = self.table(finding, name, &counted) else { continue };
            let value = match self.gate.fact {
                Fact::Instant => self.each(finding, name, &self.points(&table)),
                Fact::Spread => {
                    for point in self.points(&table) {
                        rounds.entry(point.seq).or_default().push(point);
                    }
                    continue;
                }
                Fact::WithoutProgress => {
                    let value = self.standstill(finding, name, &table);
                    self.once(finding, name, value)
                }
                Fact::Delta => {
                    let value = self.delta(finding, name, &table);
                    self.once(finding, name, value)
                }
                Fact::Rate => {
                    let value = self.rate(finding, name, &table);
                    self.once(finding, name, value)
                }
                Fact::P50 | Fact::P90 | Fact::P99 => {
                    let bucket = self.quantile(finding, name, &table);
                    bucket.and_then(|bucket| self.within_bucket(finding, name, bucket))
                }
            };
            worst = self.worse(worst, value);
        }
        if self.gate.fact == Fact::Spread {
            let points = self.spreads(finding, &nodes, rounds);
            worst = self.each(finding, "all nodes", &points);
        }
        finding.value = worst.map_or("none".to_owned(), shown);
        if let Some(worst) = worst {
            self.margin(finding, worst);
        }
    }

    /// Largest less smallest value of each round, in order of time. A round is one only if every node was asked in
    /// it, and at about the same time.
    fn spreads(
        &self,
        finding: &mut Finding,
        nodes: &[&PlannedNode],
        rounds: BTreeMap<u64, Vec<Point>>,
    ) -> Vec<Point> {
        let asked: Vec<(&str, BTreeSet<u64>)> = nodes
            .iter()
            .map(|node| {
                let scrapes = self.evidence.scrapes.get(&node.name).into_iter().flatten();
                (node.name.as_str(), scrapes.map(|scrape| scrape.seq).collect())
            })
            .collect();
        let mut spreads = Vec::new();
        for (seq, points) in rounds {
            if let Some((node, _)) = asked.iter().find(|(_, seqs)| !seqs.contains(&seq)) {
                finding.unknown(format!("{node} was not asked in round {seq}"));
            }
            let (Some(first), Some(last)) =
                (points.iter().map(|p| p.at).min(), points.iter().map(|p| p.at).max())
            else {
                continue;
            };
            if last - first > u64::from(self.plan.live.scrape_interval_ms) {
                finding.unknown(format!("round {seq} took {} ms", last - first));
            }
            let values = || points.iter().map(|point| point.value);
            if let (Some(least), Some(most), true) =
                (values().min(), values().max(), points.len() > 1)
            {
                spreads.push(Point { seq, at: first, value: most - least });
            }
        }
        if spreads.is_empty() {
            finding.unknown("no round of scrapes has two nodes to compare");
        }
        spreads.sort_by_key(|point| (point.at, point.seq));
        spreads
    }

    /// Compares one value for the whole window.
    fn once(&self, finding: &mut Finding, what: &str, value: Option<Value>) -> Option<Value> {
        let value = value?;
        if !self.is_within(value) {
            finding.fail(format!("{} of {what} is {}", self.gate.query(), shown(value)));
        }
        Some(value)
    }

    /// Compares each scrape, by the policy; gives the worst value.
    fn each(&self, finding: &mut Finding, what: &str, points: &[Point]) -> Option<Value> {
        let policy = &self.gate.policy;
        let worst =
            points.iter().map(|point| Some(point.value)).fold(None, |a, b| self.worse(a, b));
        let mut counted: Vec<&Point> = Vec::new();
        for stretch in points.chunk_by(|a, b| self.is_within(a.value) == self.is_within(b.value)) {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let lasts = last.at - first.at >= u64::from(policy.for_s) * 1_000;
            if !self.is_within(first.value) && lasts {
                counted.extend(stretch);
            }
        }
        let (breaches, all) = (counted.len() as u64, points.len() as u64);
        let (most, share) = (u64::from(policy.breaches), u64::from(policy.breaches_max_permille));
        let too_many = (most, share) == (0, 0)
            || (most > 0 && breaches > most)
            || (share > 0 && breaches * 1_000 > share * all);
        if breaches > 0 && too_many {
            let first = counted[0];
            finding.fail(format!(
                "{} of {what} is {} {} ms into the window, and outside in {breaches} of {all} scrapes",
                self.gate.query(),
                shown(first.value),
                first.at.saturating_sub(self.windows.start)
            ));
        }
        let end = usize::try_from(policy.passes_at_end).unwrap_or(usize::MAX);
        if points.len() < end {
            finding.unknown(format!("{what}: {all} scrapes count, {end} must pass at the end"));
        } else if let Some(point) =
            points[points.len() - end..].iter().find(|p| !self.is_within(p.value))
        {
            finding.fail(format!(
                "{} of {what} is still {} at the end",
                self.gate.query(),
                shown(point.value)
            ));
        }
        worst
    }

    fn is_within(&self, value: Value) -> bool {
        self.distance(value) >= 0
    }

    fn bounds(&self) -> (Option<Value>, Option<Value>) {
        let of = |bound: Option<Millionths>| bound.map(|bound| Value::from(bound.0));
        (of(self.gate.at_least), of(self.gate.at_most))
    }

    /// How far inside the nearer bound; negative outside.
    fn distance(&self, value: Value) -> Value {
        let (least, most) = self.bounds();
        let (least, most) = (least.map(|least| value - least), most.map(|most| most - value));
        least.into_iter().chain(most).min().unwrap_or(0)
    }

    fn worse(&self, a: Option<Value>, b: Option<Value>) -> Option<Value> {
        a.into_iter().chain(b).min_by_key(|value| self.distance(*value))
    }

    fn margin(&self, finding: &mut Finding, worst: Value) {
        let bound = |bound: Option<Millionths>| bound.map(|bound| bound.0.unsigned_abs());
        // Thousandths of the bound that is nearer.
        let nearer = match (self.gate.at_least, self.gate.at_most) {
            (Some(least), Some(_)) if worst - Value::from(least.0) == self.distance(worst) => {
                self.gate.at_least
            }
            (_, Some(_)) => self.gate.at_most,
            _ => self.gate.at_least,
        };
        finding.keep_margin(margin(self.distance(worst), bound(nearer).unwrap_or(1)));
    }
}

fn shown(value: Value) -> String {
    i64::try_from(value)
        .map_or_else(|_| (value / ONE).to_string(), |value| Millionths(value).to_string())
}
