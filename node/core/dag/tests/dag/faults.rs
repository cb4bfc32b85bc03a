//! Planted faults: forged certificates, double signers, creators of two batches.

use crate::{
    cluster::Cluster,
    keys::{Account, Keys, NETWORK},
};
use qbind_crypto::Reject;
use qbind_dag::{BatchRefusal, Dag, DagConfig, DagMessage, Effect, Event, Note};
use qbind_types::{BatchId, BatchRef, CertifiedBatch, Epoch, Millis, ValidatorIndex};
use std::sync::Arc;

const NOW: Millis = Millis(1_000);

fn node(keys: &Keys, me: u16) -> Dag {
    Dag::new(DagConfig::new(NETWORK, Some(ValidatorIndex(me))), keys.set.clone())
}

fn acked(effects: &[Effect]) -> Vec<BatchRef> {
    let acks = effects.iter().filter_map(|e| match e {
        Effect::SignAck { reference, .. } => Some(*reference),
        _ => None,
    });
    acks.collect()
}

fn refusal(effects: &[Effect]) -> Option<BatchRefusal> {
    effects.iter().find_map(|e| match e {
        Effect::Note(Note::BatchRefused { reason, .. }) => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_certificate_is_a_quorum_of_distinct_acks_for_this_batch_and_network() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let (reference, _) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let (other, _) = keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
    let verify = |c| keys.verifier.verify_batch_certificate(c).map(|_| ());
    assert_eq!(verify(keys.certificate(reference, &[0, 1, 2])), Ok(()));
    assert_eq!(verify(keys.certificate(reference, &[0, 1])), Err(Reject::BelowQuorum));
    assert_eq!(verify(keys.certificate(reference, &[0, 1, 1])), Err(Reject::Signers));
    // Acks for another batch of the same round.
    let mut moved = keys.certificate(other, &[0, 1, 2]);
    moved.batch = reference;
    assert!(matches!(verify(moved), Err(Reject::BadSignature { what: "ack", .. })));
    // One validator's ack under another's name.
    let mut borrowed = keys.certificate(reference, &[0, 1, 2]);
    borrowed.acks[2].1 = borrowed.acks[1].1.clone();
    assert!(matches!(verify(borrowed), Err(Reject::BadSignature { .. })));
}

#[test]
fn a_served_batch_must_be_the_one_its_certificate_names() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let (_, batch) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let (other, _) = keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
    let certificate = keys.certificate(other, &[0, 1, 2]);
    let forged = CertifiedBatch { batch: batch.into_inner(), certificate };
    assert!(matches!(
        keys.verifier.verify_certified_batch(forged),
        Err(Reject::Inconsistent { .. })
    ));
}

#[test]
fn a_validator_that_acks_twice_counts_once() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = node(&keys, 0);
    let submission = Account::new(1).submission(&keys.verifier, 0, 1, 0, NOW);
    let effects = dag.step(Event::Submit(submission));
    let reference = effects
        .iter()
        .find_map(|e| if let Effect::Sign(r) = e { Some(*r) } else { None })
        .expect("a batch");
    let persisted = effects.iter().position(|e| matches!(e, Effect::PersistOwn(_)));
    let signed = effects.iter().position(|e| matches!(e, Effect::Sign(_)));
    assert!(persisted < signed, "durable before it is signed");
    let signature = keys.sign_batch(&reference);
    dag.step(Event::Signed { reference, signature, now: NOW });
    let certified =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::StoreCertificate(_)));
    for _ in 0..5 {
        let ack = keys.verifier.verify_ack(keys.ack(reference, 1)).expect("right");
        assert!(!certified(&dag.step(Event::Ack { ack, now: NOW })));
    }
    let ack = keys.verifier.verify_ack(keys.ack(reference, 2)).expect("right");
    assert!(!certified(&dag.step(Event::Ack { ack, now: NOW })));
    let ack = keys.verifier.verify_ack(keys.ack(reference, 3)).expect("right");
    let effects = dag.step(Event::Ack { ack, now: NOW });
    assert!(certified(&effects));
    let certificate = dag.certificate(&reference.id).expect("kept").clone();
    let signers: Vec<u16> = certificate.acks.iter().map(|(v, _)| v.0).collect();
    assert_eq!(signers, [1, 2, 3]);
    keys.verifier.verify_batch_certificate(certificate).expect("right");
}

