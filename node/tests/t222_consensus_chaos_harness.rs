//! Covers: T222. The full form, as `qbindctl steps run T222` runs it.

#[test]
fn consensus_survives_crashes_loss_and_partitions() {
    let result = qbind_steps::t222::run(&qbind_steps::Options::default());
    println!("{}", serde_json::to_string_pretty(&result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}
