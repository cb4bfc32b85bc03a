//! The chain, verified here from raw bytes; shared by the safety gates.

use crate::{evidence::Evidence, feed::Feed, records::paths, stored::Stored};
use qbind_crypto::{Verifier, batch_id, block_id, genesis_hash, sha3_256, tx_id, validators_id};
use qbind_types::{
    Address, BatchId, BatchRef, Block, BlockId, CertifiedBatch, CommittedBlock, Epoch, Network,
    PublicKey, Transaction, TxId, ValidatorIndex, ValidatorInfo, ValidatorSet, VotingPower,
};
use rayon::prelude::*;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
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

/// What is kept of a transaction whose signature is right: keys and signatures of an hour would not fit
/// into memory.
#[derive(Debug, Clone)]
pub(crate) struct Tx {
    pub(crate) id: TxId,
    pub(crate) sender: Address,
    pub(crate) nonce: u64,
    pub(crate) payload: Vec<u8>,
    /// The sender's key, which calls of the registry ask for.
    pub(crate) key: Arc<PublicKey>,
}

/// One verified block with its transactions in execution order.
pub(crate) struct Link {
    pub(crate) id: BlockId,
    pub(crate) block: Block,
    /// Where its proposer's fees go.
    pub(crate) proposer: Option<Address>,
    /// Those of all batches; some are not here if one is missing or wrong.
    pub(crate) transactions: Vec<Tx>,
    /// SHA3-256 over their ids.
    pub(crate) ids_sha3: [u8; 32],
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
    /// Whom the evidence has for each epoch, whether the chain names them or not.
    claimed: BTreeMap<Epoch, Arc<Verifier>>,
    /// Epochs whose validators the evidence has not, or not those the chain names.
    missing: BTreeMap<Epoch, String>,
}

impl Epochs {
    fn new(genesis: &Genesis, evidence: &Evidence) -> Self {
        let network = genesis.network;
        let verifier = |set: Arc<ValidatorSet>| Arc::new(Verifier::new(network, set));
        let read = |(epoch, raw): (&u64, &Stored<Vec<u8>>)| {
            let set: ValidatorSet = qbind_types::decode(&raw.bytes().ok()?).ok()?;
            (set.epoch().0 == *epoch).then(|| (set.epoch(), verifier(Arc::new(set))))
        };
        let mut claimed: BTreeMap<_, _> = evidence.validators.iter().filter_map(read).collect();
        let first = verifier(genesis.set.clone());
        claimed.insert(Epoch(0), first.clone());
        let known = BTreeMap::from([(Epoch(0), first)]);
        Self { network, known, claimed, missing: BTreeMap::new() }
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
        let absent = match evidence.validators.get(&epoch.0) {
            None => Some(evidence.absence(&path)),
            Some(raw) => raw.bytes().err().map(|why| format!("{path} cannot be read: {why}")),
        };
        if let Some(absent) = absent {
            self.missing.insert(epoch, absent);
            return;
        }
        match self.claimed.get(&epoch) {
            Some(claimed) if validators_id(self.network, claimed.set()) == expected => {
                self.known.insert(epoch, claimed.clone());
            }
            _ => {
                let why =
                    format!("{path} does not hold the validators block {} names", block.height);
                self.missing.insert(epoch, why);
            }
        }
    }
}

/// Heights examined at a time: enough for all cores, few enough to be held.
const STRETCH: usize = 64;

/// A block whose certificate was checked, or what is wrong, as far as it does not depend on the blocks before
/// it.
struct Opened {
    epoch: Epoch,
    /// Right under the validators that the evidence has for the epoch, if it has any.
    committed: Result<CommittedBlock, String>,
}

/// Some blocks and the batches they reference, opened by all cores at once.
struct Stretch {
    blocks: BTreeMap<u64, Result<Opened, Fault>>,
    /// As which reference, under the validators of its block's epoch.
    batches: BTreeMap<BatchId, (BatchRef, Result<Vec<Tx>, Fault>)>,
}