#[test]
fn of_two_batches_of_one_round_only_the_first_is_acked_and_both_are_shown() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = node(&keys, 1);
    let (first, a) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let (second, b) = keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
    let effects = dag.step(Event::Batch { batch: a.clone(), now: NOW });
    assert_eq!(acked(&effects), [first]);
    let persisted = effects.iter().position(|e| *e == Effect::PersistAck(first));
    let signed = effects
        .iter()
        .position(|e| matches!(e, Effect::SignAck { reference, .. } if *reference == first));
    assert!(persisted < signed, "durable before it is signed");
    let effects = dag.step(Event::Batch { batch: b.clone(), now: NOW });
    assert!(acked(&effects).is_empty());
    assert_eq!(refusal(&effects), Some(BatchRefusal::Equivocation));
    let evidence = effects.iter().find_map(|e| match e {
        Effect::Evidence(evidence) => Some(evidence),
        _ => None,
    });
    let evidence = evidence.expect("shown");
    for shown in [&evidence.first, &evidence.second] {
        keys.verifier.verify_batch(shown.as_ref().clone()).expect("proves itself");
    }
    let again = dag.step(Event::Batch { batch: b.clone(), now: NOW });
    assert!(!again.iter().any(|e| matches!(e, Effect::Evidence(_))), "once");

    // The others certified the second: that is the one that exists.
    let certificate = keys.certified(second, &[0, 2, 3]);
    dag.step(Event::Certificate { certificate, now: NOW });
    assert!(dag.batch(&first.id).is_none());
    let effects = dag.step(Event::Batch { batch: b, now: NOW });
    assert!(acked(&effects).is_empty(), "this validator's ack is spent");
    assert_eq!(dag.certified(&second).expect("held").certificate.batch, second);
    let effects = dag.step(Event::Batch { batch: a, now: NOW });
    assert_eq!(refusal(&effects), Some(BatchRefusal::Equivocation));
}

#[test]
fn an_equivocating_creator_gets_at_most_one_certificate() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, seed);
        let (_, a) = cluster.keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
        let (_, b) = cluster.keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
        for to in 1..4 {
            cluster.send(0, to, DagMessage::Batch(a.get().clone()));
            cluster.send(0, to, DagMessage::Batch(b.get().clone()));
        }
        cluster.run(2_000);
        let accused = cluster.nodes.iter().filter(|n| !n.evidence.is_empty()).count();
        assert_eq!(accused, 3, "seed {seed}");
        cluster.check_invariants();
    }
}

#[test]
fn after_a_restart_a_conflicting_batch_is_still_not_acked() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 1);
    let (_, a) = cluster.keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let (_, b) = cluster.keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
    let now = cluster.now;
    cluster.feed(1, Event::Batch { batch: a, now });
    cluster.crash(1);
    // Even if the content of the first was lost.
    cluster.nodes[1].disk.batches.clear();
    cluster.restart(1);
    cluster.feed(1, Event::Batch { batch: b, now });
    cluster.check_invariants();
    assert_eq!(cluster.signed_acks.len(), 1);
}

#[test]
fn batches_that_break_a_rule_are_refused() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let transfer = || vec![Account::new(1).transfer(0, 1)];
    let (zero, _) = keys.batch(0, 0, vec![], transfer());
    let at = |creator: u16, round, id| BatchRef {
        epoch: Epoch(0),
        creator: ValidatorIndex(creator),
        round,
        id: BatchId([id; 32]),
    };
    let refused = |creator, round, parents, transactions| {
        let mut dag = node(&keys, 1);
        let (_, batch) = keys.batch(creator, round, parents, transactions);
        let effects = dag.step(Event::Batch { batch, now: NOW });
        assert_eq!(acked(&effects).is_empty(), refusal(&effects).is_some());
        refusal(&effects)
    };
    let parents = Some(BatchRefusal::Parents);
    assert_eq!(refused(0, 0, vec![], vec![]), Some(BatchRefusal::Size));
    assert_eq!(refused(0, 1, vec![], transfer()), parents, "no predecessor");
    assert_eq!(refused(0, 2, vec![zero], transfer()), parents, "a round skipped");
    assert_eq!(refused(0, 1, vec![at(2, 0, 1)], transfer()), parents, "another's first");
    assert_eq!(refused(0, 0, vec![at(0, 0, 1)], transfer()), parents, "round 0 has none");
    assert_eq!(refused(0, 0, vec![at(3, 0, 1), at(2, 0, 1)], transfer()), parents, "order");
    assert_eq!(refused(0, 0, vec![at(2, 0, 1), at(2, 1, 1)], transfer()), parents, "twice");
    assert_eq!(refused(0, 0, vec![at(9, 0, 1)], transfer()), parents, "a stranger");
    assert_eq!(refused(0, 32, vec![at(0, 31, 1)], transfer()), Some(BatchRefusal::TooFarAhead));
    assert_eq!(refused(1, 0, vec![], transfer()), Some(BatchRefusal::Equivocation), "own key");
    assert_eq!(refused(0, 0, vec![at(2, 5, 1), at(3, 0, 1)], transfer()), None);
}

