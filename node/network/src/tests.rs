//! The whole network over loopback: every node has a socket, threads and a key of its own.

mod harness;
mod hidden;
mod hostile;
mod mesh;
mod pair;
mod proofs;
mod wan;
