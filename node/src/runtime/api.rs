//! What HTTP is told.

use super::{
    driver::Input,
    shared::{EpochView, Shared},
    world::SubmitReply,
};
use crate::{
    NodeError, Prepared, Shutdown, ShutdownTrigger,
    http::{
        AccountProofView, AccountView, App, BlockView, Commit, CommittedTransaction,
        CommittedTransactions, DecisionView, EvidenceView, MonetaryView, NodeView, Page,
        PeerDirection, PeerView, RegisteredView, RegistryView, Rejection, RotationView, Server,
        SlashedView, SlashingView, StatusView, TransactionView, ValidatorView, ValidatorsView,
        ViewError,
    },
    metrics::Metrics,
    stop_on_signals,
};
use qbind_crypto::{block_id, tx_id};
use qbind_ledger::monetary::{Decision, Mode};
use qbind_network::{Direction, NetworkHandle};
use qbind_storage::{CommitIndex, History, HistoryError, HistoryQuery, StoreError};
use qbind_types::{
    Address, BatchId, CommittedBlock, Epoch, Height, Offence, Transaction, TxId, encode,
};
use std::sync::{
    Arc,
    mpsc::{SyncSender, TrySendError},
};
use tokio::sync::oneshot;

/// Transactions after which a page of blocks ends: some megabytes.
const PAGE_TRANSACTIONS: usize = 20_000;
/// Views behind at which a node still counts as ready.
const READY_LAG: u64 = 10;

pub(super) struct NodeApi {
    status: StatusView,
    inputs: SyncSender<Input>,
    shared: Arc<Shared>,
    network: NetworkHandle,
    slashing_mode: &'static str,
    /// Whether this validator has its sentries for peers and nobody else.
    is_hidden: bool,
}

impl NodeApi {
    pub(super) fn new(
        prepared: &Prepared,
        chain_id: String,
        inputs: SyncSender<Input>,
        shared: Arc<Shared>,
        network: NetworkHandle,
    ) -> Self {
        let config = &prepared.resolved.config;
        let status = StatusView {
            name: config.name.clone(),
            role: config.role.as_str(),
            validator_id: None,
            validator_index: None,
            network: shared.verifiers.network(),
            epoch: Epoch(0),
            chain_id,
            genesis_hash: prepared.genesis.hash,
            binary_sha3: prepared.binary_sha3.clone(),
            version: env!("CARGO_PKG_VERSION"),
            height: Height(0),
            lowest_height: Height(1),
            view: qbind_types::View(0),
            view_lag: 0,
            peers: 0,
            profile: config.profile.as_str(),
        };
        let slashing_mode = config.slashing_mode.as_str();
        let is_hidden = !config.sentries.is_empty();
        Self { status, inputs, shared, network, slashing_mode, is_hidden }
    }

    /// Index entries of executed heights, ascending; fewer than asked for where they would hold more than
    /// `most_transactions`.
    fn indexed(
        &self,
        from: Height,
        limit: usize,
        most_transactions: usize,
    ) -> Result<Page<CommitIndex>, ViewError> {
        let tip = self.shared.height();
        let lowest = self.lowest()?;
        let first = from.0.max(1);
        if first < lowest.0 {
            return Err(ViewError::Pruned { lowest });
        }
        let last = tip.0.min(first.saturating_add(limit as u64).saturating_sub(1));
        let (mut items, mut transactions) = (Vec::new(), 0);
        for height in first..=last {
            let index = self.shared.store.commit_index(Height(height)).map_err(storage)?;
            transactions += index.as_ref().map_or(0, |index| index.transactions.len());
            items.extend(index);
            if transactions >= most_transactions {
                break;
            }
        }
        Ok(Page { tip, items })
    }

    fn lowest(&self) -> Result<Height, ViewError> {
        self.shared.store.lowest().map_err(storage)
    }

    /// What is not here was deleted, or never was.
    fn absent<T>(&self, height: Height) -> Result<Option<T>, ViewError> {
        let lowest = self.lowest()?;
        let is_pruned = (1..lowest.0).contains(&height.0);
        if is_pruned { Err(ViewError::Pruned { lowest }) } else { Ok(None) }
    }
}

