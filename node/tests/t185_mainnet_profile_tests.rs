//! Covers: T185. The MainNet profile and its invariants, one claim per test.

use qbind_profile::{
    Invariant, Profile, Setting, Source, check_all, resolve, validate_mainnet_invariants,
};
use qbind_steps::t185;

/// Asserts one scenario of the step, with every failed check in the message.
fn scenario(name: &str) {
    let result = t185::run(0);
    let scenario = result.scenarios.iter().find(|s| s.name == name).expect("such a scenario");
    let failed: Vec<_> = scenario.checks.iter().filter(|c| !c.ok).collect();
    assert!(scenario.verdict.is_pass(), "{failed:#?}");
}

/// Breaks one rule in every way the step knows and expects exactly its error.
fn refused(invariant: Invariant) {
    let breaches: Vec<_> = t185::RUNBOOK
        .iter()
        .chain(t185::BEYOND_RUNBOOK)
        .filter(|b| b.invariant == invariant)
        .collect();
    assert!(!breaches.is_empty(), "{invariant} is never broken");
    for breach in breaches {
        let config = breach.config();
        let found: Vec<Invariant> = check_all(&config).iter().map(|e| e.invariant).collect();
        assert_eq!(found, [invariant], "{:?}", breach.settings);
        let error = validate_mainnet_invariants(&config).expect_err("refused at start");
        assert_eq!(error.invariant, invariant);
        let text = error.to_string();
        assert!(text.starts_with(invariant.name()), "{text}");
        assert!(text.contains(error.key) && text.contains("MainNet demands"), "{text}");
    }
}

macro_rules! refused {
    ($($test:ident: $invariant:ident,)+) => {
        $(#[test] fn $test() { refused(Invariant::$invariant); })+

        #[test]
        fn every_invariant_has_a_test_here() {
            let tested = [$(Invariant::$invariant,)+];
            assert_eq!(tested, Invariant::ALL);
        }
    };
}

refused! {
    other_networks_are_refused: WrongEnvironment,
    disabled_gas_is_refused: GasDisabled,
    disabled_fee_priority_is_refused: FeePriorityDisabled,
    fifo_mempool_is_refused: WrongMempoolMode,
    disabled_availability_is_refused: DagAvailabilityDisabled,
    coupling_below_enforce_is_refused: DagCouplingNotEnforced,
    local_mesh_is_refused: WrongNetworkMode,
    disabled_p2p_is_refused: P2pDisabled,
    disabled_discovery_is_refused: DiscoveryDisabled,
    fewer_than_eight_wanted_peers_are_refused: InsufficientTargetOutboundPeers,
    diversity_below_enforce_is_refused: DiversityNotEnforced,
    senseless_diversity_limits_are_refused: InvalidDiversityParameters,
    missing_data_dir_is_refused: MissingDataDir,
    other_fee_shares_are_refused: WrongFeeDistributionPolicy,
    monetary_mode_off_is_refused: MonetaryModeOff,
    active_issuance_without_accounts_is_refused: MonetaryAccountsMissing,
    issuance_shares_that_are_not_the_whole_are_refused: SeigniorageSplitInvalid,
    repeated_and_zero_issuance_accounts_are_refused: MonetaryAccountsInvalid,
    archival_validators_are_refused: StateRetentionDisabled,
    short_retention_is_refused: StateRetentionInvalid,
    loopback_signer_is_refused: SignerModeLoopbackForbidden,
    encrypted_keystore_without_folder_is_refused: SignerKeystorePathMissing,
    remote_signer_without_address_is_refused: RemoteSignerUrlMissing,
    hsm_without_file_is_refused: HsmConfigPathMissing,
    going_on_without_signer_is_refused: SignerFailureModeInvalid,
    disabled_snapshots_are_refused: SnapshotsDisabled,
    snapshots_too_often_are_refused: SnapshotIntervalTooLow,
    snapshots_too_seldom_are_refused: SnapshotIntervalTooHigh,
    snapshots_without_folder_are_refused: SnapshotDirMissing,
    missing_mempool_limits_are_refused: MempoolDosMisconfigured,
    unlimited_evictions_are_refused: MempoolEvictionMisconfigured,
    too_few_remembered_peers_are_refused: P2pDiscoveryMisconfigured,
    missing_heartbeats_are_refused: P2pLivenessMisconfigured,
    weak_anti_eclipse_rules_are_refused: P2pAntiEclipseMisconfigured,
    slashing_out_of_bounds_is_refused: SlashingMisconfigured,
    missing_genesis_file_is_refused: GenesisMisconfigured,
    missing_genesis_hash_is_refused: ExpectedGenesisHashMissing,
}

#[test]
fn the_preset_sets_the_published_defaults() {
    scenario("mainnet_preset_sets_the_published_defaults");
}

#[test]
fn profiles_are_found_by_any_spelling() {
    scenario("profiles_are_found_by_any_spelling");
}

#[test]
fn a_complete_configuration_is_accepted() {
    scenario("complete_mainnet_configuration_is_accepted");
}

#[test]
fn the_fourteen_rules_of_the_runbook_are_refused_by_name() {
    scenario("each_runbook_invariant_is_refused_by_name");
    let mut rules: Vec<Invariant> = t185::RUNBOOK.iter().map(|b| b.invariant).collect();
    rules.dedup();
    // The runbook's last rule has two bounds and an error for each.
    assert_eq!(rules.len(), 15);
}

#[test]
fn the_further_rules_are_refused_by_name() {
    scenario("each_further_invariant_is_refused_by_name");
}

#[test]
fn values_on_the_allowed_side_of_each_bound_are_accepted() {
    scenario("values_on_the_allowed_side_are_accepted");
}

#[test]
fn the_first_broken_rule_is_reported() {
    scenario("the_first_broken_rule_is_the_one_reported");
}

#[test]
fn flags_beat_environment_beats_file_beats_profile() {
    scenario("flag_beats_environment_beats_file_beats_profile");
}

#[test]
fn a_flag_cannot_weaken_mainnet() {
    let flag = |key: &str, text: &str| Setting {
        source: Source::Flag,
        place: format!("--{key}"),
        key: key.into(),
        text: text.into(),
    };
    let settings = [flag("profile", "MAINNET-V0"), flag("dag_coupling_mode", "warn")];
    let error = resolve(&settings).expect("known keys").validate().expect_err("refused");
    assert!(error.to_string().starts_with("DagCouplingNotEnforced"), "{error}");
}

#[test]
fn other_profiles_are_not_mainnet() {
    for profile in [Profile::Devnet, Profile::TestnetAlpha, Profile::TestnetBeta] {
        let error = validate_mainnet_invariants(&profile.preset()).expect_err("not MainNet");
        assert_eq!(error.invariant, Invariant::WrongEnvironment, "{profile}");
    }
}

#[test]
fn the_step_passes_and_says_how_to_run_it_again() {
    let result = t185::run(42);
    assert!(result.verdict.is_pass(), "{:#?}", result.failures().collect::<Vec<_>>());
    assert_eq!((&*result.id, &*result.replay), ("T185", "qbindctl steps run T185"));
}
