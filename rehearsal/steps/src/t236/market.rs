//! Everything a submitted transaction goes through: mempool, batches, certificates, blocks, ledger,
//! and a book of its own over all of it.
//!
//! Three honest validators run the node's data layer; clients hand everything to the first, so that
//! all of them fight for one pool. The fourth validator is dishonest: its batches hold what it likes.
//! Messages arrive at once, and signatures are real.

use crate::replay::Replay;
use crate::result::Check;
use crate::t223::workload::ledger_of;
use qbind_crypto::{SecretKey, Verifier, batch_id, preimage, tx_id};
use qbind_dag::{
    CouplingMode, CouplingVerdict, Dag, DagConfig, DagMessage, Effect, Event, MempoolConfig, Note,
    Peer, Standing, Submission,
};
use qbind_ledger::{
    Account, Applied, BlockInput, Ledger, NoEvidence, Params, SerialRunner, Status, fee_priority,
    gas_bound, max_spend,
};
use qbind_types::{
    Address, Batch, BatchAck, BatchRef, Epoch, Millis, Network, SIGNATURE_BYTES, Signature,
    Transaction, TxId, ValidatorIndex, ValidatorInfo, ValidatorSet, VotingPower,
    limits::BLOCK_BATCHES,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Virtual time between two blocks.
pub(super) const BLOCK_MS: u64 = 100;
/// Gas of a transfer between two accounts.
pub(super) const TRANSFER_GAS: u64 = 37_352;
/// Validators that take turns to propose.
const PROPOSERS: u64 = 4;
/// Validators that run the data layer.
const HONEST: u16 = 3;
/// The one that makes up its batches.
const DISHONEST: ValidatorIndex = ValidatorIndex(3);
/// Room in a block for what the dishonest validator adds.
const INJECTED: u64 = 6;

/// Sizes and rules of a market.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) network: Network,
    pub(super) params: Params,
    pub(super) mempool: MempoolConfig,
    /// Most transactions of a batch; a block holds one full batch, and what a dishonest validator
    /// adds.
    pub(super) block_transactions: usize,
    /// Least time between two batches that are not full.
    pub(super) batch_interval: Millis,
    /// Falsifies what the ledger reports; the tests put a lie here.
    pub(super) report: fn(&mut Applied),
    /// A validator that hears nothing; the tests put one here.
    pub(super) deaf: Option<usize>,
}

/// Counts of one run that do not depend on who sent what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rejections: BTreeMap<&'static str, u64>,
    pub(super) evictions: u64,
    /// Evictions that the interval's limit forbade.
    pub(super) eviction_limit_hits: u64,
    pub(super) replacements: u64,
    pub(super) most_evictions_in_interval: u32,
    pub(super) largest_pool: usize,
    pub(super) most_pending_of_a_sender: usize,
    /// Taken from the pool for a batch and then without effect, nor was another under its nonce.
    pub(super) taken_in_vain: u64,
    /// Put into batches by the dishonest validator: replays and double spends.
    pub(super) injected: u64,
    /// Nonces under which more than one transaction had effect.
    pub(super) nonces_used_twice: u64,
    /// Batches that blocks named.
    pub(super) batches: u64,
    /// Blocks of which some honest validator did not hold every batch with its certificate.
    pub(super) uncoupled: u64,
}

/// A transaction with effect, as the block that holds it tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Included {
    pub(super) id: TxId,
    pub(super) sender: Address,
    pub(super) fee: u128,
    pub(super) is_success: bool,
}

/// The market.
pub(super) struct Market {
    pub(super) rules: Rules,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    pub(super) book: Replay,
    nodes: Vec<Dag>,
    keys: Vec<SecretKey>,
    verifier: Verifier,
    /// First round of each creator that no block includes.
    included: BTreeMap<ValidatorIndex, u64>,
    /// The dishonest validator's last batch.
    made_up: Option<BatchRef>,
    answers: BTreeMap<TxId, Result<(), &'static str>>,
    used: BTreeSet<(Address, u64)>,
    now: Millis,
}

