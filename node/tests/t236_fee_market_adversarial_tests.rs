//! Covers: T236. All profiles, as `qbindctl steps run T236` runs them.

#[test]
fn the_fee_market_withstands_every_profile() {
    let result = qbind_steps::t236::run(0, false);
    println!("{}", serde_json::to_string_pretty(&result).expect("plain data"));
    let failures: Vec<_> = result.failures().collect();
    assert!(result.verdict.is_pass(), "replay: {}\n{failures:#?}", result.replay);
}
