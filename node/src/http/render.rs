//! Answers as JSON.

use super::view::{
    AccountProofView, AccountView, BlockView, Commit, CommittedTransactions, Page, TransactionView,
};
use qbind_types::{Address, encode};
use serde_json::{Value, json};

pub(super) fn transaction(view: &TransactionView) -> Value {
    let schema = "qbind.transaction/v1";
    match view {
        TransactionView::Pending => json!({"schema": schema, "status": "pending"}),
        TransactionView::Unknown => json!({"schema": schema, "status": "unknown"}),
        TransactionView::Committed { height, success } => {
            json!({"schema": schema, "status": "committed", "height": height, "success": success})
        }
    }
}

pub(super) fn account(address: &Address, view: &AccountView) -> Value {
    json!({
        "schema": "qbind.account/v1",
        "address": address,
        // JSON numbers lose digits above 2^53.
        "balance": view.balance.to_string(),
        "nonce": view.nonce,
        "height": view.height,
    })
}

/// All that a stranger with the genesis file needs; what he can read from the bytes is repeated for
/// people.
pub(super) fn account_proof(view: &AccountProofView) -> Value {
    let account = view.proof.account();
    let (balance, nonce) = account.map(|a| (a.balance, a.nonce)).unwrap_or_default();
    let block = &view.committed.block;
    json!({
        "schema": "qbind.account-proof/v1",
        "address": view.proof.address,
        "exists": account.is_some(),
        "balance": balance.to_string(),
        "nonce": nonce,
        "height": block.executed.height,
        "state_root": block.executed.root,
        "block_height": block.height,
        "proof": hex::encode(encode(&view.proof)),
        "committed": hex::encode(encode(&view.committed)),
    })
}

pub(super) fn block(view: &BlockView) -> Value {
    let block = &view.committed.block;
    json!({
        "schema": "qbind.block/v1",
        "epoch": block.epoch,
        "height": block.height,
        "view": block.view,
        "block_id": view.id,
        "parent": block.parent,
        "proposer": block.proposer,
        "timestamp_unix_ms": block.timestamp_unix_ms,
        "state_root": view.state_root,
        "batches": block.batches,
        "next_validators": block.next_validators,
        "transactions": view.transactions,
        "raw": hex::encode(encode(&view.committed)),
    })
}

pub(super) fn commits(page: &Page<Commit>) -> Value {
    json!({"schema": "qbind.commits/v1", "tip": page.tip, "commits": page.items})
}

pub(super) fn committed_transactions(page: &Page<CommittedTransactions>) -> Value {
    json!({"schema": "qbind.committed-transactions/v1", "tip": page.tip, "blocks": page.items})
}

/// Adds `"schema"` in front of an object's fields.
pub(super) fn with_schema(schema: &str, value: &impl serde::Serialize) -> Value {
    let mut answer = json!({"schema": schema});
    let fields = serde_json::to_value(value).expect("our own types have text keys");
    if let (Value::Object(answer), Value::Object(fields)) = (&mut answer, fields) {
        answer.extend(fields);
    }
    answer
}
