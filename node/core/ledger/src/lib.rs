//! apply(state, block) -> (state, receipts): gas, fees, state root, genesis.
#![no_std]
extern crate alloc;
