//! The thread that owns the replica.

use super::{
    LATCH, meters, now_since,
    shared::Shared,
    world::{DaemonWorld, Fault, SubmitReply},
};
use crate::{NodeError, metrics::Metrics, retention::hopeless_below};
use qbind_crypto::{AccountProof, Verified};
use qbind_replica::{Effect, Event, Now, Replica, begin, perform};
use qbind_types::{Address, Height, Millis, Transaction, TxId};
use std::{
    iter,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Events waiting for the replica; when full, whoever has one more waits.
pub(super) const QUEUE: usize = 4_096;
/// Events that share one sync of the disk.
const TOGETHER: usize = 32;
/// How often numbers are published.
const PUBLISH: Duration = Duration::from_millis(100);
/// How often the database's size and the way to the validators are looked at.
const MEASURE: Duration = Duration::from_secs(10);

/// What reaches the replica thread.
pub(super) enum Input {
    /// From a peer, verified.
    Event(Event),
    /// From a client, verified.
    Submit {
        transaction: Box<Verified<Transaction>>,
        id: TxId,
        reply: oneshot::Sender<SubmitReply>,
    },
    /// From a client: an account at a height whose state may still be held.
    Prove { address: Address, height: Height, reply: oneshot::Sender<Option<AccountProof>> },
    /// End.
    Stop,
}

pub(super) struct Driver {
    world: DaemonWorld,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    started: Instant,
    published: Instant,
    /// Heights that are kept.
    retain: u64,
    /// Height below which peers know that history is deleted.
    told: Height,
    measured: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        world: DaemonWorld,
        metrics: Arc<Metrics>,
        shared: Arc<Shared>,
        retain: u64,
    ) -> Self {
        let (started, measured, told) = (Instant::now(), None, Height(0));
        Self { world, metrics, shared, started, published: started, retain, told, measured }
    }

    pub(super) fn now(&self) -> Now {
        now_since(self.started)
    }

    pub(super) fn run(
        mut self,
        mut replica: Replica,
        effects: Vec<Effect>,
        queue: &Receiver<Input>,
        data_dir: &Path,
    ) -> Result<(), NodeError> {
        let ended = self.start(&mut replica, effects).and_then(|()| self.turn(&mut replica, queue));
        match ended {
            Ok(()) => Ok(()),
            Err(Fault::Disk(e)) => Err(NodeError::transient("the disk failed").because(e)),
            Err(Fault::Signer(e)) => {
                tracing::error!(error = crate::tools::explain(&e), "the signer failed");
                Err(NodeError::transient("the signer failed").because(e))
            }
            Err(Fault::Halt(why)) => {
                self.metrics.consensus.safety_violations.inc();
                tracing::error!(%why, "stopping for safety");
                let latch = data_dir.join(LATCH);
                if let Err(error) = std::fs::write(&latch, format!("{why}\n")) {
                    tracing::error!(%error, path = %latch.display(), "cannot write the latch");
                }
                Err(NodeError::safety_stop(why.to_string()))
            }
        }
    }

    fn start(&mut self, replica: &mut Replica, effects: Vec<Effect>) -> Result<(), Fault> {
        let now = self.now();
        begin(replica, now, effects, &mut self.world)?;
        self.publish(replica);
        Ok(())
    }

    fn turn(&mut self, replica: &mut Replica, queue: &Receiver<Input>) -> Result<(), Fault> {
        loop {
            let now = self.now();
            let wait = replica.deadline().0.saturating_sub(now.monotonic.0);
            if wait == 0 {
                perform(replica, now, [Event::Tick], &mut self.world)?;
            }
            let first = match queue.recv_timeout(Duration::from_millis(wait.clamp(1, 1_000))) {
                Ok(input) => input,
                Err(RecvTimeoutError::Timeout) => {
                    self.publish_if_due(replica)?;
                    self.measure_if_due(replica)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let now = self.now();
            let (mut events, mut submitted) = (Vec::new(), Vec::new());
            // Bounded between two looks at the clock: a full queue never delays a timeout for long.
            for input in iter::once(first).chain(queue.try_iter()).take(TOGETHER) {
                match input {
                    Input::Event(event) => events.push(event),
                    Input::Submit { transaction, id, reply } => {
                        self.world.expect(id, reply);
                        submitted.push(id);
                        events.push(Event::Submit { transaction, id });
                    }
                    Input::Prove { address, height, reply } => {
                        // A few hundred bytes from memory: no event, and the client may have gone.
                        let proof = replica.ledger().prove_at(height, &address);
                        reply.send(proof).map_err(drop).unwrap_or_default();
                    }
                    Input::Stop => return Ok(()),
                }
            }
            perform(replica, now, events, &mut self.world)?;
            for id in submitted {
                self.world.give_up(&id);
            }
            self.publish_if_due(replica)?;
            self.measure_if_due(replica)?;
        }
    }

    fn publish_if_due(&mut self, replica: &mut Replica) -> Result<(), Fault> {
        if self.published.elapsed() < PUBLISH {
            return Ok(());
        }
        self.publish(replica);
        let lowest = self.shared.reach.lowest();
        if lowest <= self.told {
            return Ok(());
        }
        self.told = lowest;
        let pruned = Event::Sync(qbind_sync::Event::Pruned { lowest });
        perform(replica, self.now(), [pruned], &mut self.world)
    }

    fn publish(&mut self, replica: &Replica) {
        self.published = Instant::now();
        let gauges = replica.gauges();
        meters::gauges(&self.metrics, &gauges);
        let hopeless = hopeless_below(gauges.height, self.retain);
        self.shared.reach.set_slowest_peer(replica.slowest_peer(hopeless));
        self.shared.publish(gauges);
    }

    fn measure_if_due(&mut self, replica: &mut Replica) -> Result<(), Fault> {
        if self.measured.is_some_and(|at| at.elapsed() < MEASURE) {
            return Ok(());
        }
        self.measured = Some(Instant::now());
        match self.shared.store.size_bytes() {
            Ok(bytes) => self.metrics.state_size_bytes.set(bytes),
            Err(error) => tracing::warn!(%error, "cannot tell the database's size"),
        }
        let near = Event::Near(self.world.near());
        perform(replica, self.now(), [near], &mut self.world)
    }
}

/// Seconds between a block's timestamp and now; zero if its proposer's clock is ahead.
pub(super) fn seconds_since(unix: Millis, now: Millis) -> f64 {
    Duration::from_millis(now.0.saturating_sub(unix.0)).as_secs_f64()
}
