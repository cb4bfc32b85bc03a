//! Key custody and the second double-sign guard.
