//! The chain, verified here from raw bytes; shared by the safety gates.

use crate::{evidence::Evidence, feed::Feed, records::paths};
use qbind_crypto::{Verifier, batch_id, block_id, genesis_hash, tx_id, validators_id};
use qbind_types::{
    Address, BatchId, BatchRef, Block, BlockId, CertifiedBatch, CommittedBlock, Epoch, Network,
    PublicKey, Transaction, TxId, ValidatorIndex, ValidatorInfo, ValidatorSet, VotingPower,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What the gates need of the genesis file.
#[derive(Debug)]
pub(crate) struct Genesis {
    pub(crate) network: Network,
    pub(crate) set: Arc<ValidatorSet>,
    /// An election every so many blocks.
    pub(crate) epoch_blocks: u64,
    pub(crate) allocations: Vec<(Address, u128)>,
    /// Allocations that cannot be spent before a time, Unix milliseconds.
    pub(crate) locks: BTreeMap<Address, (u128, u64)>,
    pub(crate) id: BlockId,
}

#[derive(Deserialize)]
struct GenesisFile {
    network: Network,
    #[serde(default = "epoch_blocks")]
    epoch_blocks: u64,
    allocations: Vec<GenesisAllocation>,
    validators: Vec<GenesisValidator>,
}

/// Where the file does not say.
fn epoch_blocks() -> u64 {
    2_400
}

#[derive(Deserialize)]
struct GenesisAllocation {
    address: Address,
    amount: String,
    lockup_until_unix_ms: Option<u64>,
}

#[derive(Deserialize)]
struct GenesisValidator {
    id: u64,
    address: Address,
    pqc_public_key: PublicKey,
    stake: String,
}

/// Network and validators of a genesis file.
///
/// # Errors
/// The author's fault: what is wrong with it.
pub fn founders(genesis: &[u8]) -> Result<(Network, ValidatorSet), String> {
    let genesis = Genesis::parse(genesis)?;
    Ok((genesis.network, (*genesis.set).clone()))
}

impl Genesis {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: GenesisFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let mut validators = file.validators;
        validators.sort_by_key(|v| v.id);
        let mut members = Vec::new();
        for v in &validators {
            let power = v.stake.parse().map_err(|_| format!("stake of validator {}", v.id))?;
            members.push(ValidatorInfo {
                id: v.id,
                address: v.address,
                previous_key: None,
                public_key: v.pqc_public_key.clone(),
                power: VotingPower(power),
            });
        }
        let set = ValidatorSet::new(Epoch(0), members).map_err(|e| e.to_string())?;
        let (mut allocations, mut locks) = (Vec::new(), BTreeMap::new());
        for a in &file.allocations {
            let amount = a.amount.parse().map_err(|_| format!("amount of {}", a.address))?;
            allocations.push((a.address, amount));
            if let Some(until) = a.lockup_until_unix_ms {
                locks.insert(a.address, (amount, until));
            }
        }
        Ok(Self {
            network: file.network,
            epoch_blocks: file.epoch_blocks.max(1),
            set: Arc::new(set),
            allocations,
            locks,
            // The block before the first is the genesis file itself.
            id: BlockId(genesis_hash(bytes).0),
        })
    }
}

/// One verified block with its transactions in execution order.
pub(crate) struct Link {
    pub(crate) id: BlockId,
    pub(crate) block: Block,
    /// Where its proposer's fees go.
    pub(crate) proposer: Option<Address>,
    /// Ids of the batches, all held; empty if one is missing or wrong.
    pub(crate) batches: Vec<BatchId>,
    /// Whether every referenced batch is held and right.
    pub(crate) is_whole: bool,
}

/// The chain as far as the evidence shows it.
pub(crate) struct Chain {
    pub(crate) genesis: Genesis,
    /// From height 1, without a hole.
    pub(crate) links: Vec<Link>,
    /// Wrong blocks, and why.
    pub(crate) bad_blocks: Vec<String>,
    /// Blocks every node has and the evidence has not.
    pub(crate) missing_blocks: Vec<String>,
    /// One validator's commit votes for two blocks of one view.
    pub(crate) double_votes: Vec<String>,
    /// Certificates verified.
    pub(crate) certificates: u64,
    pub(crate) batches: BTreeMap<BatchId, CertifiedBatch>,
    /// Wrong references, and why.
    pub(crate) bad_references: Vec<String>,
    /// Referenced batches the evidence has not.
    pub(crate) missing_batches: Vec<String>,
    /// References checked.
    pub(crate) references: u64,
}

