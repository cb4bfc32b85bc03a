//! One planted fault per rule; every rule has one.

use crate::*;
use alloc::{
    string::{String, ToString},
    vec::Vec,
};

fn accepted() -> NodeConfig {
    let mut config = Profile::Mainnet.preset();
    for (key, text) in [
        ("data_dir", "/data/qbind"),
        ("snapshot_dir", "/data/qbind/snapshots"),
        ("signer_keystore_path", "/data/qbind/keystore"),
        ("genesis_path", "/etc/qbind/genesis.json"),
        ("expect_genesis_hash", &"ab".repeat(32)),
        ("validator_id", "42"),
        ("bootstrap_peers", "b1.qbind.network:9000"),
    ] {
        config.set(key, text).unwrap();
    }
    config
}

fn setting(source: Source, key: &str, text: &str) -> Setting {
    Setting { source, place: key.to_string(), key: key.to_string(), text: text.to_string() }
}

#[test]
fn a_complete_mainnet_configuration_is_accepted_without_warnings() {
    assert_eq!(check_all(&accepted()), Vec::new());
    assert_eq!(validate_mainnet_invariants(&accepted()), Ok(Vec::new()));
    assert_eq!(check_ranges(&accepted()), Ok(()));
}

#[test]
fn errors_come_in_the_stated_order() {
    let mut config = Profile::Devnet.preset();
    for key in ["enable_dag_availability", "enable_p2p"] {
        config.set(key, "false").unwrap();
    }
    let found: Vec<Invariant> = check_all(&config).iter().map(|e| e.invariant).collect();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(found, sorted, "the enum's order is the order of the checks");
    assert_eq!(found[0], Invariant::WrongEnvironment);
    assert!(found.len() > 15, "{found:?}");
}

#[test]
fn an_error_says_key_value_demand_and_hint() {
    let mut config = accepted();
    config.snapshot_interval = 9_999;
    assert_eq!(
        validate_mainnet_invariants(&config).unwrap_err().to_string(),
        "SnapshotIntervalTooLow: snapshot_interval is 9999, but MainNet demands at least 10000 \
         blocks; pass --snapshot-interval 50000"
    );
}

