//! The three networks and the tags that keep their signatures apart.

use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Which chain a signature, block or genesis belongs to.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Developers' networks.
    Devnet,
    /// Public test networks.
    Testnet,
    /// The main network.
    Mainnet,
}

impl Network {
    /// The 64-bit chain id: `QBND` and three letters.
    pub fn chain_id(self) -> u64 {
        match self {
            Self::Devnet => 0x5142_4E44_4445_5600,
            Self::Testnet => 0x5142_4E44_5453_5400,
            Self::Mainnet => 0x5142_4E44_4D41_494E,
        }
    }

    /// The three or four letters inside every domain tag.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Devnet => "DEV",
            Self::Testnet => "TST",
            Self::Mainnet => "MAIN",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Devnet => "devnet",
            Self::Testnet => "testnet",
            Self::Mainnet => "mainnet",
        })
    }
}

impl FromStr for Network {
    type Err = UnknownNetwork;
    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        match text {
            "devnet" => Ok(Self::Devnet),
            "testnet" => Ok(Self::Testnet),
            "mainnet" => Ok(Self::Mainnet),
            _ => Err(UnknownNetwork),
        }
    }
}

/// The text names none of the three networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownNetwork;

impl fmt::Display for UnknownNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected devnet, testnet or mainnet")
    }
}

impl core::error::Error for UnknownNetwork {}
