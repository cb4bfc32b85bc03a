//! What consensus is told about references.

use crate::keys::{Account, Keys, NETWORK};
use qbind_dag::{
    Availability, CouplingMode, CouplingVerdict, Dag, DagConfig, DagMessage, Effect, Event,
    Mismatch, Note, Peer, bounds,
};
use qbind_types::{
    BatchId, BatchRef, CertifiedBatch, Epoch, Millis, Transaction, ValidatorIndex, limits,
};
use std::collections::BTreeMap;

const NOW: Millis = Millis(1_000);
const MODES: [CouplingMode; 3] = [CouplingMode::Off, CouplingMode::Warn, CouplingMode::Enforce];

struct Room {
    keys: Keys,
    dag: Dag,
    transfers: Vec<Transaction>,
}

impl Room {
    fn new() -> Self {
        let keys = Keys::new(&[1, 1, 1, 1]);
        let config = DagConfig::new(NETWORK, Some(ValidatorIndex(3)));
        let dag = Dag::new(config, keys.set.clone());
        let account = Account::new(1);
        Self { keys, dag, transfers: (0..6).map(|n| account.transfer(n, 1)).collect() }
    }

    /// A chain of batches, the first `certified` of them certified.
    fn chain(&mut self, creator: u16, rounds: u64, certified: u64) -> Vec<BatchRef> {
        let mut refs: Vec<BatchRef> = Vec::new();
        for round in 0..rounds {
            let transaction = self.transfers[(round % 6) as usize].clone();
            let (reference, batch) = self.keys.batch(
                creator,
                round,
                refs.last().copied().into_iter().collect(),
                vec![transaction],
            );
            self.dag.step(Event::Batch { batch, now: NOW });
            if round < certified {
                let certificate = self.keys.certified(reference, &[0, 1, 2]);
                self.dag.step(Event::Certificate { certificate, now: NOW });
            }
            refs.push(reference);
        }
        refs
    }

    fn candidates(&self, included: &BTreeMap<ValidatorIndex, u64>, most: usize) -> Vec<BatchRef> {
        self.dag.candidates(included, most, u64::MAX, &|_| 1)
    }

    fn check(&self, mode: CouplingMode, refs: &[BatchRef]) -> CouplingVerdict {
        self.dag.check(mode, refs, &BTreeMap::new())
    }
}

#[test]
fn candidates_are_certified_held_without_gaps_and_take_turns() {
    let mut room = Room::new();
    let a = room.chain(0, 3, 2);
    let b = room.chain(1, 1, 1);
    let c = room.chain(2, 4, 4);
    let none = BTreeMap::new();
    assert_eq!(room.candidates(&none, 64), [a[0], b[0], c[0], a[1], c[1], c[2], c[3]]);
    assert_eq!(room.candidates(&none, 2), [a[0], b[0]]);
    // On a branch that includes a's first batch, somebody else begins.
    let included = BTreeMap::from([(ValidatorIndex(0), 1)]);
    assert_eq!(room.candidates(&included, 3), [b[0], c[0], a[1]]);
    // What does not fit stays out, with everything its creator made after it.
    let gas = |t: &Transaction| if t.nonce == 1 { 5 } else { 1 };
    assert_eq!(room.dag.candidates(&none, 64, 7, &gas), [a[0], b[0], c[0]]);
    assert_eq!(room.dag.candidates(&none, 64, 9, &gas), [a[0], b[0], c[0], a[1]]);
    assert_eq!(room.dag.candidates(&none, 64, 0, &gas), []);
}

#[test]
fn each_state_of_a_batch_has_its_verdict_in_each_mode() {
    let mut room = Room::new();
    let good = room.chain(0, 2, 2);
    let uncertified = room.chain(1, 1, 0);
    let (missing, _) = room.keys.batch(2, 0, vec![], vec![room.transfers[5].clone()]);
    let certificate = room.keys.certified(missing, &[0, 1, 2]);
    room.dag.step(Event::Certificate { certificate, now: NOW });
    let forged = BatchRef { id: BatchId([7; 32]), ..good[0] };
    let unknown =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(3), round: 0, id: BatchId([8; 32]) };

    assert_eq!(room.dag.availability(&good[0]), Availability::CertifiedAndHeld);
    assert_eq!(room.dag.availability(&uncertified[0]), Availability::HeldUncertified);
    assert_eq!(room.dag.availability(&missing), Availability::CertifiedMissing);
    assert_eq!(room.dag.availability(&forged), Availability::Unknown);

    let cases = [
        (good.clone(), CouplingVerdict::Ok),
        (uncertified.clone(), CouplingVerdict::UnknownBatches(uncertified.clone())),
        (vec![good[0], missing], CouplingVerdict::MissingBatches(vec![missing])),
        (vec![missing, unknown], CouplingVerdict::UnknownBatches(vec![unknown])),
        (vec![forged], CouplingVerdict::Mismatch(Mismatch::OtherCertified)),
    ];
    for (refs, verdict) in cases {
        let is_ok = verdict == CouplingVerdict::Ok;
        for mode in MODES {
            let expected = match mode {
                CouplingMode::Off => CouplingVerdict::NotRequired,
                CouplingMode::Warn | CouplingMode::Enforce => verdict.clone(),
            };
            let found = room.check(mode, &refs);
            assert_eq!(found, expected, "{mode:?}");
            assert_eq!(found.permits_vote(mode), is_ok || mode != CouplingMode::Enforce);
        }
    }
}

