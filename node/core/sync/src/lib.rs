//! What am I missing, whom do I ask, may I trust the answer.
#![no_std]
extern crate alloc;
