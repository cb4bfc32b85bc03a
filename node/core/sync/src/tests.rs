//! Whom it asks, and when.

use crate::{Effect, Event, Sync, SyncMessage};
use alloc::{vec, vec::Vec};
use qbind_crypto::{SecretKey, Verified, Verifier, block_id, preimage};
use qbind_dag::Peer;
use qbind_types::*;

fn peer(n: u16) -> Peer {
    Peer::Validator(ValidatorIndex(n))
}

fn status(from: Peer, height: Height) -> Event {
    Event::Status { from, height, lowest: Height(1) }
}

fn requests(effects: &[Effect]) -> Vec<(Peer, u64)> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Send { to, message: SyncMessage::BlocksRequest { from, .. } } => {
                Some((*to, from.0))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_small_gap_is_left_to_consensus_until_the_chain_stands_still() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    let word = status(peer(1), Height(12));
    assert_eq!(requests(&sync.step(Millis(10), word)), vec![]);
    assert_eq!(sync.deadline(), Millis(1_000));
    assert_eq!(requests(&sync.step(Millis(1_000), Event::Tick)), vec![(peer(1), 11)]);
}

#[test]
fn a_large_gap_is_shared_among_peers_and_a_silent_one_is_replaced() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    sync.step(Millis(1), status(peer(1), Height(10)));
    let asked = requests(&sync.step(Millis(1), status(peer(2), Height(500))));
    assert_eq!(asked, vec![(peer(2), 1)]);
    let asked = requests(&sync.step(Millis(2), status(peer(3), Height(500))));
    assert_eq!(asked, vec![(peer(3), 33)]);
    let word = status(peer(4), Height(500));
    assert_eq!(requests(&sync.step(Millis(3), word)), vec![(peer(4), 65)]);
    // Peer 2 says nothing: its range goes to another, never back to it at once.
    let asked = requests(&sync.step(Millis(3_001), Event::Tick));
    assert!(asked.iter().all(|(p, _)| *p != peer(2)), "{asked:?}");
    assert!(asked.contains(&(peer(1), 1)), "{asked:?}");
}

#[test]
fn a_range_that_is_not_answered_soon_is_asked_of_another_peer_as_well() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    for n in 1..=3 {
        sync.step(Millis(10), status(peer(n), Height(12)));
    }
    assert_eq!(requests(&sync.step(Millis(1_000), Event::Tick)), vec![(peer(3), 11)]);
    assert_eq!(requests(&sync.step(Millis(1_749), Event::Tick)), vec![]);
    assert_eq!(sync.deadline(), Millis(1_750));
    assert_eq!(requests(&sync.step(Millis(1_750), Event::Tick)), vec![(peer(2), 11)]);
    assert_eq!(requests(&sync.step(Millis(1_751), Event::Tick)), vec![], "one at a time");
}

#[test]
fn empty_answers_and_lies_are_shunned() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    sync.step(Millis(1), status(peer(1), Height(500)));
    let effects = sync.step(Millis(2), Event::Blocks { from: peer(1), blocks: vec![] });
    assert_eq!(requests(&effects), vec![], "not asked again at once");
    assert_eq!(requests(&sync.step(Millis(5_003), Event::Tick)), vec![(peer(1), 1)]);
    assert_eq!(requests(&sync.step(Millis(5_004), Event::Lied { from: peer(1) })), vec![]);
}

#[test]
fn wishes_by_id_go_round_the_peers_and_end() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    for n in 0..3 {
        sync.step(Millis(0), status(peer(n), Height(0)));
    }
    let mut asked = 0;
    sync.step(Millis(0), Event::NeedBlock { id: BlockId([1; 32]), holders: vec![] });
    for round in 1..40u64 {
        let effects = sync.step(Millis(500 * round), Event::Tick);
        asked += effects
            .iter()
            .filter(|e| matches!(e, Effect::Send { message: SyncMessage::BlockRequest(_), .. }))
            .count();
    }
    assert!((3..=8).contains(&asked), "{asked}");
}

#[test]
fn who_signed_for_a_block_is_asked_for_it_first() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    for n in 0..6 {
        sync.step(Millis(0), status(peer(n), Height(0)));
    }
    // Validator 9 signed too, but is not connected.
    let holders = vec![ValidatorIndex(4), ValidatorIndex(9), ValidatorIndex(2)];
    let mut asked = Vec::new();
    let mut look = |effects: Vec<Effect>| {
        asked.extend(effects.into_iter().filter_map(|e| match e {
            Effect::Send { to, message: SyncMessage::BlockRequest(_) } => Some(to),
            _ => None,
        }));
    };
    look(sync.step(Millis(0), Event::NeedBlock { id: BlockId([1; 32]), holders }));
    look(sync.step(Millis(500), Event::Tick));
    for round in 2..8 {
        look(sync.step(Millis(500 * round), Event::Tick));
    }
    let mut first = asked[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, vec![peer(2), peer(4)]);
    let others: alloc::collections::BTreeSet<Peer> = asked[2..].iter().copied().collect();
    assert_eq!(others.len(), 6, "then everybody: {asked:?}");
}

