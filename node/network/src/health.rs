//! How well connected this node is.

use crate::{AsnTable, DiversityConfig, NetworkConfig, diversity};
use std::{collections::BTreeSet, net::IpAddr};

/// How well connected this node is, now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Connections this node dialled.
    pub outbound: usize,
    /// Connections it accepted.
    pub inbound: usize,
    /// Other nodes it knows of, connected or not.
    pub known: usize,
    /// Distinct pieces of the address space (IPv4 /16, IPv6 /48) among connected peers.
    pub distinct_buckets: usize,
    /// Share of the fullest of them, hundredths of a percent.
    pub max_bucket_share_bps: u32,
    /// Distinct autonomous systems among connected peers; addresses in no prefix of the table
    /// count as none.
    pub distinct_asn: usize,
    /// Fewer outbound peers than the anti-eclipse minimum.
    pub below_min_outbound: bool,
    /// Fewer autonomous systems than the anti-eclipse minimum.
    pub below_min_asn: bool,
    /// Four or more peers in fewer buckets than the minimum, or one bucket above its share.
    pub below_diversity: bool,
    /// Fewer outbound peers than aimed at.
    pub below_target: bool,
}

impl Health {
    pub(crate) fn of(
        config: &NetworkConfig,
        peers: &[IpAddr],
        outbound: usize,
        known: usize,
    ) -> Self {
        let (distinct_buckets, max_bucket_share_bps) = diversity::spread(peers);
        let distinct_asn = distinct_asn(&config.asn_table, peers);
        Self {
            outbound,
            inbound: peers.len() - outbound,
            known,
            distinct_buckets,
            max_bucket_share_bps,
            distinct_asn,
            below_min_outbound: outbound < config.anti_eclipse.min_outbound,
            below_min_asn: distinct_asn < config.anti_eclipse.min_asn,
            below_diversity: below_diversity(&config.diversity, peers, max_bucket_share_bps),
            below_target: outbound < config.limits.outbound_target,
        }
    }
}

fn below_diversity(config: &DiversityConfig, peers: &[IpAddr], share_bps: u32) -> bool {
    config.mode != crate::DiversityMode::Off
        && (config.is_too_narrow(peers)
            || peers.len() >= 4 && share_bps > config.max_bucket_share_bps)
}

pub(crate) fn distinct_asn(table: &AsnTable, peers: &[IpAddr]) -> usize {
    peers.iter().filter_map(|p| table.lookup(*p)).collect::<BTreeSet<_>>().len()
}
