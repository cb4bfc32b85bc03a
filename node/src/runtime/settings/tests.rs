//! What the configuration says is what the ledger is told.

use super::*;
use serde_json::{Value, json};

fn genesis(monetary: Option<Value>) -> Genesis {
    let address = format!("0x{}", "01".repeat(32));
    let key = "05".repeat(1_312);
    let mut file = json!({
        "chain_id": "test",
        "network": "testnet",
        "genesis_time_unix_ms": 1_700_000_000_000u64,
        "allocations": [{"address": address, "amount": "1000"}],
        "validators": [{"id": 1, "address": address, "pqc_public_key": key, "stake": "10"}],
    });
    if let Some(monetary) = monetary {
        file["monetary"] = monetary;
    }
    Genesis::parse(file.to_string().as_bytes()).unwrap()
}

fn config(mode: &str) -> NodeConfig {
    let mut config = qbind_profile::Profile::Mainnet.preset();
    config.set("monetary_mode", mode).unwrap();
    config
}

#[test]
fn the_monetary_mode_accounts_and_shares_reach_the_ledger() {
    let mode = |config: &NodeConfig| params(config, &genesis(None)).map(|p| p.monetary.mode);
    assert_eq!(mode(&config("off")).unwrap(), Mode::Off);
    assert_eq!(mode(&config("shadow")).unwrap(), Mode::Shadow);
    let mut active = config("active");
    let refused = mode(&active).unwrap_err();
    assert!(format!("{refused:?}").contains("monetary_accounts has 0 entries"), "{refused:?}");
    let accounts: Vec<String> = (1..=4).map(|n| format!("0x{n:064x}")).collect();
    active.set("monetary_accounts", &accounts.join(",")).unwrap();
    let Mode::Active(payout) = mode(&active).unwrap() else { panic!("it is active") };
    assert_eq!(payout.split_bps(), &[8_200, 1_200, 400, 200]);
    assert_eq!(payout.accounts()[3].0[31], 4);
    active.set("monetary_split_bps", "8200,1200,400,199").unwrap();
    assert!(mode(&active).is_err());
}

#[test]
fn figures_of_genesis_take_the_place_of_the_built_in_ones() {
    let figures = |genesis| params(&config("shadow"), &genesis).unwrap().monetary.figures;
    assert_eq!(figures(genesis(None)), qbind_ledger::Monetary::default());
    let mut own = qbind_ledger::Monetary::default();
    own.mature.r_target_annual_bps = 250;
    let file = serde_json::to_value(&own).unwrap();
    assert_eq!(figures(genesis(Some(file))), own);
}
