//! Gates that the plan adds to the guide's: facts about metrics, nodes' words about themselves.

mod control;
mod facts;

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
pub(crate) use facts::has_labels;
use qbind_plan::{AddedGate, Fact, Millionths, Plan, Weight};
use std::collections::BTreeMap;

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
                Judge { evidence, plan, feeds, windows, gate }.judge(&mut finding);
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
        let mut rounds: BTreeMap<u64, (u64, Vec<Value>)> = BTreeMap::new();
        let nodes: Vec<_> = self.plan.nodes.iter().filter(|node| self.gate.means(node)).collect();
        if nodes.is_empty() {
            finding.unknown("no node of the plan is meant");
        }
        for node in nodes {
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
            let value = match self.gate.fact {
                Fact::Instant => {
                    let points = self.points(finding, name, &counted);
                    self.each(finding, name, &points)
                }
                Fact::Spread => {
                    for point in self.points(finding, name, &counted) {
                        let (at, values) =
                            rounds.entry(point.seq).or_insert((point.at, Vec::new()));
                        *at = (*at).min(point.at);
                        values.push(point.value);
                    }
                    continue;
                }
                Fact::WithoutProgress => {
                    let points = self.points(finding, name, &counted);
                    self.once(finding, name, Some(self.standstill(name, &points)))
                }
                Fact::Delta | Fact::Rate => {
                    let points = self.points(finding, name, &counted);
                    let grown = self.growth(finding, name, &points);
                    let value = grown.and_then(|(grown, ms)| match self.gate.fact {
                        Fact::Rate => (grown * 1_000).checked_div_euclid(Value::from(ms)),
                        _ => Some(grown),
                    });
                    self.once(finding, name, value)
                }
                Fact::P50 | Fact::P90 | Fact::P99 => {
                    let value = self.quantile(finding, name, &counted);
                    self.once(finding, name, value)
                }
            };
            worst = self.worse(worst, value);
        }
        if self.gate.fact == Fact::Spread {
            let spread = |(seq, (at, values)): (u64, (u64, Vec<Value>))| {
                let (least, most) = (values.iter().min()?, values.iter().max()?);
                (values.len() > 1).then(|| Point { seq, at, value: most - least })
            };
            let points: Vec<Point> = rounds.into_iter().filter_map(spread).collect();
            if points.is_empty() {
                finding.unknown("no round of scrapes has two nodes to compare");
            }
            worst = self.each(finding, "all nodes", &points);
        }
        finding.value = worst.map_or("none".to_owned(), shown);
        if let Some(worst) = worst {
            self.margin(finding, worst);
        }
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
        let share = u64::from(policy.breaches_max_permille);
        let too_many =
            breaches > u64::from(policy.breaches) || (share > 0 && breaches * 1_000 > share * all);
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

    /// How far inside the nearer bound; negative outside.
    fn distance(&self, value: Value) -> Value {
        let least = self.gate.at_least.map(|bound| value - Value::from(bound.0));
        let most = self.gate.at_most.map(|bound| Value::from(bound.0) - value);
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
