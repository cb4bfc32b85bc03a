//! Claims about the ledger, and broken machinery that each of them must notice.

mod admission;
mod apply;
mod canaries;
mod genesis;
mod locks;
mod monetary;
mod money;
mod properties;
mod receipts;
mod registry;
mod slashing;
mod state;
mod tree;

use crate::{BlockInput, Ledger, NoEvidence, Params, SerialRunner, System};
use alloc::vec::Vec;
use qbind_types::{
    Address, Epoch, Height, PUBLIC_KEY_BYTES, Payload, PublicKey, SIGNATURE_BYTES, Signature,
    Transaction, TransferV0, TransferV1,
};

const PROPOSER: Address = Address([0xff; 32]);

fn address(n: u8) -> Address {
    Address([n; 32])
}

/// Signatures are checked before the ledger sees a transaction, so here they are blank.
fn transaction(sender: Address, nonce: u64, payload: &Payload) -> Transaction {
    Transaction {
        sender,
        nonce,
        payload: payload.encode(),
        suite: 100,
        public_key: PublicKey::from_slice(&[0; PUBLIC_KEY_BYTES]).expect("its length"),
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length"),
    }
}

fn v0(from: u8, nonce: u64, to: u8, amount: u128) -> Transaction {
    let payload = Payload::V0(TransferV0 { recipient: address(to), amount });
    transaction(address(from), nonce, &payload)
}

fn v1(from: u8, nonce: u64, to: u8, amount: u128, max_fee_per_gas: u128) -> Transaction {
    let recipient = address(to);
    let payload = Payload::V1(TransferV1 { recipient, amount, gas_limit: 50_000, max_fee_per_gas });
    transaction(address(from), nonce, &payload)
}

/// A ledger whose accounts 1 to `accounts` hold `balance` each.
fn ledger(params: Params, accounts: u8, balance: u128) -> Ledger {
    let accounts = (1..=accounts).map(|n| (address(n), crate::Account { nonce: 0, balance }));
    Ledger::restore(params, Height(0), System::none(), accounts).expect("a small sum")
}

/// What a ledger holds beside accounts.
fn system(ledger: &Ledger) -> System {
    System {
        tally: ledger.tally(),
        registry: ledger.registry().clone(),
        slashing: ledger.slashing().clone(),
        monetary: ledger.monetary().clone(),
    }
}

fn apply(ledger: &mut Ledger, transactions: &[Transaction]) -> crate::Applied {
    apply_in(ledger, Epoch(0), transactions)
}

fn apply_in(ledger: &mut Ledger, epoch: Epoch, transactions: &[Transaction]) -> crate::Applied {
    let transactions: Vec<&Transaction> = transactions.iter().collect();
    let block = BlockInput {
        height: ledger.height().next(),
        epoch,
        time: qbind_types::Millis(0),
        proposer: PROPOSER,
        transactions: &transactions,
    };
    ledger.apply(&block, &SerialRunner, &NoEvidence)
}
