//! The genesis file as JSON has it: shapes checked, rules not yet.

use super::{Council, Monetary};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Display;
use qbind_types::Network;
use serde::{Deserialize, Serializer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) chain_id: String,
    pub(super) network: Network,
    pub(super) genesis_time_unix_ms: u64,
    pub(super) epoch_blocks: Option<u64>,
    pub(super) allocations: Vec<FileAllocation>,
    pub(super) validators: Vec<FileValidator>,
    pub(super) council: Option<Council>,
    pub(super) monetary: Option<Monetary>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAllocation {
    pub(super) address: String,
    pub(super) amount: String,
    pub(super) memo: Option<String>,
    pub(super) lockup_until_unix_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileValidator {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) pqc_public_key: String,
    pub(super) stake: String,
    pub(super) name: Option<String>,
}

/// Amounts are decimal text: JSON readers that use floats would round large numbers.
pub(super) fn decimal<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

/// The parser's words without the position it appends, which we state first.
pub(super) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}
