//! Manifest and cluster become a plan, or a list of what is impossible.

use crate::{
    error::{PlanError, Problem},
    fault::{Expectation, PlannedFault},
    limits,
    manifest::{FaultKind, FaultSpec, Manifest},
    plan::{
        BinaryRef, GenesisRef, PLAN_SCHEMA, Plan, PlannedLink, PlannedNode, PlannedRegion, Role,
        TopologyRef,
    },
    topology::{Link, NodePlacement, NodeRole, Region, Topology},
};
use std::collections::BTreeSet;

/// What is known of the cluster before the run: topology, genesis, programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `lab` or `inventory`.
    pub target: String,
    /// Topology file.
    pub topology: TopologyRef,
    /// Genesis file.
    pub genesis: GenesisRef,
    /// Programs.
    pub binaries: Vec<BinaryRef>,
    /// Regions in topology order.
    pub regions: Vec<PlannedRegion>,
    /// Nodes in topology order.
    pub nodes: Vec<PlannedNode>,
    /// What the topology asks of every directed link.
    pub links: Vec<PlannedLink>,
    /// Pre-funded load accounts.
    pub load_accounts: u32,
}

impl Cluster {
    /// A cluster of the lab: nodes, links and addresses follow from the topology.
    ///
    /// `topology_sha3` is the digest of the file's bytes; `http_port` where every node listens.
    pub fn from_topology(
        topology: &Topology,
        topology_sha3: String,
        genesis: GenesisRef,
        binaries: Vec<BinaryRef>,
        load_accounts: u32,
        http_port: u16,
    ) -> Self {
        let region =
            |r: &Region| PlannedRegion { id: r.id.clone(), continent: r.continent.clone() };
        let node = |p: NodePlacement| PlannedNode {
            name: p.name,
            region: p.region,
            role: match p.role {
                NodeRole::Validator => Role::Validator,
                NodeRole::Rpc => Role::Rpc,
            },
            validator_id: p.validator_id,
            power: p.stake,
            http: format!("{}:{http_port}", p.address),
        };
        let link = |l: &Link| PlannedLink {
            from: l.from.clone(),
            to: l.to.clone(),
            delay_us: l.delay_us,
            jitter_us: l.jitter_us,
            loss_bps: l.loss_bps,
        };
        Self {
            target: "lab".to_owned(),
            topology: TopologyRef { name: topology.name.clone(), sha3: topology_sha3 },
            genesis,
            binaries,
            regions: topology.regions.iter().map(region).collect(),
            nodes: topology.placements().into_iter().map(node).collect(),
            links: topology.links.iter().map(link).collect(),
            load_accounts,
        }
    }
}

/// Stake arithmetic of the layout.
struct Stakes<'a> {
    nodes: &'a [PlannedNode],
    total: u64,
    quorum: u64,
}

impl<'a> Stakes<'a> {
    fn new(nodes: &'a [PlannedNode]) -> Self {
        let total: u64 = nodes.iter().filter_map(|n| n.power).sum();
        let quorum = u64::try_from(u128::from(total) * 2 / 3 + 1).unwrap_or(u64::MAX);
        Self { nodes, total, quorum }
    }

    fn of_region(&self, region: &str) -> u64 {
        self.nodes.iter().filter(|n| n.region == region).filter_map(|n| n.power).sum()
    }

    fn largest(&self) -> u64 {
        self.nodes.iter().filter_map(|n| n.power).max().unwrap_or(0)
    }
}

