//! Configuration profiles and the MainNet invariants, as a pure module.
#![no_std]
extern crate alloc;