fn decision(decision: &Decision) -> DecisionView {
    DecisionView {
        epoch: decision.epoch,
        phase: decision.phase.as_str(),
        next_phase: decision.next_phase.as_str(),
        recommendation: decision.recommendation.as_str(),
        r_inf_annual_bps: decision.r_inf_annual_bps,
        fees: decision.fees.to_string(),
        ema_fees_per_epoch: decision.ema_fees_per_epoch.to_string(),
        smoothed_annual_fee_revenue: decision.smoothed_annual_fee_revenue.to_string(),
        staked: decision.staked.to_string(),
        fee_coverage_bps: decision.fee_coverage_bps(),
        stake_ratio_bps: decision.stake_ratio_bps,
        volatility_bps: decision.volatility_bps,
        issuance: decision.issuance.to_string(),
    }
}

fn storage(error: StoreError) -> ViewError {
    ViewError::Storage { message: error.to_string() }
}

impl NodeView for NodeApi {
    fn submit(&self, transaction: Transaction) -> oneshot::Receiver<SubmitReply> {
        let (reply, answer) = oneshot::channel();
        let refuse = |reply: oneshot::Sender<SubmitReply>, code, message: &str, hint: &str| {
            let (message, hint) = (message.to_owned(), hint.to_owned());
            // The client may have gone; then nobody needs the answer.
            reply.send(Err(Rejection { code, message, hint })).map_err(drop).unwrap_or_default();
        };
        let id = tx_id(self.shared.verifiers.network(), &transaction);
        let Ok(transaction) = self.shared.verifiers.newest().verify_transaction(transaction) else {
            let message = "the signature, key, suite or payload is not right for this network";
            refuse(reply, "E_SIGNATURE", message, "sign for this network with the sender's key");
            return answer;
        };
        let input = Input::Submit { transaction: Box::new(transaction), id, reply };
        match self.inputs.try_send(input) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(Input::Submit { reply, .. })) => {
                refuse(reply, "E_FULL", "the node is busy", "try again, or another node");
            }
            Err(TrySendError::Full(_)) => {}
        }
        answer
    }

    fn transaction(&self, id: &TxId) -> Result<TransactionView, ViewError> {
        if let Some(index) = self.shared.store.transaction(id).map_err(storage)? {
            let (height, success) = (index.height, index.success);
            return Ok(TransactionView::Committed { height, success });
        }
        let pending = self.shared.store.is_pending(id).map_err(storage)?;
        Ok(if pending { TransactionView::Pending } else { TransactionView::Unknown })
    }

    fn account(&self, address: &Address) -> Result<AccountView, ViewError> {
        let height = self.shared.height();
        let account = self.shared.store.account(address).map_err(storage)?;
        Ok(AccountView { balance: account.balance, nonce: account.nonce, height })
    }

    fn account_proof(&self, address: &Address) -> Result<Option<AccountProofView>, ViewError> {
        let tip = self.shared.height();
        let Some(committed) = self.shared.store.committed(tip).map_err(storage)? else {
            return Ok(None);
        };
        // A block names a state that is not older than what its parent names.
        let height = committed.block.executed.height;
        let (reply, answer) = oneshot::channel();
        let question = Input::Prove { address: *address, height, reply };
        self.inputs.try_send(question).map_err(|_| ViewError::Unavailable)?;
        let proof = answer.blocking_recv().map_err(|_| ViewError::Unavailable)?;
        Ok(proof.map(|proof| AccountProofView { proof, committed }))
    }

    fn history(&self, query: &HistoryQuery) -> Result<History, HistoryError> {
        self.shared.store.history(query)
    }

    fn block(&self, height: Height) -> Result<Option<BlockView>, ViewError> {
        let Some(committed) = self.committed(height)? else { return Ok(None) };
        let Some(index) = self.shared.store.commit_index(height).map_err(storage)? else {
            return self.absent(height);
        };
        Ok(Some(BlockView {
            id: block_id(&committed.block),
            committed,
            state_root: index.state_root,
            transactions: index.transactions.into_iter().map(|(id, _)| id).collect(),
        }))
    }

    fn committed(&self, height: Height) -> Result<Option<CommittedBlock>, ViewError> {
        match self.shared.store.committed(height).map_err(storage)? {
            Some(committed) => Ok(Some(committed)),
            None => self.absent(height),
        }
    }

    fn epoch_end(&self, epoch: Epoch) -> Result<Option<CommittedBlock>, ViewError> {
        self.shared.store.epoch_end(epoch).map_err(storage)
    }

    fn batch(&self, id: &BatchId) -> Result<Option<Vec<u8>>, ViewError> {
        let found = self.shared.store.certified_batch_by_id(id).map_err(storage)?;
        Ok(found.map(|certified| encode(&certified)))
    }

    fn commits(&self, from: Height, limit: usize) -> Result<Page<Commit>, ViewError> {
        let Page { tip, items } = self.indexed(from, limit, usize::MAX)?;
        let items = items.into_iter().map(|i| Commit {
            height: i.height,
            view: i.view,
            block_id: i.id,
            state_root: i.state_root,
            system_root: i.system_root,
            committed_unix_ms: i.committed_unix_ms,
            transactions: i.transactions.len() as u64,
        });
        Ok(Page { tip, items: items.collect() })
    }

    fn committed_transactions(
        &self,
        from: Height,
        limit: usize,
    ) -> Result<Page<CommittedTransactions>, ViewError> {
        let Page { tip, items } = self.indexed(from, limit, PAGE_TRANSACTIONS)?;
        let items = items.into_iter().map(|i| CommittedTransactions {
            height: i.height,
            committed_unix_ms: i.committed_unix_ms,
            transactions: i
                .transactions
                .into_iter()
                .map(|(id, success)| CommittedTransaction { id, success })
                .collect(),
        });
        Ok(Page { tip, items: items.collect() })
    }

    fn status(&self) -> StatusView {
        let mut status = self.status.clone();
        status.height = self.shared.height();
        status.lowest_height = self.shared.reach.lowest();
        let EpochView { set, me } = self.shared.epoch();
        status.epoch = set.epoch();
        status.validator_id = me.and_then(|i| set.get(i)).map(|m| m.id);
        status.validator_index = me;
        if let Some(gauges) = self.shared.gauges() {
            status.view = gauges.current_view;
            status.view_lag = gauges.view_lag();
        }
        status.peers = self.network.peers().len() as u64;
        status
    }

    fn peers(&self) -> Vec<PeerView> {
        let set = self.shared.epoch().set;
        let view = |peer: qbind_network::PeerSummary| PeerView {
            peer_id: peer.node_id.to_string(),
            validator_id: self
                .shared
                .book
                .validator(&peer.public_key)
                .and_then(|index| set.get(index))
                .map(|member| member.id),
            // Where a validator behind this sentry is, strangers need not know.
            address: match peer.is_hidden() {
                true => "hidden".to_owned(),
                false => peer.remote.to_string(),
            },
            direction: match peer.direction {
                Direction::Outbound => PeerDirection::Outbound,
                Direction::Inbound => PeerDirection::Inbound,
            },
            asn: peer.asn,
        };
        self.network.peers().into_iter().map(view).collect()
    }

    fn validators(&self, epoch: Option<Epoch>) -> Result<Option<ValidatorsView>, ViewError> {
        let current = self.shared.epoch().set;
        let epoch = epoch.unwrap_or(current.epoch());
        let Some(set) = self.shared.store.validators(epoch).map_err(storage)? else {
            return Ok(None);
        };
        let validators = set.members().iter().map(|m| ValidatorView {
            id: m.id,
            address: m.address,
            public_key: m.public_key.clone(),
            previous_key: m.previous_key.clone(),
            power: m.power,
        });
        Ok(Some(ValidatorsView { epoch: set.epoch(), validators: validators.collect() }))
    }

    fn validators_raw(&self, epoch: Epoch) -> Result<Option<Vec<u8>>, ViewError> {
        let set = self.shared.store.validators(epoch).map_err(storage)?;
        Ok(set.map(|set| encode(&set)))
    }

    fn registry(&self) -> RegistryView {
        let registry = self.shared.registry();
        let earliest_epoch = registry.earliest();
        let validators = registry.validators().map(|(id, found)| RegisteredView {
            id,
            owner: found.owner,
            key: found.key.clone(),
            stake: found.stake,
            is_leaving: found.is_leaving(),
            rotation: found.rotation.as_ref().map(|rotation| RotationView {
                new_key: rotation.new_key.clone(),
                effective_epoch: rotation.effective,
                old_key_until: rotation
                    .grace_until
                    .max(Epoch(rotation.effective.0.saturating_sub(1))),
            }),
        });
        RegistryView {
            epoch: self.shared.epoch().set.epoch(),
            earliest_epoch,
            election_height: registry.election(earliest_epoch),
            validators: validators.collect(),
        }
    }

    fn slashing(&self) -> SlashingView {
        let (registry, slashing) = (self.shared.registry(), self.shared.slashing());
        let stake = |id| registry.validators().find(|(of, _)| *of == id).map(|(_, v)| v.stake);
        let validators = slashing.records().map(|(id, record)| SlashedView {
            id,
            stake: stake(id),
            pending: slashing.pending(id),
            total_slashed: record.total_slashed.to_string(),
            jailed_until_epoch: record.jailed_until,
            jail_count: record.jail_count,
            offences: Offence::ALL
                .iter()
                .zip(record.offences)
                .filter(|(_, count)| *count > 0)
                .map(|(offence, count)| (offence.as_str(), count))
                .collect(),
        });
        SlashingView {
            mode: self.slashing_mode,
            epoch: self.shared.epoch().set.epoch(),
            oldest_epoch: registry.sets().map(|set| set.epoch()).min().unwrap_or_default(),
            validators: validators.collect(),
        }
    }

    fn evidence(&self) -> Vec<EvidenceView> {
        self.shared.evidence.list()
    }

    fn monetary(&self) -> MonetaryView {
        let (policy, state) = (&self.shared.policy, self.shared.monetary());
        MonetaryView {
            mode: match policy.mode {
                Mode::Off => "off",
                Mode::Shadow => "shadow",
                Mode::Active(_) => "active",
            },
            phase: state.phase().as_str(),
            r_target_annual_bps: policy.figures.r_target_annual_bps(state.phase()),
            last: state.last().map(decision),
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let Some(gauges) = self.shared.gauges() else { return vec!["starting".to_owned()] };
        let mut reasons = Vec::new();
        let lag = gauges.view_lag();
        if lag >= READY_LAG {
            reasons.push(format!("{lag} views behind"));
        }
        if let Some(lowest) = gauges.out_of_reach {
            let next = gauges.height.next();
            reasons.push(format!(
                "height {next} is pruned at every peer that is ahead (they have heights from {lowest} \
                 on): move the folder state out of data_dir and start with --fast-sync-snapshot-dir"
            ));
        }
        let connected = self.network.peers();
        let EpochView { set, me } = self.shared.epoch();
        let book = &self.shared.book;
        let has_sentry = connected.iter().any(|p| p.role == qbind_network::Role::Sentry);
        if self.is_hidden {
            // What a quorum says reaches this validator through its sentries.
            if !has_sentry {
                reasons.push("no sentry is connected".to_owned());
            }
            return reasons;
        }
        let validators = connected.iter().filter_map(|p| book.validator(&p.public_key));
        let reachable = validators.chain(me);
        // Validators behind a sentry are heard through it and never connected.
        if !set.is_quorum(reachable) && !has_sentry {
            let count = connected.len();
            reasons.push(format!("connected validators hold no quorum ({count} peers)"));
        }
        reasons
    }
}

/// Serves HTTP until a signal or the replica ends the node.
///
/// # Errors
/// The operator's fault: the address. The world's: no threads.
pub(super) fn serve(
    api: Arc<NodeApi>,
    metrics: Arc<Metrics>,
    prepared: &Prepared,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
) -> Result<(), NodeError> {
    let threads = |e| NodeError::transient("cannot start the HTTP threads").because(e);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(threads)?;
    let address = prepared.resolved.config.http_addr;
    let resolved = Arc::new(prepared.resolved.clone());
    runtime.block_on(async {
        stop_on_signals(trigger)
            .map_err(|e| NodeError::transient("cannot listen for signals").because(e))?;
        let server = Server::bind(address)
            .await
            .map_err(|e| NodeError::configuration("cannot serve HTTP").because(e))?;
        tracing::info!(address = %server.address(), "serving HTTP");
        server.serve(App::new(api, metrics, resolved), shutdown).await;
        Ok(())
    })
}
