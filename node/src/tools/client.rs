//! A node's HTTP listener, asked by a tool.

use super::{
    ToolError,
    evidence::{EvidenceAnswer, SlashingAnswer},
};
use qbind_types::{Address, Epoch, Network, PublicKey, TxId};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const LIMIT: u64 = 16 << 20;

/// One node.
pub struct Client {
    agent: ureq::Agent,
    url: String,
}

/// What a node says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct StatusAnswer {
    pub(super) network: Network,
}

/// The validators' registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RegistryAnswer {
    /// The epoch the node is in.
    pub epoch: Epoch,
    /// The first epoch that a call can change now.
    pub earliest_epoch: Epoch,
    /// By id.
    pub validators: Vec<RegisteredAnswer>,
}

/// A validator in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RegisteredAnswer {
    /// The operator's number.
    pub id: u64,
    /// Its owner's account.
    pub owner: Address,
    /// Its key.
    pub key: PublicKey,
    /// Its stake.
    pub stake: u64,
    /// Whether its end is decided.
    pub is_leaving: bool,
    /// Its rotation under way.
    pub rotation: Option<RotationAnswer>,
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RotationAnswer {
    /// First epoch of the new key.
    pub effective_epoch: Epoch,
    /// Last epoch of the old one.
    pub old_key_until: Epoch,
}

impl RegistryAnswer {
    /// The validator with this id.
    ///
    /// # Errors
    /// The operator's fault: there is none.
    pub fn validator(&self, id: u64) -> Result<&RegisteredAnswer, ToolError> {
        let found = self.validators.iter().find(|v| v.id == id);
        found.ok_or_else(|| ToolError::usage(format!("no validator has id {id} on this chain")))
    }
}

#[derive(Deserialize)]
pub(super) struct AccountAnswer {
    pub(super) nonce: u64,
    pub(super) balance: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TransactionAnswer {
    pub(super) status: String,
    pub(super) height: Option<u64>,
    pub(super) success: Option<bool>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
    hint: String,
}

impl Client {
    /// The node at `url`, `http://host:port`.
    pub fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        let url = url.trim_end_matches('/').to_owned();
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        Self { agent: config.into(), url }
    }

    fn unreachable(&self, path: &str, why: impl std::fmt::Display) -> ToolError {
        ToolError::usage(format!(
            "{}{path} does not answer: {why}; is the node running, and is --node-url its HTTP \
             listener?",
            self.url
        ))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        path: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ToolError> {
        let mut answer = answer.map_err(|e| self.unreachable(path, e))?;
        let is_good = answer.status().is_success();
        let body = answer.body_mut().with_config().limit(LIMIT).read_to_vec();
        let body = body.map_err(|e| self.unreachable(path, e))?;
        if is_good {
            return serde_json::from_slice(&body).map_err(|e| self.unreachable(path, e));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { code, message, hint }) => {
                Err(ToolError::refused(format!("refused by the node: {code}, {message}; {hint}")))
            }
            Err(_) => Err(self.unreachable(path, format!("status {}", answer.status()))),
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ToolError> {
        self.answer(path, self.agent.get(format!("{}{path}", self.url)).call())
    }

    pub(super) fn status(&self) -> Result<StatusAnswer, ToolError> {
        self.get("/v1/status")
    }

    /// The validators' registry.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn registry(&self) -> Result<RegistryAnswer, ToolError> {
        self.get("/v1/registry")
    }

    pub(super) fn evidence(&self) -> Result<EvidenceAnswer, ToolError> {
        self.get("/v1/evidence")
    }

    pub(super) fn slashing(&self) -> Result<SlashingAnswer, ToolError> {
        self.get("/v1/slashing")
    }

    pub(super) fn account(&self, address: &Address) -> Result<AccountAnswer, ToolError> {
        self.get(&format!("/v1/accounts/{address}"))
    }

    pub(super) fn transaction(&self, id: &TxId) -> Result<TransactionAnswer, ToolError> {
        self.get(&format!("/v1/transactions/{id}"))
    }

    pub(super) fn send(&self, transaction: &[u8]) -> Result<serde_json::Value, ToolError> {
        let path = "/v1/transactions";
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("content-type", "application/octet-stream");
        self.answer(path, request.send(transaction))
    }
}
