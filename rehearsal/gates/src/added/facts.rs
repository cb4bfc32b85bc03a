//! What an added gate asks of the scrapes of one node.

use super::{
    Judge, Point, Value,
    selector::{Edge, Key, Unread},
    shown,
};
use crate::{evidence::Scrape, finding::Finding, series::Samples};
use qbind_plan::{Otherwise, Reset, Several};
use std::collections::BTreeMap;

/// The series meant, of one node: the scrapes that can be judged, and of each series a value in each of them.
pub(super) struct Table {
    /// Number of the round and time.
    pub(super) scrapes: Vec<(u64, u64)>,
    rows: BTreeMap<Key, Vec<Value>>,
}

/// By how much each series of one kind grew, and over how many milliseconds.
struct Growth {
    of: BTreeMap<Key, Value>,
    ms: u64,
}

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

    /// The series meant. Scrapes that lack one, or have one that is no number, are left out and told.
    pub(super) fn table(
        &self,
        finding: &mut Finding,
        node: &str,
        counted: &[(&Scrape, &Samples)],
    ) -> Option<Table> {
        let policy = &self.gate.policy;
        let what = format!("{node}: {}", self.gate.metric);
        let mut table = Table { scrapes: Vec::new(), rows: BTreeMap::new() };
        for (scrape, samples) in counted {
            let values = match self.selector.read(samples) {
                Ok(values) => values,
                Err(Unread::Absent) => {
                    otherwise(finding, policy.no_series, format!("{what} has no such series"));
                    continue;
                }
                Err(Unread::NotANumber) => {
                    otherwise(finding, policy.not_a_number, format!("{what} is no exact number"));
                    continue;
                }
                Err(Unread::Twice) => {
                    finding.unknown(format!("{what} has a bucket twice"));
                    continue;
                }
            };
            let is_first = table.scrapes.is_empty();
            if !is_first && !table.rows.keys().eq(values.keys()) {
                let why = format!("{what} has not the same series in each scrape");
                otherwise(finding, policy.no_series, why);
                continue;
            }
            table.scrapes.push((scrape.seq, scrape.at_unix_ms));
            for (key, value) in values {
                table.rows.entry(key).or_default().push(value);
            }
        }
        let kinds = table.kinds();
        if kinds.len() > 1 && policy.several == Several::Unknown {
            finding.unknown(format!("{what} has several series where one is expected"));
            return None;
        }
        (!kinds.is_empty()).then_some(table)
    }

    /// One value for each scrape.
    pub(super) fn points(&self, table: &Table) -> Vec<Point> {
        let value = |n: usize| self.combined(table.rows.values().map(|row| row[n]));
        let scrapes = (0..).zip(&table.scrapes);
        scrapes
            .filter_map(|(n, (seq, at))| Some(Point { seq: *seq, at: *at, value: value(n)? }))
            .collect()
    }

    /// What stands for several series.
    fn combined(&self, values: impl Iterator<Item = Value>) -> Option<Value> {
        match self.gate.policy.several {
            Several::Sum => Some(values.sum()),
            Several::Smallest => values.min(),
            Several::Unknown | Several::Largest => values.max(),
        }
    }

    /// By how much the series grew, by kind; what lies across a cut of the node is left out. The buckets of a
    /// histogram begin again together.
    fn growth(&self, finding: &mut Finding, node: &str, table: &Table) -> Option<Vec<Growth>> {
        let uncut: Vec<usize> = (1..table.scrapes.len())
            .filter(|n| !self.windows.overlaps(node, table.at(n - 1), table.at(*n)))
            .collect();
        let ms = uncut.iter().map(|n| table.at(*n).saturating_sub(table.at(n - 1))).sum();
        if ms == 0 {
            finding.unknown(format!("no two scrapes of {node} can be compared"));
            return None;
        }
        let mut all = Vec::new();
        for rows in table.kinds().into_values() {
            let mut growth = Growth { of: BTreeMap::new(), ms };
            for n in &uncut {
                let falls = rows.iter().any(|(_, row)| row[*n] < row[n - 1]);
                if falls && self.is_reset(finding, node) {
                    return None;
                }
                for (key, row) in &rows {
                    let step = if falls { row[*n] } else { row[*n] - row[n - 1] };
                    *growth.of.entry((*key).clone()).or_default() += step;
                }
            }
            all.push(growth);
        }
        Some(all)
    }

    /// Whether a counter that fell ends the fact; told, if it does.
    fn is_reset(&self, finding: &mut Finding, node: &str) -> bool {
        let why = format!("{node}: {} falls", self.gate.metric);
        match self.gate.policy.reset {
            Reset::Restart => return false,
            Reset::Fail => finding.fail(why),
            Reset::Unknown => finding.unknown(why),
        }
        true
    }

    /// Growth of the series over the window.
    pub(super) fn delta(&self, finding: &mut Finding, node: &str, table: &Table) -> Option<Value> {
        let all = self.growth(finding, node, table)?;
        self.combined(all.iter().flat_map(|growth| growth.of.values().copied()))
    }

    /// Growth in each second, rounded down.
    pub(super) fn rate(&self, finding: &mut Finding, node: &str, table: &Table) -> Option<Value> {
        let all = self.growth(finding, node, table)?;
        let rates = all.iter().flat_map(|growth| {
            growth.of.values().map(|grown| (grown * 1_000).div_euclid(growth.ms.into()))
        });
        self.combined(rates)
    }

    /// Longest stretch without a change, in millionths of a second; cuts do not count.
    pub(super) fn standstill(
        &self,
        finding: &mut Finding,
        node: &str,
        table: &Table,
    ) -> Option<Value> {
        let warm = self.windows.start + u64::from(self.plan.live.warmup_s) * 1_000;
        let mut all = Vec::new();
        for row in table.rows.values() {
            let mut times = vec![warm.min(self.windows.end)];
            for (n, pair) in (0..).zip(row.windows(2)) {
                let is_cut = self.windows.overlaps(node, table.at(n), table.at(n + 1));
                if pair[1] < pair[0] && !is_cut && self.is_reset(finding, node) {
                    return None;
                }
                if pair[1] != pair[0] {
                    times.push(table.at(n + 1));
                }
            }
            times.push(self.windows.end);
            let still = times.windows(2).map(|pair| {
                let excused = self.windows.excused_ms(node, pair[0], pair[1]);
                pair[1].saturating_sub(pair[0]).saturating_sub(excused)
            });
            all.push(Value::from(still.max().unwrap_or(0)) * 1_000);
        }
        self.combined(all.into_iter())
    }

    /// In which bucket a quantile of what was observed lies: above the first edge, if any, and not above the
    /// second.
    pub(super) fn quantile(
        &self,
        finding: &mut Finding,
        node: &str,
        table: &Table,
    ) -> Option<(Option<Edge>, Edge)> {
        let permille = Value::from(self.gate.fact.quantile_permille()?);
        let what = format!("{node}: {}", self.gate.metric);
        let all = self.growth(finding, node, table)?;
        let edges = |growth: &Growth| growth.of.keys().filter_map(|key| key.edge).collect();
        let mut counts: BTreeMap<Edge, Value> = BTreeMap::new();
        let expected: Vec<Edge> = all.first().map(edges).unwrap_or_default();
        for growth in &all {
            let found: Vec<Edge> = edges(growth);
            if found != expected || found.last() != Some(&Edge::Infinite) {
                finding.unknown(format!("{what} has other buckets, or none for all"));
                return None;
            }
            for (key, grown) in &growth.of {
                *counts.entry(key.edge?).or_default() += grown;
            }
        }
        let counts: Vec<(Edge, Value)> = counts.into_iter().collect();
        let total = counts.last().map_or(0, |(_, count)| *count);
        if counts.windows(2).any(|pair| pair[0].1 > pair[1].1) {
            finding.unknown(format!("{what} has buckets that contradict each other"));
            return None;
        }
        // Where not one is expected beyond it, a quantile says nothing.
        if total * (1_000 - permille) < 1_000 {
            finding.unknown(format!("{what} observed {total} times, which is too few"));
            return None;
        }
        let rank = (total * permille + 999) / 1_000;
        let at = counts.iter().position(|(_, count)| *count >= rank)?;
        let below = at.checked_sub(1).map(|before| counts[before].0);
        Some((below, counts[at].0))
    }

    /// Compares a quantile of which only the bucket is known; gives the edge that decided.
    pub(super) fn within_bucket(
        &self,
        finding: &mut Finding,
        node: &str,
        (below, upto): (Option<Edge>, Edge),
    ) -> Option<Value> {
        let finite = |edge: Edge| match edge {
            Edge::Finite(edge) => Some(edge),
            Edge::Infinite => None,
        };
        let (low, high) = (below.and_then(finite), finite(upto));
        let text = |edge: Option<Value>, none: &str| edge.map_or(none.to_owned(), shown);
        let lies = format!(
            "{} of {node} lies above {} and not above {}",
            self.gate.query(),
            text(low, "nothing"),
            text(high, "anything")
        );
        let (least, most) = self.bounds();
        let is_over = most.is_some_and(|most| low.is_some_and(|low| low >= most));
        let is_under = least.is_some_and(|least| high.is_some_and(|high| high <= least));
        let fits_most = most.is_none_or(|most| high.is_some_and(|high| high <= most));
        let fits_least = least.is_none_or(|least| low.is_some_and(|low| low >= least));
        if is_over || is_under {
            finding.fail(lies);
        } else if !(fits_most && fits_least) {
            finding.unknown(format!("{lies}: the bound is between the two"));
        }
        match (most, is_over) {
            (Some(_), true) => low,
            (Some(_), false) => high,
            (None, _) if is_under => high,
            (None, _) => low,
        }
    }
}

impl Table {
    /// Time of a scrape.
    fn at(&self, n: usize) -> u64 {
        self.scrapes[n].1
    }

    /// The rows of each histogram, or each row by itself.
    fn kinds(&self) -> BTreeMap<&str, Vec<(&Key, &Vec<Value>)>> {
        let mut kinds: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, row) in &self.rows {
            kinds.entry(&key.labels).or_default().push((key, row));
        }
        kinds
    }
}

fn otherwise(finding: &mut Finding, otherwise: Otherwise, why: String) {
    match otherwise {
        Otherwise::Unknown => finding.unknown(why),
        Otherwise::Fail => finding.fail(why),
    }
}
