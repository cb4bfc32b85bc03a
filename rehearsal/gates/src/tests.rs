//! A green run, and what must turn each gate red.

pub(crate) mod cluster;
mod directory;
mod planted;
