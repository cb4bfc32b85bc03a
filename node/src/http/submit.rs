//! Takes a transaction from a client.

use super::{
    error::{ApiError, Rejection},
    server::App,
};
use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use qbind_types::{Transaction, decode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: an encoded transaction has 3,850 bytes, one that reports an offence up to 24,331;
/// twice that in hexadecimal.
pub(super) const MAX_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    transaction: String,
}

pub(super) async fn submit(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = body.map_err(|rejection| {
        let hint = "send one transaction of at most 64 KiB";
        ApiError::new(rejection.status(), "E_PAYLOAD", rejection.body_text(), hint)
    })?;
    let transaction = parse(&headers, &body).inspect_err(|_| count(&app, "E_PAYLOAD"))?;
    let reasons = app.not_ready().await?;
    if !reasons.is_empty() {
        let message = format!("this node does not take transactions now: {}", reasons.join("; "));
        let hint = "ask another node, or wait until /readyz answers 200";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(ApiError::new(status, "E_NOT_READY", message, hint));
    }
    match app.view.submit(transaction).await {
        Ok(Ok(id)) => {
            let answer = json!({"schema": "qbind.submit/v1", "tx_id": id});
            Ok((StatusCode::ACCEPTED, Json(answer)))
        }
        Ok(Err(rejection)) => {
            count(&app, rejection.code);
            Err(rejection.into())
        }
        Err(_) => Err(ApiError::stopping()),
    }
}

fn count(app: &App, code: &str) {
    app.metrics.mempool.reject(code);
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Transaction, ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = match kind.as_str() {
        "application/octet-stream" => body.to_vec(),
        "application/json" => {
            let body: Body = serde_json::from_slice(body).map_err(|e| {
                payload(format!("not the expected JSON: {e}"), r#"send {"transaction":"<hex>"}"#)
            })?;
            let digits = body.transaction.strip_prefix("0x").unwrap_or(&body.transaction);
            hex::decode(digits).map_err(|e| {
                payload(format!("`transaction` is no hexadecimal: {e}"), "encode all its bytes")
            })?
        }
        _ => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "E_PAYLOAD",
                "neither application/octet-stream nor application/json",
                "set the Content-Type header",
            ));
        }
    };
    decode(&bytes).map_err(|_| {
        let message = format!("{} bytes are no canonical encoding of a transaction", bytes.len());
        payload(message, "encode with borsh, without anything before or after")
    })
}

fn payload(message: String, hint: &str) -> ApiError {
    Rejection { code: "E_PAYLOAD", message, hint: hint.to_string() }.into()
}
