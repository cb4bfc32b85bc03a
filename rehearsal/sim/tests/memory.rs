//! A million well-formed messages that are of no use leave a core's memory where it was.

use peak_alloc::PeakAlloc;
use qbind_consensus::{Event as ConsensusEvent, Timing};
use qbind_crypto::{SecretKey, Verifier, address_of, batch_id, preimage};
use qbind_dag::{DagConfig, Peer};
use qbind_ledger::{Account, Ledger, Params, Registry, SerialRunner, System};
use qbind_replica::{Effect, Event, Now, Replica, ReplicaConfig, Restored, World, begin, perform};
use qbind_types::{
    Address, Batch, BatchAck, BatchCertificate, BatchId, BatchRef, BlockId, CommitVote, Epoch,
    EpochStart, Height, Millis, Network, Payload, Qc, SIGNATURE_BYTES, Signature, Timeout,
    Transaction, TransferV1, ValidatorIndex, ValidatorInfo, ValidatorSet, View, Vote, VotingPower,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MESSAGES: u64 = 1_000_000;
/// `docs/protocol.md` says what it is made of.
const BOUND_MB: f32 = 16.0;

const NETWORK: Network = Network::Testnet;
const GENESIS: BlockId = BlockId([0x47; 32]);
/// Who sends all this; the core is validator 0.
const SENDER: ValidatorIndex = ValidatorIndex(3);

struct Nowhere;

impl World for Nowhere {
    type Fault = Infallible;

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, Infallible> {
        Ok(match effect {
            Effect::Sign(unsigned) => {
                Some(Event::Signed(Box::new(unsigned.complete(signature(0)))))
            }
            Effect::SignAck { reference, .. } => {
                Some(Event::AckSigned { reference, signature: signature(0) })
            }
            _ => None,
        })
    }

    fn sync(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn signature(number: u64) -> Signature {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Signature::from_slice(&bytes).expect("the right length")
}

/// Makes messages, each another, and has them verified.
struct Sender {
    verifier: Verifier,
    rng: ChaCha8Rng,
    transaction: Transaction,
    number: u64,
}

impl Sender {
    /// A signature that the verifier takes for `who`'s.
    fn sign(&self, who: ValidatorIndex, message: Vec<u8>) -> Signature {
        let signature = signature(self.number);
        self.verifier.vouch(who, message, signature.clone());
        signature
    }

    fn id(&mut self) -> [u8; 32] {
        self.rng.random()
    }

    /// Half of them near enough to be looked at.
    fn ahead(&mut self) -> u64 {
        let far = self.rng.random_bool(0.5);
        self.rng.random_range(1..if far { 1 << 40 } else { 80 })
    }

    fn reference(&mut self) -> BatchRef {
        BatchRef { epoch: Epoch(0), creator: SENDER, round: self.ahead(), id: BatchId(self.id()) }
    }

    fn next(&mut self) -> Event {
        self.number += 1;
        let (epoch, view, block) = (Epoch(0), View(self.ahead()), BlockId(self.id()));
        let v = |e: ConsensusEvent| Event::Consensus(Box::new(e));
        match self.number % 9 {
            0 => {
                let signature = self.sign(SENDER, preimage::vote(NETWORK, epoch, view, &block));
                let vote = Vote { epoch, view, block, validator: SENDER, signature };
                v(ConsensusEvent::Vote(self.verifier.verify_vote(vote).expect("vouched for")))
            }
            1 => {
                let signature = self.sign(SENDER, preimage::commit(NETWORK, epoch, view, &block));
                let vote = CommitVote { epoch, view, block, validator: SENDER, signature };
                let vote = self.verifier.verify_commit_vote(vote).expect("vouched for");
                v(ConsensusEvent::CommitVote(vote))
            }
            2 => {
                let message = preimage::timeout(NETWORK, epoch, view, View(0));
                let signature = self.sign(SENDER, message);
                let high_qc = Qc::start(&EpochStart::genesis(GENESIS));
                let timeout = Timeout { epoch, view, high_qc, validator: SENDER, signature };
                let timeout = self.verifier.verify_timeout(timeout).expect("vouched for");
                v(ConsensusEvent::Timeout(timeout))
            }
            3 => {
                let (own, round) = (self.reference(), self.ahead());
                let parents = vec![BatchRef { round: round - 1, ..own }];
                let mut batch = Batch {
                    epoch: Epoch(0),
                    creator: SENDER,
                    round,
                    parents,
                    transactions: vec![self.transaction.clone()],
                    signature: signature(0),
                };
                let id = batch_id(NETWORK, &batch);
                let reference = BatchRef { epoch: Epoch(0), creator: SENDER, round, id };
                batch.signature = self.sign(SENDER, preimage::batch(NETWORK, &reference));
                Event::Batch(Box::new(self.verifier.verify_batch(batch).expect("vouched for")))
            }
            4 => {
                let batch = self.reference();
                let signature = self.sign(SENDER, preimage::ack(NETWORK, &batch, SENDER));
                let ack = BatchAck { batch, validator: SENDER, signature };
                Event::Ack(Box::new(self.verifier.verify_ack(ack).expect("vouched for")))
            }
            5 => {
                let batch = self.reference();
                let acks = (1..4).map(ValidatorIndex).map(|signer| {
                    (signer, self.sign(signer, preimage::ack(NETWORK, &batch, signer)))
                });
                let certificate = BatchCertificate { batch, acks: acks.collect() };
                let certificate = self.verifier.verify_batch_certificate(certificate);
                Event::Certificate(Box::new(certificate.expect("vouched for")))
            }
            6 => Event::BatchRequest { from: self.stranger(), reference: self.reference() },
            7 => {
                let (from, height) = (self.stranger(), Height(self.ahead()));
                Event::Sync(qbind_sync::Event::Status { from, height, lowest: Height(1) })
            }
            _ => Event::BlockRequest { from: self.stranger(), id: block },
        }
    }

    fn stranger(&mut self) -> Peer {
        Peer::Node(self.rng.random())
    }
}

fn transaction(key: &SecretKey) -> Transaction {
    let payload = Payload::V1(TransferV1 {
        recipient: Address([1; 32]),
        amount: 1,
        gas_limit: 50_000,
        max_fee_per_gas: 1,
    });
    let mut transaction = Transaction {
        sender: address_of(&key.public_key()),
        nonce: 0,
        payload: payload.encode(),
        suite: 100,
        public_key: key.public_key(),
        signature: signature(0),
    };
    transaction.signature = key.sign(&preimage::transaction(NETWORK, &transaction));
    transaction
}

fn core(keys: &[SecretKey], set: Arc<ValidatorSet>) -> Replica {
    let params = Params::mainnet();
    let account = (address_of(&keys[0].public_key()), Account { nonce: 0, balance: 1_000_000 });
    let system = System::new(Registry::new(1_000, (*set).clone()));
    let ledger =
        Ledger::restore(params.clone(), Height(0), system, [account]).expect("one account");
    let mut dag = DagConfig::new(NETWORK, None);
    dag.batch_max_gas = params.block_gas_limit;
    let config = ReplicaConfig {
        network: NETWORK,
        key: Some(keys[0].public_key()),
        timing: Timing::default(),
        coupling: qbind_dag::CouplingMode::Enforce,
        empty_block_interval: Millis(250),
        dag,
        runner: Box::new(SerialRunner),
    };
    let roots = vec![(Height(0), ledger.state_root())];
    let restored = Restored {
        start: EpochStart::genesis(GENESIS),
        safety: None,
        committed: None,
        pending: vec![],
        dag: qbind_dag::Restored {
            included: BTreeMap::new(),
            own: None,
            batches: vec![],
            certificates: vec![],
            acks: vec![],
            pending: vec![],
        },
        ledger,
        roots,
        lowest: Height(1),
    };
    let (mut replica, effects) = Replica::new(config, restored, now(0));
    let Ok(()) = begin(&mut replica, now(0), effects, &mut Nowhere);
    replica
}

fn now(ms: u64) -> Now {
    Now { monotonic: Millis(ms), unix: Millis(1_767_225_600_000 + ms) }
}

#[test]
fn a_million_useless_messages_leave_memory_bounded() {
    let keys: Vec<_> = (0..4).map(|i| SecretKey::from_seed(&[i + 1; 32])).collect();
    let members = keys.iter().zip(0..).map(|(key, id)| ValidatorInfo {
        id,
        address: Default::default(),
        previous_key: None,
        public_key: key.public_key(),
        power: VotingPower(1),
    });
    let set = Arc::new(ValidatorSet::new(Epoch(0), members.collect()).expect("distinct keys"));
    let mut replica = core(&keys, set.clone());
    let mut sender = Sender {
        // Its memory is a part of what is bounded.
        verifier: Verifier::new(NETWORK, set),
        rng: ChaCha8Rng::seed_from_u64(1),
        transaction: transaction(&keys[3]),
        number: 0,
    };
    let before = HEAP.current_usage_as_mb();
    let mut marks = Vec::new();
    for i in 0..MESSAGES {
        // Ten thousand messages a second.
        let at = now(i / 10);
        if replica.deadline() <= at.monotonic {
            let Ok(()) = perform(&mut replica, at, [Event::Tick], &mut Nowhere);
        }
        let event = sender.next();
        let Ok(()) = perform(&mut replica, at, [event], &mut Nowhere);
        if (i + 1) % (MESSAGES / 10) == 0 {
            marks.push(HEAP.current_usage_as_mb() - before);
        }
    }
    println!("megabytes above the start after each tenth: {marks:.1?}");
    let most = marks.iter().copied().fold(0.0, f32::max);
    assert!(most < BOUND_MB, "{most} MB, at most {BOUND_MB} are allowed");
    let (half, end) = (marks[4], marks[9]);
    assert!(end < half * 1.1 + 1.0, "still growing: {marks:?}");
    assert!(replica.chain().entries() > 0, "some of it was looked at");
    // The same messages, kept, are noticed.
    let kept: Vec<Event> = (0..20_000).map(|_| sender.next()).collect();
    assert!(HEAP.current_usage_as_mb() - before > BOUND_MB, "{} kept", kept.len());
}
