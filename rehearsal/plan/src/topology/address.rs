use super::Topology;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};
use thiserror::Error;

/// First second octet of node addresses: node `i` (from 0) is `10.(11 + i).0.1`.
const FIRST_SLASH_16: u8 = 11;
/// Second octet of regions' own addresses: region `r` (from 0) is `10.254.r.1`.
const REGION_SLASH_16: u8 = 254;
/// Autonomous systems nodes are spread over by default, in turn.
const DEFAULT_ASN_COUNT: u32 = 5;
/// The first of them; private use (RFC 6996).
const FIRST_ASN: u32 = 64_512;
/// Stake of a validator unless overridden.
const DEFAULT_STAKE: u64 = 1_000_000;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Votes.
    Validator,
    /// Follows the chain and answers requests.
    Rpc,
}

impl NodeRole {
    /// As in `node.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Rpc => "rpc",
        }
    }
}

/// One node with everything the topology decides about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodePlacement {
    /// `<region>-v1`, `<region>-rpc1`.
    pub name: String,
    /// Region id.
    pub region: String,
    /// What it is for.
    pub role: NodeRole,
    /// Numbered from 1 over all regions, in their order.
    pub validator_id: Option<u64>,
    /// Its own address, in a /16 of its own unless overridden.
    pub address: Ipv4Addr,
    /// Origin of that address.
    pub asn: u32,
    /// Voting power, for validators.
    pub stake: Option<u64>,
}

/// An IPv4 prefix; bits outside the mask are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    network: u32,
    length: u8,
}

/// Text is no IPv4 prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{text}\" is no IPv4 prefix such as 10.11.0.0/16 ({reason})")]
pub struct PrefixError {
    /// What was read.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Addresses of a prefix come from this autonomous system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsnEntry {
    /// The addresses.
    pub prefix: Prefix,
    /// Their origin.
    pub asn: u32,
}

impl Prefix {
    /// The prefix of this length around an address.
    ///
    /// # Panics
    /// If `length` is above 32: our fault.
    pub fn of(address: Ipv4Addr, length: u8) -> Self {
        assert!(length <= 32, "an IPv4 prefix has at most 32 bits");
        Self { network: address.to_bits() & mask(length), length }
    }

    /// Whether an address lies inside.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.length) == self.network
    }

    /// Bits that are fixed.
    pub fn length(&self) -> u8 {
        self.length
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.network), self.length)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let fail = |reason| PrefixError { text: text.to_owned(), reason };
        let (address, length) = text.split_once('/').ok_or(fail("no /"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| fail("the address does not parse"))?;
        let length: u8 = length.parse().map_err(|_| fail("the length does not parse"))?;
        if length > 32 {
            return Err(fail("the length is above 32"));
        }
        let prefix = Self::of(address, length);
        if prefix.network != address.to_bits() {
            return Err(fail("bits are set beyond the length"));
        }
        Ok(prefix)
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Topology {
    /// Every node: regions in file order, in each the validators before the RPC nodes.
    pub fn placements(&self) -> Vec<NodePlacement> {
        let table = self.asn_table();
        let mut placements = self.nodes_by_name();
        for placement in &mut placements {
            placement.asn = lookup(&table, placement.address).unwrap_or(placement.asn);
        }
        placements
    }

    /// Prefix to origin for every node address, longest prefix first.
    ///
    /// The file's entries, a /16 with one of 5 private numbers in turn for each node outside
    /// all of them, and a /32 for each node whose `asn` is overridden.
    pub fn asn_table(&self) -> Vec<AsnEntry> {
        let mut table = self.asn.clone();
        for (i, node) in self.nodes_by_name().iter().enumerate() {
            let own = self.nodes.iter().find(|n| n.name == node.name).and_then(|n| n.asn);
            if let Some(asn) = own {
                table.push(AsnEntry { prefix: Prefix::of(node.address, 32), asn });
            } else if lookup(&table, node.address).is_none() {
                let turn = u32::try_from(i).expect("at most 200 nodes") % DEFAULT_ASN_COUNT;
                let prefix = Prefix::of(node.address, 16);
                table.push(AsnEntry { prefix, asn: FIRST_ASN + turn });
            }
        }
        table.sort_by_key(|e| (std::cmp::Reverse(e.prefix.length), e.prefix));
        table
    }

    /// A region's own address, for probes and for sockets bound to none.
    ///
    /// # Panics
    /// If there is no such region: our fault, ids are checked when the file is read.
    pub fn region_address(&self, id: &str) -> Ipv4Addr {
        let at = self.regions.iter().position(|r| r.id == id).expect("region ids are checked");
        Ipv4Addr::new(10, REGION_SLASH_16, u8::try_from(at).expect("at most 32 regions"), 1)
    }

    /// Ids by region and number in it, dealt out to the regions in turn: validators lead in the order
    /// of their ids, so a region that is cut off costs single views and not several in a row.
    fn validator_ids(&self) -> BTreeMap<(&str, u32), u64> {
        let most = self.regions.iter().map(|r| r.validators).max().unwrap_or(0);
        let in_turn = (1..=most).flat_map(|n| {
            self.regions.iter().filter(move |r| n <= r.validators).map(move |r| (r.id.as_str(), n))
        });
        in_turn.zip(1u64..).collect()
    }

    /// Placements without looking at the ASN table.
    pub(super) fn nodes_by_name(&self) -> Vec<NodePlacement> {
        let mut nodes: Vec<NodePlacement> = Vec::new();
        let ids = self.validator_ids();
        for region in &self.regions {
            let roles = (1..=region.validators)
                .map(|n| (NodeRole::Validator, n))
                .chain((1..=region.rpc).map(|n| (NodeRole::Rpc, n)));
            for (role, n) in roles {
                let is_validator = role == NodeRole::Validator;
                let name = match role {
                    NodeRole::Validator => format!("{}-v{n}", region.id),
                    NodeRole::Rpc => format!("{}-rpc{n}", region.id),
                };
                let own = self.nodes.iter().find(|o| o.name == name);
                // Saturating: a count beyond the limit is reported by the validation, not here.
                let i = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
                let derived = Ipv4Addr::new(10, FIRST_SLASH_16.saturating_add(i), 0, 1);
                nodes.push(NodePlacement {
                    name,
                    region: region.id.clone(),
                    role,
                    validator_id: ids
                        .get(&(region.id.as_str(), n))
                        .copied()
                        .filter(|_| is_validator),
                    address: own.and_then(|o| o.address).unwrap_or(derived),
                    asn: 0,
                    stake: is_validator.then(|| own.and_then(|o| o.stake).unwrap_or(DEFAULT_STAKE)),
                });
            }
        }
        nodes
    }
}

/// The origin of the longest prefix that holds the address.
fn lookup(table: &[AsnEntry], address: Ipv4Addr) -> Option<u32> {
    let holding = table.iter().filter(|e| e.prefix.contains(address));
    holding.max_by_key(|e| e.prefix.length()).map(|e| e.asn)
}
