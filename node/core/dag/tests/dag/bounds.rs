//! Memory stays bounded whatever strangers and liars send.

use crate::{
    cluster::Random,
    keys::{Account, Keys, NETWORK, rich},
};
use qbind_dag::{Dag, DagConfig, DagMessage, Event, MessageError, Peer, bounds};
use qbind_types::{BatchId, BatchRef, Epoch, Millis, ValidatorIndex, encode, limits};

#[test]
fn a_hundred_thousand_useless_messages_leave_nothing_behind() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = Dag::new(DagConfig::new(NETWORK, Some(ValidatorIndex(3))), keys.set.clone());
    let account = Account::new(1);
    let forged = |random: &mut Random| BatchRef {
        epoch: Epoch(0),
        creator: ValidatorIndex(random.below(6) as u16),
        round: random.below(1_000),
        id: BatchId([random.below(256) as u8; 32]),
    };
    let mut random = Random::new(1);
    // A liar's rightly signed batches: equivocations, gaps, rounds far ahead.
    let batches: Vec<_> = (0..200)
        .map(|i| {
            let parent = BatchRef { creator: ValidatorIndex(0), ..forged(&mut random) };
            let round = if i % 2 == 0 { 0 } else { parent.round + 1 };
            let parents = if round == 0 { vec![] } else { vec![parent] };
            keys.batch(0, round, parents, vec![account.transfer(i, 1)]).1
        })
        .collect();
    let acks: Vec<_> = (0..50)
        .map(|_| keys.verifier.verify_ack(keys.ack(forged(&mut random), 1)).expect("right"))
        .collect();
    let mut effects = 0;
    for i in 0..100_000u64 {
        let now = Millis(i);
        let event = match random.below(4) {
            0 => Event::Batch { batch: batches[random.below(200) as usize].clone(), now },
            1 => Event::Ack { ack: acks[random.below(50) as usize].clone(), now },
            2 => Event::Request {
                from: Peer::Node(random.below(5_000)),
                reference: forged(&mut random),
                now,
            },
            _ => Event::Tick { now },
        };
        effects += dag.step(event).len();
        if i % 100 == 0 {
            let junk: Vec<BatchRef> = (0..64).map(|_| forged(&mut random)).collect();
            effects += dag.want(&junk, now).len();
        }
        let sizes = dag.sizes();
        assert!(sizes.held <= 4 * (bounds::ROUNDS_AHEAD + bounds::ROUNDS_KEPT) as usize);
        assert!(sizes.waiting <= 4 * bounds::WAITING_PER_CREATOR);
        assert!(sizes.wanted <= bounds::WANTED);
    }
    assert!(effects < 400_000, "{effects} effects");
    assert!(dag.sizes().held <= 1, "of an equivocator's batches one is held");
}

