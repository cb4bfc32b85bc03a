//! What differs between the networks.

use crate::{Locks, monetary::Policy};
use borsh::BorshSerialize;
use qbind_types::Offence;

/// Which transactions do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub enum Execution {
    /// A transaction uses up its nonce and moves nothing.
    NonceOnly,
    /// A transaction moves its amount.
    Transfers,
}

/// How a fee is divided between nobody and the proposer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub struct FeeSplit {
    proposer_bps: u16,
}

/// The two shares do not make a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("burn {burn_bps} and proposer {proposer_bps} basis points must add up to 10000")]
pub struct FeeSplitError {
    /// Share burned.
    pub burn_bps: u16,
    /// Share paid.
    pub proposer_bps: u16,
}

impl FeeSplit {
    /// Everything is burned.
    pub const BURN: Self = Self { proposer_bps: 0 };
    /// Half is burned, half goes to the proposer.
    pub const HALF: Self = Self { proposer_bps: 5_000 };

    /// Shares in basis points.
    ///
    /// # Errors
    /// The configuration's fault: the shares do not add up to 10,000.
    pub fn new(burn_bps: u16, proposer_bps: u16) -> Result<Self, FeeSplitError> {
        if u32::from(burn_bps) + u32::from(proposer_bps) != 10_000 {
            return Err(FeeSplitError { burn_bps, proposer_bps });
        }
        Ok(Self { proposer_bps })
    }

    /// The burned share in basis points.
    pub fn burn_bps(self) -> u16 {
        10_000 - self.proposer_bps
    }

    /// The proposer's share in basis points.
    pub fn proposer_bps(self) -> u16 {
        self.proposer_bps
    }

    /// The proposer's part of `fee`, rounded down; what is left of the fee is burned.
    pub fn proposer_part(self, fee: u128) -> u128 {
        let bps = u128::from(self.proposer_bps);
        // Divided first: `fee * bps` need not fit.
        fee / 10_000 * bps + fee % 10_000 * bps / 10_000
    }
}

/// The rules of one network. All its nodes must agree on every field but `stage_b`, which changes
/// speed only.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct Params {
    /// Which transactions do what.
    pub execution: Execution,
    /// On: v1 payloads, fees and the block gas limit. Off: v0 payloads only, everything is free
    /// and gas is metered for information.
    pub gas_enabled: bool,
    /// The least price of one unit of gas where gas is on. Above zero it excludes v0 payloads,
    /// whose price is zero.
    pub min_fee_per_gas: u128,
    /// Most gas the transactions of one block may use where gas is on.
    pub block_gas_limit: u64,
    /// Who gets the fees.
    pub fee_split: FeeSplit,
    /// Run transactions that do not conflict in parallel.
    #[borsh(skip)]
    pub stage_b: bool,
    /// What genesis locks.
    pub locks: Locks,
    /// What follows from proven misbehaviour.
    pub slashing: SlashingParams,
    /// What becomes of the supply.
    pub monetary: Policy,
}

impl Params {
    /// Binds every rule that decides about the state: nodes with another digest would soon disagree.
    pub fn digest(&self) -> [u8; 32] {
        let rules = borsh::to_vec(self).expect("writing to memory cannot fail");
        qbind_crypto::sha3_256(&[b"QBIND:RULES:v1", &rules])
    }

    /// DevNet: nonces only, free.
    pub fn devnet() -> Self {
        Self {
            execution: Execution::NonceOnly,
            gas_enabled: false,
            min_fee_per_gas: 1,
            block_gas_limit: 30_000_000,
            fee_split: FeeSplit::BURN,
            stage_b: false,
            locks: Locks::default(),
            slashing: SlashingParams::record_only(),
            monetary: Policy::default(),
        }
    }

    /// TestNet Alpha: free transfers.
    pub fn testnet_alpha() -> Self {
        Self { execution: Execution::Transfers, monetary: Policy::shadow(), ..Self::devnet() }
    }

    /// TestNet Beta: transfers with gas; fees are burned.
    pub fn testnet_beta() -> Self {
        Self { gas_enabled: true, ..Self::testnet_alpha() }
    }

    /// MainNet: transfers with gas, fees shared with the proposer, Stage B.
    pub fn mainnet() -> Self {
        Self { fee_split: FeeSplit::HALF, stage_b: true, ..Self::testnet_beta() }
    }
}

/// What follows from proven misbehaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize)]
pub enum SlashingMode {
    /// Reports are refused.
    Off,
    /// Offences are recorded; stake and jail stay as they are.
    RecordOnly,
    /// Double signs and invalid proposals cost stake and lead to jail; the rest is recorded.
    EnforceCritical,
    /// Every offence costs stake.
    EnforceAll,
}

impl SlashingMode {
    /// Whether an offence costs anything.
    pub fn enforces(self, offence: Offence) -> bool {
        match self {
            Self::Off | Self::RecordOnly => false,
            Self::EnforceCritical => {
                matches!(offence, Offence::O1DoubleSign | Offence::O2InvalidProposal)
            }
            Self::EnforceAll => true,
        }
    }
}

/// What one offence costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub struct SlashingRule {
    /// Of the stake in the epoch of the offence, in basis points.
    pub bps: u64,
    /// Epochs in jail.
    pub jail_epochs: u64,
}

/// What offences cost.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct SlashingParams {
    /// What follows at all.
    pub mode: SlashingMode,
    /// In the order of [`Offence::ALL`].
    pub rules: [SlashingRule; 6],
    /// So many lazy votes make a repeated offence …
    pub lazy_votes: u64,
    /// … within so many views; a view makes at most one block.
    pub lazy_window: u64,
}

impl SlashingParams {
    /// Offences are recorded and no more; the penalties are those of the modes that enforce.
    pub fn record_only() -> Self {
        let rule = |bps, jail_epochs| SlashingRule { bps, jail_epochs };
        Self {
            mode: SlashingMode::RecordOnly,
            rules: [
                rule(750, 10),
                rule(500, 5),
                rule(25, 0),
                rule(200, 2),
                rule(750, 5),
                rule(300, 3),
            ],
            lazy_votes: 3,
            lazy_window: 1_000,
        }
    }

    /// What an offence costs.
    pub fn rule(&self, offence: Offence) -> SlashingRule {
        let at = Offence::ALL.iter().position(|o| *o == offence);
        self.rules[at.expect("it lists every offence")]
    }
}
