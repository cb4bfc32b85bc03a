//! The root over a block's receipts.

use super::canaries::Backwards;
use crate::{Receipt, SkipReason, Status, receipt};
use alloc::vec::Vec;
use qbind_crypto::sha3_256;

#[test]
fn a_root_of_receipts_put_together_of_parts_is_that_of_the_whole() {
    fn whole(leaves: &[[u8; 32]]) -> [u8; 32] {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        sha3_256(&[&[1], &whole(left), &whole(right)])
    }
    let receipt = |tx_index| Receipt {
        tx_index,
        status: Status::Skipped(SkipReason::Nonce),
        gas_used: 0,
        fee: 0,
        burned: 0,
    };
    for count in [1, 2, 63, 64, 65, 127, 128, 129, 192, 200, 257, 700] {
        let receipts: Vec<Receipt> = (0..count).map(receipt).collect();
        let leaf = |r: &Receipt| sha3_256(&[&[0], &borsh::to_vec(r).expect("to memory")]);
        let leaves: Vec<_> = receipts.iter().map(leaf).collect();
        assert_eq!(receipt::root_with(&receipts, &Backwards), whole(&leaves), "{count}");
    }
    assert_eq!(receipt::root_with(&[], &Backwards), [0; 32]);
}
