//! The network without the nodes: namespaces joined by the emulator.

use crate::{
    Degradation, EmulatorSnapshot, Enter, LabError, LinkSelection,
    emulator::Emulator,
    journal::{Journal, JournalEntry, LabEvent},
    namespace::Namespace,
    privilege,
};
use qbind_plan::topology::{OPS, OPS_ADDRESS, Topology};
use std::{fs::File, net::Ipv4Addr, path::Path, sync::Arc};

/// A place inside the lab a thread or process can be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Where operators, load and scrapers are: no delay to any region.
    Ops,
    /// A region, by id.
    Region(String),
}

/// Namespaces of all regions and of ops, joined by the emulator; dropping it removes them.
pub struct Wan {
    topology: Topology,
    /// One for each region, in order, then ops.
    namespaces: Vec<Namespace>,
    emulator: Emulator,
    journal: Journal,
}

impl Wan {
    /// Makes the network of a topology. The journal also goes to `journal_file`.
    ///
    /// # Errors
    /// The machine's fault or the caller's lack of rights; says which.
    pub fn up(topology: &Topology, journal_file: Option<&Path>) -> Result<Self, LabError> {
        privilege::check()?;
        let journal = Journal::open(journal_file).map_err(|source| LabError::Journal { source })?;
        let mut namespaces = Vec::new();
        let mut devices = Vec::new();
        let nodes = topology.placements();
        for region in &topology.regions {
            let here = nodes.iter().filter(|n| n.region == region.id).map(|n| n.address);
            let own = topology.region_address(&region.id);
            let addresses: Vec<Ipv4Addr> = std::iter::once(own).chain(here).collect();
            let (namespace, device) = Namespace::create(&region.id, &addresses, topology.mtu)?;
            namespaces.push(namespace);
            devices.push(device);
        }
        let (ops, device) = Namespace::create(OPS, &[OPS_ADDRESS], topology.mtu)?;
        namespaces.push(ops);
        devices.push(device);
        let emulator =
            Emulator::start(topology, devices).map_err(|source| LabError::Emulator { source })?;
        journal.note(LabEvent::Up { topology: topology.name.clone(), seed: topology.seed });
        Ok(Self { topology: topology.clone(), namespaces, emulator, journal })
    }

    /// What it was made from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A closure that moves the calling thread into a place, for good.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn enter(&self, place: &Place) -> Result<Enter, LabError> {
        Ok(self.namespace(place)?.enter())
    }

    /// A region's own address; for ops, its.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn address(&self, place: &Place) -> Result<Ipv4Addr, LabError> {
        self.namespace(place)?;
        Ok(match place {
            Place::Ops => OPS_ADDRESS,
            Place::Region(id) => self.topology.region_address(id),
        })
    }

    /// Adds harm to links, instead of the harm they suffer now.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn degrade(&self, on: &LinkSelection, harm: Degradation) -> Result<Vec<String>, LabError> {
        let (links, ids) = self.select(on)?;
        self.emulator.degrade(links, harm).map_err(|source| LabError::Emulator { source })?;
        self.journal.note(LabEvent::Degraded { links: ids.clone(), degradation: harm });
        Ok(ids)
    }

    /// Cuts links: nothing is delivered, not even what is under way.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn partition(&self, on: &LinkSelection) -> Result<Vec<String>, LabError> {
        let (links, ids) = self.select(on)?;
        self.emulator.set_cut(links, true).map_err(|source| LabError::Emulator { source })?;
        self.journal.note(LabEvent::Cut { links: ids.clone() });
        Ok(ids)
    }

    /// Joins cut links and ends degradations.
    ///
    /// # Errors
    /// The caller's fault: no such region.
    pub fn heal(&self, on: &LinkSelection) -> Result<Vec<String>, LabError> {
        let (links, ids) = self.select(on)?;
        let mend = || {
            self.emulator.degrade(links.clone(), Degradation::default())?;
            self.emulator.set_cut(links.clone(), false)
        };
        mend().map_err(|source| LabError::Emulator { source })?;
        self.journal.note(LabEvent::Healed { links: ids.clone() });
        Ok(ids)
    }

    /// Everything the emulator has counted.
    pub fn counters(&self) -> EmulatorSnapshot {
        self.emulator.snapshot()
    }

    /// Packets the kernel dropped before the emulator saw them, over all places; 0 in a sound lab.
    ///
    /// # Errors
    /// The machine's fault: device statistics cannot be read.
    pub fn overruns(&self) -> Result<u64, LabError> {
        let sum = self.namespaces.iter().map(Namespace::overruns).sum::<Result<u64, _>>();
        sum.map_err(|source| LabError::Emulator { source })
    }

    /// What was done so far.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.journal.entries()
    }

    pub(crate) fn note(&self, event: LabEvent) {
        self.journal.note(event);
    }

    /// The namespace's descriptor, for `/proc/<pid>/fd`.
    pub(crate) fn namespace_fd(&self, place: &Place) -> Result<i32, LabError> {
        Ok(self.namespace(place)?.raw_fd())
    }

    pub(crate) fn namespace_file(&self, place: &Place) -> Result<Arc<File>, LabError> {
        Ok(self.namespace(place)?.file())
    }

    fn namespace(&self, place: &Place) -> Result<&Namespace, LabError> {
        let at = match place {
            Place::Ops => Some(self.topology.regions.len()),
            Place::Region(id) => self.topology.regions.iter().position(|r| r.id == *id),
        };
        at.map(|at| &self.namespaces[at]).ok_or_else(|| LabError::UnknownPlace {
            place: place.to_string(),
            known: self.region_ids().join(", "),
        })
    }

    fn select(&self, on: &LinkSelection) -> Result<(Vec<usize>, Vec<String>), LabError> {
        on.check(&self.region_ids())?;
        let links = self.emulator.links_where(|from, to| on.contains(from, to));
        let ids = links.iter().map(|link| self.emulator.link_id(*link)).collect();
        Ok((links, ids))
    }

    fn region_ids(&self) -> Vec<String> {
        self.topology.regions.iter().map(|r| r.id.clone()).collect()
    }
}

impl Place {
    /// `ops`, or a region's id.
    pub fn parse(text: &str) -> Self {
        if text == OPS { Self::Ops } else { Self::Region(text.to_owned()) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ops => f.write_str(OPS),
            Self::Region(id) => f.write_str(id),
        }
    }
}
