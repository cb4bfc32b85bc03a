//! What is minted, and for whom.

use super::{BPS, MACHINERY, Machinery, Payout, wide};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Address, ValidatorInfo};

/// A purpose of issuance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Who validates.
    Validators,
    /// The treasury.
    Treasury,
    /// The insurance fund.
    Insurance,
    /// The community fund.
    Community,
}

impl Bucket {
    /// In the order of accounts and shares.
    pub const ALL: [Self; 4] = [Self::Validators, Self::Treasury, Self::Insurance, Self::Community];
}

/// Money that is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// By purpose, in the order of [`Bucket::ALL`].
    pub buckets: [u128; 4],
    /// By account; the sum is that of the buckets.
    pub credits: Vec<(Address, u128)>,
}

impl Issued {
    /// All of it.
    pub fn total(&self) -> u128 {
        self.buckets.iter().sum()
    }
}

/// Divides an amount: among the purposes by their shares, and the validators' part among their owners by
/// stake. Shares are rounded down; what is left of the whole goes to the treasury, and what is left of
/// the validators' part to their pool, the first of the four accounts.
pub fn issue(payout: &Payout, amount: u128, validators: &[ValidatorInfo]) -> Issued {
    issue_with(payout, amount, validators, &MACHINERY)
}

pub(crate) fn issue_with(
    payout: &Payout,
    amount: u128,
    validators: &[ValidatorInfo],
    machinery: &Machinery,
) -> Issued {
    let buckets = (machinery.split)(amount, payout.split_bps());
    let stakes: Vec<u64> = validators.iter().map(|v| v.power.0).collect();
    let (shares, pool) = (machinery.pro_rata)(buckets[0], &stakes);
    let owners = validators.iter().map(|v| v.address).zip(shares);
    let purposes =
        payout.accounts().iter().copied().zip([pool, buckets[1], buckets[2], buckets[3]]);
    let mut credits = BTreeMap::new();
    for (account, amount) in owners.chain(purposes).filter(|(_, amount)| *amount > 0) {
        *credits.entry(account).or_insert(0) += amount;
    }
    Issued { buckets, credits: credits.into_iter().collect() }
}

/// Shares rounded down; the remainder is the treasury's.
pub(crate) fn split(amount: u128, split_bps: &[u16; 4]) -> [u128; 4] {
    let mut parts = split_bps.map(|share| part(amount, u64::from(share), u128::from(BPS)));
    let left = amount - parts.iter().sum::<u128>();
    parts[1] += left;
    parts
}

/// Shares by stake, rounded down, and what is left of the amount.
pub(crate) fn pro_rata(amount: u128, stakes: &[u64]) -> (Vec<u128>, u128) {
    let total: u128 = stakes.iter().map(|stake| u128::from(*stake)).sum();
    let shares: Vec<u128> = stakes.iter().map(|stake| part(amount, *stake, total.max(1))).collect();
    let left = amount - shares.iter().sum::<u128>();
    (shares, left)
}

/// `amount × share / whole`, rounded down; `share` is not above `whole`.
fn part(amount: u128, share: u64, whole: u128) -> u128 {
    (wide(amount) * wide(share) / wide(whole)).saturating_to()
}
