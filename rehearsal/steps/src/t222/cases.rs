//! The scenario table: what goes wrong when, and what shows that it did.

use crate::simulated::{self, Regions};
use qbind_sim::{
    Action, Byzantine, Call, CallKind, Clock, Forgery, Link, MessageKind, Phase, SimConfig, Timed,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// One row.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) hits: &'static [Hit],
    pub(super) config: fn(Cluster) -> SimConfig,
}

/// What shows that the faults were real: a fault that changed nothing proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    /// Views were given up.
    ViewChanges,
    /// Messages were dropped on purpose.
    Dropped,
    /// Messages were cut off.
    Cut,
    /// Messages arrived twice.
    Duplicated,
    /// So many nodes lost power at the chosen place.
    PowerLosses(u64),
    /// Two statements that exclude each other were seen.
    Equivocations,
    /// Messages were refused by everybody.
    Refused,
    /// Byzantine validators did not send what they should.
    Withheld,
    /// Messages took so long in the mean, in microseconds.
    Delay(u64),
    /// So many epochs started.
    Epochs(u64),
    /// There are so many more validators in the end.
    Joined(u64),
}

/// A cluster of `n` validators and the seed of its run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cluster {
    pub(super) n: usize,
    pub(super) seed: u64,
}

impl Cluster {
    /// Without faults, in one data centre.
    fn calm(self, duration_ms: u64) -> SimConfig {
        simulated::cluster(self.seed, vec![0; self.n], simulated::data_centre(), duration_ms)
    }

    /// With faults, all of them shifted by a part of half a second that the seed decides.
    fn with(self, duration_ms: u64, mut faults: Vec<Timed>) -> SimConfig {
        let shift = self.seed.wrapping_mul(37) % 500;
        faults.iter_mut().for_each(|fault| fault.at_ms += shift);
        SimConfig { faults, ..self.calm(duration_ms) }
    }

    /// Validators that may be faulty: fewer than a third.
    fn f(self) -> usize {
        (self.n - 1) / 3
    }

    /// The first `f` of them, spread so that no two lead in a row where that is possible.
    fn liars(self, kinds: &[Byzantine]) -> SimConfig {
        let byzantine = (0..self.f()).map(|i| (3 * i + 1, kinds[i % kinds.len()]));
        SimConfig { byzantine: byzantine.collect(), ..self.calm(8_000) }
    }

    fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed ^ 0x7222)
    }
}

fn at(at_ms: u64, action: Action) -> Timed {
    Timed { at_ms, action }
}

fn split(n: usize, left: usize) -> Action {
    Action::Partition(vec![(0..left).collect(), (left..n).collect()])
}

fn leader_crash(c: Cluster) -> SimConfig {
    let faults = vec![
        at(1_000, Action::CrashLeader),
        at(3_000, Action::RestartCrashed),
        at(5_000, Action::CrashLeader),
        at(6_000, Action::RestartCrashed),
    ];
    c.with(8_000, faults)
}

fn leader_crash_in_every_phase(c: Cluster) -> SimConfig {
    let faults = (0u64..).zip(Phase::ALL).flat_map(|(i, phase)| {
        let start = 500 + 1_800 * i;
        [at(start, Action::CrashLeaderAt(phase)), at(start + 1_500, Action::RestartCrashed)]
    });
    c.with(10_000, faults.collect())
}

fn message_loss(c: Cluster) -> SimConfig {
    let faults = vec![
        at(1_000, Action::Drop(MessageKind::Proposal, 2_000)),
        at(3_000, Action::Drop(MessageKind::Vote, 3_000)),
        at(6_000, Action::StopDrop),
    ];
    c.with(8_000, faults)
}

fn heavy_loss(c: Cluster) -> SimConfig {
    let faults = vec![at(500, Action::Drop(MessageKind::All, 3_000)), at(6_000, Action::StopDrop)];
    c.with(7_000, faults)
}

fn short_partition(c: Cluster) -> SimConfig {
    c.with(10_000, vec![at(2_000, split(c.n, c.n - 1)), at(5_000, Action::Heal)])
}

/// As many as may be faulty are cut off: the others go on.
fn minority_partition(c: Cluster) -> SimConfig {
    c.with(8_000, vec![at(1_000, split(c.n, c.n - c.f())), at(5_000, Action::Heal)])
}

/// Neither side has a quorum: nobody goes on.
fn majority_lost(c: Cluster) -> SimConfig {
    c.with(8_000, vec![at(1_000, split(c.n, c.n.div_ceil(2))), at(5_000, Action::Heal)])
}

