use super::address;
use crate::{Genesis, GenesisError, Ledger, Monetary, Params, genesis_hash};
use alloc::{
    format,
    string::{String, ToString},
};
use qbind_types::Network;
use serde_json::{Value, json};

fn mainnet() -> Value {
    let key = |n: u8| hex::encode([n; 1312]);
    json!({
        "chain_id": "qbind-mainnet-v0",
        "network": "mainnet",
        "genesis_time_unix_ms": 1_700_000_000_000u64,
        "allocations": [
            {"address": address(1).to_string(), "amount": "1000"},
            {"address": address(2).to_string(), "amount": "2000", "memo": "treasury",
             "lockup_until_unix_ms": 1_800_000_000_000u64},
        ],
        "validators": [
            {"id": 9, "address": address(1).to_string(), "pqc_public_key": key(1), "stake": "10"},
            {"id": 4, "address": address(2).to_string(), "pqc_public_key": key(2), "stake": "20",
             "name": "two"},
        ],
        "council": {"members": ["a", "b", "c", "d", "e", "f", "g"], "threshold": 5},
    })
}

fn parse(value: &Value) -> Result<Genesis, GenesisError> {
    Genesis::parse(value.to_string().as_bytes())
}

/// Changes the value at a JSON pointer and expects an error that names `key`.
#[track_caller]
fn refused(pointer: &str, value: Value, key: &str) {
    let mut genesis = mainnet();
    *genesis.pointer_mut(pointer).expect("a pointer into the sample") = value;
    match parse(&genesis) {
        Err(GenesisError::Rule { key: got, .. }) => assert_eq!(got, key),
        other => panic!("expected a broken rule of {key}, got {other:?}"),
    }
}

#[test]
fn a_sound_file_is_read_whole() {
    let genesis = parse(&mainnet()).expect("sound");
    assert_eq!(genesis.network, Network::Mainnet);
    assert_eq!(genesis.supply(), 3_000);
    let set = genesis.validator_set();
    assert_eq!((set.count(), set.total_power().0), (2, 30));
    // Indices follow ids, not the order of the file.
    assert_eq!(set.members()[0].id, 4);
    assert_eq!(set.members()[0].address, address(2));
    let ledger = Ledger::from_genesis(&genesis, Params::mainnet());
    assert_eq!((ledger.supply(), ledger.height().0), (3_000, 0));
    // What is written reads back as the same.
    let written = serde_json::to_vec(&genesis).expect("plain data");
    assert_eq!(Genesis::parse(&written), Ok(genesis));
}

#[test]
fn every_broken_rule_names_its_key() {
    let one = address(1).to_string();
    refused("/chain_id", json!(""), "chain_id");
    refused("/genesis_time_unix_ms", json!(0), "genesis_time_unix_ms");
    refused("/allocations", json!([]), "allocations");
    refused("/allocations/1/address", json!(one), "allocations[1].address");
    refused("/allocations/0/address", json!(""), "allocations[0].address");
    refused("/allocations/0/amount", json!("0"), "allocations[0].amount");
    refused("/allocations/0/amount", json!("+5"), "allocations[0].amount");
    refused("/allocations/0/amount", json!("05"), "allocations[0].amount");
    refused("/allocations/0/amount", json!("1.5"), "allocations[0].amount");
    refused("/allocations/1/amount", json!(u128::MAX.to_string()), "allocations[1].amount");
    refused(
        "/allocations/1/lockup_until_unix_ms",
        json!(1_700_000_000_000u64),
        "allocations[1].lockup_until_unix_ms",
    );
    refused("/validators", json!([]), "validators");
    refused("/validators/1/id", json!(9), "validators[1].id");
    refused("/validators/1/address", json!(one), "validators[1].address");
    refused("/validators/0/pqc_public_key", json!("abcd"), "validators[0].pqc_public_key");
    let first = hex::encode([1; 1312]);
    refused("/validators/1/pqc_public_key", json!(first), "validators[1].pqc_public_key");
    refused("/validators/0/stake", json!("0"), "validators[0].stake");
    refused("/validators/0/stake", json!("1001"), "validators[0].stake");
    refused("/validators/0/stake", json!((1u128 << 64).to_string()), "validators[0].stake");
    refused("/council", Value::Null, "council");
    refused("/council/threshold", json!(0), "council.threshold");
    refused("/council/threshold", json!(8), "council.threshold");
    refused("/council/threshold", json!(4), "council.threshold");
    refused("/council/members/6", json!("a"), "council.members[6]");
    refused("/council/members/6", json!(""), "council.members[6]");
    refused("/council/members", json!(["a", "b", "c", "d", "e"]), "council.members");
}