/// Who validates in which epoch, as the chain itself says.
struct Epochs {
    network: Network,
    known: BTreeMap<Epoch, Arc<Verifier>>,
    /// Epochs whose validators the evidence has not, or not those the chain names.
    missing: BTreeMap<Epoch, String>,
}

impl Epochs {
    fn new(genesis: &Genesis) -> Self {
        let first = Arc::new(Verifier::new(genesis.network, genesis.set.clone()));
        let known = BTreeMap::from([(Epoch(0), first)]);
        Self { network: genesis.network, known, missing: BTreeMap::new() }
    }

    fn of(&self, epoch: Epoch) -> Result<Arc<Verifier>, String> {
        let known = self.known.get(&epoch).cloned();
        known.ok_or_else(|| format!("its epoch is {epoch}, whose validators are not known"))
    }

    /// The last block of an epoch names the validators of the next.
    fn follow(&mut self, evidence: &Evidence, block: &Block) {
        let Some(expected) = block.next_validators else { return };
        let epoch = block.next_epoch();
        let path = paths::validators(epoch.0);
        let Some(raw) = evidence.validators.get(&epoch.0) else {
            self.missing.insert(epoch, evidence.absence(&path));
            return;
        };
        match qbind_types::decode::<ValidatorSet>(raw) {
            Ok(set) if set.epoch() == epoch && validators_id(self.network, &set) == expected => {
                self.known.insert(epoch, Arc::new(Verifier::new(self.network, Arc::new(set))));
            }
            _ => {
                let why =
                    format!("{path} does not hold the validators block {} names", block.height);
                self.missing.insert(epoch, why);
            }
        }
    }
}

/// Why a block is no part of the chain.
enum Fault {
    /// It is wrong.
    Bad(String),
    /// What it takes to check it is not there.
    Unverifiable(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Bad(why)
    }
}

/// Commit votes seen, by epoch, view and validator.
type Votes = BTreeMap<(Epoch, u64, ValidatorIndex), BlockId>;

impl Chain {
    /// Verifies everything up to the lowest tip of all nodes, and what there is beyond.
    pub(crate) fn of(evidence: &Evidence, feeds: &BTreeMap<String, Feed>) -> Result<Self, String> {
        let bytes = evidence.genesis.as_ref().ok_or_else(|| evidence.absence(paths::GENESIS))?;
        let genesis = Genesis::parse(bytes).map_err(|why| format!("{}: {why}", paths::GENESIS))?;
        let mut epochs = Epochs::new(&genesis);
        let mut chain = Self {
            genesis,
            links: Vec::new(),
            bad_blocks: Vec::new(),
            missing_blocks: Vec::new(),
            double_votes: Vec::new(),
            certificates: 0,
            batches: BTreeMap::new(),
            bad_references: Vec::new(),
            missing_batches: Vec::new(),
            references: 0,
        };
        let common = feeds.values().map(Feed::tip).min().unwrap_or(0);
        let mut votes: Votes = BTreeMap::new();
        let mut referenced = BTreeSet::new();
        let (mut is_unbroken, mut next) = (true, 1);
        for (&height, raw) in evidence.blocks.range(1..) {
            chain.missing(evidence, next, height.saturating_sub(1).min(common));
            is_unbroken &= height == next;
            next = height.saturating_add(1);
            let expected = chain.links.last().map_or(Epoch(0), |link| link.block.next_epoch());
            if is_unbroken && let Some(missing) = epochs.missing.get(&expected) {
                chain.missing_blocks.push(format!("block {height} of epoch {expected}: {missing}"));
                is_unbroken = false;
                continue;
            }
            match chain.block(&epochs, height, raw, &mut votes, is_unbroken) {
                Ok((block, verifier)) => {
                    if is_unbroken {
                        epochs.follow(evidence, &block);
                    }
                    let link = chain.references(evidence, &verifier, block, &mut referenced);
                    if is_unbroken {
                        chain.links.push(link);
                    }
                }
                Err(Fault::Unverifiable(why)) => {
                    if height <= common {
                        chain.missing_blocks.push(format!("block {height}: {why}"));
                    }
                    is_unbroken = false;
                }
                Err(Fault::Bad(why)) => {
                    is_unbroken = false;
                    chain.bad_blocks.push(format!("block {height}: {why}"));
                }
            }
        }
        chain.missing(evidence, next, common);
        Ok(chain)
    }

    /// Notes that the evidence has none of these heights.
    fn missing(&mut self, evidence: &Evidence, from: u64, to: u64) {
        if from > to {
            return;
        }
        let first = evidence.absence(&paths::block(from));
        self.missing_blocks.push(match to - from {
            0 => first,
            more => format!("{first}, and {more} more after it"),
        });
    }

