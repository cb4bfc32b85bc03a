//! A violation of an added gate, planted in the metrics of the first node it is about.

use super::{ONE, Selector, Value};
use crate::{
    evidence::Evidence,
    series::{Sample, Samples},
};
use qbind_plan::{AddedGate, Fact, Millionths, Several};

/// What [`violate`] does, in a few words.
pub(crate) fn said(gate: &AddedGate) -> String {
    let side = if gate.at_most.is_some() { "above" } else { "below" };
    format!("{} of one node is {side} the bound", gate.query())
}

/// Sets the series of the first node so that the fact lies on the wrong side of the upper bound, or of the lower
/// one where there is no upper; nothing if the evidence has no such series.
pub(crate) fn violate(gate: &AddedGate, evidence: &mut Evidence) -> Option<()> {
    let plan = evidence.plan.as_ref()?;
    let nodes: Vec<String> =
        plan.nodes.iter().filter(|node| gate.means(node)).map(|node| node.name.clone()).collect();
    let bound = |bound: Option<Millionths>| bound.map(|bound| Value::from(bound.0));
    let (least, most) = (bound(gate.at_least), bound(gate.at_most));
    // A spread below the lower bound is one of all nodes together.
    let harmed = match (gate.fact, most) {
        (Fact::Spread, None) => nodes.len(),
        _ => 1,
    };
    let selector = Selector::of(gate);
    let mut set = None;
    for node in nodes.iter().take(harmed) {
        for (number, scrape) in (0..).zip(evidence.scrapes.get_mut(node)?) {
            let series = scrape.samples.iter_mut().flat_map(Samples::iter_mut);
            let mut is_first = true;
            for series in series.filter(|series| selector.picks(series)) {
                let is_last = series.labels.contains("le=\"+Inf\"");
                let value = wrong(gate.fact, (least, most), number, is_last)?;
                // Of those that are added up, one is enough.
                let counts = is_first
                    || gate.policy.several != Several::Sum
                    || gate.fact.quantile_permille().is_some();
                series.value = sample(if counts { value } else { 0 });
                is_first = false;
                set = Some(());
            }
        }
    }
    set
}

/// The value of a series in this scrape of its node, in millionths.
fn wrong(
    fact: Fact,
    (least, most): (Option<Value>, Option<Value>),
    number: Value,
    is_last: bool,
) -> Option<Value> {
    // More than is asked for each second, for longer than two scrapes may be apart.
    let step = |bound: Value| (bound.max(0) / ONE + 1) * ONE * 3_700;
    Some(match (fact, most) {
        (Fact::Instant, Some(most)) => most.abs() * 2 + ONE,
        // Far from what any other node says.
        (Fact::Spread, Some(_)) => ONE * 1_000_000_000_000_000,
        (Fact::Instant, None) => least? - ONE,
        (Fact::Delta | Fact::Rate, Some(most)) => number * step(most),
        // Only the last bucket grows: all that is observed lies above every edge.
        (Fact::P50 | Fact::P90 | Fact::P99, Some(_)) if is_last => number * 1_000 * ONE,
        (Fact::P50 | Fact::P90 | Fact::P99, None) => number * 1_000 * ONE,
        // What must not shrink, shrinks; what must grow, stands still.
        (Fact::Delta | Fact::Rate, None) if least? <= 0 => (1_000_000 - number) * ONE,
        _ => 0,
    })
}

fn sample(value: Value) -> Sample {
    let whole = value % ONE == 0;
    let value = if whole { value / ONE } else { value };
    match (i64::try_from(value), whole) {
        (Ok(value), true) => Sample::Integer(value),
        (Ok(value), false) => Sample::Fraction(value),
        (Err(_), _) => Sample::NotANumber,
    }
}