impl Market {
    pub(super) fn new(rules: Rules, accounts: impl IntoIterator<Item = (Address, u128)>) -> Self {
        let accounts = accounts.into_iter().map(|(a, balance)| (a, Account { nonce: 0, balance }));
        let gas = u64::try_from(rules.block_transactions).expect("a block is small") * TRANSFER_GAS;
        let block_gas_limit = gas + INJECTED * TRANSFER_GAS;
        let ledger = ledger_of(Params { block_gas_limit, ..rules.params.clone() }, accounts);
        let keys: Vec<SecretKey> = (1..=4u8).map(|n| SecretKey::from_seed(&[n; 32])).collect();
        let member = |(id, key): (u64, &SecretKey)| ValidatorInfo {
            id,
            address: Address::default(),
            previous_key: None,
            public_key: key.public_key(),
            power: VotingPower(1),
        };
        let members = (1..).zip(&keys).map(member).collect();
        let set = Arc::new(ValidatorSet::new(Epoch(0), members).expect("four with stake"));
        let node = |n: u16| {
            let config = DagConfig {
                batch_interval: rules.batch_interval,
                batch_max_transactions: rules.block_transactions,
                batch_max_gas: gas,
                mempool: rules.mempool.clone(),
                ..DagConfig::new(rules.network, Some(ValidatorIndex(n)))
            };
            Dag::new(config, set.clone())
        };
        Self {
            book: Replay::new(&ledger),
            nodes: (0..HONEST).map(node).collect(),
            keys,
            verifier: Verifier::new(rules.network, set.clone()),
            included: BTreeMap::new(),
            made_up: None,
            answers: BTreeMap::new(),
            used: BTreeSet::new(),
            tally: Tally::default(),
            now: Millis(0),
            rules,
            ledger,
        }
    }

    pub(super) fn id(&self, tx: &Transaction) -> TxId {
        tx_id(self.rules.network, tx)
    }

    /// Whether the pool holds this transaction.
    pub(super) fn is_pending(&self, id: &TxId) -> bool {
        self.nodes[0].mempool().contains(id)
    }

    /// The nonce after a sender's pending transactions.
    pub(super) fn next_nonce(&self, sender: &Address) -> u64 {
        let pending = self.nodes[0].mempool().pending_of(sender);
        self.ledger.account(sender).nonce + u64::try_from(pending).expect("a pool is small")
    }