#[test]
fn clients_are_refused_while_too_many_own_batches_are_not_committed() {
    let keys = Keys::new(&[1]);
    let config =
        DagConfig { batch_max_transactions: 1, ..DagConfig::new(NETWORK, Some(ValidatorIndex(0))) };
    let mut dag = Dag::new(config, keys.set.clone());
    let account = Account::new(1);
    let mut refused = 0;
    let mut refs = Vec::new();
    for nonce in 0..40 {
        let now = Millis(1_000 + nonce);
        let mut todo =
            dag.step(Event::Submit(account.submission(&keys.verifier, nonce, 1, 0, now)));
        while let Some(effect) = todo.pop() {
            match effect {
                qbind_dag::Effect::Sign(reference) => {
                    refs.push(reference);
                    let signature = keys.sign_batch(&reference);
                    todo.extend(dag.step(Event::Signed { reference, signature, now }));
                }
                qbind_dag::Effect::SignAck { reference, .. } => {
                    let signature = keys.sign_ack(&reference, ValidatorIndex(0));
                    todo.extend(dag.step(Event::AckSigned { reference, signature, now }));
                }
                qbind_dag::Effect::Rejected { rejection, .. } => {
                    assert_eq!(rejection.code(), "E_FULL");
                    refused += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(refs.len() as u64, bounds::OWN_BACKLOG);
    assert_eq!(refused, 40 - bounds::OWN_BACKLOG);
    let (now, nonce) = (Millis(2_000), bounds::OWN_BACKLOG);
    let accounts = vec![(account.address, rich(nonce))];
    dag.step(Event::Committed { refs, accounts, now });
    assert_eq!(dag.sizes().own_backlog, 0);
    dag.step(Event::Submit(account.submission(&keys.verifier, nonce, 1, nonce, now)));
    assert_eq!(dag.sizes().own_backlog, 1);
}

#[test]
fn memory_of_committed_rounds_is_given_back() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = Dag::new(DagConfig::new(NETWORK, Some(ValidatorIndex(3))), keys.set.clone());
    let transaction = Account::new(1).transfer(0, 1);
    let mut parent = None;
    for round in 0..60 {
        let now = Millis(round);
        let parents = parent.into_iter().collect();
        let (reference, batch) = keys.batch(0, round, parents, vec![transaction.clone()]);
        dag.step(Event::Batch { batch, now });
        dag.step(Event::Certificate { certificate: keys.certified(reference, &[0, 1, 2]), now });
        dag.step(Event::Committed { refs: vec![reference], accounts: vec![], now });
        parent = Some(reference);
        assert!(dag.sizes().held as u64 <= bounds::ROUNDS_KEPT);
    }
    assert_eq!(dag.included(ValidatorIndex(0)), 60);
}

#[test]
fn messages_have_one_encoding_and_bounded_lengths() {
    let keys = Keys::new(&[1]);
    let (reference, batch) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let request = DagMessage::Request(reference);
    assert_eq!(DagMessage::decode(&request.encode()), Ok(request.clone()));
    let mut longer = request.encode();
    longer.push(0);
    assert_eq!(DagMessage::decode(&longer), Err(MessageError::Malformed));
    assert_eq!(DagMessage::decode(&[9]), Err(MessageError::Malformed));
    // A length that promises four billion items.
    let mut huge = encode(&5u8);
    huge.extend_from_slice(&[0xFF; 4]);
    assert_eq!(DagMessage::decode(&huge), Err(MessageError::Malformed));
    let too_long = vec![0; limits::MESSAGE_BYTES + 1];
    assert!(matches!(DagMessage::decode(&too_long), Err(MessageError::TooLong { .. })));
    let mut batch = batch.into_inner();
    batch.parents = vec![reference; limits::VALIDATORS + 1];
    let many = DagMessage::Batch(batch.clone()).encode();
    assert!(matches!(
        DagMessage::decode(&many),
        Err(MessageError::TooMany { what: "parents", got: 257, most: 256 })
    ));
    let mut transaction = batch.transactions[0].clone();
    transaction.payload = vec![0; limits::PAYLOAD_BYTES + 1];
    let long = DagMessage::Transactions(vec![transaction]).encode();
    assert!(matches!(DagMessage::decode(&long), Err(MessageError::TooMany { .. })));
}

#[test]
fn few_batches_of_one_creator_wait_for_their_predecessors() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = Dag::new(DagConfig::new(NETWORK, Some(ValidatorIndex(3))), keys.set.clone());
    let transaction = Account::new(1).transfer(0, 1);
    for round in 1..20 {
        let parent = BatchRef {
            epoch: Epoch(0),
            creator: ValidatorIndex(0),
            round: round - 1,
            id: BatchId([7; 32]),
        };
        let (_, batch) = keys.batch(0, round, vec![parent], vec![transaction.clone()]);
        dag.step(Event::Batch { batch, now: Millis(0) });
    }
    assert_eq!(dag.sizes().waiting, bounds::WAITING_PER_CREATOR);
}
