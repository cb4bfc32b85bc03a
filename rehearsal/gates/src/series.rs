//! Prometheus text becomes integers; what is no integer stays visible as such.

use prometheus_parse::{Scrape as Parsed, Value};
use qbind_plan::AddedGate;
use std::{io, sync::Arc};

/// A value of a series. Gates decide on integers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Exactly representable.
    Integer(i64),
    /// NaN, infinite, or too large to be exact.
    NotANumber,
    /// A fraction, in millionths, rounded to the nearest: no bound on a count is held against it.
    Fraction(i64),
}

/// The metrics gates look at. Others stay in the raw bodies.
pub const KNOWN: [&str; 8] = [
    "qbind_anti_eclipse_asn_diversity",
    "qbind_consensus_current_view",
    "qbind_consensus_safety_violations_total",
    "qbind_consensus_validator_equivocations_total",
    "qbind_consensus_view_changes_total",
    "qbind_dag_coupling_block_mismatch_total",
    "qbind_p2p_connected_peers",
    "qbind_p2p_outbound_peers",
];

/// Largest magnitude a 64-bit float holds exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Sample {
    fn of(value: f64) -> Self {
        if !value.is_finite() || value.abs() > EXACT {
            Self::NotANumber
        } else if value.fract() != 0.0 {
            let millionths = (value * 1e6).round();
            if millionths.abs() > EXACT {
                Self::NotANumber
            } else {
                Self::Fraction(millionths as i64)
            }
        } else {
            // Finite, integral and within 53 bits.
            Self::Integer(value as i64)
        }
    }
}

/// One series of a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Of the metric.
    pub name: Arc<str>,
    /// Its labels in a fixed order.
    pub labels: Box<str>,
    /// Its value.
    pub value: Sample,
}

/// The known series of one scrape, by name and labels. A run has a hundred thousand of these;
/// copies are shared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples(Arc<[Series]>);

impl Samples {
    /// All series.
    pub fn iter(&self) -> impl Iterator<Item = &Series> {
        self.0.iter()
    }

    /// All series, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        Arc::make_mut(&mut self.0).iter_mut()
    }

    /// Bytes they take, about: each label is an allocation of its own.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|series| size_of::<Series>() + 32 + series.labels.len()).sum()
    }

    /// The values of a metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Sample> + 'a {
        self.0.iter().filter(move |series| &*series.name == name).map(|series| series.value)
    }
}

/// The series of a `/metrics` body that the guide's gates look at.
///
/// # Errors
/// The body is not UTF-8 lines of Prometheus text.
pub fn parse(body: &str) -> io::Result<Samples> {
    Names::default().parse(body)
}

/// Which series of a scrape are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<Arc<str>>);

impl Default for Names {
    /// Those the guide's gates look at.
    fn default() -> Self {
        Self(KNOWN.into_iter().map(Arc::from).collect())
    }
}

impl Names {
    /// Those, and what these gates look at.
    pub fn with<'a>(added: impl IntoIterator<Item = &'a AddedGate>) -> Self {
        let mut names = Self::default();
        for gate in added {
            let name = gate.series();
            if !names.0.iter().any(|known| **known == *name) {
                names.0.push(name.into());
            }
        }
        names
    }

    /// Whether a line begins with one of these names, and the whole of it.
    fn is_meant(&self, line: &str) -> bool {
        let goes_on = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
        // The end is looked at first: all names of a body begin alike.
        let ends_there = |known: &str| !line.as_bytes().get(known.len()).is_some_and(goes_on);
        self.0.iter().any(|known| ends_there(known) && line.starts_with(&**known))
    }

    /// The series of a `/metrics` body.
    ///
    /// # Errors
    /// A line with one of these names cannot be read, or two are of one series.
    pub fn parse(&self, body: &str) -> io::Result<Samples> {
        // The parser is slow on long bodies; lines it cannot matter for are left out first. So are types: the
        // parser would make one value of all buckets.
        let lines = body.split('\n').map(|line| line.trim_start_matches([' ', '\t']));
        let meant = lines.filter(|line| self.is_meant(line));
        let meant = meant.map(|line| line.strip_suffix('\r').unwrap_or(line));
        let meant: Vec<&str> = meant.map(|line| line.trim_end_matches([' ', '\t'])).collect();
        // White space that people do not see: no two readers agree what it separates.
        let is_odd = |c: char| !matches!(c, ' ' | '\t') && (c.is_control() || c.is_whitespace());
        let readable = meant.iter().filter(|line| !line.contains(is_odd));
        let parsed = Parsed::parse(readable.map(|line| Ok((*line).to_owned())))?;
        let mut out = Vec::new();
        for sample in parsed.samples {
            let Some(name) = self.0.iter().find(|known| ***known == *sample.metric) else {
                continue;
            };
            let Value::Untyped(value) = sample.value else { continue };
            let mut labels: Vec<_> =
                sample.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
            labels.sort();
            let labels = labels.join(",").into_boxed_str();
            out.push(Series { name: name.clone(), labels, value: Sample::of(value) });
        }
        // The parser passes over what it cannot read, and so would hide a series.
        if out.len() != meant.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line that cannot be read"));
        }
        out.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        let is_same =
            |pair: &[Series]| (&pair[0].name, &pair[0].labels) == (&pair[1].name, &pair[1].labels);
        if out.windows(2).any(is_same) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the same series twice"));
        }
        Ok(Samples(out.into()))
    }
}

