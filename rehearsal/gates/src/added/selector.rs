//! Which series of a scrape an added gate reads.

use super::{ONE, Value};
use crate::series::{Sample, Samples, Series};
use qbind_plan::{AddedGate, Millionths};
use std::collections::BTreeMap;

/// Name and labels, made once for all scrapes.
pub(crate) struct Selector {
    name: String,
    labels: Vec<String>,
    is_histogram: bool,
}

/// Upper edge of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    Finite(Value),
    Infinite,
}

/// One series: its labels, and of a bucket its edge apart from them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) labels: String,
    pub(crate) edge: Option<Edge>,
}

/// Why a scrape gives no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    Absent,
    NotANumber,
    /// Two buckets of one histogram with the same edge.
    Twice,
}

impl Selector {
    pub(crate) fn of(gate: &AddedGate) -> Self {
        Self {
            name: gate.series(),
            labels: gate.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect(),
            is_histogram: gate.fact.quantile_permille().is_some(),
        }
    }

    pub(crate) fn picks(&self, series: &Series) -> bool {
        let has = |wanted: &String| series.labels.split(',').any(|label| label == wanted);
        *series.name == *self.name && self.labels.iter().all(has)
    }

    /// The values meant, in millionths; of a histogram its counts.
    pub(crate) fn read(&self, samples: &Samples) -> Result<BTreeMap<Key, Value>, Unread> {
        let mut values = BTreeMap::new();
        let mut is_twice = false;
        for series in samples.iter().filter(|series| self.picks(series)) {
            let (key, value) = match self.is_histogram {
                true => bucket(series).ok_or(Unread::NotANumber)?,
                false => {
                    let key = Key { labels: series.labels.to_string(), edge: None };
                    (key, number(series.value).ok_or(Unread::NotANumber)?)
                }
            };
            is_twice |= values.insert(key, value).is_some();
        }
        match (values.is_empty(), is_twice) {
            (true, _) => Err(Unread::Absent),
            (false, true) => Err(Unread::Twice),
            (false, false) => Ok(values),
        }
    }
}

fn number(sample: Sample) -> Option<Value> {
    match sample {
        Sample::Integer(whole) => Some(Value::from(whole) * ONE),
        Sample::Fraction(millionths) => Some(millionths.into()),
        Sample::NotANumber => None,
    }
}

fn bucket(series: &Series) -> Option<(Key, Value)> {
    let Sample::Integer(count @ 0..) = series.value else { return None };
    let is_edge = |label: &&str| label.starts_with("le=\"");
    let edge = series.labels.split(',').find(is_edge)?;
    let edge = match edge.strip_prefix("le=\"")?.strip_suffix('"')? {
        "+Inf" => Edge::Infinite,
        text => Edge::Finite(text.parse::<Millionths>().ok()?.0.into()),
    };
    let others: Vec<&str> = series.labels.split(',').filter(|label| !is_edge(label)).collect();
    Some((Key { labels: others.join(","), edge: Some(edge) }, count.into()))
}
