//! The conductor: runs the stages of a rehearsal in order, and the load generator.

pub mod load;