impl Stretch {
    /// Opens `raw` blocks, and of their batches those that were not `seen` in any: who repeats blocks does
    /// not have their batches checked again and again.
    fn open(
        evidence: &Evidence,
        epochs: &Epochs,
        keys: &Keys,
        raw: &[(&u64, &Stored<Vec<u8>>)],
        seen: &mut BTreeSet<BatchId>,
    ) -> Self {
        let open = |(height, raw): &(&u64, &Stored<Vec<u8>>)| (**height, opened(epochs, raw));
        let blocks: BTreeMap<_, _> = raw.par_iter().map(open).collect();
        let mut wanted: BTreeMap<BatchId, BatchRef> = BTreeMap::new();
        for opened in blocks.values().flatten() {
            let Ok(committed) = &opened.committed else { continue };
            for reference in &committed.block.batches {
                if reference.epoch == opened.epoch
                    && epochs.claimed.contains_key(&opened.epoch)
                    && seen.insert(reference.id)
                {
                    wanted.insert(reference.id, *reference);
                }
            }
        }
        let check = |(id, reference): (BatchId, BatchRef)| {
            let verifier = &epochs.claimed[&reference.epoch];
            (id, (reference, batch(evidence, verifier, keys, &reference)))
        };
        Self { blocks, batches: wanted.into_par_iter().map(check).collect() }
    }
}

fn opened(epochs: &Epochs, raw: &Stored<Vec<u8>>) -> Result<Opened, Fault> {
    let unread = |why| Fault::Unverifiable(format!("its file cannot be read: {why}"));
    let raw = raw.bytes().map_err(unread)?;
    let committed: CommittedBlock =
        qbind_types::decode(&raw).map_err(|e| Fault::Bad(e.to_string()))?;
    let epoch = committed.block.epoch;
    let committed = match epochs.claimed.get(&epoch) {
        Some(verifier) => match verifier.verify_committed_block(committed) {
            Ok(verified) => Ok(verified.into_inner()),
            Err(error) => Err(error.to_string()),
        },
        None => Ok(committed),
    };
    Ok(Opened { epoch, committed })
}

/// Keys of accounts, each held once.
#[derive(Default)]
struct Keys(Mutex<BTreeMap<Address, Arc<PublicKey>>>);

impl Keys {
    /// The key of the sender of a transaction whose signature is right, so that no account has two.
    fn of(&self, tx: &Transaction) -> Arc<PublicKey> {
        let mut keys = self.0.lock().expect("nothing panics with it");
        let new = || Arc::new(tx.public_key.clone());
        keys.entry(tx.sender).or_insert_with(new).clone()
    }
}

