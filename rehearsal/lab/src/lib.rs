//! Namespaces, WAN emulator, real processes, and the words for harm.
//!
//! A lab is one network namespace for each region and one for the operator, joined by an emulator
//! of the WAN between them, with real node processes inside. Nothing of it has a name outside
//! this process: namespaces and devices are held by descriptors, nodes die with the thread that
//! started them, so that a lab ends with its process, however that ends.
//!
//! ```text
//!   region eu            region us            ops
//!   10.11.0.1 … lo       10.15.0.1 … lo       10.255.0.1 lo
//!        wan0                 wan0                 wan0        TUN
//!          └───────────────────┴────────┬───────────┘
//!                                    emulator: loss, queue, delay per directed link
//! ```
//!
//! Promises: each directed link does what the topology asks, from its own seed, and counts what
//! it did with every packet; a cut link delivers nothing; what was done to the lab is journalled
//! with its time. A socket that is bound to no address uses its region's own one (`10.254.r.1`),
//! never a node's: a node must bind what it opens to the address it listens on.
//!
//! Never here: what a node's metrics or blocks mean.

mod emulator;
mod error;
mod http;
mod journal;
mod lab;
mod metrics;
mod namespace;
pub mod network;
mod privilege;
mod process;
mod selection;
pub mod supervisor;
mod wan;

pub use emulator::{
    DELAY_BIN_US, Degradation, EmulatorSnapshot, LATENESS_BOUNDS_US, LinkSnapshot, Scheduling,
};
pub use error::{LabError, NotReady};
pub use http::{HttpError, HttpReply, PlaceHttp, runtime_in};
pub use journal::{JournalEntry, LabEvent};
pub use lab::{Lab, LabConfig, NodeState};
pub use metrics::prometheus;
pub use namespace::{Enter, NamespaceError};
pub use privilege::{Privilege, PrivilegeError, acquire, check};
pub use selection::{LinkSelection, SelectionError};
pub use wan::{Place, Wan};

/// The environment variable a node reads its keystore's passphrase from.
pub const PASSPHRASE_ENV: &str = "QBIND_KEYSTORE_PASSPHRASE";