#[test]
fn texts_for_people_are_kept_and_bounded() {
    let mut genesis = mainnet();
    genesis["validators"][0]["metadata"] = json!({"site": "https://nine.example", "city": "Oslo"});
    genesis["extra"] = json!({"ceremony": {"date": "2026-02-07", "witnesses": 3}});
    let sound = parse(&genesis).expect("sound");
    let nine = sound.validators.iter().find(|v| v.id == 9).expect("it is there");
    assert_eq!(nine.metadata["city"], "Oslo");
    assert_eq!(sound.extra["ceremony"]["witnesses"], 3);
    let written = serde_json::to_vec(&sound).expect("plain data");
    assert_eq!(Genesis::parse(&written), Ok(sound));
    let long = "x".repeat(257);
    let many: serde_json::Map<String, Value> =
        (0..17).map(|n| (n.to_string(), json!(""))).collect();
    let refused = |path: [&str; 3], value: Value, key: &str| {
        let mut genesis = genesis.clone();
        let place = &mut genesis[path[0]];
        let place = match path[1].parse::<usize>() {
            Ok(at) => &mut place[at],
            Err(_) => place,
        };
        place[path[2]] = value;
        let Err(GenesisError::Rule { key: got, .. }) = parse(&genesis) else { panic!("{key}") };
        assert_eq!(got, key);
    };
    refused(["allocations", "1", "memo"], json!(long), "allocations[1].memo");
    refused(["validators", "1", "name"], json!(long), "validators[1].name");
    refused(["validators", "0", "metadata"], Value::Object(many), "validators[0].metadata");
    refused(["validators", "0", "metadata"], json!({"site": long}), "validators[0].metadata.site");
    refused(["validators", "0", "metadata"], json!({&*long: ""}), "validators[0].metadata");
    refused(["extra", "", "more"], json!("x".repeat(64 * 1024)), "extra");
    // A key twice is a mistake somebody should know of.
    for (once, twice) in [
        ("\"city\":\"Oslo\"", "\"city\":\"Oslo\",\"city\":\"Bergen\""),
        ("\"extra\":{", "\"extra\":{\"ceremony\":1,"),
    ] {
        let text = genesis.to_string();
        assert!(text.contains(once), "{text}");
        let error = Genesis::parse(text.replacen(once, twice, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("duplicate field"), "{error}");
    }
    let shape = genesis.to_string().replacen("\"Oslo\"", "7", 1);
    assert!(matches!(Genesis::parse(shape.as_bytes()), Err(GenesisError::Shape { .. })));
}

#[test]
fn stakes_that_overflow_together_are_refused() {
    let mut genesis = mainnet();
    let (most, rich) = (json!(u64::MAX.to_string()), json!((1u128 << 100).to_string()));
    for i in 0..2 {
        genesis["allocations"][i]["amount"] = rich.clone();
        genesis["validators"][i]["stake"] = most.clone();
    }
    let Err(GenesisError::Rule { key, .. }) = parse(&genesis) else { panic!("accepted") };
    assert_eq!(key, "validators[1].stake");
}

#[test]
fn monetary_figures_are_checked() {
    let phase = json!({"r_target_annual_bps": 500, "inflation_floor_annual_bps": 0,
        "max_annual_inflation_cap_bps": 1200, "ema_lambda_bps": 700,
        "max_delta_r_per_epoch_bps": 25});
    let mut genesis = mainnet();
    genesis["monetary"] = json!({"pqc_premium_compute_bps": 3000,
        "pqc_premium_bandwidth_bps": 1500, "pqc_premium_storage_bps": 1000,
        "alpha_fee_offset_bps": 10_000, "bootstrap": phase, "transition": phase, "mature": phase});
    assert!(parse(&genesis).expect("sound").monetary.is_some());
    genesis["monetary"]["mature"]["inflation_floor_annual_bps"] = json!(1300);
    let Err(GenesisError::Rule { key, .. }) = parse(&genesis) else { panic!("accepted") };
    assert_eq!(key, "monetary.mature.inflation_floor_annual_bps");
}

#[test]
fn unknown_and_missing_keys_are_refused_with_their_line() {
    let mut genesis = mainnet();
    genesis["allocations"][0]["lockup_until"] = json!(1);
    let text = serde_json::to_string_pretty(&genesis).expect("plain data");
    let Err(GenesisError::Shape { line, reason, .. }) = Genesis::parse(text.as_bytes()) else {
        panic!("accepted")
    };
    assert!(reason.contains("unknown field `lockup_until`"), "{reason}");
    assert!(!reason.contains(" at line "), "{reason}");
    let found: String = text.lines().nth(line - 1).expect("a line of the file").into();
    assert!(found.contains("lockup_until"), "{found}");
    let mut genesis = mainnet();
    genesis.as_object_mut().expect("an object").remove("validators");
    let error = parse(&genesis).expect_err("a key is missing");
    assert!(format!("{error}").contains("missing field `validators`"), "{error}");
}

#[test]
fn the_hash_is_of_the_bytes() {
    // FIPS 202: SHA3-256 of nothing.
    assert_eq!(
        genesis_hash(b"").to_string(),
        "0xa7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
    );
    assert_ne!(genesis_hash(b"{}"), genesis_hash(b"{} "));
}

#[test]
fn monetary_figures_stay_within_their_bounds() {
    let check = |pointer: &str, value: u32| {
        let mut genesis = mainnet();
        genesis["monetary"] = serde_json::to_value(Monetary::default()).expect("plain data");
        *genesis["monetary"].pointer_mut(pointer).expect("a figure") = json!(value);
        match parse(&genesis) {
            Ok(genesis) => genesis.monetary.map_or("none".to_string(), |_| "taken".to_string()),
            Err(GenesisError::Rule { key, .. }) => key,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(check("/bootstrap/r_target_annual_bps", 10_000), "taken");
    for (pointer, value, key) in [
        ("/bootstrap/r_target_annual_bps", 10_001, "monetary.bootstrap.r_target_annual_bps"),
        ("/pqc_premium_storage_bps", 10_001, "monetary.pqc_premium_storage_bps"),
        ("/mature/inflation_floor_annual_bps", 801, "monetary.mature.inflation_floor_annual_bps"),
        (
            "/transition/max_annual_inflation_cap_bps",
            10_001,
            "monetary.transition.max_annual_inflation_cap_bps",
        ),
        ("/mature/ema_lambda_bps", 0, "monetary.mature.ema_lambda_bps"),
    ] {
        assert_eq!(check(pointer, value), key);
    }
}
