//! Covers: what is kept, counted, found again after a restart, and pushed out by whom.

use super::*;
use qbind_crypto::{SecretKey, preimage};
use qbind_types::{
    Address, BatchId, BatchRef, Epoch, SignedBatchRef, ValidatorIndex, ValidatorInfo, VotingPower,
};

const NETWORK: Network = Network::Testnet;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn set() -> ValidatorSet {
    set_of(0)
}

fn set_of(epoch: u64) -> ValidatorSet {
    let member = |n: u8| ValidatorInfo {
        id: u64::from(n),
        address: Address([n; 32]),
        public_key: key(n).public_key(),
        previous_key: None,
        power: VotingPower(1),
    };
    ValidatorSet::new(Epoch(epoch), (0..3).map(member).collect()).unwrap()
}

fn twice(creator: u8, round: u64) -> Evidence {
    let signed = |id: u8| {
        let creator = ValidatorIndex(u16::from(creator));
        let batch = BatchRef { epoch: Epoch(0), creator, round, id: BatchId([id; 32]) };
        let by = key(u8::try_from(creator.0).unwrap());
        SignedBatchRef { batch, signature: by.sign(&preimage::batch(NETWORK, &batch)) }
    };
    Evidence::Batches { first: signed(1), second: signed(2) }
}

fn book(dir: &Path) -> EvidenceBook {
    EvidenceBook::open(NETWORK, dir, std::iter::once(&set()))
}

#[test]
fn a_proof_is_kept_once_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = book(dir.path());
    assert!(first.keep(&set(), &twice(1, 7), Millis(5)).is_some());
    assert!(first.keep(&set(), &twice(1, 7), Millis(6)).is_none(), "known");
    let list = first.list();
    assert_eq!((list.len(), list[0].found_unix_ms), (1, Some(Millis(5))));
    assert_eq!(list[0].file, "O4_invalid_dag_cert-1-0-7.bin");
    // Somebody else's file, a damaged one and a forged one are left alone.
    let folder = dir.path().join(FOLDER);
    fs::write(folder.join("notes.txt"), "hello").unwrap();
    let Evidence::Batches { first: one, second: mut two } = twice(2, 9) else { unreachable!() };
    two.batch.round = 9;
    two.signature = one.signature.clone();
    let forged = Evidence::Batches { first: one, second: two };
    fs::write(folder.join("forged.bin"), encode(&forged)).unwrap();
    let again = book(dir.path());
    let files = |b: &EvidenceBook| b.list().into_iter().map(|e| e.file).collect::<Vec<_>>();
    assert_eq!(files(&again), ["O4_invalid_dag_cert-1-0-7.bin"]);
    let bytes = fs::read(folder.join("O4_invalid_dag_cert-1-0-7.bin")).unwrap();
    let kept = again.inner.lock().unwrap().found[0].evidence.clone();
    assert_eq!(decode::<Evidence>(&bytes), Ok(kept));
}

#[test]
fn whoever_makes_many_proofs_against_itself_pushes_out_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let b = book(dir.path());
    assert!(b.keep(&set(), &twice(2, 0), Millis(1)).is_some());
    for round in 0..KEPT as u64 + 3 {
        assert!(b.keep(&set(), &twice(1, round), Millis(1)).is_some());
    }
    let list = b.list();
    assert_eq!(list.len(), KEPT);
    assert_eq!(list[0].validator_id, 2);
    assert_eq!(list[1].at, 4, "the oldest of the many are gone");
    assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), KEPT);
}

#[test]
fn proofs_that_nobody_can_report_any_more_go_with_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let b = book(dir.path());
    for round in 0..3 {
        assert!(b.keep(&set(), &twice(1, round), Millis(1)).is_some());
    }
    let folder = dir.path().join(FOLDER);
    fs::write(folder.join("notes.txt"), "hello").unwrap();
    let later = EvidenceBook::open(NETWORK, dir.path(), std::iter::once(&set_of(1)));
    assert!(later.list().is_empty());
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "somebody else's file stays");
}

#[test]
fn an_offence_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let b = book(dir.path());
    assert!(b.count(1, Offence::O1DoubleSign, 0, 5));
    assert!(!b.count(1, Offence::O1DoubleSign, 0, 5));
    assert!(b.count(1, Offence::O2InvalidProposal, 0, 5));
}
