//! The core machines wired together, and perform: all that daemon and simulator ever drive.
#![no_std]
extern crate alloc;
