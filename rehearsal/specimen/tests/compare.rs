//! Two runs side by side.

use qbind_gates::compare;
use qbind_plan::{Millionths, Weight};
use qbind_specimen::sound_with_added_gates;

#[test]
fn gates_that_ask_something_else_are_not_like() {
    let run = sound_with_added_gates();
    assert_eq!(compare(&run, &run).unlike, Vec::<String>::new());
    let mut other = run.clone();
    let plan = other.plan.as_mut().unwrap();
    plan.bounds.outbound_peers_min = 5;
    plan.added_gates[0].at_least = Some(Millionths(1_500_000));
    plan.added_gates[1].policy.breaches = 7;
    plan.added_gates[2].severity = Weight::Informational;
    let unlike = compare(&run, &other).unlike;
    let begins: Vec<&str> = unlike.iter().filter_map(|why| why.split(": ").next()).collect();
    assert_eq!(begins, ["X1.at_least", "X2.policy", "X3.severity", "gates.outbound_peers_min"]);
    assert!(unlike[0].ends_with("\"1.5\" in the second"), "{}", unlike[0]);
}
