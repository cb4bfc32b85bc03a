use super::{
    Burst, Link, MAX_NODES, MAX_REGIONS, MIN_VALIDATORS, OPS, SCHEMA, Topology, error::Fault,
    read::Lines,
};
use std::collections::BTreeSet;
use std::fmt::Display;

type Checked = Result<(), (u64, Fault)>;

const MAX_DELAY_US: u64 = 10_000_000;

impl Topology {
    /// Checks everything that a reader of one entry cannot.
    pub(super) fn validate(&self, lines: &Lines) -> Checked {
        if self.schema != SCHEMA {
            return Err((0, Fault::Schema { got: self.schema.clone() }));
        }
        name(0, "name", &self.name, 40)?;
        within(0, "mtu", self.mtu, 1280, 9000)?;
        self.validate_regions(lines)?;
        self.validate_links(lines)?;
        self.validate_nodes(lines)
    }

    fn validate_regions(&self, lines: &Lines) -> Checked {
        if self.regions.is_empty() || self.regions.len() > MAX_REGIONS {
            return Err((0, Fault::RegionCount { got: self.regions.len() }));
        }
        let mut ids = BTreeSet::new();
        for (i, region) in self.regions.iter().enumerate() {
            let line = line(&lines.regions, i);
            let key = |field: &str| format!("regions[{i}].{field}");
            name(line, &key("id"), &region.id, 16)?;
            if region.id == OPS {
                return Err((line, Fault::Reserved { key: key("id"), name: OPS.to_owned() }));
            }
            if !ids.insert(&region.id) {
                return Err((line, Fault::Duplicate { key: key("id"), id: region.id.clone() }));
            }
            within(line, &key("validators"), region.validators, 0, MAX_NODES)?;
            within(line, &key("rpc"), region.rpc, 0, MAX_NODES)?;
            if region.validators + region.rpc == 0 {
                let fault = Fault::EmptyRegion { key: key("validators"), id: region.id.clone() };
                return Err((line, fault));
            }
            let fine = match (region.latitude, region.longitude) {
                (None, None) => true,
                (Some(north), Some(east)) => {
                    (-90.0..=90.0).contains(&north) && (-180.0..=180.0).contains(&east)
                }
                _ => false,
            };
            if !fine {
                return Err((line, Fault::Coordinates { key: format!("regions[{i}]") }));
            }
        }
        if self.validator_count() < MIN_VALIDATORS {
            return Err((
                line(&lines.regions, 0),
                Fault::TooFewValidators { got: self.validator_count() },
            ));
        }
        if self.node_count() > MAX_NODES {
            return Err((line(&lines.regions, 0), Fault::TooManyNodes { got: self.node_count() }));
        }
        Ok(())
    }

    fn validate_links(&self, lines: &Lines) -> Checked {
        let mut pairs = BTreeSet::new();
        for (i, link) in self.links.iter().enumerate() {
            let line = line(&lines.links, i);
            let key = |field: &str| format!("links[{i}].{field}");
            for (field, id) in [("from", &link.from), ("to", &link.to)] {
                if self.region(id).is_none() {
                    let known: Vec<_> = self.regions.iter().map(|r| r.id.as_str()).collect();
                    let known = known.join(", ");
                    let fault = Fault::UnknownRegion { key: key(field), id: id.clone(), known };
                    return Err((line, fault));
                }
            }
            if link.from == link.to {
                let fault = Fault::SelfLink { key: key("to"), id: link.to.clone() };
                return Err((line, fault));
            }
            if !pairs.insert((&link.from, &link.to)) {
                let id = format!("{} to {}", link.from, link.to);
                return Err((line, Fault::Duplicate { key: format!("links[{i}]"), id }));
            }
            validate_figures(line, link, &key)?;
        }
        for from in &self.regions {
            for to in &self.regions {
                if from.id != to.id && !pairs.contains(&(&from.id, &to.id)) {
                    let (from, to) = (from.id.clone(), to.id.clone());
                    return Err((0, Fault::MissingLink { from, to }));
                }
            }
        }
        Ok(())
    }

