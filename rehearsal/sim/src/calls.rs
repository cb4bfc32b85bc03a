//! What owners of validators ask of the registry.

use crate::config::CallKind;
use qbind_crypto::{SecretKey, address_of, preimage, sha3_256};
use qbind_ledger::Ledger;
use qbind_types::{
    Epoch, Evidence, KeyRole, KeyRotation, Network, Payload, REGISTRY, RegistryCall, RotationKind,
    SIGNATURE_BYTES, Signature, Transaction, TransferV1,
};

/// Every validator's stake.
pub(crate) const STAKE: u64 = 100;

/// The key a node goes on with after a rotation.
pub(crate) fn second_key(id: u64) -> SecretKey {
    SecretKey::from_seed(&sha3_256(&[b"second key", &id.to_le_bytes()]))
}

/// Whether the registry has taken the call.
pub(crate) fn is_done(ledger: &Ledger, id: u64, kind: CallKind) -> bool {
    let found =
        ledger.registry().validators().find(|(known, _)| *known == id).map(|(_, found)| found);
    match kind {
        CallKind::Report => ledger.slashing().records().next().is_some(),
        CallKind::Join => found.is_some(),
        CallKind::Leave => found.is_none_or(|found| found.is_leaving()),
        CallKind::Rotate { .. } => {
            let key = second_key(id).public_key();
            found.is_some_and(|f| {
                f.key == key || f.rotation.as_ref().is_some_and(|r| r.new_key == key)
            })
        }
    }
}

/// The owner's call, which takes effect from `earliest` on; nothing to report makes no call.
pub(crate) fn transaction(
    network: Network,
    owner: &SecretKey,
    nonce: u64,
    id: u64,
    kind: CallKind,
    earliest: Epoch,
    proof: Option<&Evidence>,
) -> Option<Transaction> {
    let public_key = owner.public_key();
    let call = match kind {
        CallKind::Join => RegistryCall::Join { id, public_key: public_key.clone() },
        CallKind::Leave => RegistryCall::Leave { id },
        CallKind::Report => RegistryCall::Report(Box::new(proof?.clone())),
        CallKind::Rotate { ahead, grace } => RegistryCall::Rotate(KeyRotation {
            validator_id: id,
            role: KeyRole::Consensus,
            new_key: second_key(id).public_key(),
            effective_epoch: Epoch(earliest.0 + ahead),
            grace_epochs: grace.unwrap_or(0),
            kind: match grace {
                Some(_) => RotationKind::Scheduled,
                None => RotationKind::Emergency,
            },
        }),
    };
    let amount = if kind == CallKind::Join { u128::from(STAKE) } else { 0 };
    let (gas_limit, max_fee_per_gas) = (400_000, 1);
    let transfer = TransferV1 { recipient: REGISTRY, amount, gas_limit, max_fee_per_gas };
    let mut transaction = Transaction {
        sender: address_of(&public_key),
        nonce,
        payload: Payload::Call(transfer, Box::new(call)).encode(),
        suite: 100,
        public_key,
        signature: Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("the right length"),
    };
    transaction.signature = owner.sign(&preimage::transaction(network, &transaction));
    Some(transaction)
}
