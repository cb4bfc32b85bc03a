//! What HTTP is told.

use super::{driver::Input, peers::PeerBook, shared::Shared, world::SubmitReply};
use crate::{
    NodeError, Prepared, Shutdown, ShutdownTrigger,
    http::{
        AccountView, App, BlockView, Commit, CommittedTransaction, CommittedTransactions, NodeView,
        Page, PeerDirection, PeerView, Rejection, Server, StatusView, TransactionView,
        ValidatorView, ValidatorsView, ViewError,
    },
    metrics::Metrics,
    stop_on_signals,
};
use qbind_crypto::{Verifier, block_id, tx_id};
use qbind_network::{Direction, NetworkHandle};
use qbind_storage::{CommitIndex, StoreError};
use qbind_types::{
    Address, BatchId, Height, Transaction, TxId, ValidatorIndex, ValidatorSet, encode,
};
use std::sync::{
    Arc,
    mpsc::{SyncSender, TrySendError},
};
use tokio::sync::oneshot;

/// Views behind at which a node still counts as ready.
const READY_LAG: u64 = 10;

pub(super) struct NodeApi {
    status: StatusView,
    set: Arc<ValidatorSet>,
    book: Arc<PeerBook>,
    inputs: SyncSender<Input>,
    verifier: Arc<Verifier>,
    shared: Arc<Shared>,
    network: NetworkHandle,
    me: Option<ValidatorIndex>,
}

impl NodeApi {
    pub(super) fn new(
        prepared: &Prepared,
        chain_id: String,
        me: Option<ValidatorIndex>,
        inputs: SyncSender<Input>,
        verifier: Arc<Verifier>,
        shared: Arc<Shared>,
        network: NetworkHandle,
    ) -> Self {
        let config = &prepared.resolved.config;
        let set = verifier.set().clone();
        let status = StatusView {
            name: config.name.clone(),
            role: config.role.as_str(),
            validator_id: me.and_then(|i| set.get(i)).map(|m| m.id),
            validator_index: me,
            network: verifier.network(),
            chain_id,
            genesis_hash: prepared.genesis.hash,
            binary_sha3: prepared.binary_sha3.clone(),
            version: env!("CARGO_PKG_VERSION"),
            height: Height(0),
            view: qbind_types::View(0),
            view_lag: 0,
            peers: 0,
            profile: config.profile.as_str(),
        };
        let book = PeerBook::new(&set);
        Self { status, set, book, inputs, verifier, shared, network, me }
    }

    /// Index entries of executed heights, ascending.
    fn indexed(&self, from: Height, limit: usize) -> Result<Page<CommitIndex>, ViewError> {
        let tip = self.shared.height();
        let first = from.0.max(1);
        let last = tip.0.min(first.saturating_add(limit as u64).saturating_sub(1));
        let mut items = Vec::new();
        for height in first..=last {
            items.extend(self.shared.store.commit_index(Height(height)).map_err(storage)?);
        }
        Ok(Page { tip, items })
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
        let id = tx_id(self.verifier.network(), &transaction);
        let Ok(transaction) = self.verifier.verify_transaction(transaction) else {
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

    fn block(&self, height: Height) -> Result<Option<BlockView>, ViewError> {
        let Some(committed) = self.shared.store.committed(height).map_err(storage)? else {
            return Ok(None);
        };
        let Some(index) = self.shared.store.commit_index(height).map_err(storage)? else {
            return Ok(None);
        };
        Ok(Some(BlockView {
            id: block_id(&committed.block),
            committed,
            state_root: index.state_root,
            transactions: index.transactions.into_iter().map(|(id, _)| id).collect(),
        }))
    }

    fn batch(&self, id: &BatchId) -> Result<Option<Vec<u8>>, ViewError> {
        let found = self.shared.store.certified_batch_by_id(id).map_err(storage)?;
        Ok(found.map(|certified| encode(&certified)))
    }

    fn commits(&self, from: Height, limit: usize) -> Result<Page<Commit>, ViewError> {
        let Page { tip, items } = self.indexed(from, limit)?;
        let items = items.into_iter().map(|i| Commit {
            height: i.height,
            view: i.view,
            block_id: i.id,
            state_root: i.state_root,
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
        let Page { tip, items } = self.indexed(from, limit)?;
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
        if let Some(gauges) = self.shared.gauges() {
            status.view = gauges.current_view;
            status.view_lag = gauges.view_lag();
        }
        status.peers = self.network.peers().len() as u64;
        status
    }

    fn peers(&self) -> Vec<PeerView> {
        let view = |peer: qbind_network::PeerSummary| PeerView {
            peer_id: peer.node_id.to_string(),
            validator_id: self
                .book
                .validator(&peer.public_key)
                .and_then(|index| self.set.get(index))
                .map(|member| member.id),
            address: peer.remote.to_string(),
            direction: match peer.direction {
                Direction::Outbound => PeerDirection::Outbound,
                Direction::Inbound => PeerDirection::Inbound,
            },
            asn: peer.asn,
        };
        self.network.peers().into_iter().map(view).collect()
    }

    fn validators(&self) -> ValidatorsView {
        let validators = self.set.members().iter().map(|m| ValidatorView {
            id: m.id,
            public_key: m.public_key.clone(),
            power: m.power,
        });
        ValidatorsView { epoch: self.set.epoch(), validators: validators.collect() }
    }

    fn not_ready(&self) -> Vec<String> {
        let Some(gauges) = self.shared.gauges() else { return vec!["starting".to_owned()] };
        let mut reasons = Vec::new();
        let lag = gauges.view_lag();
        if lag >= READY_LAG {
            reasons.push(format!("{lag} views behind"));
        }
        let connected = self.network.peers();
        let validators = connected.iter().filter_map(|p| self.book.validator(&p.public_key));
        let reachable = validators.chain(self.me);
        if !self.set.is_quorum(reachable) {
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