/// A chain of final blocks, each given as its epoch and whether it is the last of that.
fn chain(of: &[(u64, bool)]) -> Vec<Verified<CommittedBlock>> {
    let key = SecretKey::from_seed(&[1; 32]);
    let member = ValidatorInfo {
        id: 1,
        address: Address::default(),
        public_key: key.public_key(),
        previous_key: None,
        power: VotingPower(1),
    };
    let (network, mut parent) = (Network::Devnet, BlockId([9; 32]));
    let mut blocks = Vec::new();
    for (height, (epoch, is_last)) in (1u64..).zip(of) {
        let (epoch, view) = (Epoch(*epoch), View(height));
        let block = Block {
            network,
            epoch,
            height: Height(height),
            view,
            parent,
            proposer: ValidatorIndex(0),
            timestamp_unix_ms: Millis(height),
            executed: ExecutedState { height: Height(0), root: StateRoot::default() },
            batches: vec![],
            next_validators: is_last.then(ValidatorsId::default),
        };
        parent = block_id(&block);
        let signature = key.sign(&preimage::commit(network, epoch, view, &parent));
        let votes = vec![(ValidatorIndex(0), signature)];
        let certificate = CommitCertificate { epoch, view, block: parent, votes };
        let proof = CommitProof { descendants: vec![], certificate };
        let set = ValidatorSet::new(epoch, vec![member.clone()]).unwrap();
        let verifier = Verifier::new(network, alloc::sync::Arc::new(set));
        blocks.push(verifier.verify_committed_block(CommittedBlock { block, proof }).unwrap());
    }
    blocks
}

fn delivered(effects: &[Effect]) -> Vec<u64> {
    let height = |e: &Effect| match e {
        Effect::Committed(block) => Some(block.block.height.0),
        _ => None,
    };
    effects.iter().filter_map(height).collect()
}

#[test]
fn the_next_epoch_waits_until_it_has_started() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    sync.step(Millis(1), status(peer(1), Height(100)));
    let blocks = chain(&[(0, false), (0, true), (1, false), (1, false)]);
    let effects = sync.step(Millis(2), Event::Blocks { from: peer(1), blocks });
    assert_eq!(delivered(&effects), [1, 2]);
    sync.start_epoch(Epoch(1), false);
    assert_eq!(delivered(&sync.step(Millis(3), Event::Tick)), [3, 4]);
}

#[test]
fn what_only_proved_an_epochs_last_block_is_not_of_the_chain() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    sync.step(Millis(1), status(peer(1), Height(100)));
    // The third is final too, and still no block of the chain: it belongs to the epoch that has ended.
    let blocks = chain(&[(0, false), (0, true), (0, false)]);
    let effects = sync.step(Millis(2), Event::Blocks { from: peer(1), blocks });
    assert_eq!(delivered(&effects), [1, 2]);
    sync.start_epoch(Epoch(1), false);
    let effects = sync.step(Millis(3), Event::Tick);
    assert!(delivered(&effects).is_empty());
    let word = status(peer(2), Height(100));
    assert_eq!(requests(&sync.step(Millis(4), word)), [(peer(2), 3)]);
}

#[test]
fn who_is_an_epoch_behind_asks_at_once() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    assert_eq!(requests(&sync.step(Millis(5), Event::Ahead { from: peer(2) })), [(peer(2), 11)]);
    // An answer that cannot be checked yet is nobody's fault: a pause, and the same again.
    assert_eq!(requests(&sync.step(Millis(6), Event::TooNew { from: peer(2) })), vec![]);
    assert_eq!(requests(&sync.step(Millis(300), Event::Tick)), [(peer(2), 11)]);
}

#[test]
fn who_lies_again_and_again_is_left_alone_for_longer_each_time() {
    let mut sync = Sync::new(Height(0), Height(1), Epoch(0), Millis(0));
    let mut now = 1;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        sync.step(Millis(now), status(peer(1), Height(900)));
        sync.step(Millis(now), Event::Lied { from: peer(1) });
        let told = now;
        while requests(&sync.step(Millis(now), Event::Tick)).is_empty() {
            now += 1_000;
        }
        pauses.push((now - told) / 1_000);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 320, 320]);
    let blocks = chain(&[(0, false)]);
    sync.step(Millis(now), Event::Blocks { from: peer(1), blocks });
    sync.step(Millis(now), Event::Lied { from: peer(1) });
    assert_eq!(requests(&sync.step(Millis(now + 4_000), Event::Tick)), []);
    assert!(!requests(&sync.step(Millis(now + 5_000), Event::Tick)).is_empty(), "all is forgiven");
}

