//! G1 to G4: what may never happen, whatever was planned. Nothing is cut out.

use crate::{
    baseline,
    catalogue::known,
    chain::Chain,
    coverage,
    evidence::Evidence,
    feed::Feed,
    finding::Finding,
    records::{Fate, paths},
    registry::Registry,
    replay::{Replay, Rules, Status},
    series::{scalar, sum},
    state_root::AccountsRoot,
    stats::upper_bound_ppm,
    verdict::Gate,
    windows::{NoWindows, Windows},
};
use qbind_crypto::validators_id;
use qbind_plan::Plan;
use qbind_types::{Address, BlockId, StateRoot, SystemRoot, TxId};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What the safety gates share.
pub(crate) struct Safety<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) plan: &'a Plan,
    pub(crate) feeds: &'a BTreeMap<String, Feed>,
    pub(crate) windows: &'a Result<Windows, NoWindows>,
    pub(crate) chain: &'a Result<Chain, String>,
}

/// What became of one transaction.
struct Done {
    id: TxId,
    sender: Address,
    nonce: u64,
    status: Status,
    /// Number of the sender's nonce among all that any transaction names.
    slot: usize,
}

/// What the replay found.
struct Ledgered {
    /// For each height from 1.
    blocks: Vec<Vec<Done>>,
    /// Different nonces of all senders.
    slots: BTreeMap<(Address, u64), usize>,
    /// Roots of the accounts after some heights.
    roots: BTreeMap<u64, AccountsRoot>,
    supply: u128,
    burned: u128,
    accounted: Option<u128>,
    /// Set where the replay itself broke a rule.
    broken: Option<String>,
    /// The height at which it ended because it does not know what follows from a report.
    stuck: Option<u64>,
}

/// Money that enters the supply in the replay: none, for nothing mints but an active monetary engine.
const ISSUED: u128 = 0;
/// Hashes the replay may spend on state roots; beyond that it computes them at every n-th height.
const ROOT_HASHES: u64 = 40_000_000;

