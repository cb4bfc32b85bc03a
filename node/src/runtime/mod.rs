//! The loop: one thread owns the replica and everything that follows from an event.
//!
//! ```text
//!  peers ─▶ network ─▶ intake (verify, by channel) ─┐
//!  clients ─▶ HTTP ── submit ───────────────────────┼─▶ one bounded queue ─▶ replica thread
//!  signals ─▶ stop ─────────────────────────────────┘        │ perform(effects): disk, keys, peers
//!                                                            ▼
//!  clients ◀─ HTTP ◀─ reads the store and the published numbers
//! ```
//!
//! Shutdown closes the queue: the replica thread finishes the event it has, then the network and
//! the store close.

mod api;
mod driver;
mod evidence;
mod fast_sync;
mod intake;
mod meters;
mod peers;
mod prune;
mod relay;
mod settings;
mod shared;
mod signer;
mod snapshots;
mod workers;
mod world;

use crate::{NodeError, Prepared, custody, metrics::Metrics};
use driver::Driver;
use qbind_crypto::{SecretKey, Verifier, Verifiers};
use qbind_ledger::{Genesis, Ledger};
use qbind_network::{Identity, NetworkEvent, NetworkHandle};
use qbind_profile::{NodeConfig, Role};
use qbind_replica::{Now, Replica, ReplicaConfig, Restored};
use qbind_storage::{DirLock, Loaded, Store};
use qbind_types::{BlockId, EpochStart, Height, Millis, PublicKey, ValidatorSet};
use relay::Relayed;
use shared::Shared;
use signer::ValidatorSigner;
use snapshots::Snapshots;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc;
use workers::Workers;
pub use world::Intercept;

/// The database in `data_dir`.
const DATABASE: &str = "state";
/// What it was called before.
const OLD_DATABASE: &str = "db";
/// Named in `data_dir` when the node must not start again before a person has looked.
const LATCH: &str = "SAFETY_STOP";

/// Runs the node until it is told to stop.
///
/// # Errors
/// The operator's fault (keys, addresses, another chain's data), the world's (disk, network), or a
/// safety stop.
pub fn run(prepared: Prepared) -> Result<(), NodeError> {
    run_with(prepared, None)
}

