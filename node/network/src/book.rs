//! Which nodes there are, where they are, and when to try them again.

use crate::{NodeId, Role, config::Timing, ring};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Addresses remembered of one node.
const MAX_ADDRESSES: usize = 3;
/// A node only heard of leaves the ring after this many failed dials, and the book after twice
/// as many.
const HEARSAY_FAILURES: u32 = 5;
/// A node not connected for so long leaves the ring; it is still redialled.
const RECENT: Duration = Duration::from_secs(600);

/// Where and when to try next.
#[derive(Debug, Clone)]
struct Retry {
    next: Instant,
    pause: Duration,
    failures: u32,
}

impl Retry {
    fn now(now: Instant) -> Self {
        Self { next: now, pause: Duration::ZERO, failures: 0 }
    }

    fn failed(&mut self, now: Instant, first: Duration, max: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.pause = if self.pause.is_zero() { first } else { (self.pause * 2).min(max) };
        self.next = now + self.pause;
    }

    fn hurry(&mut self, now: Instant, first: Duration) {
        if self.failures > 0 {
            self.pause = Duration::ZERO;
            self.next = self.next.min(now + first);
        }
    }
}

#[derive(Debug)]
struct Known {
    role: Role,
    /// The best first; those seen to lead to this node are marked.
    addresses: Vec<(String, bool)>,
    /// Whether it ever proved its key to us.
    proven: bool,
    retry: Retry,
    /// Since when it has had no connection.
    lonely_since: Instant,
    last_connected: Option<Instant>,
}

/// What to dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) address: String,
    /// Nobody in particular for a bootstrap address.
    pub(crate) node_id: Option<NodeId>,
}

/// How a node is connected, as far as dialling is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) outbound: bool,
}

/// All nodes this one knows of, itself not among them.
pub(crate) struct Book {
    us: NodeId,
    timing: Timing,
    max_known: usize,
    bootstrap: Vec<String>,
    known: BTreeMap<NodeId, Known>,
    /// Bootstrap addresses of which nobody knows who answers there.
    unidentified: BTreeMap<String, Retry>,
    own_addresses: BTreeSet<String>,
    /// Nobody dials us, so every connection is ours to open.
    dials_everybody: bool,
    /// When the ring last changed.
    changed: Instant,
}

impl Book {
    pub(crate) fn new(
        us: NodeId,
        timing: Timing,
        max_known: usize,
        bootstrap: Vec<String>,
        now: Instant,
    ) -> Self {
        let unidentified = bootstrap.iter().map(|a| (a.clone(), Retry::now(now))).collect();
        Self {
            us,
            timing,
            max_known,
            bootstrap,
            known: BTreeMap::new(),
            unidentified,
            own_addresses: BTreeSet::new(),
            dials_everybody: false,
            changed: now,
        }
    }

    /// Nobody else knows where we are.
    pub(crate) fn dial_everybody(&mut self) {
        self.dials_everybody = true;
    }