    fn validate_nodes(&self, lines: &Lines) -> Checked {
        let mut names = BTreeSet::new();
        let placements = self.nodes_by_name();
        for (i, node) in self.nodes.iter().enumerate() {
            let line = line(&lines.nodes, i);
            let key = |field: &str| format!("nodes[{i}].{field}");
            if !names.insert(&node.name) {
                return Err((line, Fault::Duplicate { key: key("name"), id: node.name.clone() }));
            }
            if !placements.iter().any(|p| p.name == node.name) {
                let first = placements.first().map(|p| p.name.clone()).unwrap_or_default();
                let fault = Fault::UnknownNode { key: key("name"), name: node.name.clone(), first };
                return Err((line, fault));
            }
            if let Some(address) = node.address {
                let [first, second, ..] = address.octets();
                if first != 10 || second >= 254 {
                    let address = address.to_string();
                    return Err((line, Fault::AddressRange { key: key("address"), address }));
                }
            }
            if let Some(asn) = node.asn {
                within(line, &key("asn"), asn, 1, u32::MAX - 1)?;
            }
            if let Some(stake) = node.stake {
                within(line, &key("stake"), stake, 1, u64::from(u32::MAX))?;
            }
        }
        let mut prefixes = BTreeSet::new();
        for (i, entry) in self.asn.iter().enumerate() {
            let line = line(&lines.asn, i);
            within(line, &format!("asn[{i}].asn"), entry.asn, 1, u32::MAX - 1)?;
            if !prefixes.insert(entry.prefix) {
                let id = entry.prefix.to_string();
                return Err((line, Fault::Duplicate { key: format!("asn[{i}].prefix"), id }));
            }
        }
        for (at, placement) in placements.iter().enumerate() {
            let Some(other) = placements[..at].iter().find(|p| p.address == placement.address)
            else {
                continue;
            };
            // Only an override can collide; the later of the two names it.
            let i = self
                .nodes
                .iter()
                .position(|n| n.name == placement.name)
                .or_else(|| self.nodes.iter().position(|n| n.name == other.name));
            let i = i.unwrap_or_default();
            let fault = Fault::AddressTaken {
                key: format!("nodes[{i}].address"),
                address: placement.address.to_string(),
                owner: other.name.clone(),
            };
            return Err((line(&lines.nodes, i), fault));
        }
        Ok(())
    }
}

fn validate_figures(line: u64, link: &Link, key: &dyn Fn(&str) -> String) -> Checked {
    within(line, &key("delay_us"), link.delay_us, 0, MAX_DELAY_US)?;
    if link.jitter_us > link.delay_us {
        let got = link.jitter_us.to_string();
        let expected = format!("at most delay_us, {}: no packet arrives early", link.delay_us);
        return Err((line, Fault::Range { key: key("jitter_us"), got, expected }));
    }
    within(line, &key("loss_bps"), link.loss_bps, 0, 10_000)?;
    within(line, &key("rate_mbit"), link.rate_mbit, 1, 100_000)?;
    within(line, &key("queue_ms"), link.queue_ms, 1, 10_000)?;
    if let Some(Burst { mean_packets, loss_bps }) = link.burst {
        within(line, &key("burst.mean_packets"), mean_packets, 1, 100_000)?;
        within(line, &key("burst.loss_bps"), loss_bps, link.loss_bps + 1, 10_000)?;
        // The bad state must not be entered more than once a packet.
        let bad = u64::from(link.loss_bps);
        let good = u64::from(loss_bps) - bad;
        if bad > good * u64::from(mean_packets) {
            let got = mean_packets.to_string();
            let expected = "more: runs this short cannot lose so much".to_owned();
            return Err((line, Fault::Range { key: key("burst.mean_packets"), got, expected }));
        }
    }
    Ok(())
}

fn name(line: u64, key: &str, text: &str, max: usize) -> Checked {
    let fine = text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fine {
        return Ok(());
    }
    Err((line, Fault::Name { key: key.to_owned(), got: text.to_owned(), max }))
}

fn within<T: PartialOrd + Display>(line: u64, key: &str, got: T, low: T, high: T) -> Checked {
    if got >= low && got <= high {
        return Ok(());
    }
    let expected = format!("{low} to {high}");
    Err((line, Fault::Range { key: key.to_owned(), got: got.to_string(), expected }))
}

fn line(lines: &[u64], at: usize) -> u64 {
    lines.get(at).copied().unwrap_or_default()
}
