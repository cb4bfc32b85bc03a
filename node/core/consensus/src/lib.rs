//! Vote at most once per view and phase, certify, commit, change leader.
#![no_std]
extern crate alloc;