/// Why a scalar cannot be had from a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoValue {
    /// No such metric.
    Absent,
    /// More series than one.
    Several,
    /// NaN, infinite or a fraction.
    NotInteger,
}

impl NoValue {
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Absent => "has no such series",
            Self::Several => "has several series where one is expected",
            Self::NotInteger => "is not an integer",
        }
    }
}

/// The one series of a metric.
pub(crate) fn scalar(samples: &Samples, name: &str) -> Result<i64, NoValue> {
    let mut values = samples.of(name);
    match (values.next(), values.next()) {
        (None, _) => Err(NoValue::Absent),
        (Some(_), Some(_)) => Err(NoValue::Several),
        (Some(Sample::Integer(value)), None) => Ok(value),
        (Some(_), None) => Err(NoValue::NotInteger),
    }
}

/// The sum of all series of a metric.
pub(crate) fn sum(samples: &Samples, name: &str) -> Result<i64, NoValue> {
    let mut total = None;
    for value in samples.of(name) {
        let Sample::Integer(value) = value else { return Err(NoValue::NotInteger) };
        total = Some(total.unwrap_or(0i64).saturating_add(value));
    }
    total.ok_or(NoValue::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_integers_stay_visible() {
        let name = "qbind_p2p_outbound_peers";
        for (text, expected) in [
            ("# TYPE qbind_p2p_outbound_peers gauge\nqbind_p2p_outbound_peers 4\n", Ok(4)),
            ("qbind_p2p_outbound_peers 4\n", Ok(4)),
            ("qbind_p2p_outbound_peers NaN\n", Err(NoValue::NotInteger)),
            ("qbind_p2p_outbound_peers +Inf\n", Err(NoValue::NotInteger)),
            ("qbind_p2p_outbound_peers 3.5\n", Err(NoValue::NotInteger)),
            ("qbind_p2p_outbound_peers 1e300\n", Err(NoValue::NotInteger)),
            (
                "qbind_p2p_outbound_peers{a=\"x\"} 4\nqbind_p2p_outbound_peers{a=\"y\"} 4\n",
                Err(NoValue::Several),
            ),
            ("other 4\n", Err(NoValue::Absent)),
            ("", Err(NoValue::Absent)),
        ] {
            assert_eq!(scalar(&parse(text).unwrap(), name), expected, "{text:?}");
        }
        for text in [
            "qbind_p2p_outbound_peers 4\nqbind_p2p_outbound_peers 5\n",
            "qbind_p2p_outbound_peers 4\nqbind_p2p_outbound_peers{} 5\n",
            "qbind_p2p_outbound_peers 4\nqbind_p2p_outbound_peers{a=\"}\"} 5\n",
            "qbind_p2p_outbound_peers 4\nqbind_p2p_outbound_peers\u{a0}5\n",
            "qbind_p2p_outbound_peers 4\nqbind_p2p_outbound_peers {a=\"b\"} 5\n",
            "qbind_p2p_outbound_peers many\n",
            "qbind_p2p_outbound_peers\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let last = parse("qbind_p2p_outbound_peers{a=\"b\"} 4\r\n qbind_p2p_outbound_peers\t5 \r");
        assert_eq!(last.unwrap().of(name).count(), 2);
        let others = "qbind_p2p_outbound_peers:rate 4\nqbind_p2p_outbound_peers_total 4\n# qbind_p2p_outbound_peers\n";
        assert_eq!(scalar(&parse(others).unwrap(), name), Err(NoValue::Absent));
    }
}