fn mixed_burst(c: Cluster) -> SimConfig {
    let faults = vec![
        at(1_000, Action::Drop(MessageKind::All, 1_500)),
        at(3_000, Action::Crash(1)),
        at(4_000, split(c.n, c.n / 2)),
        at(5_000, Action::Restart(1)),
        at(5_500, Action::Heal),
        at(6_000, Action::StopDrop),
    ];
    c.with(12_000, faults)
}

/// One validator hears everybody and nobody hears it.
fn one_way_cut(c: Cluster) -> SimConfig {
    let mut faults: Vec<Timed> = (1..c.n).map(|to| at(1_000, Action::CutOneWay(0, to))).collect();
    faults.push(at(4_000, Action::Heal));
    c.with(7_000, faults)
}

/// Everybody hears one validator and it hears nobody.
fn deaf_validator(c: Cluster) -> SimConfig {
    let mut faults: Vec<Timed> =
        (0..c.n - 1).map(|from| at(1_000, Action::CutOneWay(from, c.n - 1))).collect();
    faults.push(at(4_000, Action::Heal));
    c.with(7_000, faults)
}

/// Pairs of validators lose sight of each other and find each other again, over and over.
fn flapping_links(c: Cluster) -> SimConfig {
    let mut rng = c.rng();
    let faults = (0..16).flat_map(|i| {
        let (a, b) = (rng.random_range(0..c.n), rng.random_range(0..c.n));
        let start = 500 + 300 * i;
        [
            at(start, Action::CutOneWay(a, b)),
            at(start, Action::CutOneWay(b, a)),
            at(start, Action::CutOneWay(0, c.n - 1)),
            at(start + 200, Action::Heal),
        ]
    });
    c.with(7_000, faults.collect())
}

fn rolling_restart(c: Cluster) -> SimConfig {
    let step = if c.n > 8 { 400 } else { 900 };
    let faults = (0..c.n).flat_map(|i| {
        let start = 500 + step * i as u64;
        [at(start, Action::Crash(i)), at(start + step - 100, Action::Restart(i))]
    });
    c.with(8_000, faults.collect())
}

/// The power of the whole site goes away, twice, once in the middle of heavy loss.
fn everybody_loses_power(c: Cluster) -> SimConfig {
    let everybody = |at_ms, action: fn(usize) -> Action| {
        (0..c.n).map(move |i| at(at_ms, action(i))).collect::<Vec<_>>()
    };
    let mut faults = everybody(1_500, Action::Crash);
    faults.extend(everybody(2_000, Action::Restart));
    faults.push(at(3_000, Action::Drop(MessageKind::All, 3_000)));
    faults.extend(everybody(4_500, Action::Crash));
    faults.extend(everybody(5_000, Action::Restart));
    faults.push(at(5_500, Action::StopDrop));
    c.with(7_500, faults)
}

fn clocks_apart(c: Cluster) -> SimConfig {
    let mut rng = c.rng();
    let mut clock = || qbind_sim::Clock {
        skew_ms: rng.random_range(-30_000..=30_000),
        drift_ppm: rng.random_range(-20_000..=20_000),
    };
    let clocks: Vec<Clock> = (0..c.n).map(|_| clock()).collect();
    let faults = vec![at(2_000, Action::CrashLeader), at(4_000, Action::RestartCrashed)];
    SimConfig { clocks, ..c.with(8_000, faults) }
}

/// Messages overtake each other, and one in five arrives twice.
fn duplicated_and_reordered(c: Cluster) -> SimConfig {
    let link = Link { jitter_us: 25_000, duplicate_bps: 2_000, ..Link::exact(25_000) };
    SimConfig { links: vec![vec![link]], ..c.calm(8_000) }
}

/// Each pair of nodes shares one megabyte a second.
fn narrow_links(c: Cluster) -> SimConfig {
    let link = Link { jitter_us: 1_000, bytes_per_s: 1_000_000, ..Link::exact(10_000) };
    SimConfig { links: vec![vec![link]], ..c.calm(8_000) }
}

/// Layout 3/2/2 over three regions; the third becomes slow, then slow in one direction only.
fn slow_region(c: Cluster) -> SimConfig {
    let slow = Link { jitter_us: 20_000, ..Link::exact(200_000) };
    let (near, far) = (Link::exact(1_000), Link { jitter_us: 3_000, ..Link::exact(35_000) });
    let links = (0..3).map(|a| (0..3).map(|b| if a == b { near } else { far }).collect());
    let mut faults = Vec::new();
    for other in 0..2 {
        faults.push(at(1_000, Action::Replace(2, other, slow)));
        faults.push(at(1_000, Action::Replace(other, 2, slow)));
        faults.push(at(4_000, Action::Replace(2, other, far)));
    }
    faults.push(at(6_000, Action::RestoreLinks));
    let layout = [0, 1, 2, 0, 1, 2, 0];
    let validators = (0..c.n).map(|i| layout[i % 7]).collect();
    SimConfig { validators, links: links.collect(), ..c.with(8_000, faults) }
}

