//! Batches, acks, availability certificates, coupling; who waits and who must go.
#![no_std]
extern crate alloc;
