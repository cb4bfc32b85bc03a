//! Whether the series that gates read are there, before anybody relies on them.

use crate::{
    added::{Edge, Selector, Unread},
    series::{KNOWN, Names, NoValue, Samples, scalar, sum},
};
use qbind_plan::{AddedGate, Fact, Several};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

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
    pub series: String,
    /// Who reads it.
    pub gates: Vec<String>,
    /// Why they could not; nothing if they can.
    pub problem: Option<String>,
}

const VIEW: &str = "qbind_consensus_current_view";

/// Which gates read a series, by its name.
pub(crate) fn readers(added: &[AddedGate]) -> BTreeMap<String, BTreeSet<String>> {
    let known = EXPECTED
        .iter()
        .flat_map(|e| e.gates.iter().map(|id| (e.name.to_owned(), (*id).to_owned())));
    let own = added.iter().map(|gate| (gate.series(), gate.id.clone()));
    let mut readers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (series, gate) in known.chain(own) {
        readers.entry(series).or_default().insert(gate);
    }
    // A view that stands still makes every scrape of a node stale; without an added gate of it nobody plants one.
    if added.iter().any(|gate| gate.series() == VIEW) {
        let stale = readers.entry(VIEW.to_owned()).or_default();
        stale.insert("G1".to_owned());
        stale.extend(added.iter().map(|gate| gate.id.clone()));
    }
    readers
}

/// Binds the gates to two `/metrics` bodies of one node, the second some seconds after the first: each series
/// exists, has its type, is a number, and the view has moved. `added` are the plan's own gates that are about
/// this node. Pure.
pub fn lint<'a>(
    first: &str,
    second: &str,
    added: impl IntoIterator<Item = &'a AddedGate> + Clone,
) -> Vec<Binding> {
    let names = Names::with(added.clone());
    let both = names.parse(first).and_then(|before| Ok((before, names.parse(second)?)));
    let is_typed = |name: &str, kind: &str| {
        let wanted = format!("# TYPE {name} {kind}");
        second.lines().any(|line| line.trim_end() == wanted)
    };
    let guide = EXPECTED.iter().map(|e| Binding {
        series: e.name.to_owned(),
        gates: e.gates.iter().map(|id| (*id).to_owned()).collect(),
        problem: read(&both).and_then(|both| problem(e, both, is_typed)).err(),
    });
    let own = added.into_iter().map(|gate| Binding {
        series: gate.series(),
        gates: vec![gate.id.clone()],
        problem: read(&both).and_then(|both| added_problem(gate, both, is_typed)).err(),
    });
    guide.chain(own).collect()
}

fn read(both: &io::Result<(Samples, Samples)>) -> Result<&(Samples, Samples), String> {
    both.as_ref().map_err(|error| format!("the answer cannot be read: {error}"))
}

fn problem(
    expected: &Expected,
    (before, after): &(Samples, Samples),
    is_typed: impl Fn(&str, &str) -> bool,
) -> Result<(), String> {
    let value = |samples| match expected.is_labelled {
        true => sum(samples, expected.name),
        false => scalar(samples, expected.name),
    };
    let why = |error: NoValue| error.why().to_owned();
    let (then, now) = (value(before).map_err(why)?, value(after).map_err(why)?);
    if !is_typed(expected.name, expected.kind) {
        return Err(format!("is no {}", expected.kind));
    }
    if expected.moves && now <= then {
        return Err(format!("stands still at {now}"));
    }
    Ok(())
}

