//! How many peers may share a piece of the address space.

use std::{collections::BTreeMap, net::IpAddr};

/// What a broken rule leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiversityMode {
    /// Nothing is checked.
    Off,
    /// Counted, and let in.
    Warn,
    /// Refused.
    Enforce,
}

/// Bounds on peers that share a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiversityConfig {
    /// What a broken rule leads to.
    pub mode: DiversityMode,
    /// Most peers in one IPv4 /24.
    pub max_per_prefix24: usize,
    /// Most peers in one IPv4 /16.
    pub max_per_prefix16: usize,
    /// Most peers in one IPv6 /48.
    pub max_per_prefix48: usize,
    /// Fewest buckets once four or more peers are connected.
    pub min_buckets: usize,
    /// Largest share of one bucket, in hundredths of a percent, once four or more peers are
    /// connected.
    pub max_bucket_share_bps: u32,
}

impl Default for DiversityConfig {
    fn default() -> Self {
        Self {
            mode: DiversityMode::Enforce,
            max_per_prefix24: 2,
            max_per_prefix16: 8,
            max_per_prefix48: 4,
            min_buckets: 4,
            max_bucket_share_bps: 2500,
        }
    }
}

/// Which bound a candidate would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiversityReason {
    /// Too many in its IPv4 /24.
    Prefix24,
    /// Too many in its IPv4 /16.
    Prefix16,
    /// Too many in its IPv6 /48.
    Prefix48,
    /// Its bucket would hold too large a share.
    MaxFraction,
}

impl DiversityReason {
    /// Label of `qbind_p2p_peer_rejected_diversity_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Prefix24 => "prefix24",
            Self::Prefix16 => "prefix16",
            Self::Prefix48 => "prefix48",
            Self::MaxFraction => "max_fraction",
        }
    }
}

/// With fewer peers than this a share says nothing: the second peer always holds half.
const SHARE_CHECKED_FROM: usize = 4;

/// A piece of the address space that counts as one place: IPv4 /16, IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(u8, u64);

pub(crate) fn bucket_of(address: IpAddr) -> Bucket {
    match address.to_canonical() {
        IpAddr::V4(v4) => Bucket(4, u64::from(v4.to_bits() >> 16)),
        IpAddr::V6(v6) => Bucket(6, u64::try_from(v6.to_bits() >> 80).expect("48 bits")),
    }
}

fn prefix24_of(address: IpAddr) -> Option<u32> {
    match address.to_canonical() {
        IpAddr::V4(v4) => Some(v4.to_bits() >> 8),
        IpAddr::V6(_) => None,
    }
}

impl DiversityConfig {
    /// Whether `candidate` may join `peers` (itself not among them).
    ///
    /// # Errors
    /// The first bound it would break. The mode is the caller's to apply.
    pub(crate) fn check(&self, peers: &[IpAddr], candidate: IpAddr) -> Result<(), DiversityReason> {
        let candidate = candidate.to_canonical();
        let bucket = bucket_of(candidate);
        let in_bucket = peers.iter().filter(|p| bucket_of(**p) == bucket).count() + 1;
        match prefix24_of(candidate) {
            Some(prefix) => {
                let same = peers.iter().filter(|p| prefix24_of(**p) == Some(prefix)).count() + 1;
                if same > self.max_per_prefix24 {
                    return Err(DiversityReason::Prefix24);
                }
                if in_bucket > self.max_per_prefix16 {
                    return Err(DiversityReason::Prefix16);
                }
            }
            None if in_bucket > self.max_per_prefix48 => return Err(DiversityReason::Prefix48),
            None => {}
        }
        let total = peers.len() + 1;
        if total >= SHARE_CHECKED_FROM && exceeds(in_bucket, total, self.max_bucket_share_bps) {
            return Err(DiversityReason::MaxFraction);
        }
        Ok(())
    }

    /// Whether connected `peers` as a whole spread over too few buckets.
    pub(crate) fn is_too_narrow(&self, peers: &[IpAddr]) -> bool {
        peers.len() >= SHARE_CHECKED_FROM && spread(peers).0 < self.min_buckets
    }
}

fn exceeds(part: usize, total: usize, share_bps: u32) -> bool {
    part as u128 * 10_000 > u128::from(share_bps) * total as u128
}

/// Distinct buckets, and the share of the fullest in hundredths of a percent.
pub(crate) fn spread(peers: &[IpAddr]) -> (usize, u32) {
    let mut counts: BTreeMap<Bucket, usize> = BTreeMap::new();
    for peer in peers {
        *counts.entry(bucket_of(*peer)).or_default() += 1;
    }
    let fullest = counts.values().max().copied().unwrap_or(0);
    let share = fullest * 10_000 / peers.len().max(1);
    (counts.len(), u32::try_from(share).expect("at most 10,000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admits `addresses` one by one and says which were refused, and why.
    fn check(config: &DiversityConfig, addresses: &[&str], expected: &[(usize, &str)]) {
        let mut admitted = Vec::new();
        let mut refused = Vec::new();
        for (index, text) in addresses.iter().enumerate() {
            let address = text.parse().unwrap();
            match config.check(&admitted, address) {
                Ok(()) => admitted.push(address),
                Err(reason) => refused.push((index, reason.label())),
            }
        }
        assert_eq!(refused, expected);
    }

    fn loose() -> DiversityConfig {
        DiversityConfig { max_bucket_share_bps: 10_000, ..DiversityConfig::default() }
    }

    #[test]
    fn a_third_peer_of_one_24_is_refused() {
        check(&loose(), &["10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.2.1"], &[(2, "prefix24")]);
    }

    #[test]
    fn a_ninth_peer_of_one_16_is_refused() {
        let addresses: Vec<String> = (0..9).map(|i| format!("10.1.{i}.1")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        check(&loose(), &addresses, &[(8, "prefix16")]);
    }

    #[test]
    fn a_fifth_peer_of_one_48_is_refused() {
        let addresses: Vec<String> = (0..5).map(|i| format!("2001:db8:1:{i}::1")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        check(&loose(), &addresses, &[(4, "prefix48")]);
    }

    #[test]
    fn no_bucket_holds_more_than_a_quarter_of_four_or_more() {
        let config = DiversityConfig::default();
        // Three in two buckets are too few to judge; the fourth must not repeat a bucket.
        check(
            &config,
            &["10.1.1.1", "10.1.2.1", "10.2.1.1", "10.2.2.1", "10.3.1.1", "10.4.1.1"],
            &[(3, "max_fraction")],
        );
        // Eight peers: two of one bucket are exactly a quarter.
        let mut addresses: Vec<String> = (1..8).map(|i| format!("10.{i}.1.1")).collect();
        addresses.push("10.1.2.1".into());
        addresses.push("10.1.3.1".into());
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        check(&config, &addresses, &[(8, "max_fraction")]);
    }

    #[test]
    fn a_mapped_address_counts_as_the_ipv4_address_it_is() {
        check(&loose(), &["10.1.1.1", "10.1.1.2", "::ffff:10.1.1.3"], &[(2, "prefix24")]);
    }

    #[test]
    fn four_peers_in_three_buckets_are_too_narrow() {
        let peers: Vec<IpAddr> =
            ["10.1.1.1", "10.1.2.1", "10.2.1.1", "10.3.1.1"].map(|a| a.parse().unwrap()).into();
        let config = DiversityConfig::default();
        assert!(config.is_too_narrow(&peers));
        assert!(!config.is_too_narrow(&peers[..3]));
        assert_eq!(spread(&peers), (3, 5000));
    }
}
