//! Whom it asks, and when.

use crate::{Effect, Event, Sync, SyncMessage};
use alloc::{vec, vec::Vec};
use qbind_dag::Peer;
use qbind_types::{BlockId, Height, Millis, ValidatorIndex};

fn peer(n: u16) -> Peer {
    Peer::Validator(ValidatorIndex(n))
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
    let mut sync = Sync::new(Height(10), Millis(0));
    let status = Event::Status { from: peer(1), height: Height(12) };
    assert_eq!(requests(&sync.step(Millis(10), status)), vec![]);
    assert_eq!(sync.deadline(), Millis(1_000));
    assert_eq!(requests(&sync.step(Millis(1_000), Event::Tick)), vec![(peer(1), 11)]);
}

#[test]
fn a_large_gap_is_shared_among_peers_and_a_silent_one_is_replaced() {
    let mut sync = Sync::new(Height(0), Millis(0));
    sync.step(Millis(1), Event::Status { from: peer(1), height: Height(10) });
    let asked =
        requests(&sync.step(Millis(1), Event::Status { from: peer(2), height: Height(500) }));
    assert_eq!(asked, vec![(peer(2), 1)]);
    let asked =
        requests(&sync.step(Millis(2), Event::Status { from: peer(3), height: Height(500) }));
    assert_eq!(asked, vec![(peer(3), 33)]);
    let status = Event::Status { from: peer(4), height: Height(500) };
    assert_eq!(requests(&sync.step(Millis(3), status)), vec![(peer(4), 65)]);
    // Peer 2 says nothing: its range goes to another, never back to it at once.
    let asked = requests(&sync.step(Millis(3_001), Event::Tick));
    assert!(asked.iter().all(|(p, _)| *p != peer(2)), "{asked:?}");
    assert!(asked.contains(&(peer(1), 1)), "{asked:?}");
}

#[test]
fn a_range_that_is_not_answered_soon_is_asked_of_another_peer_as_well() {
    let mut sync = Sync::new(Height(10), Millis(0));
    for n in 1..=3 {
        sync.step(Millis(10), Event::Status { from: peer(n), height: Height(12) });
    }
    assert_eq!(requests(&sync.step(Millis(1_000), Event::Tick)), vec![(peer(3), 11)]);
    assert_eq!(requests(&sync.step(Millis(1_749), Event::Tick)), vec![]);
    assert_eq!(sync.deadline(), Millis(1_750));
    assert_eq!(requests(&sync.step(Millis(1_750), Event::Tick)), vec![(peer(2), 11)]);
    assert_eq!(requests(&sync.step(Millis(1_751), Event::Tick)), vec![], "one at a time");
}

#[test]
fn empty_answers_and_lies_are_shunned() {
    let mut sync = Sync::new(Height(0), Millis(0));
    sync.step(Millis(1), Event::Status { from: peer(1), height: Height(500) });
    let effects = sync.step(Millis(2), Event::Blocks { from: peer(1), blocks: vec![] });
    assert_eq!(requests(&effects), vec![], "not asked again at once");
    assert_eq!(requests(&sync.step(Millis(5_003), Event::Tick)), vec![(peer(1), 1)]);
    assert_eq!(requests(&sync.step(Millis(5_004), Event::Lied { from: peer(1) })), vec![]);
}

#[test]
fn wishes_by_id_go_round_the_peers_and_end() {
    let mut sync = Sync::new(Height(0), Millis(0));
    for n in 0..3 {
        sync.step(Millis(0), Event::Status { from: peer(n), height: Height(0) });
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
    let mut sync = Sync::new(Height(0), Millis(0));
    for n in 0..6 {
        sync.step(Millis(0), Event::Status { from: peer(n), height: Height(0) });
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
