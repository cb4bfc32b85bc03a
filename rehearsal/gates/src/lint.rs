//! Whether the series that gates read are there, before anybody relies on them.

use crate::series::{self, KNOWN, NoValue, scalar, sum};
use serde::Serialize;

/// What gates expect of a series.
struct Expected {
    name: &'static str,
    kind: &'static str,
    gates: &'static [&'static str],
    /// Whether it has one series for each validator.
    is_labelled: bool,
    /// Whether it moves on a live node.
    moves: bool,
}

const fn expected(
    name: &'static str,
    kind: &'static str,
    gates: &'static [&'static str],
) -> Expected {
    Expected { name, kind, gates, is_labelled: false, moves: false }
}

const EXPECTED: [Expected; KNOWN.len()] = [
    expected("qbind_anti_eclipse_asn_diversity", "gauge", &["G6"]),
    Expected {
        moves: true,
        ..expected("qbind_consensus_current_view", "gauge", &["G2", "G6", "G9"])
    },
    expected("qbind_consensus_safety_violations_total", "counter", &["G1"]),
    Expected {
        is_labelled: true,
        ..expected("qbind_consensus_validator_equivocations_total", "counter", &["G1"])
    },
    expected("qbind_consensus_view_changes_total", "counter", &["G9"]),
    expected("qbind_dag_coupling_block_mismatch_total", "counter", &["G2"]),
    expected("qbind_p2p_connected_peers", "gauge", &["G6"]),
    expected("qbind_p2p_outbound_peers", "gauge", &["G6"]),
];

/// A series, the gates that read it, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// Its name.
    pub series: &'static str,
    /// Who reads it.
    pub gates: &'static [&'static str],
    /// Why they could not; nothing if they can.
    pub problem: Option<String>,
}

/// Binds the gates to two `/metrics` bodies of one node, the second some seconds after the first: each series
/// exists, has its type, is an integer, and the view has moved. Pure.
pub fn lint(first: &str, second: &str) -> Vec<Binding> {
    let both = series::parse(first).and_then(|before| Ok((before, series::parse(second)?)));
    let of = |expected: &Expected| {
        let (before, after) = match &both {
            Ok(both) => both,
            Err(error) => return Some(format!("the answer cannot be read: {error}")),
        };
        let value = |samples| match expected.is_labelled {
            true => sum(samples, expected.name),
            false => scalar(samples, expected.name),
        };
        let why = |error: NoValue| error.why().to_owned();
        let (then, now) = match (value(before), value(after)) {
            (Ok(then), Ok(now)) => (then, now),
            (Err(error), _) | (_, Err(error)) => return Some(why(error)),
        };
        let wanted = format!("# TYPE {} {}", expected.name, expected.kind);
        if !second.lines().any(|line| line.trim_end() == wanted) {
            return Some(format!("is no {}", expected.kind));
        }
        (expected.moves && now <= then).then(|| format!("stands still at {now}"))
    };
    EXPECTED.iter().map(|e| Binding { series: e.name, gates: e.gates, problem: of(e) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(view: u64) -> String {
        let line = |e: &Expected| {
            let labels = if e.is_labelled { "{validator=\"1\"}" } else { "" };
            let value = if e.moves { view } else { 0 };
            format!("# TYPE {} {}\n{}{labels} {value}\n", e.name, e.kind, e.name)
        };
        EXPECTED.iter().map(line).collect()
    }

    /// The problems, by series.
    fn problems(first: &str, second: &str) -> Vec<String> {
        let bindings = lint(first, second);
        assert_eq!(bindings.len(), KNOWN.len());
        let found =
            bindings.into_iter().filter_map(|b| Some(format!("{} {}", b.series, b.problem?)));
        found.collect()
    }

    #[test]
    fn each_series_that_gates_read_is_expected_once() {
        assert_eq!(EXPECTED.map(|e| e.name), KNOWN);
        assert_eq!(problems(&body(7), &body(9)), Vec::<String>::new());
    }

    #[test]
    fn what_gates_could_not_read_is_named() {
        let (first, second) = (body(7), body(9));
        let name = "qbind_p2p_outbound_peers";
        for (second, expected) in [
            (second.replace(&format!("\n{name} 0\n"), "\n"), format!("{name} has no such series")),
            (
                second.replace(&format!("\n{name} 0\n"), &format!("\n{name} NaN\n")),
                format!("{name} is not an integer"),
            ),
            (
                second.replace(&format!("TYPE {name} gauge"), &format!("TYPE {name} counter")),
                format!("{name} is no gauge"),
            ),
            (body(7), "qbind_consensus_current_view stands still at 7".to_owned()),
        ] {
            assert_eq!(problems(&first, &second), [expected]);
        }
        assert_eq!(problems("", "").len(), KNOWN.len());
    }
}
