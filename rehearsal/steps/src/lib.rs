//! The seven harnesses behind one interface with structured results.