impl Manifest {
    /// Makes the plan.
    ///
    /// # Errors
    /// The author's fault: every impossible requirement, with file, line and key.
    pub fn resolve(&self, cluster: &Cluster) -> Result<Plan, PlanError> {
        let mut problems = Vec::new();
        self.check_layout(cluster, &mut problems);
        self.check_expectations(cluster, &mut problems);
        let stakes = Stakes::new(&cluster.nodes);
        let mut faults = Vec::new();
        let mut ids = BTreeSet::new();
        for (i, spanned) in self.faults.iter().enumerate() {
            let line = Some(spanned.referenced.line());
            if !ids.insert(spanned.value.id.clone()) {
                let message = format!("{:?} names another fault too", spanned.value.id);
                problems.push(self.problem(line, &format!("faults[{i}].id"), message));
            }
            match self.resolve_fault(i, &spanned.value, cluster, &stakes) {
                Ok(fault) => faults.push(fault),
                Err((key, message)) => {
                    problems.push(self.problem(line, &format!("faults[{i}].{key}"), message));
                }
            }
        }
        if !problems.is_empty() {
            return Err(PlanError::Problems { problems });
        }
        faults.sort_by(|a, b| (a.at_ms, &a.id).cmp(&(b.at_ms, &b.id)));
        let bounds = self.bounds();
        let mut notes = self.layout_notes(cluster, &stakes);
        overlaps(&mut faults, cluster, &stakes, &mut notes);
        notes.extend(faults.iter().map(|f| format!("fault {}: {}", f.id, f.note)));
        notes.extend(bounds.looser_than_the_guide().iter().map(ToString::to_string));
        let plan = Plan {
            schema: PLAN_SCHEMA.to_owned(),
            name: self.name.clone(),
            form: self.form,
            target: cluster.target.clone(),
            gate_type: self.gate_type,
            seed: self.seed,
            topology: cluster.topology.clone(),
            genesis: cluster.genesis.clone(),
            binaries: cluster.binaries.clone(),
            regions: cluster.regions.clone(),
            nodes: cluster.nodes.clone(),
            links: cluster.links.clone(),
            measure: self.measure.value.clone(),
            steps: self.steps.clone(),
            load: self.load.value.clone(),
            live: self.live.value.clone(),
            faults,
            bounds,
            added_gates: self.added(),
            notes,
        };
        match limits::broken(&plan) {
            None => Ok(plan),
            Some((key, message)) => {
                let problems = vec![self.problem(None, &key, message)];
                Err(PlanError::Problems { problems })
            }
        }
    }

    /// Layout rules no run can satisfy later (guide, section 3.2; verdict's layout check).
    fn check_layout(&self, cluster: &Cluster, problems: &mut Vec<Problem>) {
        let mut need = |ok: bool, line: Option<u64>, key: &str, message: String| {
            if !ok {
                problems.push(self.problem(line, key, message));
            }
        };
        let validators: Vec<_> =
            cluster.nodes.iter().filter(|n| n.role == Role::Validator).collect();
        need(
            validators.len() >= 4,
            None,
            "topology.regions",
            format!("{} validators; n >= 3f+1 with f = 1 needs at least 4", validators.len()),
        );
        need(
            validators.iter().all(|v| v.validator_id.is_some() && v.power.is_some_and(|p| p > 0)),
            None,
            "topology.regions",
            "a validator has no id or no stake".to_owned(),
        );
        let names: BTreeSet<_> = cluster.nodes.iter().map(|n| &n.name).collect();
        need(
            names.len() == cluster.nodes.len(),
            None,
            "topology.regions",
            "two nodes have the same name".to_owned(),
        );
        let continents: BTreeSet<_> = cluster.regions.iter().map(|r| &r.continent).collect();
        need(
            cluster.regions.len() >= 2,
            None,
            "topology.regions",
            format!("{} regions; links are measured between at least 2", cluster.regions.len()),
        );
        need(!continents.is_empty(), None, "topology.regions", "no continent named".to_owned());
        let bounds = self.bounds();
        let (nodes, links) = (cluster.nodes.len() as u64, links(cluster.nodes.len() as u64));
        let line = self.gates.as_ref().map(|g| g.referenced.line());
        need(
            nodes * bounds.outbound_peers_min <= links,
            line,
            "gates.outbound_peers_min",
            format!(
                "{nodes} nodes share {links} links, so each can dial {} of them; {} outbound peers \
                 each need at least {} nodes: add nodes (RPC nodes count)",
                links / nodes.max(1),
                bounds.outbound_peers_min,
                2 * bounds.outbound_peers_min + 1,
            ),
        );
        let load = &self.load;
        need(
            load.value.accounts <= cluster.load_accounts,
            Some(load.referenced.line()),
            "load.accounts",
            format!(
                "is {}, and the network directory has {} pre-funded accounts",
                load.value.accounts, cluster.load_accounts
            ),
        );
    }

    fn check_expectations(&self, cluster: &Cluster, problems: &mut Vec<Problem>) {
        let node = cluster.binaries.iter().find(|b| b.name == "qbind-node");
        let genesis = cluster.genesis.sha3.to_string();
        for (key, expected, got) in [
            ("node_binary_sha3", &self.expect.node_binary_sha3, node.map(|b| b.sha3.as_str())),
            ("genesis_sha3", &self.expect.genesis_sha3, Some(genesis.as_str())),
            ("topology_sha3", &self.expect.topology_sha3, Some(cluster.topology.sha3.as_str())),
        ] {
            if let Some(expected) = expected
                && got != Some(expected.as_str())
            {
                let message =
                    format!("expects {expected}, found {}", got.unwrap_or("no such file"));
                problems.push(self.problem(None, &format!("expect.{key}"), message));
            }
        }
    }

