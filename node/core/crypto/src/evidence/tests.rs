//! Covers: a proof convicts who signed both statements, and nobody else for anything less.

use super::*;
use crate::{Reject, SecretKey, Verifier, header, sha3_256};
use proptest::prelude::*;
use qbind_types::{
    Address, BatchId, BlockId, CommitCertificate, CommitProof, CommittedBlock, ExecutedState,
    Millis, Proposal, PublicKey, Qc, StateRoot, Tc, VotingPower, decode, encode,
};

const NETWORK: Network = Network::Testnet;
const EPOCH: Epoch = Epoch(3);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// Validators 10, 11, 12, 13 with keys 0, 1, 2, 3; the last one rotates from key 30.
fn set() -> ValidatorSet {
    let public = |n: u8| -> PublicKey { key(n).public_key() };
    let member = |n: u8| ValidatorInfo {
        id: 10 + u64::from(n),
        address: Address([n; 32]),
        public_key: public(n),
        previous_key: (n == 3).then(|| public(30)),
        power: VotingPower(100),
    };
    ValidatorSet::new(EPOCH, (0..4).map(member).collect()).expect("distinct")
}

/// A good block of view 5, which validator 1 leads.
fn block() -> Block {
    let batch = |creator, round| BatchRef {
        epoch: EPOCH,
        creator: ValidatorIndex(creator),
        round,
        id: BatchId(sha3_256(&[&[creator as u8], &round.to_le_bytes()])),
    };
    Block {
        network: NETWORK,
        epoch: EPOCH,
        height: Height(4),
        view: View(5),
        parent: BlockId([7; 32]),
        proposer: ValidatorIndex(1),
        timestamp_unix_ms: Millis(9),
        executed: ExecutedState { height: Height(3), root: StateRoot([1; 32]) },
        batches: vec![batch(0, 4), batch(2, 0), batch(0, 5)],
        next_validators: None,
    }
}

fn signed(block: &Block, by: u8) -> SignedHeader {
    let signature = key(by).sign(&preimage::proposal(NETWORK, &block_id(block)));
    SignedHeader { header: header(block), signature }
}

fn voted(phase: Phase, view: u64, block: BlockId, by: u8) -> (BlockId, Signature) {
    (block, key(by).sign(&vote(NETWORK, phase, EPOCH, View(view), &block)))
}

fn votes(phase: Phase, first: (BlockId, Signature), second: (BlockId, Signature)) -> Evidence {
    let (epoch, view, validator) = (EPOCH, View(5), ValidatorIndex(3));
    Evidence::Votes { phase, epoch, view, validator, first, second }
}

fn denied(view: u64, given_up: u64, high_qc: u64) -> Evidence {
    let (view, given_up, high_qc_view) = (View(view), View(given_up), View(high_qc));
    let block = BlockId([8; 32]);
    let timeout = key(30).sign(&preimage::timeout(NETWORK, EPOCH, given_up, high_qc_view));
    let (_, commit) = voted(Phase::Commit, view.0, block, 3);
    let (epoch, validator) = (EPOCH, ValidatorIndex(3));
    Evidence::CommitDenied {
        epoch,
        validator,
        view,
        block,
        commit,
        given_up,
        high_qc_view,
        timeout,
    }
}

fn batch(id: u8, round: u64, by: u8) -> SignedBatchRef {
    let batch = BatchRef { epoch: EPOCH, creator: ValidatorIndex(2), round, id: BatchId([id; 32]) };
    SignedBatchRef { batch, signature: key(by).sign(&preimage::batch(NETWORK, &batch)) }
}

fn lazy(header: &BlockHeader, view: u64) -> Evidence {
    let (_, signature) = voted(Phase::Vote, view, header_id(header), 0);
    Evidence::LazyVote {
        phase: Phase::Vote,
        epoch: EPOCH,
        view: View(view),
        validator: ValidatorIndex(0),
        header: header.clone(),
        signature,
    }
}

fn listed(block: Block, by: u8) -> Evidence {
    let signature = key(by).sign(&preimage::proposal(NETWORK, &block_id(&block)));
    Evidence::References { block: Box::new(block), signature }
}

fn with(change: impl FnOnce(&mut Block)) -> Block {
    let mut block = block();
    change(&mut block);
    block
}

fn judge(evidence: &Evidence) -> Result<Proof, NotEvidence> {
    // As it travels.
    let evidence: Evidence = decode(&encode(evidence)).expect("its own encoding");
    verify_evidence(NETWORK, &set(), &evidence)
}