#[test]
fn a_batch_on_a_loser_is_refused_and_one_on_an_unknown_waits() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let transfer = |seed| vec![Account::new(seed).transfer(0, 1)];
    let (winner, content) = keys.batch(0, 0, vec![], transfer(1));
    let (loser, _) = keys.batch(0, 0, vec![], transfer(2));
    let (_, on_loser) = keys.batch(0, 1, vec![loser], transfer(3));
    let (next, on_winner) = keys.batch(0, 1, vec![winner], transfer(3));

    let mut dag = node(&keys, 1);
    let effects = dag.step(Event::Batch { batch: on_winner, now: NOW });
    assert!(acked(&effects).is_empty());
    assert_eq!(dag.sizes().waiting, 1);
    assert_eq!(dag.sizes().wanted, 1, "its predecessor is looked for");
    let effects = dag.step(Event::Batch { batch: content, now: NOW });
    assert_eq!(acked(&effects), [winner, next]);
    assert_eq!(dag.sizes().waiting, 0);

    let mut dag = node(&keys, 1);
    dag.step(Event::Certificate { certificate: keys.certified(winner, &[0, 2, 3]), now: NOW });
    let effects = dag.step(Event::Batch { batch: on_loser, now: NOW });
    assert_eq!(refusal(&effects), Some(BatchRefusal::Parents));
}

#[test]
fn a_lost_ack_is_given_again_when_the_batch_comes_again() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = node(&keys, 1);
    let (reference, batch) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    dag.step(Event::Batch { batch: batch.clone(), now: NOW });
    let signature = keys.sign_ack(&reference, ValidatorIndex(1));
    dag.step(Event::AckSigned { reference, signature, now: NOW });
    let sent = |effects: Vec<Effect>| {
        let mut messages = effects.into_iter().filter_map(|e| match e {
            Effect::SendTo { message, .. } => Some(message),
            _ => None,
        });
        messages.next()
    };
    let again = sent(dag.step(Event::Batch { batch: batch.clone(), now: NOW }));
    assert!(matches!(again, Some(DagMessage::Ack(ack)) if ack.batch == reference));
    dag.step(Event::Certificate { certificate: keys.certified(reference, &[0, 2, 3]), now: NOW });
    let again = sent(dag.step(Event::Batch { batch, now: NOW }));
    assert!(matches!(again, Some(DagMessage::Certificate(_))), "what it really misses");
}

#[test]
fn conflicting_certificates_do_not_replace_each_other() {
    let keys = Keys::new(&[1, 1, 1, 1]);
    let mut dag = Dag::new(DagConfig::new(NETWORK, None), Arc::clone(&keys.set));
    let (first, _) = keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let (second, _) = keys.batch(0, 0, vec![], vec![Account::new(2).transfer(0, 1)]);
    dag.step(Event::Certificate { certificate: keys.certified(first, &[0, 1, 2]), now: NOW });
    let certificate = keys.certified(second, &[0, 1, 2]);
    let effects = dag.step(Event::Certificate { certificate, now: NOW });
    let conflict = Note::CertificatesConflict { creator: ValidatorIndex(0) };
    assert_eq!(effects, [Effect::Note(conflict)]);
}

#[test]
fn an_ack_decided_before_a_crash_is_signed_after_it() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 1);
    let (reference, batch) = cluster.keys.batch(0, 0, vec![], vec![Account::new(1).transfer(0, 1)]);
    let now = cluster.now;
    // The crash comes between the decision and the signature.
    let effects = cluster.nodes[1].dag.as_mut().expect("is up").step(Event::Batch { batch, now });
    let durable = effects.into_iter().filter(|e| !matches!(e, Effect::SignAck { .. })).collect();
    cluster.perform(1, durable);
    cluster.crash(1);
    assert!(cluster.signed_acks.is_empty());
    cluster.restart(1);
    assert!(cluster.signed_acks[&(1, 0, 0)].contains(&reference.id));
}