    /// Nodes known, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// All ids that take part in deciding who dials whom, sorted, ours among them.
    pub(crate) fn ring(&self, now: Instant) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self
            .known
            .iter()
            .filter(|(_, known)| known.is_on_ring(now))
            .map(|(id, _)| *id)
            .chain([self.us])
            .collect();
        ids.sort();
        ids
    }

    /// Hearsay: a peer says that `node_id` is at `address`. Whether that was news.
    pub(crate) fn heard(
        &mut self,
        node_id: NodeId,
        role: Role,
        address: &str,
        now: Instant,
    ) -> bool {
        if node_id == self.us || self.own_addresses.contains(address) {
            return false;
        }
        if let Some(known) = self.known.get_mut(&node_id) {
            known.add_address(address, false);
            return false;
        }
        if self.known.len() >= self.max_known {
            return false;
        }
        let mut known = Known::new(role, now);
        known.add_address(address, false);
        self.known.insert(node_id, known);
        self.changed = now;
        true
    }

    /// `node_id` proved itself on a connection. `address` is where it says it listens, `seen`
    /// whether the connection bears that out; `dialled` is the address that led to it.
    /// Whether the node was unknown.
    pub(crate) fn proven(
        &mut self,
        node_id: NodeId,
        role: Role,
        (address, seen): (&str, bool),
        dialled: Option<&str>,
        now: Instant,
    ) -> bool {
        if let Some(dialled) = dialled {
            // Whoever was believed to be there is not.
            for (_, other) in self.known.iter_mut().filter(|(id, _)| **id != node_id) {
                other.addresses.retain(|(address, _)| address != dialled);
            }
        }
        let is_new = !self.known.contains_key(&node_id);
        if is_new {
            self.make_room();
            self.changed = now;
        }
        let known = self.known.entry(node_id).or_insert_with(|| Known::new(role, now));
        let came_back = known.retry.failures > 0;
        known.role = role;
        known.proven = true;
        known.last_connected = Some(now);
        known.retry = Retry::now(now);
        known.add_address(address, seen);
        if let Some(dialled) = dialled {
            known.add_address(dialled, true);
        }
        let verified: Vec<String> = known.verified().cloned().collect();
        for address in verified {
            self.unidentified.remove(&address);
        }
        if came_back {
            self.hurry(now);
        }
        is_new
    }

    /// A path that was broken works again, so others may too.
    fn hurry(&mut self, now: Instant) {
        let first = self.timing.redial_first;
        self.known.values_mut().for_each(|known| known.retry.hurry(now, first));
        self.unidentified.values_mut().for_each(|retry| retry.hurry(now, first));
    }

    fn make_room(&mut self) {
        while self.known.len() >= self.max_known {
            let hearsay = |known: &&Known| !known.proven;
            let worst = self
                .known
                .iter()
                .filter(|(_, known)| hearsay(known))
                .max_by_key(|(_, known)| known.retry.failures)
                .or_else(|| self.known.iter().min_by_key(|(_, known)| known.last_connected))
                .map(|(id, _)| *id);
            match worst {
                Some(id) => self.known.remove(&id),
                None => return,
            };
        }
    }

    /// The connection with `node_id` is gone.
    pub(crate) fn disconnected(&mut self, node_id: NodeId, now: Instant) {
        if let Some(known) = self.known.get_mut(&node_id) {
            known.lonely_since = now;
            known.last_connected = Some(now);
            known.retry = Retry::now(now);
        }
    }

    /// A dial did not lead to a connection.
    pub(crate) fn failed(&mut self, target: &Target, now: Instant) {
        let timing = &self.timing;
        let Some(node_id) = target.node_id else {
            if let Some(retry) = self.unidentified.get_mut(&target.address) {
                retry.failed(now, timing.redial_first, timing.redial_max);
            }
            return;
        };
        let Some(known) = self.known.get_mut(&node_id) else { return };
        let max = if known.is_recent(now) { timing.redial_max_recent } else { timing.redial_max };
        known.retry.failed(now, timing.redial_first, max);
        if let Some(at) = known.addresses.iter().position(|(a, _)| *a == target.address) {
            let tried = known.addresses.remove(at);
            known.addresses.push(tried);
        }
        let failures = known.retry.failures;
        if !known.proven && failures >= 2 * HEARSAY_FAILURES {
            self.known.remove(&node_id);
        }
        if failures == HEARSAY_FAILURES || failures == 2 * HEARSAY_FAILURES {
            self.changed = now;
        }
    }

    /// The peer has a connection with us already and prefers it.
    pub(crate) fn refused_as_duplicate(&mut self, target: &Target, now: Instant) {
        let max = self.timing.redial_max;
        let first = self.timing.redial_first;
        let retry = match target.node_id {
            Some(id) => self.known.get_mut(&id).map(|known| &mut known.retry),
            None => self.unidentified.get_mut(&target.address),
        };
        if let Some(retry) = retry {
            retry.failed(now, first, max);
            retry.failures = 0;
        }
    }

    /// We answered at this address ourselves.
    pub(crate) fn is_us(&mut self, address: &str) {
        self.own_addresses.insert(address.to_owned());
        self.unidentified.remove(address);
        for known in self.known.values_mut() {
            known.addresses.retain(|(a, _)| a != address);
        }
    }

    /// What to dial now: own half of the ring first, then strangers at bootstrap addresses, then
    /// nodes whose own dial is overdue, then connections to turn round.
    pub(crate) fn due(
        &mut self,
        connected: &BTreeMap<NodeId, Connected>,
        now: Instant,
    ) -> Vec<Target> {
        self.restore_bootstrap(now);
        let ring = self.ring(now);
        let is_settled = now.saturating_duration_since(self.changed) >= self.timing.settle;
        let mut ranked: Vec<(u8, Target)> = Vec::new();
        for (id, known) in &self.known {
            let Some((address, _)) = known.addresses.first() else { continue };
            if known.retry.next > now {
                continue;
            }
            let ours = self.dials_everybody || ring::owns(&ring, self.us, *id);
            let overdue = now.saturating_duration_since(known.lonely_since) >= self.timing.grace;
            let rank = match connected.get(id) {
                None if ours => 0,
                None if overdue => 2,
                Some(Connected { outbound: false }) if ours && is_settled => 3,
                _ => continue,
            };
            ranked.push((rank, Target { address: address.clone(), node_id: Some(*id) }));
        }
        for (address, retry) in self.unidentified.iter().filter(|(_, retry)| retry.next <= now) {
            ranked.push((1, Target { address: address.clone(), node_id: None }));
            debug_assert!(retry.next <= now);
        }
        ranked.sort();
        ranked.into_iter().map(|(_, target)| target).collect()
    }

    /// A bootstrap address that no longer leads to any node we know is unidentified again.
    fn restore_bootstrap(&mut self, now: Instant) {
        for address in &self.bootstrap {
            let is_known = self.own_addresses.contains(address)
                || self.unidentified.contains_key(address)
                || self.known.values().any(|known| known.verified().any(|a| a == address));
            if !is_known {
                self.unidentified.insert(address.clone(), Retry::now(now));
            }
        }
    }

    /// Whether the ring, with `other` on it, says that `dialler` should have dialled.
    pub(crate) fn owner_is(&self, dialler: NodeId, other: NodeId, now: Instant) -> bool {
        if self.dials_everybody {
            return dialler == self.us;
        }
        let mut ring = self.ring(now);
        for id in [dialler, other] {
            if let Err(at) = ring.binary_search(&id) {
                ring.insert(at, id);
            }
        }
        ring::owns(&ring, dialler, other)
    }
}