/// One proof of each form, whom it convicts, of what, when.
fn proofs() -> Vec<(Evidence, u64, Offence, u64)> {
    let (one, other) = (BlockId([1; 32]), BlockId([2; 32]));
    let two = |phase| votes(phase, voted(phase, 5, one, 3), voted(phase, 5, other, 30));
    let twin = with(|b| b.timestamp_unix_ms = Millis(10));
    let foreign = with(|b| b.proposer = ValidatorIndex(2));
    let full = with(|b| b.batches = vec![b.batches[1]; BLOCK_BATCHES + 1]);
    use Offence::*;
    vec![
        (
            Evidence::Proposals { first: signed(&block(), 1), second: signed(&twin, 1) },
            11,
            O1DoubleSign,
            5,
        ),
        (two(Phase::Vote), 13, O1DoubleSign, 5),
        (two(Phase::Commit), 13, O1DoubleSign, 5),
        (denied(5, 5, 4), 13, O1DoubleSign, 5),
        (denied(5, 9, 4), 13, O1DoubleSign, 5),
        (Evidence::InvalidBlock(signed(&foreign, 2)), 12, O2InvalidProposal, 5),
        (lazy(&header(&foreign), 5), 10, O3aLazyVote, 5),
        (lazy(&header(&block()), 6), 10, O3aLazyVote, 6),
        (
            Evidence::Batches { first: batch(1, 7, 2), second: batch(2, 7, 2) },
            12,
            O4InvalidDagCertificate,
            7,
        ),
        (listed(full, 1), 11, O5CouplingViolation, 5),
    ]
}

#[test]
fn each_form_convicts_the_right_validator_and_fits_its_bound() {
    for (evidence, validator, offence, at) in proofs() {
        assert_eq!(judge(&evidence), Ok(Proof { validator, offence, epoch: EPOCH, at }));
        assert!(encode(&evidence).len() <= offence.most_bytes());
        assert_eq!(evidence.offence(), offence);
    }
}

#[test]
fn what_an_honest_validator_signs_proves_nothing() {
    let (one, other) = (BlockId([1; 32]), BlockId([2; 32]));
    let twin = with(|b| b.timestamp_unix_ms = Millis(10));
    let later = with(|b| (b.view, b.timestamp_unix_ms) = (View(9), Millis(10)));
    let say = |phase, view, block| voted(phase, view, block, 3);
    for (evidence, why) in [
        // The same once more, after a restart, even by its other key.
        (
            Evidence::Proposals { first: signed(&block(), 1), second: signed(&block(), 1) },
            NotEvidence::NoConflict,
        ),
        (
            votes(Phase::Vote, say(Phase::Vote, 5, one), voted(Phase::Vote, 5, one, 30)),
            NotEvidence::NoConflict,
        ),
        (
            Evidence::Batches { first: batch(1, 7, 2), second: batch(1, 7, 2) },
            NotEvidence::NoConflict,
        ),
        // Statements of different views, phases, rounds, leaders.
        (
            Evidence::Proposals { first: signed(&block(), 1), second: signed(&later, 1) },
            NotEvidence::Unrelated,
        ),
        (
            votes(Phase::Vote, say(Phase::Vote, 5, one), say(Phase::Vote, 6, other)),
            NotEvidence::BadSignature { index: ValidatorIndex(3) },
        ),
        (
            votes(Phase::Vote, say(Phase::Vote, 5, one), say(Phase::Commit, 5, other)),
            NotEvidence::BadSignature { index: ValidatorIndex(3) },
        ),
        (
            Evidence::Batches { first: batch(1, 7, 2), second: batch(2, 8, 2) },
            NotEvidence::Unrelated,
        ),
        // A timeout of an earlier view, or one that reports the certificate.
        (denied(5, 4, 3), NotEvidence::NoConflict),
        (denied(5, 6, 5), NotEvidence::NoConflict),
        // A good block, a vote for it, and its list of batches.
        (Evidence::InvalidBlock(signed(&block(), 1)), NotEvidence::NoFault),
        (lazy(&header(&block()), 5), NotEvidence::NoFault),
        (listed(block(), 1), NotEvidence::NoFault),
        (listed(with(|b| b.batches.truncate(0)), 1), NotEvidence::NoFault),
        // Signed by somebody else: anybody can do that in anybody's name.
        (
            Evidence::Proposals { first: signed(&block(), 1), second: signed(&twin, 2) },
            NotEvidence::BadSignature { index: ValidatorIndex(1) },
        ),
        (
            Evidence::Batches { first: batch(1, 7, 2), second: batch(2, 7, 0) },
            NotEvidence::BadSignature { index: ValidatorIndex(2) },
        ),
        (
            Evidence::InvalidBlock(signed(&with(|b| b.proposer = ValidatorIndex(2)), 1)),
            NotEvidence::BadSignature { index: ValidatorIndex(2) },
        ),
    ] {
        assert_eq!(judge(&evidence), Err(why), "{evidence:?}");
    }
}