impl Safety<'_> {
    pub(crate) fn gates(&self) -> [Gate; 4] {
        let ledgered = self.chain.as_ref().ok().map(|chain| replay(chain, self.records_only()));
        let ledgered = ledgered.as_ref();
        let ((divergence, mismatch), (double_spend, balances)) = rayon::join(
            || rayon::join(|| self.divergence(), || self.mismatch()),
            || rayon::join(|| self.double_spend(ledgered), || self.balances(ledgered)),
        );
        [divergence, mismatch, double_spend, balances]
    }

    fn finding(&self) -> Finding {
        let mut finding = Finding::default();
        match self.windows {
            Ok(windows) => finding.window = Some(windows.uncut()),
            // A run that was not as planned can still show a safety violation, so the gate goes on.
            Err(why) => finding.as_found(why),
        }
        finding
    }

    fn chain(&self, finding: &mut Finding) -> Option<&Chain> {
        match self.chain {
            Ok(chain) => Some(chain),
            Err(why) => {
                finding.unknown(why.clone());
                None
            }
        }
    }

    fn divergence(&self) -> Gate {
        let mut finding = self.finding();
        finding.bound = "0 heights with two block ids, 0 bad certificates".to_owned();
        let mut checks = 0u64;
        let mut ids: BTreeMap<u64, BTreeMap<BlockId, Vec<&str>>> = BTreeMap::new();
        for node in &self.plan.nodes {
            let path = paths::commits(&node.name);
            finding.evidence.push(path.clone());
            let Some(feed) = self.feeds.get(&node.name).filter(|f| f.tip() > 0) else {
                finding.unknown(match self.feeds.contains_key(&node.name) {
                    true => format!("{path} holds no commit"),
                    false => self.evidence.absence(&path),
                });
                continue;
            };
            for height in &feed.changed {
                finding.fail(format!("{} changed what it says of height {height}", node.name));
            }
            if let Some(height) = feed.hole() {
                finding.unknown(format!("{path} lacks height {height}"));
            }
            if let Ok(windows) = self.windows {
                let until = windows.end.saturating_sub(self.plan.bounds.scrape_gap_max_ms);
                if !feed.knows(until) {
                    finding.unknown(format!("{path} has no answer near the end of the window"));
                }
            }
            for (height, commit) in &feed.commits {
                let nodes = ids.entry(*height).or_default().entry(commit.block_id).or_default();
                nodes.push(&node.name);
            }
        }
        for (height, by_id) in &ids {
            checks += by_id.values().map(|n| n.len() as u64).sum::<u64>().saturating_sub(1);
            if by_id.len() > 1 {
                let sides: Vec<String> = by_id
                    .iter()
                    .map(|(id, nodes)| format!("{id} on {}", nodes.join(", ")))
                    .collect();
                finding.fail(format!("height {height} has {}", sides.join(" and ")));
            }
        }
        let divergent = ids.values().filter(|by_id| by_id.len() > 1).count();
        finding.evidence.extend([paths::GENESIS.to_owned(), "blocks/".to_owned()]);
        self.self_reports(&mut finding);
        if let Some(chain) = self.chain(&mut finding) {
            checks += chain.certificates;
            for wrong in &chain.bad_blocks {
                finding.fail(wrong.clone());
            }
            for double in &chain.double_votes {
                finding.fail(double.clone());
            }
            for missing in &chain.missing_blocks {
                finding.unknown(missing.clone());
            }
            for (height, link) in (1u64..).zip(&chain.links) {
                let others = ids.get(&height).into_iter().flatten();
                for (id, nodes) in others.filter(|(id, _)| **id != link.id) {
                    finding.fail(format!(
                        "height {height} is {} by certificate and {id} on {}",
                        link.id,
                        nodes.join(", ")
                    ));
                }
            }
            finding.value = format!(
                "{divergent} divergent of {} heights, {} certificates verified",
                ids.len(),
                chain.certificates
            );
        }
        zero(&mut finding, checks);
        finding.into_gate(known("G1"))
    }

    /// Safety violations and equivocations any node counted.
    fn self_reports(&self, finding: &mut Finding) {
        let (violations, equivocations) = (
            "qbind_consensus_safety_violations_total",
            "qbind_consensus_validator_equivocations_total",
        );
        for node in &self.plan.nodes {
            let scrapes = self.evidence.scrapes.get(&node.name).into_iter().flatten();
            let mut seen = 0;
            for samples in scrapes.filter_map(|s| s.samples.as_ref()) {
                match sum(samples, equivocations) {
                    Ok(0) => {}
                    Ok(n) => finding.fail(format!(
                        "{} saw validators sign two messages for one view ({equivocations} = {n})",
                        node.name
                    )),
                    Err(why) => {
                        finding.unknown(format!("{}: {equivocations} {}", node.name, why.why()))
                    }
                }
                match scalar(samples, violations) {
                    Ok(0) => seen += 1,
                    Ok(n) => finding.fail(format!("{} reports {violations} = {n}", node.name)),
                    Err(why) => {
                        finding.unknown(format!("{}: {violations} {}", node.name, why.why()))
                    }
                }
            }
            if seen == 0 {
                finding.unknown(format!("no scrape of {} shows {violations}", node.name));
            }
        }
    }

    fn mismatch(&self) -> Gate {
        let mut finding = self.finding();
        let name = "qbind_dag_coupling_block_mismatch_total";
        finding.bound = "0 mismatches, 0 uncertified references".to_owned();
        finding.evidence =
            vec![paths::SCRAPE_INDEX.to_owned(), "blocks/".to_owned(), "batches/".to_owned()];
        let (mut checks, mut largest) = (0u64, 0i64);
        for node in &self.plan.nodes {
            let scrapes = self.evidence.scrapes.get(&node.name).map_or(&[][..], Vec::as_slice);
            for samples in scrapes.iter().filter_map(|s| s.samples.as_ref()) {
                match scalar(samples, name) {
                    Ok(value) => {
                        checks += 1;
                        largest = largest.max(value);
                        if value != 0 {
                            finding.fail(format!("{} reports {name} = {value}", node.name));
                        }
                    }
                    Err(why) => finding.unknown(format!("{}: {name} {}", node.name, why.why())),
                }
            }
            if let Ok(windows) = self.windows {
                let max = self.plan.bounds.scrape_gap_max_ms;
                if let Some(why) =
                    coverage::hole(scrapes, &node.name, self.feeds.get(&node.name), windows, max)
                {
                    finding.unknown(why);
                }
            }
        }
        if let Some(chain) = self.chain(&mut finding) {
            checks += chain.references;
            for wrong in &chain.bad_references {
                finding.fail(wrong.clone());
            }
            for missing in chain.missing_batches.iter().chain(&chain.missing_blocks) {
                finding.unknown(missing.clone());
            }
            if !chain.bad_blocks.is_empty() {
                finding.unknown("references after a bad block cannot be trusted (see G1)");
            }
            finding.value = format!(
                "{largest} reported, {} of {} references wrong",
                chain.bad_references.len(),
                chain.references
            );
        }
        zero(&mut finding, checks);
        finding.into_gate(known("G2"))
    }

    /// Whether every node says that offences are only recorded.
    fn records_only(&self) -> bool {
        self.plan.nodes.iter().all(|node| {
            let config = self.evidence.configs.get(&node.name);
            config.is_some_and(|config| baseline::value(config, "slashing_mode") == "record-only")
        })
    }

    /// Notes what keeps the replay from covering the whole chain.
    fn replayed<'a>(
        &self,
        finding: &mut Finding,
        ledgered: Option<&'a Ledgered>,
    ) -> Option<(&Chain, &'a Ledgered)> {
        finding.evidence = vec!["blocks/".into(), "batches/".into(), paths::GENESIS.into()];
        let chain = self.chain(finding)?;
        let ledgered = ledgered?;
        let covered = ledgered.blocks.len() as u64;
        let common = self.feeds.values().map(Feed::tip).min().unwrap_or(0);
        if covered < common || covered == 0 {
            finding.unknown(format!(
                "the replay covers {covered} of {common} common heights: a block or batch after it \
                 is missing or wrong (see G1 and G2)"
            ));
        }
        if let Some(height) = ledgered.stuck {
            finding.unknown(format!(
                "block {height} reports an offence, and not every node's slashing_mode is \
                 record-only: what follows from it is not derived"
            ));
        }
        for node in &self.plan.nodes {
            if self.feeds.get(&node.name).is_none_or(|f| f.tip() == 0) {
                finding.unknown(format!("{} holds no commit", paths::commits(&node.name)));
            }
        }
        Some((chain, ledgered))
    }

    fn double_spend(&self, ledgered: Option<&Ledgered>) -> Gate {
        let mut finding = self.finding();
        finding.bound = "0 nonces used twice".to_owned();
        let mut checks = 0u64;
        let found = self.replayed(&mut finding, ledgered);
        finding.evidence.push(paths::TRANSACTIONS.to_owned());
        if let Some((chain, ledgered)) = found {
            let mut used = vec![false; ledgered.slots.len()];
            let all = ledgered.blocks.iter().flatten();
            for Done { id, sender, nonce, slot, .. } in all.filter(|d| d.status != Status::Skipped)
            {
                checks += 1;
                if std::mem::replace(&mut used[*slot], true) {
                    finding.fail(format!("{id} uses nonce {nonce} of {sender} again"));
                }
            }
            let claimed = self.plan.nodes.par_iter().map(|node| {
                let mut found = Finding::default();
                let checks = self.claimed_twice(&mut found, chain, ledgered, &node.name);
                (found, checks)
            });
            for (found, more) in claimed.collect::<Vec<_>>() {
                finding.absorb(found);
                checks += more;
            }
            let used = used.into_iter().filter(|used| *used).count();
            finding.value = format!("{used} nonces used once each");
        }
        match &self.evidence.load {
            Some(load) if load.duplicated > 0 => finding.fail(format!(
                "the client saw {} transfers commit with success more than once",
                load.duplicated
            )),
            Some(_) => {}
            None => finding.unknown(self.evidence.absence(paths::LOAD_SUMMARY)),
        }
        if self.evidence.transactions.is_empty() {
            finding.unknown(self.evidence.absence(paths::TRANSACTIONS));
        }
        let twice = self.evidence.transactions.iter().filter(|t| t.fate == Fate::Duplicated);
        for tx in twice {
            finding.fail(format!("the client saw {} commit with success twice", tx.id));
        }
        zero(&mut finding, checks);
        finding.into_gate(known("G3"))
    }

    /// Nonces a node claims were used twice with success; the number of claims checked.
    fn claimed_twice(
        &self,
        finding: &mut Finding,
        chain: &Chain,
        ledgered: &Ledgered,
        node: &str,
    ) -> u64 {
        let path = paths::transactions(node);
        let claims = match self.evidence.claims_of(node) {
            Ok(claims) => claims,
            Err(why) => {
                finding.unknown(why);
                return 0;
            }
        };
        let (mut used, mut checks) = (vec![false; ledgered.slots.len()], 0);
        for claim in claims.iter() {
            let at = usize::try_from(claim.height).unwrap_or(usize::MAX).wrapping_sub(1);
            let (Some(block), Some(link)) = (ledgered.blocks.get(at), chain.links.get(at)) else {
                continue;
            };
            let digest = format!("0x{}", hex::encode(link.ids_sha3));
            if claim.ids_sha3 != digest || claim.success.len() != block.len() {
                finding.unknown(format!(
                    "{path} lists other transactions at height {} than the block holds",
                    claim.height
                ));
                continue;
            }
            for (Done { id, sender, nonce, slot, .. }, flag) in
                block.iter().zip(claim.success.chars())
            {
                checks += 1;
                if flag == '1' && std::mem::replace(&mut used[*slot], true) {
                    finding.fail(format!(
                        "{node} claims that {id} used nonce {nonce} of {sender} again"
                    ));
                }
            }
        }
        let heights: BTreeSet<u64> = claims.iter().map(|claim| claim.height).collect();
        let tip = heights.last().copied().unwrap_or(0);
        if let Some(hole) = (1..=tip).find(|height| !heights.contains(height)) {
            finding.unknown(format!("{path} lacks height {hole}"));
        }
        if tip < ledgered.blocks.len() as u64 && tip < self.feeds.get(node).map_or(0, Feed::tip) {
            finding.unknown(format!("{path} ends at height {tip}"));
        }
        checks
    }

    fn balances(&self, ledgered: Option<&Ledgered>) -> Gate {
        let mut finding = self.finding();
        finding.bound =
            "supply at start + issued = balances at end + burned; equal roots".to_owned();
        let mut checks = 0u64;
        let found = self.replayed(&mut finding, ledgered);
        finding.evidence.push("commits/".to_owned());
        if let Some((chain, ledgered)) = found {
            if let Some(why) = &ledgered.broken {
                finding.fail(why.clone());
            }
            if ledgered.accounted != ledgered.supply.checked_add(ISSUED) {
                finding.fail(format!(
                    "the supply was {} and is {:?} with what was burned",
                    ledgered.supply, ledgered.accounted
                ));
            }
            let known_until = self.mints(&mut finding, chain);
            // Nodes with another word beside the accounts have another root too, and are shown below.
            let mut systems: BTreeMap<u64, SystemRoot> = BTreeMap::new();
            for feed in self.feeds.values() {
                for (height, commit) in &feed.commits {
                    systems.entry(*height).or_insert(commit.system_root);
                }
            }
            for link in &chain.links {
                let executed = link.block.executed;
                let accounts = ledgered.roots.get(&executed.height.0);
                let accounts = accounts.filter(|_| executed.height.0 <= known_until);
                if let Some((accounts, system)) = accounts.zip(systems.get(&executed.height.0)) {
                    let root = accounts.with(system);
                    checks += 1;
                    if root != executed.root {
                        finding.fail(format!(
                            "block {} by validator index {} says the root after height {} is {}, \
                             the replay {root}",
                            link.block.height, link.block.proposer, executed.height, executed.root
                        ));
                    }
                }
            }
            // Nodes that say the same of the state beside the accounts have the same root.
            let mut with: BTreeMap<(u64, SystemRoot), StateRoot> = BTreeMap::new();
            for (node, feed) in self.feeds {
                for (height, commit) in &feed.commits {
                    let Some(accounts) = ledgered.roots.get(height) else { continue };
                    if *height > known_until {
                        continue;
                    }
                    let root = *with
                        .entry((*height, commit.system_root))
                        .or_insert_with(|| accounts.with(&commit.system_root));
                    checks += 1;
                    if root != commit.state_root {
                        finding.fail(format!(
                            "{node} reports root {} at height {height}, the replay {root}",
                            commit.state_root
                        ));
                    }
                }
            }
            self.claims_differ(&mut finding, ledgered, known_until);
            if ledgered.roots.len() < ledgered.blocks.len() {
                finding.remark(format!(
                    "roots were computed at {} of {} heights: every one follows from all before it",
                    ledgered.roots.len(),
                    ledgered.blocks.len()
                ));
            }
            finding.value = format!(
                "supply {} with {} burned and {ISSUED} issued, {} roots computed",
                ledgered.supply,
                ledgered.burned,
                ledgered.roots.len()
            );
        }
        let mut roots: BTreeMap<u64, (StateRoot, &str)> = BTreeMap::new();
        for (node, feed) in self.feeds {
            for (height, commit) in &feed.commits {
                checks += 1;
                let (first, by) = *roots.entry(*height).or_insert((commit.state_root, node));
                if first != commit.state_root {
                    finding.fail(format!(
                        "at height {height} {node} reports root {} and {by} {first}",
                        commit.state_root
                    ));
                }
            }
        }
        zero(&mut finding, checks);
        finding.into_gate(known("G4"))
    }

    /// The last height whose balances the replay can know: with `monetary_mode = active` the engine mints
    /// at each election, which is not replayed. With any other mode it mints nothing, and equal roots
    /// show it.
    fn mints(&self, finding: &mut Finding, chain: &Chain) -> u64 {
        let minting = self.evidence.configs.iter();
        let minting: Vec<&str> = minting
            .filter(|(_, config)| baseline::value(config, "monetary_mode") == "active")
            .map(|(node, _)| node.as_str())
            .collect();
        if minting.is_empty() {
            return u64::MAX;
        }
        let first = chain.genesis.epoch_blocks;
        finding.unknown(format!(
            "monetary_mode is active on {}: what it mints from height {first} on is not replayed, so \
             neither supply nor balances can be checked there",
            minting.join(", ")
        ));
        first.saturating_sub(1)
    }

    /// Nodes whose word on a transaction is not what the replay finds.
    fn claims_differ(&self, finding: &mut Finding, ledgered: &Ledgered, known_until: u64) {
        let nodes: Vec<&String> = self.evidence.claims.keys().collect();
        let differ = nodes.par_iter().map(|node| {
            let mut found = Finding::default();
            // Claims that cannot be read are what G3 is about.
            let claims = self.evidence.claims_of(node).unwrap_or_default();
            for claim in claims.iter().filter(|claim| claim.height <= known_until) {
                let at = usize::try_from(claim.height).unwrap_or(usize::MAX).wrapping_sub(1);
                let Some(block) = ledgered.blocks.get(at) else { continue };
                for (Done { id, status, .. }, flag) in block.iter().zip(claim.success.chars()) {
                    if (flag == '1') != (*status == Status::Success) {
                        found.fail(format!(
                            "{node} claims {id} at height {} {}, the replay says {status:?}",
                            claim.height,
                            if flag == '1' { "succeeded" } else { "did not succeed" }
                        ));
                    }
                }
            }
            found
        });
        differ.collect::<Vec<_>>().into_iter().for_each(|found| finding.absorb(found));
    }
}