#[test]
fn every_key_shows_what_it_was_set_to() {
    let mut config = accepted();
    for key in KEYS {
        let shown = config.get(key.name).unwrap();
        let text = match &shown {
            Value::Unset => continue,
            Value::List(items) => {
                items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        config.set(key.name, &text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.get(key.name).unwrap(), shown, "{}", key.name);
        assert!(!key.help.is_empty() && !key.expects.is_empty());
    }
    assert_eq!(config, accepted());
}

#[test]
fn presets_other_than_mainnet_pass_the_general_rules_once_paths_are_named() {
    for profile in Profile::ALL {
        let mut config = profile.preset();
        for key in ["data_dir", "genesis_path", "signer_keystore_path", "snapshot_dir"] {
            config.set(key, "/x").unwrap();
        }
        config.set("validator_id", "1").unwrap();
        assert_eq!(check_ranges(&config), Ok(()), "{profile}");
        assert_eq!(profile.as_str().parse::<Profile>(), Ok(*profile));
    }
}

#[test]
fn ranges_refuse_nonsense_on_any_network() {
    for (key, text) in [
        ("view_timeout_ms", "0"),
        ("view_timeout_cap_ms", "500"),
        ("empty_block_interval_ms", "1000"),
        ("batch_max_transactions", "10001"),
        ("p2p_max_outbound", "7"),
        ("fee_burn_bps", "4000"),
        ("env", "devnet"),
        ("execution_profile", "nonce-only"),
        ("max_snapshots", "0"),
    ] {
        let mut config = accepted();
        config.set(key, text).unwrap();
        let error = check_ranges(&config).unwrap_err();
        let related = ["fee_burn_bps"].contains(&key);
        assert!(error.key == key || related, "{key}: {error}");
    }
}

#[test]
fn stronger_sources_win_and_origins_say_who() {
    let settings = [
        setting(Source::Flag, "state_retain_height", "1"),
        setting(Source::File, "state_retain_height", "3"),
        setting(Source::Env, "state_retain_height", "2"),
        setting(Source::File, "name", "file"),
        setting(Source::Env, "http_addr", "127.0.0.1:1"),
        setting(Source::File, "http_addr", "127.0.0.1:2"),
    ];
    let resolved = resolve(&settings).unwrap();
    assert_eq!(resolved.config.state_retain_height, 1);
    assert_eq!(resolved.config.name, "file");
    assert_eq!(resolved.config.http_addr.port(), 1);
    let source = |key: &str| resolved.origin[key].source;
    assert_eq!(source("state_retain_height"), Source::Flag);
    assert_eq!(source("name"), Source::File);
    assert_eq!(source("http_addr"), Source::Env);
    assert_eq!(source("enable_gas"), Source::Profile);
    assert_eq!(resolved.origin.len(), KEYS.len());
}

#[test]
fn a_role_changes_what_it_must_and_says_so() {
    let of = |role: &str| {
        let role = setting(Source::Flag, "role", role);
        resolve(&[setting(Source::File, "profile", "mainnet"), role]).unwrap()
    };
    let changed = |role: &str| -> Vec<&str> {
        let (resolved, validator) = (of(role), Profile::Mainnet.preset());
        let differs = |key: &&Key| resolved.config.get(key.name) != validator.get(key.name);
        KEYS.iter().filter(differs).map(|key| key.name).collect()
    };
    assert_eq!(changed("validator"), [""; 0]);
    assert_eq!(changed("sentry"), ["role", "state_retain_height", "snapshots_enabled"]);
    assert_eq!(changed("rpc"), ["role", "enable_index"]);
    let sentry = of("sentry");
    assert_eq!(sentry.config.state_retain_height, 100_000);
    let origin = &sentry.origin["state_retain_height"];
    assert_eq!(origin.source, Source::Profile);
    assert_eq!(origin.place, "mainnet with role sentry");
    assert_eq!(sentry.origin["enable_gas"].place, "mainnet");
    // What is set wins, whatever the role; the strongest role counts.
    let settings = [
        setting(Source::Flag, "role", "rpc"),
        setting(Source::Env, "role", "sentry"),
        setting(Source::File, "enable_index", "false"),
    ];
    let resolved = resolve(&settings).unwrap();
    assert_eq!((resolved.config.role, resolved.config.enable_index), (Role::Rpc, false));
    assert_eq!(resolved.config.state_retain_height, Profile::Devnet.preset().state_retain_height);
}

#[test]
fn only_a_validator_needs_a_keystore_and_a_number_and_only_a_sentry_no_snapshots() {
    let missing = |role: &str, keys: &[&str]| -> Vec<String> {
        let mut config = accepted();
        config.set("role", role).unwrap();
        for key in keys {
            match *key {
                "signer_keystore_path" => config.signer_keystore_path = None,
                "validator_id" => config.validator_id = None,
                _ => config.snapshots_enabled = false,
            }
        }
        let rules = check_all(&config).into_iter().map(|e| e.invariant.to_string());
        rules.chain(check_ranges(&config).err().map(|e| e.key.to_string())).collect()
    };
    let all = ["signer_keystore_path", "validator_id", "snapshots_enabled"];
    let expected = ["SignerKeystorePathMissing", "SnapshotsDisabled", "validator_id"];
    assert_eq!(missing("validator", &all), expected);
    assert_eq!(missing("rpc", &all), ["SnapshotsDisabled"]);
    assert_eq!(missing("rpc", &all[..2]), [""; 0]);
    assert_eq!(missing("sentry", &all), [""; 0]);
}

#[test]
fn naming_only_the_network_chooses_its_profile_and_its_rules() {
    let resolved = resolve(&[setting(Source::Flag, "env", "MainNet")]).unwrap();
    assert_eq!(resolved.config, Profile::Mainnet.preset());
    assert!(matches!(resolved.validate(), Err(ConfigError::Invariant(_))));

    let disguised =
        [setting(Source::Flag, "profile", "devnet"), setting(Source::Flag, "env", "mainnet")];
    let error = resolve(&disguised).unwrap().validate().unwrap_err();
    assert!(error.to_string().starts_with("GasDisabled"), "{error}");
}

#[test]
fn a_weaker_source_with_a_bad_value_is_still_an_error() {
    let settings =
        [setting(Source::File, "enable_gas", "maybe"), setting(Source::Flag, "enable_gas", "true")];
    assert_eq!(
        resolve(&settings).unwrap_err().to_string(),
        "enable_gas: enable_gas is `maybe`; expected true | false"
    );
}

#[test]
fn unknown_keys_name_the_nearest_one() {
    let message =
        |key: &str| resolve(&[setting(Source::File, key, "1")]).unwrap_err().error.to_string();
    assert_eq!(message("validatorid"), "unknown key `validatorid`; did you mean `validator_id`?");
    assert!(message("zzz").contains("lists every key"));
    let long = "é".repeat(100_000);
    assert!(message(&long).contains("unknown key"));
}

#[test]
fn host_and_port_are_strict() {
    let parse = |text: &str| text.parse::<HostPort>().map(|h| h.to_string());
    assert_eq!(parse("a.example:9000"), Ok(String::from("a.example:9000")));
    assert_eq!(parse("[::1]:9000"), Ok(String::from("[::1]:9000")));
    for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:9000", "a b:1", "[a]:1", "a/b:1"] {
        assert_eq!(parse(bad), Err(knob::HostPortError), "{bad}");
    }
}