impl Known {
    fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            addresses: Vec::new(),
            proven: false,
            retry: Retry::now(now),
            lonely_since: now,
            last_connected: None,
        }
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.last_connected.is_some_and(|at| now.saturating_duration_since(at) < RECENT)
    }

    fn is_on_ring(&self, now: Instant) -> bool {
        !self.addresses.is_empty()
            && (self.is_recent(now) || self.retry.failures < HEARSAY_FAILURES)
    }

    fn verified(&self) -> impl Iterator<Item = &String> {
        self.addresses.iter().filter(|(_, verified)| *verified).map(|(address, _)| address)
    }

    /// Verified addresses go to the front, others to the end.
    fn add_address(&mut self, address: &str, verified: bool) {
        // It keeps its address to itself.
        if address.is_empty() {
            return;
        }
        if let Some(at) = self.addresses.iter().position(|(a, _)| a == address) {
            if !verified {
                return;
            }
            self.addresses.remove(at);
        }
        let entry = (address.to_owned(), verified);
        if verified {
            self.addresses.insert(0, entry);
            self.addresses.truncate(MAX_ADDRESSES);
        } else if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn book(bootstrap: &[&str], now: Instant) -> Book {
        let bootstrap = bootstrap.iter().map(|a| (*a).to_owned()).collect();
        Book::new(id(5), Timing::default(), 4, bootstrap, now)
    }

    fn dials(book: &mut Book, connected: &[(u8, bool)], now: Instant) -> Vec<String> {
        let connected =
            connected.iter().map(|(n, outbound)| (id(*n), Connected { outbound: *outbound }));
        book.due(&connected.collect(), now).into_iter().map(|target| target.address).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bootstrap_is_dialled_until_it_is_known_who_answers() {
        let t0 = Instant::now();
        let mut book = book(&["a:1", "b:1"], t0);
        assert_eq!(dials(&mut book, &[], t0), ["a:1", "b:1"]);
        book.proven(id(6), Role::Rpc, ("a:1", false), Some("a:1"), t0);
        assert_eq!(dials(&mut book, &[(6, true)], t0), ["b:1"]);
        book.is_us("b:1");
        assert!(dials(&mut book, &[(6, true)], t0).is_empty());
        // Somebody else answers at a:1 now: node 6 is nowhere, its address is the newcomer's.
        book.proven(id(7), Role::Rpc, ("z:1", false), Some("a:1"), t0);
        assert!(dials(&mut book, &[(7, true)], t0 + 60 * SECOND).is_empty());
    }

    #[test]
    fn pauses_double_to_a_cap_and_never_end_for_bootstrap() {
        let mut now = Instant::now();
        let mut book = book(&["a:1"], now);
        let target = Target { address: "a:1".into(), node_id: None };
        for expected in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(dials(&mut book, &[], now), ["a:1"]);
            book.failed(&target, now);
            let pause = expected * SECOND;
            assert!(dials(&mut book, &[], now + pause - SECOND / 2).is_empty(), "{expected}");
            now += pause;
        }
    }

    #[test]
    fn a_node_connected_a_moment_ago_is_retried_within_five_seconds() {
        let mut now = Instant::now();
        let mut book = book(&[], now);
        book.proven(id(6), Role::Validator, ("a:1", true), None, now);
        book.disconnected(id(6), now);
        let target = Target { address: "a:1".into(), node_id: Some(id(6)) };
        for expected in [1, 2, 4, 5, 5] {
            assert_eq!(dials(&mut book, &[], now), ["a:1"]);
            book.failed(&target, now);
            now += expected * SECOND;
        }
        // One that comes back hurries the others.
        book.proven(id(7), Role::Validator, ("b:1", true), None, now);
        book.disconnected(id(7), now);
        for _ in 0..8 {
            book.failed(&target, now);
        }
        book.failed(&Target { address: "b:1".into(), node_id: Some(id(7)) }, now);
        assert!(!dials(&mut book, &[(7, true)], now + SECOND).contains(&"a:1".to_owned()));
        book.proven(id(7), Role::Validator, ("b:1", true), None, now);
        assert_eq!(dials(&mut book, &[(7, true)], now + SECOND), ["a:1"]);
    }

    #[test]
    fn the_other_half_of_the_ring_is_left_alone_for_the_grace_and_turned_round_when_settled() {
        let now = Instant::now();
        // Ring of 5, 6, 7: 5 dials 6, 6 dials 7, 7 dials 5.
        let mut book = book(&[], now);
        book.heard(id(6), Role::Validator, "six:1", now);
        book.heard(id(7), Role::Validator, "seven:1", now);
        assert_eq!(dials(&mut book, &[], now), ["six:1"]);
        let later = now + 10 * SECOND;
        assert_eq!(dials(&mut book, &[], later), ["six:1", "seven:1"]);
        assert!(dials(&mut book, &[(6, false), (7, false)], now + SECOND).is_empty());
        assert_eq!(dials(&mut book, &[(6, false), (7, false)], now + 2 * SECOND), ["six:1"]);
        assert!(book.owner_is(id(5), id(6), now));
        assert!(!book.owner_is(id(5), id(7), now));
    }

    #[test]
    fn hearsay_cannot_grow_the_book_nor_displace_who_proved_itself() {
        let now = Instant::now();
        let mut book = book(&[], now);
        book.proven(id(1), Role::Validator, ("one:1", true), None, now);
        for n in 10..30 {
            book.heard(id(n), Role::Rpc, &format!("x:{n}"), now);
        }
        assert_eq!(book.len(), 4);
        book.proven(id(2), Role::Validator, ("two:1", true), None, now);
        assert_eq!(book.len(), 4);
        assert!(book.known.contains_key(&id(1)) && book.known.contains_key(&id(2)));
        // A node only heard of is forgotten when nobody answers.
        let heard = *book.known.iter().find(|(_, k)| !k.proven).unwrap().0;
        let target =
            Target { address: book.known[&heard].addresses[0].0.clone(), node_id: Some(heard) };
        for _ in 0..2 * HEARSAY_FAILURES {
            book.failed(&target, now);
        }
        assert!(!book.known.contains_key(&heard));
    }
}