/// As [`run`], with something between the core and the world.
///
/// # Errors
/// As [`run`].
pub fn run_with(prepared: Prepared, intercept: Option<Intercept>) -> Result<(), NodeError> {
    let config = prepared.resolved.config.clone();
    let data_dir = data_dir(&config)?;
    check_latch(&data_dir)?;
    let in_use = |e| NodeError::transient("cannot lock the data directory").because(e);
    let Some(_lock) = DirLock::take(&data_dir).map_err(in_use)? else {
        let shown = data_dir.display();
        return Err(NodeError::transient(format!("another process uses {shown}; stop that first")));
    };
    let genesis = Genesis::parse(&prepared.genesis.bytes)
        .map_err(|e| NodeError::configuration("cannot use the genesis file").because(e))?;
    if genesis.network != config.env {
        return Err(NodeError::configuration(format!(
            "the genesis file is of {}, env is {}; correct --env or --genesis-path",
            genesis.network, config.env
        )));
    }
    let founders = genesis.validator_set();
    let ids: Vec<u64> = founders.members().iter().map(|m| m.id).collect();
    let metrics = Arc::new(Metrics::new(&config, &ids));
    let chain = (genesis.network, prepared.genesis.hash);
    let custody = match config.role {
        Role::Validator => Some(custody::open(&config, &data_dir, chain, &metrics.signer)?),
        Role::Rpc | Role::Sentry => None,
    };
    let identity: Arc<dyn Identity> = match &custody {
        Some(custody) => custody.signer.clone(),
        None => Arc::new(identity(&config, &metrics)?),
    };
    let params = settings::params(&config, &genesis)?;
    rename_database(&data_dir)?;
    fast_sync::fast_sync(&config, &data_dir, &prepared.genesis)?;
    let store = Store::open(&data_dir.join(DATABASE), prepared.genesis.hash)
        .map_err(|e| NodeError::transient("cannot open the data directory").because(e))?;
    let disk = |e| NodeError::transient("cannot read the data directory").because(e);
    let store = Arc::new(match config.enable_index {
        true => store.with_index().map_err(disk)?,
        false => store,
    });
    let mut loaded = store.load().map_err(disk)?;
    if loaded.committed.is_none() && store.height().map_err(disk)? > Height(0) {
        return Err(damaged());
    }
    if loaded.accounts.is_empty() {
        loaded.accounts = genesis.accounts();
        let file = &prepared.genesis.bytes;
        store.store_genesis(loaded.accounts.iter().copied(), &founders, file).map_err(disk)?;
    }
    let synced = store.synced().map_err(disk)?;
    let has_signed = loaded.safety.is_some() || synced.is_some();
    let restored = restored(&prepared, &genesis, loaded, &params, &Workers::new(metrics.clone()))?;
    let set = restored.ledger.registry().set(restored.start.epoch).cloned();
    let set = set.ok_or_else(damaged)?;
    if let Some(custody) = &custody {
        check_place(&config, &set, &restored.ledger, &identity.public_key(), &custody.place)?;
        if custody.guard_is_new && has_signed {
            tracing::warn!(
                "the signing guard of {} is missing; a new one knows nothing of what this key has \
                 signed, so make sure that the database is the newest there is",
                custody.place
            );
        }
    }
    let verifier = Arc::new(Verifier::new(genesis.network, set.clone()));
    let verifiers = Arc::new(Verifiers::new(verifier));
    let sets = restored.ledger.registry().sets().map(|set| &**set);
    let evidence = evidence::EvidenceBook::open(genesis.network, &data_dir, sets);
    let shared = Shared::new(store.clone(), verifiers, &restored.ledger, &set, evidence);
    let shared = Arc::new(shared);
    metrics.monetary.start(&shared.policy, &shared.monetary());
    let observer = Arc::new(meters::PeerMeters::new(metrics.clone()));
    let network = settings::network(&config, identity.clone(), chain, &params)?;
    let listen = network.listen;
    let (handle, events) = qbind_network::start(network, observer).map_err(|e| {
        NodeError::configuration(format!("cannot use p2p_listen_addr {listen}")).because(e)
    })?;
    let workers = Workers::new(metrics.clone());
    let executed = workers.executed();
    let replica_config = ReplicaConfig {
        network: genesis.network,
        key: custody.as_ref().map(|_| identity.public_key()),
        timing: settings::timing(&config),
        coupling: settings::coupling(&config),
        empty_block_interval: Millis(config.empty_block_interval_ms),
        dag: settings::dag(&config, genesis.network, &params),
        runner: Box::new(workers),
    };
    let verifiers = shared.verifiers.clone();
    let signer = custody.map(|custody| ValidatorSigner { signer: custody.signer, verifiers });
    let reach = shared.reach.clone();
    reach.set_lowest(store.lowest().map_err(disk)?);
    metrics.pruning.last_height.set(reach.lowest().0);
    let worker = prune::Worker {
        data_dir: data_dir.clone(),
        network: genesis.network,
        store: store.clone(),
        reach,
        metrics: metrics.clone(),
    };
    let pruner = prune::Pruner::start(&config, worker)
        .map_err(|e| NodeError::transient("cannot start a thread").because(e))?;
    let snapshots = Snapshots::new(&config, &data_dir, store.clone(), metrics.clone());
    let means = world::Means {
        store: store.clone(),
        snapshots,
        pruner,
        quiet: synced.filter(|_| signer.is_some()),
        network: handle.clone(),
        signer,
        metrics: metrics.clone(),
        shared: shared.clone(),
        is_hidden: !config.sentries.is_empty(),
        executed,
    };
    let world = world::DaemonWorld::new(means, intercept);
    let parts = Parts {
        prepared,
        chain_id: genesis.chain_id.clone(),
        handle,
        events,
        metrics,
        shared,
        world,
        data_dir,
    };
    serve(parts, replica_config, restored)
}

/// Everything [`serve`] puts together.
struct Parts {
    prepared: Prepared,
    chain_id: String,
    handle: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    world: world::DaemonWorld,
    data_dir: PathBuf,
}

fn serve(parts: Parts, config: ReplicaConfig, restored: Restored) -> Result<(), NodeError> {
    let (inputs, queue) = std::sync::mpsc::sync_channel(driver::QUEUE);
    let (trigger, shutdown) = crate::shutdown_channel();
    let node = &parts.prepared.resolved.config;
    // What is sent again is sent every view timeout, and batches every second, or more slowly.
    let resend = Duration::from_millis(node.view_timeout_ms.min(1_000));
    let relays = (node.role == Role::Sentry).then(|| Relayed::new(resend));
    intake::start(
        parts.events,
        inputs.clone(),
        parts.shared.clone(),
        parts.handle.clone(),
        parts.metrics.clone(),
        relays,
    );
    let retain = parts.prepared.resolved.config.state_retain_height;
    let driver = Driver::new(parts.world, parts.metrics.clone(), parts.shared.clone(), retain);
    let data_dir = parts.data_dir.clone();
    let stop = trigger.clone();
    let replica = std::thread::Builder::new()
        .name("replica".to_owned())
        .spawn(move || {
            let (replica, effects) = Replica::new(config, restored, driver.now());
            let ended = driver.run(replica, effects, &queue, &data_dir);
            // Whatever ended the replica ends the node.
            stop.request();
            ended
        })
        .map_err(|e| NodeError::transient("cannot start a thread").because(e))?;
    let api = api::NodeApi::new(
        &parts.prepared,
        parts.chain_id,
        inputs.clone(),
        parts.shared,
        parts.handle.clone(),
    );
    let served = api::serve(Arc::new(api), parts.metrics, &parts.prepared, trigger, shutdown);
    // The replica thread may have ended already; then nobody takes the word.
    inputs.send(driver::Input::Stop).unwrap_or_default();
    let ended = replica.join().unwrap_or_else(|_| {
        Err(NodeError::safety_stop("the core failed an assertion; see the log"))
    });
    parts.handle.shutdown();
    served.and(ended)
}

