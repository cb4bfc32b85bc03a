//! Covers: T221. The full form, as `qbindctl steps run T221` runs it.

#[test]
fn votes_depend_on_certified_batches() {
    let result = qbind_steps::t221::run(&qbind_steps::Options::default());
    println!("{}", serde_json::to_string_pretty(&result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}
