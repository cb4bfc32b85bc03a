//! Journal, bundle, DSSE signatures, verification.
