//! Random blocks: mostly sound transfers, some that must be skipped or must fail.

use qbind_ledger::{Account, Ledger, Params, System};
use qbind_types::{
    Address, Height, PUBLIC_KEY_BYTES, Payload, PublicKey, SIGNATURE_BYTES, Signature, Transaction,
    TransferV0, TransferV1,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Enough for every transfer of the longest soak.
const RICH: u128 = 1_000_000_000;
/// Enough for a few; every eighth sender starts with it, so that some transfers fail.
const POOR: u128 = 250_000;

/// A transaction without a signature: execution never looks at one.
pub(crate) fn blank(sender: Address, nonce: u64, payload: Vec<u8>) -> Transaction {
    Transaction {
        sender,
        nonce,
        payload,
        suite: 100,
        public_key: PublicKey::from_slice(&[0; PUBLIC_KEY_BYTES]).expect("its length"),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
    }
}

/// A v1 transfer without a signature.
pub(crate) fn blank_transfer(
    sender: Address,
    nonce: u64,
    recipient: Address,
    amount: u128,
    max_fee_per_gas: u128,
) -> Transaction {
    let t = TransferV1 { recipient, amount, gas_limit: 50_000, max_fee_per_gas };
    blank(sender, nonce, Payload::V1(t).encode())
}

/// The address of sender `n`.
pub(crate) fn address(n: usize) -> Address {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&u64::try_from(n).expect("an index fits").to_be_bytes());
    Address(bytes)
}

/// A ledger with `senders` accounts.
pub(crate) fn funded(params: Params, senders: usize) -> Ledger {
    let accounts = (0..senders).map(|n| {
        let balance = if n % 8 == 7 { POOR } else { RICH };
        (address(n), Account { nonce: 0, balance })
    });
    ledger_of(params, accounts)
}

/// A ledger at genesis with these accounts.
pub(crate) fn ledger_of(
    params: Params,
    accounts: impl IntoIterator<Item = (Address, Account)>,
) -> Ledger {
    Ledger::restore(params, Height(0), System::none(), accounts)
        .expect("the sum is far below 2^128")
}

/// Makes blocks from a seed.
pub(crate) struct Workload {
    rng: ChaCha8Rng,
    senders: usize,
    most: usize,
}

impl Workload {
    /// Blocks of up to `most` transactions from `senders` accounts.
    pub(crate) fn new(seed: u64, senders: usize, most: usize) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), senders, most }
    }

    /// Accounts that send.
    #[cfg(test)]
    pub(crate) fn senders(&self) -> usize {
        self.senders
    }

    /// The next block, its nonces following on `ledger`.
    pub(crate) fn block(&mut self, ledger: &Ledger) -> Vec<Transaction> {
        let mut nonces = BTreeMap::new();
        let count = self.rng.random_range(1..=self.most);
        (0..count).map(|_| self.transaction(ledger, &mut nonces)).collect()
    }

    fn transaction(&mut self, ledger: &Ledger, nonces: &mut BTreeMap<Address, u64>) -> Transaction {
        let sender = address(self.rng.random_range(0..self.senders));
        // One recipient in five is new, one transfer in `senders` goes to oneself.
        let reach = self.senders + self.senders / 4 + 1;
        let recipient = address(self.rng.random_range(0..reach));
        let amount = self.rng.random_range(100..=10_000);
        let price = self.rng.random_range(1..=4);
        let next = nonces.entry(sender).or_insert_with(|| ledger.account(&sender).nonce);
        let nonce = *next;
        let v1 = TransferV1 { recipient, amount, gas_limit: 50_000, max_fee_per_gas: price };
        let payload = match self.rng.random_range(0..32) {
            // No fee, a gas limit too low, a length nobody knows, a price nobody can pay.
            0 => Payload::V0(TransferV0 { recipient, amount }).encode(),
            1 => Payload::V1(TransferV1 { gas_limit: 29_000, ..v1 }).encode(),
            2 => vec![0; 17],
            3 => Payload::V1(TransferV1 { max_fee_per_gas: u128::MAX, ..v1 }).encode(),
            // A duplicate of the nonce before, or a gap.
            4 => return blank(sender, nonce.wrapping_sub(1), Payload::V1(v1).encode()),
            5 => return blank(sender, nonce + 1, Payload::V1(v1).encode()),
            // More than anybody has: the fee is paid, the amount is not.
            6 => {
                *next += 1;
                Payload::V1(TransferV1 { amount: u128::MAX, ..v1 }).encode()
            }
            _ => {
                *next += 1;
                Payload::V1(v1).encode()
            }
        };
        blank(sender, nonce, payload)
    }
}
