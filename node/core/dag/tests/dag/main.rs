//! The data layer against real keys, lossy networks, restarts and liars.

mod bounds;
mod cluster;
mod coupling;
mod dissemination;
mod faults;
mod keys;
mod mempool;
mod pool;
