//! The QBIND daemon: configuration, sockets, HTTP, metrics, the loop.