fn added_problem(
    gate: &AddedGate,
    (before, after): &(Samples, Samples),
    is_typed: impl Fn(&str, &str) -> bool,
) -> Result<(), String> {
    let selector = Selector::of(gate);
    let mut keys = Vec::new();
    for samples in [before, after] {
        let values = selector.read(samples).map_err(|why| {
            let why = match why {
                Unread::Absent => "has no such series",
                Unread::NotANumber => "is no exact number, or an edge of a bucket is none",
                Unread::Twice => "has a bucket twice",
            };
            why.to_owned()
        })?;
        let kinds: BTreeSet<&str> = values.keys().map(|key| key.labels.as_str()).collect();
        if kinds.len() > 1 && gate.policy.several == Several::Unknown {
            let hint = "name labels, or set policy.several";
            return Err(format!("has several series where one is expected: {hint}"));
        }
        if gate.fact.quantile_permille().is_some() {
            let edges: BTreeSet<Edge> = values.keys().filter_map(|key| key.edge).collect();
            if !edges.contains(&Edge::Infinite) {
                return Err("has no bucket for all that was observed".to_owned());
            }
            let bounds = [gate.at_least, gate.at_most].into_iter().flatten();
            if let Some(bound) =
                bounds.into_iter().find(|bound| !edges.contains(&Edge::Finite(bound.0.into())))
            {
                return Err(format!("has no bucket that ends at {bound}, so it cannot be told"));
            }
            if values.len() != edges.len() * kinds.len() {
                return Err("has other buckets in one series than in another".to_owned());
            }
        }
        keys.push(values.into_keys().collect::<Vec<_>>());
    }
    if keys.first() != keys.last() {
        return Err("has not the same series in two scrapes".to_owned());
    }
    let kinds: &[&str] = match gate.fact {
        Fact::P50 | Fact::P90 | Fact::P99 => &["histogram"],
        Fact::Delta | Fact::Rate => &["counter"],
        Fact::Instant | Fact::Spread | Fact::WithoutProgress => &["gauge", "counter"],
    };
    match kinds.iter().any(|kind| is_typed(&gate.metric, kind)) {
        true => Ok(()),
        false => Err(format!("is no {}", kinds.join(" or "))),
    }
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
        let bindings = lint(first, second, []);
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

    fn gate(rest: &str) -> AddedGate {
        let json = format!(
            r#"{{ "id": "X1", "title": "t", "severity": "hard", "at_most": "5", {rest} }}"#
        );
        serde_json::from_str(&json).expect("a gate")
    }

    #[test]
    fn what_added_gates_could_not_read_is_named() {
        let gauge = r#""fact": "instant", "metric": "probe""#;
        let labelled = r#""fact": "instant", "metric": "probe", "labels": { "a": "b" }"#;
        let summed = r#""fact": "spread", "metric": "probe", "policy": { "several": "sum" }"#;
        let rate = r#""fact": "rate", "metric": "probe""#;
        let p99 = r#""fact": "p99", "metric": "probe""#;
        let histogram =
            "# TYPE probe histogram\nprobe_bucket{le=\"5\"} 3\nprobe_bucket{le=\"+Inf\"} 4\n";
        let two = "# TYPE probe gauge\nprobe{a=\"b\"} 1\nprobe{a=\"c\"} 1\n";
        let several =
            "has several series where one is expected: name labels, or set policy.several";
        for (rest, lines, expected) in [
            (gauge, "# TYPE probe gauge\nprobe 1.5\n", None),
            (gauge, "# TYPE probe counter\nprobe 1\n", None),
            (gauge, "", Some("has no such series")),
            (gauge, "# TYPE probe gauge\nprobe_total 1\n", Some("has no such series")),
            (
                gauge,
                "# TYPE probe gauge\nprobe NaN\n",
                Some("is no exact number, or an edge of a bucket is none"),
            ),
            (gauge, "probe 1\n", Some("is no gauge or counter")),
            (gauge, two, Some(several)),
            (
                p99,
                &(histogram.replace("le=", "a=\"b\",le=")
                    + "probe_bucket{a=\"c\",le=\"+Inf\"} 1\n"),
                Some(several),
            ),
            (labelled, two, None),
            (labelled, "# TYPE probe gauge\nprobe{a=\"c\"} 1\n", Some("has no such series")),
            (summed, two, None),
            (rate, "# TYPE probe gauge\nprobe 1\n", Some("is no counter")),
            (p99, histogram, None),
            (
                p99,
                &histogram.replace("\"5\"", "\"4\""),
                Some("has no bucket that ends at 5, so it cannot be told"),
            ),
            (
                p99,
                &histogram.replace("\"5\"", "\"5e0\""),
                Some("is no exact number, or an edge of a bucket is none"),
            ),
            (p99, &histogram.replace("+Inf", "9"), Some("has no bucket for all that was observed")),
            (
                p99,
                &(histogram.to_owned() + &histogram.replace("le=", "a=\"b\",le=")),
                Some(several),
            ),
            (p99, "# TYPE probe gauge\nprobe 1\n", Some("has no such series")),
        ] {
            let gate = gate(rest);
            let found = lint(&(body(7) + lines), &(body(9) + lines), [&gate]);
            let last = found.last().expect("one for each gate");
            assert_eq!((found.len(), &last.gates[..]), (KNOWN.len() + 1, &["X1".to_owned()][..]));
            assert_eq!(last.problem.as_deref(), expected, "{rest}\n{lines}");
        }
    }
}
