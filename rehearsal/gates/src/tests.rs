//! A green run, and what must turn each gate red.

mod cluster;
mod directory;
mod planted;