    fn resolve_fault(
        &self,
        index: usize,
        spec: &FaultSpec,
        cluster: &Cluster,
        stakes: &Stakes<'_>,
    ) -> Result<PlannedFault, (String, String)> {
        let fail = |key: &str, message: String| Err((key.to_owned(), message));
        let id_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if spec.id.is_empty() || !spec.id.chars().all(id_ok) {
            let message =
                format!("{:?} is not of [a-z0-9-]; it becomes part of file names", spec.id);
            return fail("id", message);
        }
        if spec.duration_s == 0 {
            return fail("duration_s", "is 0; a fault takes time".to_owned());
        }
        let recovery = spec.recovery_s.unwrap_or(match spec.kind {
            FaultKind::KillLeader => 30,
            FaultKind::CutRegion | FaultKind::LossBurst => 10,
        });
        let clear = u64::from(spec.at_s) + u64::from(spec.duration_s) + u64::from(recovery);
        let window = u64::from(self.live.value.window_s);
        if clear >= window {
            let message = format!(
                "fault {index} ends with its recovery at {clear} s, the live window at {window} s: \
                 nothing would show that it recovered"
            );
            return fail("at_s", message);
        }
        let unused = |key: &'static str, set: bool| match set {
            true => Err((key.to_owned(), "does not belong to this kind of fault".to_owned())),
            false => Ok(()),
        };
        let region = |key: &'static str, text: &Option<String>| match text {
            None => Err((key.to_owned(), "is missing for this kind of fault".to_owned())),
            Some(text) => pick_region(cluster, text).map_err(|m| (key.to_owned(), m)),
        };
        let mut fault = PlannedFault {
            id: spec.id.clone(),
            kind: spec.kind,
            at_ms: u64::from(spec.at_s) * 1000,
            duration_ms: u64::from(spec.duration_s) * 1000,
            recovery_ms: u64::from(recovery) * 1000,
            region: None,
            from: None,
            to: None,
            loss_bps: None,
            affected: Vec::new(),
            expectation: Expectation::Continues,
            note: String::new(),
        };
        if spec.kind != FaultKind::CutRegion {
            unused("region", spec.region.is_some())?;
        }
        if spec.kind != FaultKind::LossBurst {
            unused("from", spec.from.is_some())?;
            unused("to", spec.to.is_some())?;
            unused("loss_bps", spec.loss_bps.is_some())?;
        }
        match spec.kind {
            FaultKind::KillLeader => {
                let left = stakes.total - stakes.largest();
                fault.judge(left, stakes, "killing the leader leaves at least");
            }
            FaultKind::CutRegion => {
                let cut = region("region", &spec.region)?;
                let inside = stakes.of_region(&cut);
                let left = inside.max(stakes.total - inside);
                let what = format!(
                    "cutting region {cut} ({inside} of {} voting power) leaves the larger side",
                    stakes.total
                );
                fault.judge(left, stakes, &what);
                fault.affected = in_regions(cluster, &[&cut]);
                fault.region = Some(cut);
            }
            FaultKind::LossBurst => {
                let (from, to) = (region("from", &spec.from)?, region("to", &spec.to)?);
                if from == to {
                    return fail("to", format!("is {to}, the same region as `from`"));
                }
                let Some(bps) = spec.loss_bps.filter(|l| (1..=5000).contains(l)) else {
                    return fail("loss_bps", "expected 1 to 5000 (50 %)".to_owned());
                };
                fault.note = format!(
                    "{bps} in 10,000 packets more are lost between {from} and {to}; every \
                     validator stays connected, commits go on"
                );
                fault.affected = in_regions(cluster, &[&from, &to]);
                (fault.from, fault.to, fault.loss_bps) = (Some(from), Some(to), Some(bps));
            }
        }
        if fault.expectation == Expectation::HaltsUntilHealed {
            fault.affected = cluster.nodes.iter().map(|n| n.name.clone()).collect();
        }
        Ok(fault)
    }

    fn layout_notes(&self, cluster: &Cluster, stakes: &Stakes<'_>) -> Vec<String> {
        let n = cluster.nodes.len() as u64;
        let validators = cluster.nodes.iter().filter(|n| n.role == Role::Validator).count();
        let mut notes = vec![
            format!(
                "{validators} validators in {} regions tolerate f = {}; quorum is {} of {} voting \
                 power",
                cluster.regions.len(),
                validators.saturating_sub(1) / 3,
                stakes.quorum,
                stakes.total,
            ),
            format!(
                "{n} nodes share {} links: up to {} outbound peers each",
                links(n),
                links(n) / n.max(1)
            ),
        ];
        let continents: BTreeSet<_> = cluster.regions.iter().map(|r| &r.continent).collect();
        if cluster.regions.len() < 3 || continents.len() < 2 {
            notes.push(format!(
                "{} regions on {} continents; the guide asks for 3 on 2 (G12 will fail)",
                cluster.regions.len(),
                continents.len()
            ));
        }
        for region in &cluster.regions {
            let inside = stakes.of_region(&region.id);
            let left = stakes.total - inside;
            let verdict = if left >= stakes.quorum { "the chain goes on" } else { "it halts" };
            notes.push(format!(
                "without region {}: {left} of {} voting power left, quorum {}: {verdict}",
                region.id, stakes.total, stakes.quorum
            ));
        }
        notes
    }
}