    /// Signature, then the ledger's rules, then the pool's: as a node does it.
    pub(super) fn submit(&mut self, tx: &Transaction) -> Result<TxId, &'static str> {
        let result = self.try_submit(tx);
        if let Err(code) = result {
            *self.tally.rejections.entry(code).or_default() += 1;
            self.tally.eviction_limit_hits += u64::from(code == "E_RATE");
        }
        self.observe(&tx.sender);
        result
    }

    fn standing(&self, address: &Address) -> Standing {
        let nonce = self.ledger.account(address).nonce;
        Standing { nonce, spendable: self.ledger.spendable(address) }
    }

    fn try_submit(&mut self, tx: &Transaction) -> Result<TxId, &'static str> {
        // A payload of unknown length is the ledger's to name; the verifier would only say no.
        if gas_bound(tx) > 0 && self.verifier.verify_transaction(tx.clone()).is_err() {
            return Err("E_SIGNATURE");
        }
        self.ledger.admit(tx, u64::MAX, 0).map_err(|r| r.code())?;
        let transaction =
            self.verifier.verify_transaction(tx.clone()).map_err(|_| "E_SIGNATURE")?;
        let id = self.id(tx);
        let submission = Submission {
            transaction,
            id,
            account: self.standing(&tx.sender),
            cost: max_spend(tx).ok_or("E_BALANCE")?,
            fee_per_gas: fee_priority(tx).max_fee_per_gas,
            gas: gas_bound(tx),
            now: self.now,
        };
        self.step(0, Event::Submit(submission));
        self.answers.remove(&id).expect("the pool answers every submission")?;
        Ok(id)
    }

    fn observe(&mut self, sender: &Address) {
        let (tally, pool) = (&mut self.tally, self.nodes[0].mempool());
        tally.largest_pool = tally.largest_pool.max(pool.len());
        tally.most_pending_of_a_sender =
            tally.most_pending_of_a_sender.max(pool.pending_of(sender));
        tally.most_evictions_in_interval =
            tally.most_evictions_in_interval.max(pool.evictions_in_interval());
    }

    /// Gives one validator an event, and carries out everything that follows from it anywhere.
    fn step(&mut self, node: usize, event: Event) {
        let mut open: VecDeque<(usize, Event)> = VecDeque::from([(node, event)]);
        while let Some((at, event)) = open.pop_front() {
            for effect in self.nodes[at].step(event) {
                self.carry_out(at, effect, &mut open);
            }
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect, open: &mut VecDeque<(usize, Event)>) {
        let (now, network) = (self.now, self.rules.network);
        match effect {
            Effect::Sign(reference) => {
                let signature = self.keys[at].sign(&preimage::batch(network, &reference));
                open.push_back((at, Event::Signed { reference, signature, now }));
            }
            Effect::SignAck { reference, validator } => {
                let ack = preimage::ack(network, &reference, validator);
                let signature = self.keys[at].sign(&ack);
                open.push_back((at, Event::AckSigned { reference, signature, now }));
            }
            Effect::Broadcast(message) => {
                if let DagMessage::Batch(batch) = &message {
                    self.ack_dishonestly(batch, open);
                }
                for to in (0..self.nodes.len()).filter(|to| *to != at) {
                    self.deliver(at, to, message.clone(), open);
                }
            }
            Effect::SendTo { to: Peer::Validator(to), message } => {
                self.deliver(at, usize::from(to.0), message, open);
            }
            Effect::Accepted { id } => drop(self.answers.insert(id, Ok(()))),
            Effect::Rejected { id, rejection } => {
                self.answers.insert(id, Err(rejection.code()));
            }
            Effect::Note(Note::Evicted) => self.tally.evictions += 1,
            Effect::Note(Note::EvictionOverLimit) => self.tally.eviction_limit_hits += 1,
            Effect::Note(Note::Replaced) => self.tally.replacements += 1,
            _ => {}
        }
    }

    /// The dishonest validator acks whatever it hears of.
    fn ack_dishonestly(&self, batch: &Batch, open: &mut VecDeque<(usize, Event)>) {
        let network = self.rules.network;
        let reference = BatchRef::of(batch, batch_id(network, batch));
        let key = &self.keys[usize::from(DISHONEST.0)];
        let signature = key.sign(&preimage::ack(network, &reference, DISHONEST));
        let ack = BatchAck { batch: reference, validator: DISHONEST, signature };
        for to in 0..self.nodes.len() {
            let message = DagMessage::Ack(ack.clone());
            self.deliver(usize::from(DISHONEST.0), to, message, open);
        }
    }

    fn deliver(
        &self,
        from: usize,
        to: usize,
        message: DagMessage,
        open: &mut VecDeque<(usize, Event)>,
    ) {
        if to >= self.nodes.len() || self.rules.deaf == Some(to) {
            return;
        }
        let (now, honest) = (self.now, "everybody here signs what it sends");
        let from = Peer::Validator(ValidatorIndex(u16::try_from(from).expect("one of four")));
        let verifier = &self.verifier;
        let event = match message {
            DagMessage::Batch(batch) => {
                Event::Batch { batch: verifier.verify_batch(batch).expect(honest), now }
            }
            DagMessage::Ack(ack) => {
                Event::Ack { ack: verifier.verify_ack(ack).expect(honest), now }
            }
            DagMessage::Certificate(certificate) => {
                let certificate = verifier.verify_batch_certificate(certificate).expect(honest);
                Event::Certificate { certificate, now }
            }
            DagMessage::Request(reference) => Event::Request { from, reference, now },
            DagMessage::Response(certified) => {
                let certified = verifier.verify_certified_batch(certified).expect(honest);
                Event::Response { certified, now }
            }
            // Only full nodes hand transactions on.
            DagMessage::Transactions(_) => return,
        };
        open.push_back((to, event));
    }

    /// A batch of the dishonest validator, with everything in it that its signatures allow.
    fn make_up(&mut self, transactions: Vec<Transaction>) {
        let network = self.rules.network;
        let blank = Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length");
        let mut batch = Batch {
            epoch: Epoch(0),
            creator: DISHONEST,
            round: self.made_up.map_or(0, |last| last.round + 1),
            parents: self.made_up.into_iter().collect(),
            transactions,
            signature: blank,
        };
        let reference = BatchRef::of(&batch, batch_id(network, &batch));
        let key = &self.keys[usize::from(DISHONEST.0)];
        batch.signature = key.sign(&preimage::batch(network, &reference));
        self.made_up = Some(reference);
        let now = self.now;
        for to in 0..self.nodes.len() {
            let batch = self.verifier.verify_batch(batch.clone()).expect("signed above");
            self.step(to, Event::Batch { batch, now });
        }
    }

    fn candidates(&self, leader: usize) -> Vec<BatchRef> {
        let limit = self.ledger.params().block_gas_limit;
        self.nodes[leader].candidates(&self.included, BLOCK_BATCHES, limit, &gas_bound)
    }

    fn content(&self, leader: usize, refs: &[BatchRef]) -> Vec<(ValidatorIndex, Transaction)> {
        let certified = refs.iter().filter_map(|r| self.nodes[leader].certified(r));
        let of_batch = |c: qbind_types::CertifiedBatch| {
            let creator = c.batch.creator;
            c.batch.transactions.into_iter().map(move |tx| (creator, tx)).collect::<Vec<_>>()
        };
        certified.flat_map(of_batch).collect()
    }

    /// Makes and executes the next block. `inject` may add what no pool would offer.
    pub(super) fn block(
        &mut self,
        inject: impl FnOnce(&[Transaction]) -> Vec<Transaction>,
    ) -> Vec<Included> {
        self.now = self.now.plus(self.rules.batch_interval);
        for node in 0..self.nodes.len() {
            self.step(node, Event::Tick { now: self.now });
        }
        let height = self.ledger.height().next();
        let leader = usize::try_from(height.0).expect("a few blocks") % self.nodes.len();
        let offered: Vec<Transaction> = self
            .content(leader, &self.candidates(leader))
            .into_iter()
            .filter(|(creator, _)| *creator != DISHONEST)
            .map(|(_, tx)| tx)
            .collect();
        let extra = inject(&offered);
        if !extra.is_empty() {
            self.make_up(extra);
        }
        let refs = self.candidates(leader);
        let holds = |node: &Dag| {
            let verdict = node.check(CouplingMode::Enforce, &refs, &self.included);
            verdict == CouplingVerdict::Ok
        };
        self.tally.uncoupled += u64::from(!self.nodes.iter().all(holds));
        self.tally.batches += u64::try_from(refs.len()).expect("a block is small");
        let content = self.content(leader, &refs);
        let list: Vec<&Transaction> = content.iter().map(|(_, tx)| tx).collect();
        let block = BlockInput {
            height,
            epoch: Epoch(0),
            time: Millis(0),
            proposer: proposer(height.0),
            transactions: &list,
        };
        let mut applied = self.ledger.apply(&block, &SerialRunner, &NoEvidence);
        (self.rules.report)(&mut applied);
        self.book.enter(&block, &applied, &self.ledger);
        let included = self.settle(&content, &applied);
        for reference in &refs {
            self.included.insert(reference.creator, reference.round + 1);
        }
        let changed = applied.changes.iter().map(|(address, _)| *address);
        let changed: Vec<_> = changed.map(|address| (address, self.standing(&address))).collect();
        let now = self.now;
        for node in 0..self.nodes.len() {
            let (refs, accounts) = (refs.clone(), changed.clone());
            self.step(node, Event::Committed { refs, accounts, now });
        }
        let rest = BLOCK_MS.saturating_sub(self.rules.batch_interval.0);
        self.now = self.now.plus(Millis(rest));
        included
    }

    /// Counts what the block's transactions did.
    fn settle(
        &mut self,
        content: &[(ValidatorIndex, Transaction)],
        applied: &Applied,
    ) -> Vec<Included> {
        let mut included = Vec::new();
        for receipt in &applied.receipts {
            let Some((_, tx)) = content.get(receipt.tx_index as usize) else { continue };
            if !matches!(receipt.status, Status::Skipped(_)) {
                let is_first = self.used.insert((tx.sender, tx.nonce));
                self.tally.nonces_used_twice += u64::from(!is_first);
                let (id, sender) = (self.id(tx), tx.sender);
                let is_success = receipt.is_success();
                included.push(Included { id, sender, fee: receipt.fee, is_success });
            }
        }
        for (creator, tx) in content {
            if *creator == DISHONEST {
                self.tally.injected += 1;
            } else if !self.used.contains(&(tx.sender, tx.nonce)) {
                self.tally.taken_in_vain += 1;
            }
        }
        included
    }

    /// What must hold in every market, whoever trades there.
    pub(super) fn checks(&self) -> Vec<Check> {
        let (tally, mempool) = (&self.tally, &self.rules.mempool);
        let findings = &self.book.findings;
        let at_most = |name: &str, limit: u64, got: u64| {
            Check::that(name, format!("<= {limit}"), got, got <= limit)
        };
        let count = |n: usize| u64::try_from(n).expect("a pool is small");
        vec![
            Check::equal(
                "double spends or replays in the committed chain",
                0,
                findings.double_spends,
            ),
            Check::equal("nonces with effect more than once", 0, tally.nonces_used_twice),
            Check::equal("negative balances", 0, findings.negative_balances),
            Check::equal("accounts that differ from the replay", 0, findings.wrong_accounts),
            Check::equal(
                "blocks after which the supply does not add up",
                0,
                findings.supply_errors,
            ),
            Check::equal("charges that are not gas times price", 0, findings.wrong_charges),
            Check::equal("fees not shared as the split says", 0, findings.wrong_splits),
            Check::equal("blocks above the gas limit", 0, findings.gas_excesses),
            Check::equal(
                "fees charged = burned + paid to proposers",
                self.book.charged,
                self.book.burned + self.book.paid,
            ),
            Check::that("fees charged", "> 0", self.book.charged, self.book.charged > 0),
            Check::that("batches in blocks", "> 0", tally.batches, tally.batches > 0),
            Check::equal("blocks with a batch that is not certified and held", 0, tally.uncoupled),
            Check::equal("transactions taken from the pool in vain", 0, tally.taken_in_vain),
            at_most("transactions in the pool", count(mempool.capacity), count(tally.largest_pool)),
            at_most(
                "transactions of one sender",
                count(mempool.sender_transactions),
                count(tally.most_pending_of_a_sender),
            ),
            at_most(
                "evictions in one interval",
                u64::from(mempool.evictions_per_interval),
                u64::from(tally.most_evictions_in_interval),
            ),
        ]
    }
}

/// Whose turn it is; proposers have accounts of their own.
fn proposer(height: u64) -> Address {
    let mut bytes = [0xb0; 32];
    bytes[..8].copy_from_slice(&(height % PROPOSERS).to_be_bytes());
    Address(bytes)
}
