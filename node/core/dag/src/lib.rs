//! Batches, acks, availability certificates, coupling; who waits and who must go.
//!
//! A node takes clients' transactions into its [`Mempool`]; a validator puts them in batches, one
//! chain of batches per creator, and sends each to everybody. Who verified and stored a batch
//! returns a signed ack; a quorum of acks is an availability certificate. Blocks name certified
//! batches only.
//!
//! ```text
//!            ready, timer           Signed            quorum of acks         in a block
//!  pooled ---------------> persisted ------> sent out ---------------> certified ------> committed
//!     ^                                                                                     |
//!     +----------------------- without effect, nonce still next ----------------------------+
//!
//!  a batch of another creator:  verified -> stored -> ack decided (durable) -> acked -> certified
//! ```
//!
//! Promises:
//! - at most one own batch and at most one ack per creator and round, also across restarts;
//! - [`Dag::candidates`] names only batches whose content and certificate are here, each creator's
//!   without gaps; in mode `Enforce` [`Dag::check`] permits a vote for nothing else;
//! - a transaction enters a batch only when its nonce is the sender's next, counting own batches
//!   that are not committed, so none is lost to a gap; an accepted transaction stays until it is
//!   committed, its nonce is used, it is outbid, evicted, or expires;
//! - everything is bounded: see [`bounds`] and [`MempoolConfig`] for each maximum and what gives way.
//!
//! Deviations from DAG mempools in the literature (Narwhal): rounds are per creator and do not wait
//! for a quorum of other creators' batches, since consensus and not the DAG orders; references to
//! other creators' batches are what the creator claims to know, and nothing relies on them.
//!
//! Never here: a signature check, a clock, a socket, a disk, a random number, a counter, a log line.
#![no_std]
extern crate alloc;

mod chain;
mod commit;
mod config;
mod coupling;
mod dag;
mod effect;
mod fetch;
mod mempool;
mod message;
mod own;
mod receive;
mod restore;

pub use config::{DagConfig, EvictionMode, MempoolConfig, bounds};
pub use coupling::{Availability, CouplingMode, CouplingVerdict, Mismatch};
pub use dag::{Dag, Sizes};
pub use effect::{BatchEquivocation, BatchRefusal, Effect, Event, Note, Peer};
pub use mempool::{
    BatchLimits, Inserted, Mempool, PendingTransaction, Rejection, Returned, Standing, Submission,
    transaction_bytes,
};
pub use message::{DagMessage, MessageError};
pub use restore::Restored;