impl PlannedFault {
    fn judge(&mut self, left: u64, stakes: &Stakes<'_>, what: &str) {
        let (total, quorum) = (stakes.total, stakes.quorum);
        if left >= quorum {
            self.expectation = Expectation::Continues;
            self.note = format!("{what} {left} of {total}, quorum {quorum}: commits go on");
        } else {
            self.expectation = Expectation::HaltsUntilHealed;
            self.note = format!(
                "{what} {left} of {total}, quorum {quorum}: the chain HALTS until it heals"
            );
        }
    }
}

/// Faults that overlap take stake away together; the later ones' expectation says so.
fn overlaps(
    faults: &mut [PlannedFault],
    cluster: &Cluster,
    stakes: &Stakes<'_>,
    notes: &mut Vec<String>,
) {
    let removed = |f: &PlannedFault| match f.kind {
        FaultKind::KillLeader => stakes.largest(),
        FaultKind::CutRegion => f.region.as_deref().map_or(0, |r| stakes.of_region(r)),
        FaultKind::LossBurst => 0,
    };
    let mut halted = Vec::new();
    for (i, a) in faults.iter().enumerate() {
        for (j, b) in faults.iter().enumerate().skip(i + 1) {
            // A killed validator counts until it has recovered, a link until it heals.
            let gone_until = |f: &PlannedFault| match f.kind {
                FaultKind::KillLeader => f.clear_at_ms(),
                _ => f.heals_at_ms(),
            };
            let together = b.at_ms < gone_until(a) && removed(a) > 0 && removed(b) > 0;
            let left = stakes.total.saturating_sub(removed(a) + removed(b));
            if together && left < stakes.quorum {
                notes.push(format!(
                    "faults {} and {} overlap and leave as little as {left} of {} voting power, \
                     quorum {}: the chain may HALT until the first heals",
                    a.id, b.id, stakes.total, stakes.quorum
                ));
                halted.extend([i, j]);
            }
        }
    }
    for at in halted {
        faults[at].expectation = Expectation::HaltsUntilHealed;
        faults[at].affected = cluster.nodes.iter().map(|n| n.name.clone()).collect();
    }
}

/// Links `nodes` nodes can have among them.
pub fn links(nodes: u64) -> u64 {
    nodes * nodes.saturating_sub(1) / 2
}

fn in_regions(cluster: &Cluster, regions: &[&str]) -> Vec<String> {
    let inside = |n: &&PlannedNode| regions.contains(&n.region.as_str());
    cluster.nodes.iter().filter(inside).map(|n| n.name.clone()).collect()
}

fn pick_region(cluster: &Cluster, text: &str) -> Result<String, String> {
    let ids: Vec<_> = cluster.regions.iter().map(|r| r.id.as_str()).collect();
    let found = match text.strip_prefix('@') {
        Some(place) => place
            .parse::<usize>()
            .ok()
            .and_then(|p| p.checked_sub(1))
            .and_then(|p| ids.get(p).copied()),
        None => ids.iter().find(|id| **id == text).copied(),
    };
    found.map(str::to_owned).ok_or_else(|| {
        format!("{text:?} is no region; expected one of {} or @1 to @{}", ids.join(", "), ids.len())
    })
}
