//! Errors clients can act on.

use super::view::ViewError;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::{borrow::Cow, net::SocketAddr};

/// Why a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// `E_NONCE`, `E_BALANCE`, `E_FEE_LOW`, `E_GAS_LIMIT`, `E_PAYLOAD`, `E_SIGNATURE`,
    /// `E_SENDER_LIMIT`, `E_FULL`, `E_RATE`, `E_DUPLICATE` or `E_NOT_READY`.
    pub code: &'static str,
    /// Why, for people.
    pub message: String,
    /// What to try.
    pub hint: String,
}

/// The listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for HTTP; another process may use the port, set --http-addr")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    hint: Cow<'static, str>,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into() }
    }

    pub(super) fn not_found(what: impl Into<Cow<'static, str>>) -> Self {
        let hint = "the node may be behind; see /v1/status";
        Self::new(StatusCode::NOT_FOUND, "E_NOT_FOUND", what, hint)
    }

    pub(super) fn busy() -> Self {
        let message = "too many requests at once";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E_BUSY", message, "try again in a second")
    }

    pub(super) fn stopping() -> Self {
        let message = "the node is starting or stopping";
        let hint = "ask another node, or try again in a few seconds";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E_NOT_READY", message, hint)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "schema": "qbind.error/v1",
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        });
        (self.status, Json(body)).into_response()
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection.code {
            "E_NOT_READY" => StatusCode::SERVICE_UNAVAILABLE,
            "E_FULL" | "E_RATE" | "E_SENDER_LIMIT" => StatusCode::TOO_MANY_REQUESTS,
            "E_DUPLICATE" => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, rejection.code, rejection.message, rejection.hint)
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unavailable => Self::stopping(),
            ViewError::Pruned { lowest } => {
                let text = format!("this node has deleted heights below {lowest}");
                let hint = format!(
                    "ask for heights from {lowest} on, or an archival node (state_retention_mode disabled)"
                );
                Self::new(StatusCode::GONE, "E_PRUNED", text, hint)
            }
            ViewError::Storage { message } => {
                tracing::error!(%message, "cannot answer a request");
                let text = "the node could not read its storage";
                let hint = "ask another node; its operator finds the cause in the log";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "E_STORAGE", text, hint)
            }
        }
    }
}