fn out_of_reach(effects: &[Effect]) -> Vec<(u64, Vec<(Peer, Height)>)> {
    let lost = |e: &Effect| match e {
        Effect::OutOfReach { height, peers } => Some((height.0, peers.clone())),
        _ => None,
    };
    effects.iter().filter_map(lost).collect()
}

#[test]
fn only_who_still_has_a_block_is_asked_for_it() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    let pruned = Event::Status { from: peer(1), height: Height(900), lowest: Height(400) };
    assert_eq!(requests(&sync.step(Millis(1), pruned)), []);
    let word = status(peer(2), Height(100));
    assert_eq!(requests(&sync.step(Millis(2), word)), [(peer(2), 11)]);
    let from_its_lowest = Event::Status { from: peer(3), height: Height(900), lowest: Height(43) };
    assert_eq!(requests(&sync.step(Millis(3), from_its_lowest)), [(peer(3), 43)]);
    assert_eq!(sync.out_of_reach(), None);
}

#[test]
fn that_nobody_has_the_next_block_is_said_once_and_taken_back() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    let pruned =
        |n, lowest| Event::Status { from: peer(n), height: Height(900), lowest: Height(lowest) };
    // A chain that has just moved may do without them.
    assert_eq!(out_of_reach(&sync.step(Millis(500), pruned(1, 400))), []);
    let effects = sync.step(Millis(1_000), pruned(2, 300));
    let who = alloc::vec![(peer(1), Height(400)), (peer(2), Height(300))];
    assert_eq!(out_of_reach(&effects), [(11, who)]);
    assert_eq!(sync.out_of_reach(), Some(Height(300)));
    for now in [1_250, 1_500, 9_000] {
        let effects = sync.step(Millis(now), Event::Tick);
        assert_eq!((requests(&effects), out_of_reach(&effects)), (vec![], vec![]));
    }
    // A peer that keeps everything is all it takes.
    let effects = sync.step(Millis(9_001), status(peer(3), Height(900)));
    assert_eq!(requests(&effects), [(peer(3), 11)]);
    assert_eq!(sync.out_of_reach(), None);
    let effects = sync.step(Millis(9_002), Event::Gone { peer: peer(3) });
    assert_eq!(out_of_reach(&effects).len(), 1, "and again");
}

#[test]
fn one_peer_among_several_cannot_say_that_a_halted_chain_is_out_of_reach() {
    let mut sync = Sync::new(Height(10), Height(1), Epoch(0), Millis(0));
    sync.step(Millis(1), status(peer(1), Height(10)));
    let ahead = |n| Event::Status { from: peer(n), height: Height(15), lowest: Height(15) };
    assert_eq!(out_of_reach(&sync.step(Millis(2_000), ahead(2))), []);
    assert_eq!(out_of_reach(&sync.step(Millis(9_000), Event::Tick)), []);
    assert_eq!(sync.out_of_reach(), None);
    // Most of them can.
    assert_eq!(out_of_reach(&sync.step(Millis(9_001), ahead(3))).len(), 1);
    assert_eq!(sync.out_of_reach(), Some(Height(15)));
}

#[test]
fn what_is_pruned_here_is_told_before_it_is_gone() {
    let mut sync = Sync::new(Height(10), Height(3), Epoch(0), Millis(0));
    let told = |effects: &[Effect]| {
        effects.iter().find_map(|e| match e {
            Effect::Broadcast(SyncMessage::Status { lowest, .. }) => Some(lowest.0),
            _ => None,
        })
    };
    assert_eq!(told(&sync.step(Millis(0), Event::Tick)), Some(3));
    sync.step(Millis(1), Event::Pruned { lowest: Height(7) });
    sync.step(Millis(1), Event::Pruned { lowest: Height(5) });
    assert_eq!(told(&sync.step(Millis(1_000), Event::Tick)), Some(7));
}

#[test]
fn the_slowest_peer_is_one_worth_waiting_for() {
    let mut sync = Sync::new(Height(100), Height(1), Epoch(0), Millis(0));
    assert_eq!(sync.slowest_peer(Height(0)), None);
    for (n, height) in [(1, 90), (2, 40), (3, 100)] {
        sync.step(Millis(1), status(peer(n), Height(height)));
    }
    assert_eq!(sync.slowest_peer(Height(0)), Some(Height(40)));
    assert_eq!(sync.slowest_peer(Height(41)), Some(Height(90)));
}
