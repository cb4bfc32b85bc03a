//! Covers: T238. The full form, as `qbindctl steps run T238` runs it.

#[test]
fn consensus_holds_across_regions() {
    let result = qbind_steps::t238::run(&qbind_steps::Options::default());
    println!("{}", serde_json::to_string_pretty(&result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}