#[test]
fn a_list_that_breaks_the_rules_of_a_block_is_wrong_in_every_mode() {
    let mut room = Room::new();
    let a = room.chain(0, 3, 3);
    let stranger = BatchRef { creator: ValidatorIndex(4), ..a[0] };
    let many = vec![a[0]; limits::BLOCK_BATCHES + 1];
    let cases = [
        (vec![a[0], a[0]], Mismatch::OutOfSequence),
        (vec![a[1]], Mismatch::OutOfSequence),
        (vec![a[0], a[2]], Mismatch::OutOfSequence),
        (vec![a[1], a[0]], Mismatch::OutOfSequence),
        (vec![stranger], Mismatch::Stranger),
        (many, Mismatch::TooMany),
    ];
    for (refs, mismatch) in cases {
        for mode in MODES {
            let verdict = room.check(mode, &refs);
            assert_eq!(verdict, CouplingVerdict::Mismatch(mismatch));
            assert!(!verdict.permits_vote(mode));
        }
    }
    let included = BTreeMap::from([(ValidatorIndex(0), 2)]);
    let again = room.dag.check(CouplingMode::Enforce, &a[1..2], &included);
    assert_eq!(again, CouplingVerdict::Mismatch(Mismatch::OutOfSequence), "in an ancestor");
    assert_eq!(room.dag.check(CouplingMode::Enforce, &a[2..], &included), CouplingVerdict::Ok);
}

fn asked(effects: &[Effect]) -> Vec<u16> {
    let to = effects.iter().filter_map(|e| match e {
        Effect::SendTo { to: Peer::Validator(v), message: DagMessage::Request(_) } => Some(v.0),
        _ => None,
    });
    to.collect()
}

#[test]
fn a_missing_batch_is_asked_of_each_signer_in_turn_until_it_comes() {
    let mut room = Room::new();
    let (missing, batch) = room.keys.batch(0, 0, vec![], vec![room.transfers[0].clone()]);
    let certificate = room.keys.certified(missing, &[0, 1, 2]);
    let effects = room.dag.step(Event::Certificate { certificate: certificate.clone(), now: NOW });
    assert!(asked(&effects).is_empty(), "it may still be on its way");
    assert_eq!(asked(&room.dag.want(&[missing], NOW)), [0], "a proposal cannot wait");
    assert!(asked(&room.dag.want(&[missing], NOW)).is_empty(), "once");
    let mut order = Vec::new();
    for _ in 0..4 {
        let now = room.dag.next_deadline().expect("it will ask again");
        order.extend(asked(&room.dag.step(Event::Tick { now })));
    }
    assert_eq!(order, [1, 2, 0, 1]);
    let answer =
        CertifiedBatch { batch: batch.into_inner(), certificate: certificate.into_inner() };
    let certified = room.keys.verifier.verify_certified_batch(answer).expect("right");
    let effects = room.dag.step(Event::Response { certified: certified.clone(), now: NOW });
    assert!(effects.contains(&Effect::Note(Note::Fetched)));
    assert_eq!(room.check(CouplingMode::Enforce, &[missing]), CouplingVerdict::Ok);
    assert_eq!(room.dag.sizes().wanted, 0);
    let effects = room.dag.step(Event::Response { certified, now: NOW });
    assert_eq!(effects, [Effect::Note(Note::ResponseUseless)]);
}

#[test]
fn a_forged_reference_is_given_up_after_everybody_was_asked() {
    let mut room = Room::new();
    let forged =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(0), round: 0, id: BatchId([7; 32]) };
    let mut effects = room.dag.want(&[forged], NOW);
    let mut requests = Vec::new();
    while room.dag.sizes().wanted > 0 {
        requests.extend(asked(&effects));
        assert!(requests.len() < 100);
        let now = room.dag.next_deadline().expect("a bounded number of times");
        effects = room.dag.step(Event::Tick { now });
    }
    assert_eq!(requests[..4], [0, 1, 2, 0], "the creator first, never itself");
    assert!(effects.contains(&Effect::Note(Note::FetchGivenUp)));
}

