//! One listener for operators, clients and Prometheus.
//!
//! Promises: every body, page and queue has a limit; every error is JSON with a stable code and a
//! hint; `/healthz` and `/metrics` answer even when the rest is too busy to.
//!
//! Never here: state. All answers come from a [`NodeView`], which the loop implements.

mod api;
mod error;
mod history;
mod render;
mod server;
mod submit;
mod view;

pub use error::{BindError, Rejection};
pub use server::{App, Server};
pub use view::{
    AccountProofView, AccountView, BlockView, Commit, CommittedTransaction, CommittedTransactions,
    DecisionView, EvidenceView, MonetaryView, NodeView, Page, PeerDirection, PeerView,
    RegisteredView, RegistryView, RotationView, SlashedView, SlashingView, StatusView,
    TransactionView, ValidatorView, ValidatorsView, ViewError,
};

#[cfg(test)]
mod tests;
