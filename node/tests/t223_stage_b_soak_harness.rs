//! Covers: T223. The full soak, as `qbindctl steps run T223` runs it.

#[test]
fn stage_b_equals_serial_in_every_soak() {
    let result = qbind_steps::t223::run(&qbind_steps::Options::default());
    println!("{}", serde_json::to_string_pretty(&result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}