#[test]
fn requests_are_answered_from_memory_then_from_disk_and_not_without_end() {
    let mut room = Room::new();
    let refs = room.chain(0, 12, 12);
    let from = Peer::Node(5);
    let ask =
        |room: &mut Room, reference, now| room.dag.step(Event::Request { from, reference, now });
    let is_response = |effects: &[Effect]| matches!(effects, [Effect::SendTo { to, message: DagMessage::Response(_) }] if *to == from);
    assert!(is_response(&ask(&mut room, refs[0], NOW)));
    room.dag.step(Event::Committed { refs: refs.clone(), accounts: vec![], now: NOW });
    let effects = ask(&mut room, refs[0], NOW);
    assert_eq!(
        effects,
        [Effect::ServeFromStore { to: from, batch: refs[0] }],
        "rounds 4 on are kept"
    );
    assert!(is_response(&ask(&mut room, refs[4], NOW)));
    let forged = BatchRef { round: 99, ..refs[0] };
    assert_eq!(ask(&mut room, forged, NOW), [Effect::Note(Note::RequestRefused)]);
    let served = (0..2_000).filter(|_| is_response(&ask(&mut room, refs[11], NOW))).count();
    let most = usize::try_from(bounds::SERVED_PER_SECOND).expect("small");
    assert_eq!(served, most - 3, "three were served before");
    assert!(is_response(&ask(&mut room, refs[11], NOW.plus(Millis(1_000)))));
}

#[test]
fn a_certified_batch_makes_its_node_look_for_the_one_before() {
    let mut room = Room::new();
    let transfers = room.transfers.clone();
    let (first, _) = room.keys.batch(0, 0, vec![], vec![transfers[0].clone()]);
    let (second, batch) = room.keys.batch(0, 1, vec![first], vec![transfers[1].clone()]);
    let certificate = room.keys.certificate(second, &[0, 1, 2]);
    let certified = CertifiedBatch { batch: batch.into_inner(), certificate };
    let certified = room.keys.verifier.verify_certified_batch(certified).expect("right");
    room.dag.want(&[second], NOW);
    room.dag.step(Event::Response { certified, now: NOW });
    assert_eq!(room.dag.availability(&second), Availability::CertifiedAndHeld);
    assert!(room.candidates(&BTreeMap::new(), 64).is_empty(), "not before the first");
    let now = room.dag.next_deadline().expect("the first is looked for");
    assert_eq!(asked(&room.dag.step(Event::Tick { now })), [0]);
}

#[test]
fn requests_without_an_answer_are_few_at_a_time_and_each_has_its_turn() {
    let mut room = Room::new();
    let missing: Vec<BatchRef> = (0..300)
        .map(|i| BatchRef {
            epoch: Epoch(0),
            creator: ValidatorIndex(0),
            round: i,
            id: BatchId([7; 32]),
        })
        .collect();
    let mut effects = room.dag.want(&missing, NOW);
    let mut seen = std::collections::BTreeSet::new();
    let mut now = NOW;
    while seen.len() < 300 {
        let requests = effects.iter().filter_map(|e| match e {
            Effect::SendTo { message: DagMessage::Request(reference), .. } => Some(*reference),
            _ => None,
        });
        let requests: Vec<BatchRef> = requests.collect();
        assert!(requests.len() <= bounds::FETCHES);
        seen.extend(requests);
        let next = room.dag.next_deadline().expect("it will ask again");
        assert!(next > now, "a tick that leaves work undone");
        now = next;
        effects = room.dag.step(Event::Tick { now });
    }
    assert!(now <= NOW.plus(Millis(2_000)), "four turns of half a second");
}

#[test]
fn what_is_proven_to_exist_displaces_what_may_be_made_up() {
    let mut room = Room::new();
    let made_up = |i: u64| BatchRef {
        epoch: Epoch(0),
        creator: ValidatorIndex(1),
        round: i,
        id: BatchId([9; 32]),
    };
    let wanted = u64::try_from(bounds::WANTED).expect("small");
    let lies: Vec<BatchRef> = (0..wanted + 1).map(made_up).collect();
    let refused = |effects: &[Effect]| effects.contains(&Effect::Note(Note::FetchRefused));
    assert!(refused(&room.dag.want(&lies, NOW)), "there is no more room");
    let named =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(0), round: 0, id: BatchId([7; 32]) };
    assert!(refused(&room.dag.want(&[named], NOW)), "a proposal proves nothing");
    assert!(!refused(&room.dag.need(&[named], NOW)), "a final block does");
    assert_eq!(room.dag.sizes().wanted, bounds::WANTED);
}
