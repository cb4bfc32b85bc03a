//! Covers: T234, with this build's own `qbind-node`.

use qbind_steps::{Options, StepResult, t234};
use std::sync::{Mutex, PoisonError};

/// Both measure time, so that neither may run beside the other.
static MACHINE: Mutex<()> = Mutex::new(());

fn run(quick: bool) -> StepResult {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let node_binary = Some(env!("CARGO_BIN_EXE_qbind-node").into());
    t234::run(0, &Options { quick, node_binary, ..Options::default() })
}

fn assert_passes(result: &StepResult) {
    println!("{}", serde_json::to_string_pretty(result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}

#[test]
fn a_short_load_is_committed_exactly_once() {
    assert_passes(&run(true));
}

/// The guide's command selects ignored tests.
#[test]
#[ignore = "the long form, as `qbindctl steps run T234` runs it; half a minute"]
fn five_hundred_per_second_are_committed_exactly_once() {
    assert_passes(&run(false));
}
