//! Probes on a schedule become raw samples, and samples become tables.
