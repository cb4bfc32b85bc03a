//! Blocks, state and the safety record in RocksDB; fsync means fsync.
