//! The rules a genesis keeps, each with the path of the key that breaks it.

use super::{
    Allocation, Council, Genesis, GenesisError, GenesisValidator, Monetary, MonetaryPhase, file,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use core::str::FromStr;
use qbind_types::{
    Address, Epoch, Millis, Network, PublicKey, REGISTRY, ValidatorInfo, ValidatorSet, VotingPower,
    limits,
};

/// MainNet's council: members and threshold.
const MAINNET_COUNCIL: (usize, u64) = (7, 5);
/// Most bytes of a name or a memo, and of a text in a validator's metadata.
const TEXT_BYTES: usize = 256;
/// Most texts in a validator's metadata.
const METADATA: usize = 16;
/// Most bytes of `extra`, written as JSON without spaces.
const EXTRA_BYTES: usize = 64 * 1024;
/// Blocks of an epoch where the file does not say: about ten minutes at four blocks a second.
const EPOCH_BLOCKS: u64 = 2_400;
/// Shorter ones would be all hand-over; longer ones could hardly rotate a key.
const EPOCH_BLOCKS_RANGE: core::ops::RangeInclusive<u64> = 8..=1_000_000;

pub(super) fn check(file: file::File) -> Result<Genesis, GenesisError> {
    if file.chain_id.is_empty() || file.chain_id.len() > 64 {
        return Err(rule("chain_id", "expected 1 to 64 characters"));
    }
    if file.genesis_time_unix_ms == 0 {
        return Err(rule("genesis_time_unix_ms", "expected a time after 1970"));
    }
    let epoch_blocks = file.epoch_blocks.unwrap_or(EPOCH_BLOCKS);
    if !EPOCH_BLOCKS_RANGE.contains(&epoch_blocks) {
        let (least, most) = (EPOCH_BLOCKS_RANGE.start(), EPOCH_BLOCKS_RANGE.end());
        return Err(rule("epoch_blocks", format!("{epoch_blocks}, expected {least} to {most}")));
    }
    let allocations = allocations(file.allocations, file.genesis_time_unix_ms)?;
    let validators = validators(file.validators, &allocations)?;
    if let Some(council) = &file.council {
        check_council(council)?;
    }
    if file.network == Network::Mainnet {
        check_mainnet_council(file.council.as_ref())?;
    }
    if let Some(monetary) = &file.monetary {
        check_monetary(monetary)?;
    }
    let extra = file.extra.0;
    let extra_bytes = serde_json::to_vec(&extra).map_or(usize::MAX, |json| json.len());
    if extra_bytes > EXTRA_BYTES {
        let reason = format!("{extra_bytes} bytes, expected at most {EXTRA_BYTES}");
        return Err(rule("extra", reason));
    }
    Ok(Genesis {
        chain_id: file.chain_id,
        network: file.network,
        epoch_blocks,
        genesis_time_unix_ms: Millis(file.genesis_time_unix_ms),
        allocations,
        validators,
        council: file.council,
        monetary: file.monetary,
        extra,
    })
}

fn rule(key: impl Into<String>, reason: impl Into<String>) -> GenesisError {
    GenesisError::Rule { key: key.into(), reason: reason.into() }
}

/// For people, so it must not be long.
fn short(key: String, text: Option<&String>) -> Result<(), GenesisError> {
    match text.map_or(0, String::len) {
        ..=TEXT_BYTES => Ok(()),
        bytes => Err(rule(key, format!("{bytes} bytes, expected at most {TEXT_BYTES}"))),
    }
}

fn allocations(
    list: Vec<file::FileAllocation>,
    genesis_time: u64,
) -> Result<Vec<Allocation>, GenesisError> {
    if list.is_empty() {
        return Err(rule("allocations", "expected at least one"));
    }
    let mut seen = BTreeSet::new();
    let mut total = 0u128;
    let mut out = Vec::with_capacity(list.len());
    for (i, entry) in list.into_iter().enumerate() {
        let key = |name| format!("allocations[{i}].{name}");
        let address: Address = hex(key("address"), &entry.address)?;
        let amount: u128 = positive(key("amount"), &entry.amount)?;
        short(key("memo"), entry.memo.as_ref())?;
        if address == REGISTRY {
            return Err(rule(
                key("address"),
                "is the validators' registry, which holds their stakes",
            ));
        }
        if !seen.insert(address) {
            return Err(rule(key("address"), format!("{address} has an allocation already")));
        }
        total = total
            .checked_add(amount)
            .ok_or_else(|| rule(key("amount"), "the sum of all amounts exceeds 2^128 - 1"))?;
        if let Some(until) = entry.lockup_until_unix_ms
            && until <= genesis_time
        {
            let reason = format!("{until} is not after genesis_time_unix_ms, {genesis_time}");
            return Err(rule(key("lockup_until_unix_ms"), reason));
        }
        let lockup_until_unix_ms = entry.lockup_until_unix_ms.map(Millis);
        out.push(Allocation { address, amount, memo: entry.memo, lockup_until_unix_ms });
    }
    Ok(out)
}

fn validators(
    list: Vec<file::FileValidator>,
    allocations: &[Allocation],
) -> Result<Vec<GenesisValidator>, GenesisError> {
    if list.is_empty() || list.len() > limits::VALIDATORS {
        let most = limits::VALIDATORS;
        return Err(rule("validators", format!("{} given, expected 1 to {most}", list.len())));
    }
    let funds: BTreeMap<Address, u128> =
        allocations.iter().map(|a| (a.address, a.amount)).collect();
    let (mut ids, mut addresses, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut total = 0u64;
    let mut out = Vec::with_capacity(list.len());
    for (i, entry) in list.into_iter().enumerate() {
        let key = |name| format!("validators[{i}].{name}");
        let address: Address = hex(key("address"), &entry.address)?;
        let public_key: PublicKey = hex(key("pqc_public_key"), &entry.pqc_public_key)?;
        let stake: u64 = positive(key("stake"), &entry.stake)?;
        short(key("name"), entry.name.as_ref())?;
        let metadata = entry.metadata.0;
        if metadata.len() > METADATA {
            let reason = format!("{} texts, expected at most {METADATA}", metadata.len());
            return Err(rule(key("metadata"), reason));
        }
        for (name, text) in &metadata {
            short(format!("validators[{i}].metadata"), Some(name))?;
            short(format!("validators[{i}].metadata.{name}"), Some(text))?;
        }
        if !ids.insert(entry.id) {
            return Err(rule(key("id"), format!("{} is taken", entry.id)));
        }
        if !addresses.insert(address) {
            return Err(rule(key("address"), "another validator has it"));
        }
        if !keys.insert(public_key.clone()) {
            return Err(rule(key("pqc_public_key"), "another validator has it"));
        }
        let funded = funds.get(&address).copied().unwrap_or(0);
        if u128::from(stake) > funded {
            return Err(rule(
                key("stake"),
                format!("{stake} exceeds the allocation of {address}, which is {funded}"),
            ));
        }
        total = total
            .checked_add(stake)
            .ok_or_else(|| rule(key("stake"), "the sum of all stakes exceeds 2^64 - 1"))?;
        out.push(GenesisValidator {
            id: entry.id,
            address,
            pqc_public_key: public_key,
            stake,
            name: entry.name,
            metadata,
        });
    }
    out.sort_by_key(|v| v.id);
    // What remains is the set's own judgement, so that `Genesis::validator_set` cannot fail.
    let members = out.iter().map(|v| ValidatorInfo {
        id: v.id,
        address: v.address,
        public_key: v.pqc_public_key.clone(),
        previous_key: None,
        power: VotingPower(v.stake),
    });
    ValidatorSet::new(Epoch(0), members.collect())
        .map_err(|error| rule("validators", format!("{error}")))?;
    Ok(out)
}

fn check_council(council: &Council) -> Result<(), GenesisError> {
    let mut seen = BTreeSet::new();
    for (i, member) in council.members.iter().enumerate() {
        let key = format!("council.members[{i}]");
        if member.is_empty() {
            return Err(rule(key, "expected a member, found nothing"));
        }
        if !seen.insert(member) {
            return Err(rule(key, "appears twice"));
        }
    }
    let count = u64::try_from(council.members.len()).expect("a file's list fits");
    if council.threshold == 0 || council.threshold > count {
        let got = council.threshold;
        return Err(rule("council.threshold", format!("{got}, expected 1 to {count} (members)")));
    }
    Ok(())
}

fn check_mainnet_council(council: Option<&Council>) -> Result<(), GenesisError> {
    let (members, threshold) = MAINNET_COUNCIL;
    let Some(council) = council else {
        return Err(rule("council", format!("mainnet needs {threshold} of {members}")));
    };
    if council.members.len() != members {
        let got = council.members.len();
        return Err(rule("council.members", format!("{got}, mainnet needs {members}")));
    }
    if council.threshold != threshold {
        let got = council.threshold;
        return Err(rule("council.threshold", format!("{got}, mainnet needs {threshold}")));
    }
    Ok(())
}

fn check_monetary(monetary: &Monetary) -> Result<(), GenesisError> {
    let phases = [
        ("bootstrap", &monetary.bootstrap),
        ("transition", &monetary.transition),
        ("mature", &monetary.mature),
    ];
    for (name, phase) in phases {
        check_phase(name, phase)?;
    }
    let premiums = [
        ("pqc_premium_compute_bps", monetary.pqc_premium_compute_bps),
        ("pqc_premium_bandwidth_bps", monetary.pqc_premium_bandwidth_bps),
        ("pqc_premium_storage_bps", monetary.pqc_premium_storage_bps),
    ];
    for (name, premium) in premiums {
        if premium > 10_000 {
            return Err(rule(format!("monetary.{name}"), "is above 10000 (100 %)"));
        }
    }
    Ok(())
}

fn check_phase(name: &str, phase: &MonetaryPhase) -> Result<(), GenesisError> {
    let key = |field| format!("monetary.{name}.{field}");
    if phase.r_target_annual_bps > 10_000 {
        return Err(rule(key("r_target_annual_bps"), "is above 10000 (100 %)"));
    }
    if phase.inflation_floor_annual_bps > phase.max_annual_inflation_cap_bps {
        return Err(rule(key("inflation_floor_annual_bps"), "is above the cap"));
    }
    if phase.max_annual_inflation_cap_bps > 10_000 {
        return Err(rule(key("max_annual_inflation_cap_bps"), "is above 10000 (100 %)"));
    }
    if phase.ema_lambda_bps == 0 || phase.ema_lambda_bps > 10_000 {
        return Err(rule(key("ema_lambda_bps"), "expected 1 to 10000"));
    }
    Ok(())
}

/// Hexadecimal text, with or without `0x`.
fn hex<T: FromStr<Err = qbind_types::ParseHexError>>(
    key: String,
    text: &str,
) -> Result<T, GenesisError> {
    text.parse().map_err(|error: qbind_types::ParseHexError| {
        let digits = text.strip_prefix("0x").unwrap_or(text).chars().count();
        rule(key, format!("{error}, found {digits} characters"))
    })
}

/// Decimal text above zero, written the one way: no sign, no leading zero.
fn positive<T: FromStr + Default + PartialEq>(key: String, text: &str) -> Result<T, GenesisError> {
    let canonical = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if !canonical {
        return Err(rule(key, format!("`{text}` is not a decimal number")));
    }
    match text.parse::<T>() {
        Err(_) => Err(rule(key, format!("{text} is too large"))),
        Ok(value) if value == T::default() => Err(rule(key, "must be above zero")),
        Ok(value) => Ok(value),
    }
}
