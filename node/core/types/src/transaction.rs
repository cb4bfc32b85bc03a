//! Transfers.

use crate::{Address, PublicKey, REGISTRY, RegistryCall, Signature, limits};
use alloc::{boxed::Box, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// A signed transfer; the sender's address is the hash of the public key inside.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// Who pays; must equal the address of `public_key`.
    pub sender: Address,
    /// Transfers of this sender before this one.
    pub nonce: u64,
    /// 48 bytes (v0), 72 bytes (v1), or those of a v1 with a call behind them; see [`Payload`].
    pub payload: Vec<u8>,
    /// Signature suite; 100 is ML-DSA-44, the only one accepted.
    pub suite: u16,
    /// The sender's key.
    pub public_key: PublicKey,
    /// Over the transaction preimage (domain tag `TX`).
    pub signature: Signature,
}

/// A v0 transfer: no gas fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferV0 {
    /// Who receives.
    pub recipient: Address,
    /// How much, in the smallest unit.
    pub amount: u128,
}

/// A v1 transfer: with gas limit and fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferV1 {
    /// Who receives.
    pub recipient: Address,
    /// How much, in the smallest unit.
    pub amount: u128,
    /// Most gas the sender pays for.
    pub gas_limit: u64,
    /// Price of one unit of gas.
    pub max_fee_per_gas: u128,
}

/// What a transaction asks for; told apart by length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// 48 bytes: recipient, amount (big-endian).
    V0(TransferV0),
    /// 72 bytes: recipient, amount, gas limit, fee per gas (big-endian).
    V1(TransferV1),
    /// The 72 bytes of a transfer to [`REGISTRY`], then the call.
    Call(TransferV1, Box<RegistryCall>),
}

/// Payload bytes of no known length, or a call of no known form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadError {
    /// Bytes given.
    pub got: usize,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "payload of {} bytes, expected 48, 72, or 72 to the registry with a call behind them",
            self.got
        )
    }
}

impl core::error::Error for PayloadError {}

impl Payload {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        match self {
            Self::V0(t) => {
                out.extend_from_slice(&t.recipient.0);
                out.extend_from_slice(&t.amount.to_be_bytes());
            }
            Self::V1(t) | Self::Call(t, _) => {
                out.extend_from_slice(&t.recipient.0);
                out.extend_from_slice(&t.amount.to_be_bytes());
                out.extend_from_slice(&t.gas_limit.to_be_bytes());
                out.extend_from_slice(&t.max_fee_per_gas.to_be_bytes());
            }
        }
        if let Self::Call(_, call) = self {
            out.extend_from_slice(&crate::encode(&**call));
        }
        out
    }

    /// How long payload `bytes` may be: only a report may exceed [`limits::PAYLOAD_BYTES`].
    pub fn most_bytes(bytes: &[u8]) -> usize {
        let is_report = bytes.get(72) == Some(&RegistryCall::REPORT);
        if is_report { limits::REPORT_BYTES } else { limits::PAYLOAD_BYTES }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// The sender's fault: no transfer's length, and no call to the registry.
    pub fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let error = PayloadError { got: bytes.len() };
        let array = |from: usize| -> [u8; 16] {
            bytes[from..from + 16].try_into().expect("length checked")
        };
        if bytes.len() != 48 && !(72..=Self::most_bytes(bytes)).contains(&bytes.len()) {
            return Err(error);
        }
        let recipient = Address(bytes[..32].try_into().expect("length checked"));
        let amount = u128::from_be_bytes(array(32));
        if bytes.len() == 48 {
            return Ok(Self::V0(TransferV0 { recipient, amount }));
        }
        let gas_limit = u64::from_be_bytes(bytes[48..56].try_into().expect("length checked"));
        let max_fee_per_gas = u128::from_be_bytes(array(56));
        let transfer = TransferV1 { recipient, amount, gas_limit, max_fee_per_gas };
        if bytes.len() == 72 {
            return Ok(Self::V1(transfer));
        }
        if recipient != REGISTRY {
            return Err(error);
        }
        match crate::decode::<RegistryCall>(&bytes[72..]) {
            Ok(call) if call.is_short(bytes.len() - 72) => Ok(Self::Call(transfer, Box::new(call))),
            _ => Err(error),
        }
    }

    /// Who receives.
    pub fn recipient(&self) -> Address {
        match self {
            Self::V0(t) => t.recipient,
            Self::V1(t) | Self::Call(t, _) => t.recipient,
        }
    }

    /// How much.
    pub fn amount(&self) -> u128 {
        match self {
            Self::V0(t) => t.amount,
            Self::V1(t) | Self::Call(t, _) => t.amount,
        }
    }
}