fn twins(c: Cluster) -> SimConfig {
    let config = c.liars(&[Byzantine::Twin]);
    let mut rng = c.rng();
    let mut nodes: Vec<usize> = (0..c.n + c.f()).collect();
    let mut faults = Vec::new();
    for i in 0..10 {
        nodes.shuffle(&mut rng);
        let (left, right) = nodes.split_at(rng.random_range(1..nodes.len()));
        faults.push(at(200 + 300 * i, Action::Heal));
        faults.push(at(200 + 300 * i, Action::Partition(vec![left.to_vec(), right.to_vec()])));
    }
    faults.push(at(3_200, Action::Heal));
    SimConfig { faults, ..config }
}

fn forgers(c: Cluster) -> SimConfig {
    let kinds = [Forgery::BelowQuorum, Forgery::OneSigner, Forgery::ForeignNetwork];
    let first = usize::try_from(c.seed % 3).expect("below three");
    c.liars(&[0, 1, 2].map(|i| Byzantine::Forger(kinds[(first + i) % 3])))
}

fn silent_leaders(c: Cluster) -> SimConfig {
    c.liars(&[Byzantine::SilentLeader, Byzantine::Mute])
}

fn withholders(c: Cluster) -> SimConfig {
    c.liars(&[Byzantine::WithholdBatches, Byzantine::Selective(c.f() + 1)])
}

fn liars_about_data(c: Cluster) -> SimConfig {
    c.liars(&[Byzantine::ForgedBatch, Byzantine::MismatchedBatch])
}

/// Faults of every kind at times and places that the seed decides.
fn random(c: Cluster) -> SimConfig {
    let mut rng = c.rng();
    let mut faults = Vec::new();
    let mut now = 500;
    while now < 6_000 {
        let node = rng.random_range(0..c.n);
        let length = rng.random_range(100..1_500);
        let (start, end) = match rng.random_range(0..8) {
            0 => (Action::Crash(node), Action::Restart(node)),
            1 => (Action::CrashLeader, Action::RestartCrashed),
            2 => {
                let phase = Phase::ALL[rng.random_range(0..Phase::ALL.len())];
                (Action::CrashLeaderAt(phase), Action::RestartCrashed)
            }
            3 => (split(c.n, rng.random_range(1..c.n)), Action::Heal),
            4 => (Action::CutOneWay(node, (node + 1) % c.n), Action::Heal),
            5 => {
                let kinds = [MessageKind::Proposal, MessageKind::Vote, MessageKind::NewView];
                let kind = kinds[rng.random_range(0..kinds.len())];
                (Action::Drop(kind, rng.random_range(1_000..6_000)), Action::StopDrop)
            }
            6 => {
                let kinds = [MessageKind::DagAck, MessageKind::DagCert, MessageKind::All];
                let kind = kinds[rng.random_range(0..kinds.len())];
                (Action::Drop(kind, rng.random_range(1_000..3_000)), Action::StopDrop)
            }
            _ => {
                let link = Link { jitter_us: 50_000, duplicate_bps: 500, ..Link::exact(100_000) };
                (Action::Replace(0, 0, link), Action::RestoreLinks)
            }
        };
        faults.extend([at(now, start), at(now + length, end)]);
        now += rng.random_range(50..600);
    }
    faults.sort_by_key(|fault| fault.at_ms);
    c.with(8_000, faults)
}

/// Short epochs, of which many end in the middle of a cut or a crash.
fn epochs_end_in_trouble(c: Cluster) -> SimConfig {
    let mut faults = Vec::new();
    for round in 0..4 {
        let start = 400 + round * 1_300;
        let left = 1 + (c.seed + round) as usize % (c.n - 1);
        faults.push(at(start, split(c.n, left)));
        faults.push(at(start + 500, Action::Heal));
        faults.push(at(start + 600, Action::CrashLeader));
        faults.push(at(start + 900, Action::RestartCrashed));
    }
    SimConfig { epoch_blocks: 8, ..c.with(8_000, faults) }
}

