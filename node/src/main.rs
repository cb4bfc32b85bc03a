//! The QBIND daemon.
fn main() {}
