//! The genesis file as JSON has it: shapes checked, rules not yet.

use super::{Council, Monetary};
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt::{self, Display},
    marker::PhantomData,
};
use qbind_types::Network;
use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

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
    #[serde(default)]
    pub(super) extra: Object<Value>,
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
    #[serde(default)]
    pub(super) metadata: Object<String>,
}

/// An object of any keys; one that appears twice is refused, which a plain map would pass over.
pub(super) struct Object<V>(pub(super) BTreeMap<String, V>);

impl<V> Default for Object<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Object<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
            type Value = Object<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<V>, A::Error> {
                let mut object = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if object.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    let value = map.next_value()?;
                    object.insert(key, value);
                }
                Ok(Object(object))
            }
        }

        deserializer.deserialize_map(Reader(PhantomData))
    }
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
