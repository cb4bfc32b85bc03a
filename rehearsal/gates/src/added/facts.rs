//! What an added gate asks of the scrapes of one node.

use super::{Judge, ONE, Point, Value, shown};
use crate::{
    evidence::Scrape,
    finding::Finding,
    series::{Sample, Samples},
};
use qbind_plan::{Millionths, Otherwise, Reset, Several};
use std::collections::BTreeMap;

impl Judge<'_> {
    /// Scrapes that succeeded, in the window after the warm-up, outside cuts of the node.
    pub(super) fn counted<'s>(
        &self,
        node: &str,
        scrapes: &'s [Scrape],
    ) -> Vec<(&'s Scrape, &'s Samples)> {
        let warm = self.windows.start + u64::from(self.plan.live.warmup_s) * 1_000;
        let counts = |scrape: &&Scrape| {
            let at = scrape.at_unix_ms;
            (warm..=self.windows.end).contains(&at) && !self.windows.is_cut(node, at)
        };
        let succeeded = |scrape: &'s Scrape| Some((scrape, scrape.samples.as_ref()?));
        scrapes.iter().filter(counts).filter_map(succeeded).collect()
    }

    /// Values of the series meant, where a scrape has one.
    pub(super) fn points(
        &self,
        finding: &mut Finding,
        node: &str,
        counted: &[(&Scrape, &Samples)],
    ) -> Vec<Point> {
        let mut points = Vec::new();
        for (scrape, samples) in counted {
            let series = samples.iter().filter(|series| {
                *series.name == *self.gate.series() && has_labels(&series.labels, &self.gate.labels)
            });
            let values: Vec<Option<Value>> = series.map(|series| number(series.value)).collect();
            let policy = &self.gate.policy;
            let what = format!("{node}: {}", self.gate.metric);
            if values.is_empty() {
                otherwise(finding, policy.no_series, format!("{what} has no such series"));
                continue;
            }
            let Some(values) = values.into_iter().collect::<Option<Vec<Value>>>() else {
                otherwise(finding, policy.not_a_number, format!("{what} is no exact number"));
                continue;
            };
            let value = match (&values[..], policy.several) {
                ([one], _) => *one,
                (_, Several::Sum) => values.iter().sum(),
                (_, Several::Largest) => values.iter().copied().max().unwrap_or_default(),
                (_, Several::Smallest) => values.iter().copied().min().unwrap_or_default(),
                (_, Several::Unknown) => {
                    finding.unknown(format!("{what} has several series where one is expected"));
                    continue;
                }
            };
            points.push(Point { seq: scrape.seq, at: scrape.at_unix_ms, value });
        }
        points
    }

    /// By how much a counter grew, and over how many milliseconds; what lies across a cut of the node is left
    /// out of both.
    pub(super) fn growth(
        &self,
        finding: &mut Finding,
        node: &str,
        points: &[Point],
    ) -> Option<(Value, u64)> {
        let (mut grown, mut ms) = (0, 0);
        for pair in points.windows(2) {
            let [before, after] = pair else { continue };
            if self.windows.overlaps(node, before.at, after.at) {
                continue;
            }
            let step = after.value - before.value;
            grown += match (step < 0, self.gate.policy.reset) {
                (false, _) => step,
                (true, Reset::Restart) => after.value,
                (true, reset) => {
                    let why = format!("{node}: {} falls", self.gate.metric);
                    match reset {
                        Reset::Fail => finding.fail(why),
                        _ => finding.unknown(why),
                    }
                    return None;
                }
            };
            ms += after.at - before.at;
        }
        if ms == 0 {
            finding.unknown(format!("no two scrapes of {node} can be compared"));
            return None;
        }
        Some((grown, ms))
    }

    /// Longest stretch without a change, in millionths of a second; cuts do not count.
    pub(super) fn standstill(&self, node: &str, points: &[Point]) -> Value {
        let warm = self.windows.start + u64::from(self.plan.live.warmup_s) * 1_000;
        let changes = points.windows(2).filter(|pair| pair[0].value != pair[1].value);
        let mut times = vec![warm.min(self.windows.end)];
        times.extend(changes.map(|pair| pair[1].at));
        times.push(self.windows.end);
        let still = times.windows(2).map(|pair| {
            let excused = self.windows.excused_ms(node, pair[0], pair[1]);
            (pair[1] - pair[0]).saturating_sub(excused)
        });
        Value::from(still.max().unwrap_or(0)) * 1_000
    }

    /// A quantile of what a histogram observed between the first and the last scrape, by linear interpolation
    /// within a bucket.
    pub(super) fn quantile(
        &self,
        finding: &mut Finding,
        node: &str,
        counted: &[(&Scrape, &Samples)],
    ) -> Option<Value> {
        let permille = Value::from(self.gate.fact.quantile_permille()?);
        let mut buckets: BTreeMap<Edge, Vec<Point>> = BTreeMap::new();
        for (scrape, samples) in counted {
            for series in samples.iter().filter(|s| {
                *s.name == *self.gate.series() && has_labels(&s.labels, &self.gate.labels)
            }) {
                let (Some(edge), Some(value)) = (Edge::of(&series.labels), number(series.value))
                else {
                    let why = format!("{node}: a bucket of {} is no number", self.gate.metric);
                    otherwise(finding, self.gate.policy.not_a_number, why);
                    return None;
                };
                let points = buckets.entry(edge).or_default();
                match points.last_mut() {
                    // Several series: their buckets add up, where the policy says so.
                    Some(last) if last.seq == scrape.seq && last.at == scrape.at_unix_ms => {
                        if self.gate.policy.several != Several::Sum {
                            let why = format!("{node}: {} has several series", self.gate.metric);
                            finding.unknown(why);
                            return None;
                        }
                        last.value += value;
                    }
                    _ => points.push(Point { seq: scrape.seq, at: scrape.at_unix_ms, value }),
                }
            }
        }
        let whole = |points: &Vec<Point>| points.len() == counted.len();
        if buckets.is_empty()
            || !buckets.values().all(whole)
            || !buckets.contains_key(&Edge::Infinite)
        {
            let why =
                format!("{node}: {} is not the same histogram in each scrape", self.gate.metric);
            otherwise(finding, self.gate.policy.no_series, why);
            return None;
        }
        let mut counts: Vec<(Edge, Value)> = Vec::new();
        for (edge, points) in &buckets {
            counts.push((*edge, self.growth(finding, node, points)?.0));
        }
        let total = counts.last().map_or(0, |(_, count)| *count);
        if total <= 0 || counts.windows(2).any(|pair| pair[0].1 > pair[1].1) {
            finding.unknown(format!(
                "{node}: {} observed nothing, or its buckets contradict",
                self.gate.metric
            ));
            return None;
        }
        // Counts are in millionths too, which cancels out.
        let rank = (total * permille + 999) / 1_000;
        let at = counts.iter().position(|(_, count)| *count >= rank)?;
        let (below, under) = match at.checked_sub(1).map(|before| counts[before]) {
            Some((Edge::Finite(edge), count)) => (edge, count),
            _ => (0, 0),
        };
        match counts[at] {
            (Edge::Finite(edge), count) => {
                Some(below.min(edge) + (edge - below.min(edge)) * (rank - under) / (count - under))
            }
            (Edge::Infinite, _) => {
                // Larger than any edge, by nobody knows how much.
                let largest = counts.iter().rev().find_map(|(edge, _)| match edge {
                    Edge::Finite(edge) => Some(*edge),
                    Edge::Infinite => None,
                });
                let Some(largest) = largest else {
                    finding.unknown(format!(
                        "{node}: {} has no bucket with an edge",
                        self.gate.metric
                    ));
                    return None;
                };
                let bound = self.gate.at_most.map(|bound| Value::from(bound.0));
                let least = self.gate.at_least.map(|bound| Value::from(bound.0));
                let is_over = bound.is_some_and(|bound| largest >= bound);
                let is_enough = bound.is_none() && least.is_none_or(|least| largest >= least);
                if is_over || is_enough {
                    return Some(largest + 1);
                }
                finding.unknown(format!(
                    "{node}: the quantile lies above the largest bucket, {}",
                    shown(largest)
                ));
                None
            }
        }
    }
}

/// Upper edge of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Finite(Value),
    Infinite,
}

impl Edge {
    fn of(labels: &str) -> Option<Self> {
        let text = labels.split(',').find_map(|l| l.strip_prefix("le=\"")?.strip_suffix('"'))?;
        match text {
            "+Inf" => Some(Self::Infinite),
            _ => text.parse::<Millionths>().ok().map(|edge| Self::Finite(edge.0.into())),
        }
    }
}

pub(crate) fn has_labels(of: &str, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| of.split(',').any(|label| label == format!("{key}={value:?}")))
}

fn number(sample: Sample) -> Option<Value> {
    match sample {
        Sample::Integer(whole) => Some(Value::from(whole) * ONE),
        Sample::Fraction(millionths) => Some(millionths.into()),
        Sample::NotANumber => None,
    }
}

fn otherwise(finding: &mut Finding, otherwise: Otherwise, why: String) {
    match otherwise {
        Otherwise::Unknown => finding.unknown(why),
        Otherwise::Fail => finding.fail(why),
    }
}