/// Why a block or batch is no part of the chain.
#[derive(Clone)]
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
        let mut epochs = Epochs::new(&genesis, evidence);
        let keys = Keys::default();
        let mut chain = Self {
            genesis,
            links: Vec::new(),
            bad_blocks: Vec::new(),
            missing_blocks: Vec::new(),
            double_votes: Vec::new(),
            certificates: 0,
            bad_references: Vec::new(),
            missing_batches: Vec::new(),
            references: 0,
        };
        let common = feeds.values().map(Feed::tip).min().unwrap_or(0);
        let mut votes: Votes = BTreeMap::new();
        let (mut referenced, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let (mut is_unbroken, mut next) = (true, 1);
        let blocks: Vec<_> = evidence.blocks.range(1..).collect();
        for raw in blocks.chunks(STRETCH) {
            let stretch = Stretch::open(evidence, &epochs, &keys, raw, &mut seen);
            let Stretch { blocks, mut batches } = stretch;
            for (height, opened) in blocks {
                chain.missing(evidence, next, height.saturating_sub(1).min(common));
                is_unbroken &= height == next;
                next = height.saturating_add(1);
                let expected = chain.links.last().map_or(Epoch(0), |link| link.block.next_epoch());
                if is_unbroken && let Some(missing) = epochs.missing.get(&expected) {
                    chain
                        .missing_blocks
                        .push(format!("block {height} of epoch {expected}: {missing}"));
                    is_unbroken = false;
                    continue;
                }
                match chain.block(&epochs, height, opened, &mut votes, is_unbroken) {
                    Ok((block, verifier)) => {
                        if is_unbroken {
                            epochs.follow(evidence, &block);
                        }
                        let mut check = |reference: &BatchRef| {
                            let epoch = verifier.set().epoch();
                            match batches.remove(&reference.id) {
                                Some((as_one, checked))
                                    if as_one == *reference && reference.epoch == epoch =>
                                {
                                    checked
                                }
                                _ => batch(evidence, &verifier, &keys, reference),
                            }
                        };
                        let proposer = verifier.set().get(block.proposer).map(|m| m.address);
                        let link = chain.references(block, proposer, &mut referenced, &mut check);
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
        opened: Result<Opened, Fault>,
        votes: &mut Votes,
        is_unbroken: bool,
    ) -> Result<(Block, Arc<Verifier>), Fault> {
        let Opened { epoch, committed } = opened?;
        // After a hole it is not known which validators there are.
        let unknown = if is_unbroken { Fault::Bad } else { Fault::Unverifiable };
        let verifier = epochs.of(epoch).map_err(unknown)?;
        let CommittedBlock { block, proof } = committed?;
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
        block: Block,
        proposer: Option<Address>,
        referenced: &mut BTreeSet<BatchId>,
        check: &mut dyn FnMut(&BatchRef) -> Result<Vec<Tx>, Fault>,
    ) -> Link {
        let height = block.height;
        let (mut transactions, mut is_whole) = (Vec::new(), true);
        for reference in &block.batches {
            self.references += 1;
            if !referenced.insert(reference.id) {
                self.bad_references
                    .push(format!("block {height} references batch {} again", reference.id));
                is_whole = false;
                continue;
            }
            match check(reference) {
                Ok(batch) => transactions.extend(batch),
                Err(Fault::Unverifiable(why)) => {
                    self.missing_batches.push(why);
                    is_whole = false;
                }
                Err(Fault::Bad(why)) => {
                    self.bad_references
                        .push(format!("block {height}, batch {}: {why}", reference.id));
                    is_whole = false;
                }
            }
        }
        let ids: Vec<&[u8]> = transactions.iter().map(|tx: &Tx| &tx.id.0[..]).collect();
        let ids_sha3 = sha3_256(&ids);
        Link { id: block_id(&block), block, proposer, transactions, ids_sha3, is_whole }
    }
}

/// Finds a batch and verifies it with its certificate and every transaction in it (I1, I2).
fn batch(
    evidence: &Evidence,
    verifier: &Verifier,
    keys: &Keys,
    reference: &BatchRef,
) -> Result<Vec<Tx>, Fault> {
    let name = hex::encode(reference.id.0);
    let path = paths::batch(&name);
    let Some(raw) = evidence.batches.get(&name) else {
        return Err(Fault::Unverifiable(evidence.absence(&path)));
    };
    let unread = |why| Fault::Unverifiable(format!("{path} cannot be read: {why}"));
    let raw = raw.bytes().map_err(unread)?;
    let certified: CertifiedBatch = qbind_types::decode(&raw).map_err(|e| e.to_string())?;
    let CertifiedBatch { batch, certificate } = certified;
    let got = BatchRef::of(&batch, batch_id(verifier.network(), &batch));
    if got != *reference {
        return Err(Fault::Bad(format!("its bytes are batch {} of {}", got.id, got.creator)));
    }
    if certificate.batch != *reference {
        return Err(Fault::Bad("its certificate names another batch".to_owned()));
    }
    let batch = verifier.verify_batch(batch).map_err(|e| e.to_string())?.into_inner();
    verifier.verify_batch_certificate(certificate).map_err(|e| e.to_string())?;
    let kept = |tx: Transaction| Tx {
        id: tx_id(verifier.network(), &tx),
        sender: tx.sender,
        nonce: tx.nonce,
        key: keys.of(&tx),
        payload: tx.payload,
    };
    Ok(batch.transactions.into_iter().map(kept).collect())
}
