//! Metrics and commit feeds, stored raw.
