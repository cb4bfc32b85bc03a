use super::{Fault, Link, Region, SCHEMA, Topology, TopologyError, read::Lines};

impl Topology {
    /// A topology for a count of validators spread evenly over a count of regions.
    ///
    /// Every link has 40 ms one way, 2 ms of jitter and no loss; each region has one RPC node.
    ///
    /// # Errors
    /// The caller's fault: too few validators, or more regions than validators.
    pub fn generated(validators: u32, regions: u32) -> Result<Self, TopologyError> {
        let refuse = |fault| Err(TopologyError::Request { fault });
        if validators < super::MIN_VALIDATORS {
            return refuse(Fault::TooFewValidators { got: validators });
        }
        if regions == 0 || regions > super::MAX_REGIONS as u32 {
            return refuse(Fault::RegionCount { got: regions as usize });
        }
        if regions > validators {
            return refuse(Fault::MoreRegionsThanValidators { regions, validators });
        }
        let ids: Vec<String> = (1..=regions).map(|n| format!("r{n}")).collect();
        let region = |(i, id): (usize, &String)| Region {
            id: id.clone(),
            name: format!("Region {}", i + 1),
            continent: format!("Continent {}", i % 2 + 1),
            latitude: None,
            longitude: None,
            validators: validators / regions + u32::from((i as u32) < validators % regions),
            rpc: 1,
        };
        let pairs = ids.iter().flat_map(|from| ids.iter().map(move |to| (from, to)));
        let link = |(from, to): (&String, &String)| Link {
            from: from.clone(),
            to: to.clone(),
            delay_us: 40_000,
            jitter_us: 2_000,
            loss_bps: 0,
            rate_mbit: 1_000,
            queue_ms: super::default_queue_ms(),
            burst: None,
            reorder: false,
        };
        let topology = Self {
            schema: SCHEMA.to_owned(),
            name: format!("generated-{validators}-{regions}"),
            seed: 42,
            source: "Generated, not measured: every link 40 ms one way.".to_owned(),
            mtu: super::default_mtu(),
            regions: ids.iter().enumerate().map(region).collect(),
            links: pairs.filter(|(from, to)| from != to).map(link).collect(),
            asn: Vec::new(),
            nodes: Vec::new(),
        };
        match topology.validate(&Lines::default()) {
            Ok(()) => Ok(topology),
            Err((_, fault)) => refuse(fault),
        }
    }
}