fn replay(chain: &Chain, records_only: bool) -> Ledgered {
    let rules = Rules::of(chain.genesis.network);
    let mut out = Ledgered {
        blocks: Vec::new(),
        slots: BTreeMap::new(),
        roots: BTreeMap::new(),
        supply: 0,
        burned: 0,
        accounted: None,
        broken: None,
        stuck: None,
    };
    let mut registry = Registry::new(chain.genesis.epoch_blocks, &chain.genesis.set);
    if records_only {
        registry.court.records_only(chain.genesis.network);
    }
    let locks = chain.genesis.locks.clone();
    let mut state = match Replay::new(rules, &chain.genesis.allocations, locks, registry) {
        Ok(state) => state,
        Err(broken) => {
            out.broken = Some(broken.0);
            return out;
        }
    };
    out.supply = state.supply;
    let whole = chain.links.iter().take_while(|l| l.is_whole).count();
    for link in chain.links.iter().take(whole) {
        let height = link.block.height.0;
        let cost = 2 * state.accounts() as u64 * whole as u64;
        let stride = cost / ROOT_HASHES + 1;
        let with_root = height.is_multiple_of(stride) || height == whole as u64;
        let Some(proposer) = link.proposer else { break };
        let (epoch, time) = (link.block.epoch, link.block.timestamp_unix_ms);
        match state.block(epoch, time, proposer, &link.transactions, with_root) {
            Ok(_) if state.is_stuck() => {
                out.stuck = Some(height);
                break;
            }
            Ok(replayed) => {
                let each = link.transactions.iter().zip(replayed.statuses);
                let done = each.map(|(tx, status)| {
                    let next = out.slots.len();
                    let slot = *out.slots.entry((tx.sender, tx.nonce)).or_insert(next);
                    Done { id: tx.id, sender: tx.sender, nonce: tx.nonce, status, slot }
                });
                let done = done.collect();
                out.blocks.push(done);
                if let Some(root) = replayed.root {
                    out.roots.insert(height, root);
                }
                if let Some(named) = link.block.next_validators {
                    let set = state.elected(link.block.next_epoch());
                    let elected = set.map(|set| validators_id(chain.genesis.network, set));
                    if elected != Some(named) {
                        out.broken = Some(format!(
                            "height {height} names other validators than the committed calls elect"
                        ));
                        break;
                    }
                }
            }
            Err(broken) => {
                out.broken = Some(format!("height {height}: {}", broken.0));
                break;
            }
        }
    }
    out.burned = state.burned;
    out.accounted = state.accounted();
    out
}

/// Ends a gate that allows no violation: says what that many checks exclude.
fn zero(finding: &mut Finding, checks: u64) {
    finding.samples = checks;
    if checks == 0 {
        finding.unknown("nothing was checked");
    } else if !finding.has_failed() {
        finding.remark(format!(
            "no violation in {checks} checks: at 95 % confidence fewer than {} in a million",
            upper_bound_ppm(checks)
        ));
    }
}