    fn block(
        &mut self,
        epochs: &Epochs,
        height: u64,
        raw: &[u8],
        votes: &mut Votes,
        is_unbroken: bool,
    ) -> Result<(Block, Arc<Verifier>), Fault> {
        let committed: CommittedBlock = qbind_types::decode(raw).map_err(|e| e.to_string())?;
        // After a hole it is not known which validators there are.
        let unknown = if is_unbroken { Fault::Bad } else { Fault::Unverifiable };
        let verifier = epochs.of(committed.block.epoch).map_err(unknown)?;
        let verified = verifier.verify_committed_block(committed).map_err(|e| e.to_string())?;
        let CommittedBlock { block, proof } = verified.into_inner();
        self.certificates += 1;
        let certificate = &proof.certificate;
        for (validator, _) in &certificate.votes {
            let key = (certificate.epoch, certificate.view.0, *validator);
            let first = *votes.entry(key).or_insert(certificate.block);
            if first != certificate.block {
                self.double_votes.push(format!(
                    "validator index {validator} sent commit votes for {first} and {} in view {}",
                    certificate.block, certificate.view
                ));
            }
        }
        if block.height.0 != height {
            return Err(Fault::Bad(format!("its bytes are of height {}", block.height)));
        }
        if is_unbroken {
            let (parent, view, epoch) = match self.links.last() {
                Some(link) => (link.id, link.block.view.0, link.block.next_epoch()),
                None => (self.genesis.id, 0, Epoch(0)),
            };
            if block.epoch != epoch {
                return Err(Fault::Bad(format!("its epoch is {}, expected {epoch}", block.epoch)));
            }
            if block.parent != parent {
                return Err(Fault::Bad(format!(
                    "its parent is {}, expected {parent}",
                    block.parent
                )));
            }
            if block.view.0 <= view {
                return Err(Fault::Bad(format!(
                    "its view {} is not above its parent's",
                    block.view
                )));
            }
        }
        Ok((block, verifier))
    }

    fn references(
        &mut self,
        evidence: &Evidence,
        verifier: &Verifier,
        block: Block,
        referenced: &mut BTreeSet<BatchId>,
    ) -> Link {
        let height = block.height;
        let proposer = verifier.set().get(block.proposer).map(|member| member.address);
        let id = block_id(&block);
        let mut link = Link { id, block, proposer, batches: Vec::new(), is_whole: true };
        for reference in link.block.batches.clone() {
            self.references += 1;
            if !referenced.insert(reference.id) {
                self.bad_references
                    .push(format!("block {height} references batch {} again", reference.id));
                link.is_whole = false;
                continue;
            }
            let name = hex::encode(reference.id.0);
            let Some(raw) = evidence.batches.get(&name) else {
                self.missing_batches.push(evidence.absence(&paths::batch(&name)));
                link.is_whole = false;
                continue;
            };
            match certified(verifier, &reference, raw) {
                Ok(batch) => {
                    self.batches.insert(reference.id, batch);
                    link.batches.push(reference.id);
                }
                Err(why) => {
                    self.bad_references
                        .push(format!("block {height}, batch {}: {why}", reference.id));
                    link.is_whole = false;
                }
            }
        }
        link
    }

    /// Transactions of a whole link, in execution order.
    pub(crate) fn transactions<'a>(&'a self, link: &'a Link) -> Vec<&'a Transaction> {
        let batches = link.batches.iter().filter_map(|id| self.batches.get(id));
        batches.flat_map(|b| b.batch.transactions.iter()).collect()
    }

    /// Ids in the same order.
    pub(crate) fn ids(&self, link: &Link) -> Vec<TxId> {
        let network = self.genesis.network;
        self.transactions(link).into_iter().map(|tx| tx_id(network, tx)).collect()
    }
}

/// Decodes and verifies a batch with its certificate and every transaction in it (I1, I2).
fn certified(
    verifier: &Verifier,
    reference: &BatchRef,
    raw: &[u8],
) -> Result<CertifiedBatch, String> {
    let certified: CertifiedBatch = qbind_types::decode(raw).map_err(|e| e.to_string())?;
    let CertifiedBatch { batch, certificate } = certified;
    let got = BatchRef::of(&batch, batch_id(verifier.network(), &batch));
    if got != *reference {
        return Err(format!("its bytes are batch {} of {}", got.id, got.creator));
    }
    if certificate.batch != *reference {
        return Err("its certificate names another batch".to_owned());
    }
    let batch = verifier.verify_batch(batch).map_err(|e| e.to_string())?.into_inner();
    let certificate =
        verifier.verify_batch_certificate(certificate).map_err(|e| e.to_string())?.into_inner();
    Ok(CertifiedBatch { batch, certificate })
}