#[test]
fn every_rule_of_a_header_and_of_a_list_is_seen() {
    let faults: [fn(&mut Block); 5] = [
        |b| b.network = Network::Mainnet,
        |b| b.view = View(6),
        |b| (b.height, b.executed.height) = (Height(0), Height(0)),
        |b| (b.height, b.executed.height) = (Height(6), Height(2)),
        |b| b.executed.height = Height(4),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let bad = with(fault);
        let proof = judge(&Evidence::InvalidBlock(signed(&bad, 1)));
        assert_eq!(proof.map(|p| p.validator), Ok(11), "fault {n}");
        assert!(judge(&lazy(&header(&bad), bad.view.0)).is_ok(), "fault {n}");
    }
    let faults: [fn(&mut Block); 5] = [
        |b| b.batches[0].epoch = Epoch(2),
        |b| b.batches[1].creator = ValidatorIndex(4),
        |b| b.batches[2].round = 4,
        |b| b.batches[2].round = 6,
        |b| b.batches = vec![b.batches[0]; BLOCK_BATCHES + 1],
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let bad = with(fault);
        assert_eq!(judge(&listed(bad.clone(), 1)).map(|p| p.validator), Ok(11), "fault {n}");
        // Nobody can see it from the header.
        assert_eq!(
            judge(&Evidence::InvalidBlock(signed(&bad, 1))),
            Err(NotEvidence::NoFault),
            "fault {n}"
        );
    }
}

#[test]
fn a_proof_is_of_one_epoch_one_network_and_known_validators() {
    let (good, ..) = proofs().remove(0);
    let other = ValidatorSet::new(Epoch(4), set().members().to_vec()).expect("as before");
    assert_eq!(
        verify_evidence(NETWORK, &other, &good),
        Err(NotEvidence::WrongEpoch { epoch: EPOCH })
    );
    assert_eq!(
        verify_evidence(Network::Mainnet, &set(), &good),
        Err(NotEvidence::BadSignature { index: ValidatorIndex(1) })
    );
    let stranger = with(|b| b.proposer = ValidatorIndex(4));
    assert_eq!(
        judge(&Evidence::InvalidBlock(signed(&stranger, 1))),
        Err(NotEvidence::UnknownValidator { index: ValidatorIndex(4) })
    );
    let long = with(|b| b.batches = vec![b.batches[0]; 400]);
    assert!(matches!(judge(&listed(long, 1)), Err(NotEvidence::TooLong { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever single byte of a proof is changed, it convicts nobody else, of nothing else.
    #[test]
    fn a_changed_byte_never_accuses_another(form in 0usize..10, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (evidence, validator, ..) = proofs().swap_remove(form);
        let mut bytes = encode(&evidence);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = decode::<Evidence>(&bytes)
            && let Ok(proof) = verify_evidence(NETWORK, &set(), &changed)
        {
            prop_assert_eq!(proof.validator, validator);
        }
    }
}

fn verifier() -> Verifier {
    Verifier::new(NETWORK, set().into())
}

fn proposal(block: Block, timeout: Option<Tc>) -> Proposal {
    let signature = key(1).sign(&preimage::proposal(NETWORK, &block_id(&block)));
    let justify = Qc { epoch: EPOCH, view: View(4), block: block.parent, votes: vec![] };
    Proposal { block, justify, timeout, signature }
}

#[test]
fn a_proposal_that_no_chain_has_is_refused_and_convicts_its_leader() {
    assert!(verifier().verify_proposal(proposal(block(), None)).is_ok());
    let misplaced = [
        with(|b| (b.height, b.executed.height) = (Height(0), Height(0))),
        with(|b| b.height = Height(6)),
        with(|b| b.executed.height = Height(4)),
    ];
    for block in misplaced {
        let evidence = Evidence::InvalidBlock(signed(&block, 1));
        let rejected = verifier().verify_proposal(proposal(block, None));
        assert!(matches!(rejected, Err(Reject::Inconsistent { .. })), "{rejected:?}");
        assert_eq!(
            judge(&evidence).map(|p| (p.validator, p.offence)),
            Ok((11, Offence::O2InvalidProposal))
        );
    }
}

#[test]
fn the_last_view_and_height_that_can_be_named_are_refused_like_any_other() {
    let end = Tc { epoch: EPOCH, view: View(u64::MAX), timeouts: vec![] };
    let late = with(|b| b.view = View(6));
    let late = Block { proposer: set().leader(View(6)), ..late };
    let mut late = proposal(late, Some(end));
    late.signature = key(2).sign(&preimage::proposal(NETWORK, &block_id(&late.block)));
    let rejected = verifier().verify_proposal(late);
    assert!(matches!(rejected, Err(Reject::Inconsistent { .. })), "{rejected:?}");
    let top = with(|b| {
        (b.height, b.view) = (Height(u64::MAX), View(u64::MAX));
        b.proposer = set().leader(b.view);
    });
    let child = Block { parent: block_id(&top), ..top.clone() };
    let (view, votes) = (child.view, vec![]);
    let certificate = CommitCertificate { epoch: EPOCH, view, block: block_id(&child), votes };
    let proof = CommitProof { descendants: vec![child], certificate };
    let rejected = verifier().verify_committed_block(CommittedBlock { block: top, proof });
    assert!(matches!(rejected, Err(Reject::Inconsistent { .. })), "{rejected:?}");
}
