//! A call to the registry, signed, handed in, and waited for.

use super::{Client, ToolError};
use qbind_crypto::{SecretKey, address_of, preimage, tx_id};
use qbind_ledger::transfer_gas;
use qbind_types::{
    Payload, REGISTRY, RegistryCall, SIGNATURE_BYTES, Signature, Transaction, TransferV1, TxId,
    encode,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// More than any call uses but a report, which is long.
const GAS_LIMIT: u64 = 100_000;
/// How often the node is asked what became of it.
const LOOK: Duration = Duration::from_millis(250);

/// What is handed in.
pub struct Submission<'a> {
    /// The call.
    pub call: RegistryCall,
    /// The bond of a validator that joins.
    pub amount: u128,
    /// The key of the sender, who pays.
    pub key: &'a SecretKey,
    /// Price of one unit of gas.
    pub max_fee_per_gas: u128,
    /// How long to wait until it is final.
    pub wait: Duration,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// The transaction.
    pub id: TxId,
    /// In the block of this height.
    pub height: u64,
}

/// Hands a call in and waits until it is final.
///
/// # Errors
/// The operator's fault (no funds, not allowed), or the node's (no answer, no progress).
pub fn submit(client: &Client, submission: &Submission<'_>) -> Result<Waited, ToolError> {
    let network = client.status()?.network;
    let public_key = submission.key.public_key();
    let sender = address_of(&public_key);
    let account = client.account(&sender)?;
    let mut transfer = TransferV1 {
        recipient: REGISTRY,
        amount: submission.amount,
        gas_limit: GAS_LIMIT,
        max_fee_per_gas: submission.max_fee_per_gas,
    };
    let payload = |transfer| Payload::Call(transfer, Box::new(submission.call.clone()));
    transfer.gas_limit = transfer_gas(&sender, &payload(transfer)).max(GAS_LIMIT);
    let fee = u128::from(transfer.gas_limit).saturating_mul(submission.max_fee_per_gas);
    let needed = fee.saturating_add(submission.amount);
    if account.balance.parse::<u128>().unwrap_or(0) < needed {
        return Err(ToolError::usage(format!(
            "account {sender} holds {}, and {needed} are needed; fund it, or sign with the \
             validator's owner key",
            account.balance
        )));
    }
    let mut transaction = Transaction {
        sender,
        nonce: account.nonce,
        payload: payload(transfer).encode(),
        suite: 100,
        public_key,
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("the right length"),
    };
    transaction.signature = submission.key.sign(&preimage::transaction(network, &transaction));
    let id = tx_id(network, &transaction);
    client.send(&encode(&transaction))?;
    let until = Instant::now() + submission.wait;
    loop {
        let seen = client.transaction(&id)?;
        match (seen.height, seen.success) {
            (Some(height), Some(true)) => return Ok(Waited { id, height }),
            (Some(height), _) => {
                let look = match submission.call {
                    RegistryCall::Report(_) => "qbind-admin slash-history",
                    _ => "qbind-validator-registry show",
                };
                return Err(ToolError::refused(format!(
                    "the registry refused transaction {id} at height {height}: look at `{look}`"
                )));
            }
            _ if Instant::now() >= until => {
                return Err(ToolError::refused(format!(
                    "transaction {id} is {} after {} s; it may still become final",
                    seen.status,
                    submission.wait.as_secs()
                )));
            }
            _ => thread::sleep(LOOK),
        }
    }
}