fn data_dir(config: &NodeConfig) -> Result<PathBuf, NodeError> {
    let dir = config
        .data_dir
        .as_ref()
        .ok_or_else(|| NodeError::configuration("data_dir is unset; pass --data-dir DIR"))?;
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir).map_err(|e| {
        NodeError::configuration(format!("cannot create data_dir {}", dir.display())).because(e)
    })?;
    Ok(dir)
}

/// An older release's database goes on under the name it has now: without it, its safety record would
/// be lost.
fn rename_database(data_dir: &Path) -> Result<(), NodeError> {
    let (old, new) = (data_dir.join(OLD_DATABASE), data_dir.join(DATABASE));
    if !old.is_dir() || new.exists() {
        return Ok(());
    }
    std::fs::rename(&old, &new).map_err(|e| {
        let (old, new) = (old.display(), new.display());
        NodeError::transient(format!("cannot rename {old} to {new}")).because(e)
    })
}

fn check_latch(data_dir: &Path) -> Result<(), NodeError> {
    let latch = data_dir.join(LATCH);
    match std::fs::read_to_string(&latch) {
        Ok(why) => Err(NodeError::safety_stop(format!(
            "stopped for safety before: {}; find the cause, then remove {}",
            why.trim(),
            latch.display()
        ))),
        Err(_) => Ok(()),
    }
}

/// The key that a node which does not validate proves to its peers.
fn identity(config: &NodeConfig, metrics: &Metrics) -> Result<SecretKey, NodeError> {
    match config.signer_keystore_path.as_deref().map(Path::new) {
        // Nothing is signed with it and nobody knows it: a new one for each start will do.
        None => Ok(SecretKey::generate()),
        Some(dir) => {
            let role = qbind_signer::Role::P2pIdentity;
            custody::keystore_key(dir, role, &config.passphrase_env, &metrics.signer)
        }
    }
}

/// A validator's key is the one the chain knows for it, as far as this node's copy of the chain goes,
/// or one it does not know yet.
fn check_place(
    config: &NodeConfig,
    set: &ValidatorSet,
    ledger: &Ledger,
    key: &PublicKey,
    keeper: &str,
) -> Result<(), NodeError> {
    let id = config
        .validator_id
        .ok_or_else(|| NodeError::configuration("validator_id is unset; pass --validator-id N"))?;
    let place = set.index_of_key(key).and_then(|index| set.get(index));
    match place {
        Some(member) if member.id != id => Err(NodeError::configuration(format!(
            "{keeper} holds the key of validator {}, not of validator {id}",
            member.id
        ))),
        Some(_) => Ok(()),
        // At genesis a founder has no other key, unless it rotated and lost its database since.
        None if ledger.height() == Height(0) && set.index_of(id).is_some() => {
            tracing::warn!(
                validator = id,
                "{keeper} holds another key than the genesis file says: right if the key \
                 was rotated since, wrong otherwise; the node follows the chain until it is found there"
            );
            Ok(())
        }
        None => {
            tracing::warn!(
                validator = id,
                epoch = set.epoch().0,
                "the key of {keeper} validates nothing in this epoch; the node follows the chain \
                 until an epoch in which it does"
            );
            Ok(())
        }
    }
}

fn damaged() -> NodeError {
    NodeError::transient("the database is damaged; restore it from a snapshot")
}

fn restored(
    prepared: &Prepared,
    genesis: &Genesis,
    mut loaded: Loaded,
    params: &qbind_ledger::Params,
    workers: &Workers,
) -> Result<Restored, NodeError> {
    let height = loaded.committed.as_ref().map_or(Height(0), |c| c.block.height);
    let ledger = loaded.ledger(genesis, params.clone(), height, workers);
    let ledger = ledger.map_err(|e| damaged().because(e))?;
    let stored = loaded.roots.iter().find(|(h, _)| *h == height).map(|(_, root)| *root);
    if stored.is_some_and(|root| root != ledger.state_root()) {
        return Err(damaged());
    }
    let nonce = |p: &qbind_dag::PendingTransaction| ledger.account(&p.transaction.sender).nonce;
    let pending = loaded.mempool.into_iter().map(|p| (nonce(&p), p)).map(|(n, p)| (p, n)).collect();
    Ok(Restored {
        start: loaded
            .start
            .unwrap_or_else(|| EpochStart::genesis(BlockId(prepared.genesis.hash.0))),
        safety: loaded.safety,
        committed: loaded.committed.map(|c| c.block),
        pending: loaded.pending_blocks,
        roots: loaded.roots,
        lowest: loaded.lowest,
        dag: qbind_dag::Restored {
            included: loaded.included,
            own: loaded.own_batch,
            batches: loaded.batches,
            certificates: loaded.certificates,
            acks: loaded.acks,
            pending,
        },
        ledger,
    })
}

/// Unix milliseconds; zero before 1970.
fn unix_now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Both clocks; `started` is when the process began.
fn now_since(started: std::time::Instant) -> Now {
    let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Now { monotonic: Millis(elapsed), unix: unix_now() }
}
