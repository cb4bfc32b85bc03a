//! Clients: accounts, and transfers signed beforehand.

use crate::config::LoadSpec;
use qbind_crypto::{SecretKey, address_of, preimage, tx_id};
use qbind_ledger::Account;
use qbind_types::{Address, Network, Payload, Signature, Transaction, TransferV1, TxId};
use rand::{Rng, RngExt};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{LazyLock, Mutex},
};

/// What every sender owns at the start.
pub(crate) const BALANCE: u128 = 1_000_000_000;
const GAS_LIMIT: u64 = 50_000;
const FEE: u128 = 1;

/// A transfer and when its client sends it to which node.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) at_us: u64,
    pub(crate) node: usize,
    pub(crate) transaction: Transaction,
    pub(crate) id: TxId,
}

pub(crate) struct Load {
    pub(crate) accounts: BTreeMap<Address, Account>,
    pub(crate) planned: Vec<Planned>,
}

/// Signs `spec.transfers` transfers, round robin over the senders, over the first half of the run.
pub(crate) fn plan(
    network: Network,
    spec: &LoadSpec,
    nodes: usize,
    duration_us: u64,
    rng: &mut impl Rng,
) -> Load {
    let keys: Vec<SecretKey> = (0..spec.senders)
        .map(|i| {
            let mut seed = [0xA5; 32];
            seed[..8].copy_from_slice(&(i as u64).to_le_bytes());
            SecretKey::from_seed(&seed)
        })
        .collect();
    let addresses: Vec<Address> = keys.iter().map(|k| address_of(&k.public_key())).collect();
    let accounts = addresses.iter().map(|a| (*a, Account { nonce: 0, balance: BALANCE })).collect();
    let mut planned = Vec::new();
    for i in 0..spec.transfers {
        let sender = i % spec.senders;
        let recipient = addresses[rng.random_range(0..addresses.len())];
        let payload = Payload::V1(TransferV1 {
            recipient,
            amount: spec.amount,
            gas_limit: GAS_LIMIT,
            max_fee_per_gas: FEE,
        });
        let public_key = keys[sender].public_key();
        let mut transaction = Transaction {
            sender: addresses[sender],
            nonce: (i / spec.senders) as u64,
            payload: payload.encode(),
            suite: 100,
            public_key,
            signature: Signature::from_slice(&[0; 2420]).expect("right length"),
        };
        transaction.signature =
            signature(&keys[sender], preimage::transaction(network, &transaction));
        let at_us = duration_us / 2 * i as u64 / spec.transfers as u64;
        let id = tx_id(network, &transaction);
        planned.push(Planned { at_us, node: sender % nodes, transaction, id });
    }
    Load { accounts, planned }
}

/// Most signatures kept for later runs.
const KEPT: usize = 10_000;

/// The runs of a sweep make much the same transfers, so the signatures of one serve the next.
fn signature(key: &SecretKey, message: Vec<u8>) -> Signature {
    static MADE: LazyLock<Mutex<HashMap<Vec<u8>, Signature>>> = LazyLock::new(Mutex::default);
    let made = || MADE.lock().expect("no panic while held");
    // The message names its sender, and a sender has one key.
    if let Some(signature) = made().get(&message) {
        return signature.clone();
    }
    let signature = key.sign(&message);
    let mut made = made();
    if made.len() < KEPT {
        made.insert(message, signature.clone());
    }
    signature
}