/// One validator joins, one leaves, one changes its key and one is in a hurry to.
fn validators_change(c: Cluster) -> SimConfig {
    let call =
        |at_ms, node, kind| Call { at_ms: at_ms + c.seed.wrapping_mul(37) % 500, node, kind };
    let faults = vec![
        at(1_000, Action::CrashLeader),
        at(1_800, Action::RestartCrashed),
        at(2_500, Action::Drop(MessageKind::All, 1_500)),
        at(4_000, Action::StopDrop),
        at(4_200, Action::SecondKey(1)),
        at(6_500, Action::SecondKey(3)),
    ];
    let calls = vec![
        call(300, c.n, CallKind::Join),
        call(500, c.n + 1, CallKind::Join),
        call(1_200, 1, CallKind::Rotate { ahead: 1, grace: Some(100) }),
        call(2_000, 3, CallKind::Rotate { ahead: 2, grace: None }),
        call(2_800, 0, CallKind::Leave),
    ];
    let mut config = SimConfig { epoch_blocks: 10, candidates: 2, calls, ..c.with(10_000, faults) };
    config.validators.extend([0, 0]);
    config
}

/// A shipped topology of real regions: the largest is cut off, then all of it loses packets.
fn on_topology(c: Cluster, name: &str) -> SimConfig {
    let regions = Regions::load(name);
    let validators = regions.seats(c.n);
    let here = |region: usize| (0..c.n).filter(|i| validators[*i] == region).collect::<Vec<_>>();
    let (first, rest): (Vec<usize>, Vec<usize>) =
        (here(0), (0..c.n).filter(|i| validators[*i] != 0).collect());
    let faults = vec![
        at(1_000, Action::CrashLeader),
        at(2_500, Action::RestartCrashed),
        at(3_500, Action::Partition(vec![first, rest])),
        at(5_000, Action::Heal),
        at(5_500, Action::Drop(MessageKind::All, 500)),
        at(7_000, Action::StopDrop),
    ];
    SimConfig { links: regions.links(1_000), validators, ..c.with(8_000, faults) }
}

fn standard_tri_region(c: Cluster) -> SimConfig {
    on_topology(c, "standard-tri-region")
}

fn us_centric(c: Cluster) -> SimConfig {
    on_topology(c, "us-centric")
}

fn global_spread(c: Cluster) -> SimConfig {
    on_topology(c, "global-spread")
}

const fn case(name: &'static str, hits: &'static [Hit], config: fn(Cluster) -> SimConfig) -> Case {
    Case { name, hits, config }
}

pub(super) const CASES: [Case; 27] = [
    case("leader_crash_and_recover", &[Hit::ViewChanges], leader_crash),
    case("leader_crash_in_every_phase", &[Hit::PowerLosses(5)], leader_crash_in_every_phase),
    case("repeated_view_changes_under_message_loss", &[Hit::Dropped], message_loss),
    case("loss_of_30_percent", &[Hit::Dropped, Hit::ViewChanges], heavy_loss),
    case("short_partition_then_heal", &[Hit::Cut], short_partition),
    case("minority_partition", &[Hit::Cut], minority_partition),
    case("majority_lost_then_heal", &[Hit::Cut], majority_lost),
    case("mixed_faults_burst", &[Hit::Dropped, Hit::Cut], mixed_burst),
    case("mute_validator_one_way_cut", &[Hit::Cut], one_way_cut),
    case("deaf_validator_one_way_cut", &[Hit::Cut], deaf_validator),
    case("flapping_links", &[Hit::Cut], flapping_links),
    case("rolling_restart", &[Hit::ViewChanges], rolling_restart),
    case("everybody_loses_power", &[Hit::Dropped], everybody_loses_power),
    case("clocks_apart", &[Hit::ViewChanges], clocks_apart),
    case("duplicated_and_reordered", &[Hit::Duplicated], duplicated_and_reordered),
    case("narrow_links", &[Hit::Delay(11_000)], narrow_links),
    case("slow_region", &[Hit::Delay(30_000)], slow_region),
    case("twins", &[Hit::Cut, Hit::Equivocations], twins),
    case("forged_certificates", &[Hit::Refused], forgers),
    case("silent_and_mute_validators", &[Hit::ViewChanges, Hit::Withheld], silent_leaders),
    case("withheld_batches", &[Hit::Withheld], withholders),
    case("forged_batch_references", &[Hit::ViewChanges], liars_about_data),
    case("epochs_end_in_trouble", &[Hit::Cut, Hit::Epochs(4)], epochs_end_in_trouble),
    case("validators_change", &[Hit::Epochs(3), Hit::Joined(1)], validators_change),
    case("standard_tri_region", &[Hit::Cut, Hit::Delay(20_000)], standard_tri_region),
    case("us_centric", &[Hit::Cut, Hit::Delay(5_000)], us_centric),
    case("global_spread", &[Hit::Cut, Hit::Delay(20_000)], global_spread),
];

/// Also run, but without a fixed table of what it must hit.
pub(super) const RANDOM: Case = case("random_faults", &[], random);
