//! What an RPC node's index answers, page by page.

use super::{error::ApiError, server::App};
use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use qbind_storage::{History, HistoryError, HistoryQuery, IndexedTransaction, Place};
use qbind_types::{Address, Height};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most transactions in one answer.
const MAX_PAGE: usize = 1_000;
/// Transactions in an answer where nothing is said.
const PAGE: usize = 100;

type Answer = Result<Json<Value>, ApiError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountParameters {
    from: Option<u64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeParameters {
    from_height: Option<u64>,
    to_height: Option<u64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn of_account(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<AccountParameters>, QueryRejection>,
) -> Answer {
    let hint = "write ?from=HEIGHT&limit=N&cursor=CURSOR with N from 1 to 1000";
    let account: Address = super::api::text(path, "an address: 0x and 64 hexadecimal digits")?;
    let Query(given) = query.map_err(|rejection| fault(rejection.body_text(), hint))?;
    let query = HistoryQuery {
        account: Some(account),
        from: Height(given.from.unwrap_or(0)),
        to: Height(u64::MAX),
        after: cursor(given.cursor)?,
        limit: limit(given.limit, hint)?,
    };
    page(&app, query).await
}

pub(super) async fn of_range(
    State(app): State<App>,
    query: Result<Query<RangeParameters>, QueryRejection>,
) -> Answer {
    let hint = "write ?from_height=H&to_height=H&limit=N&cursor=CURSOR with N from 1 to 1000";
    let Query(given) = query.map_err(|rejection| fault(rejection.body_text(), hint))?;
    let (from, to) = (given.from_height.unwrap_or(0), given.to_height.unwrap_or(u64::MAX));
    if from > to {
        return Err(fault(format!("from_height {from} is above to_height {to}"), hint));
    }
    let query = HistoryQuery {
        account: None,
        from: Height(from),
        to: Height(to),
        after: cursor(given.cursor)?,
        limit: limit(given.limit, hint)?,
    };
    page(&app, query).await
}

async fn page(app: &App, query: HistoryQuery) -> Answer {
    let page = app.ask(move |node| node.history(&query)).await?.map_err(refusal)?;
    Ok(Json(render(&page, query.after)))
}

fn fault(message: String, hint: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "E_QUERY", message, hint)
}

fn limit(given: Option<usize>, hint: &'static str) -> Result<usize, ApiError> {
    match given.unwrap_or(PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        limit => Err(fault(format!("limit is {limit}"), hint)),
    }
}

fn cursor(given: Option<String>) -> Result<Option<Place>, ApiError> {
    let Some(text) = given else { return Ok(None) };
    text.parse().map(Some).map_err(|_| bad_cursor("the cursor is none of this API's"))
}

fn bad_cursor(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    let hint = "pass the cursor of the page before as it came, to the node that gave it";
    ApiError::new(StatusCode::BAD_REQUEST, "E_CURSOR", message, hint)
}

fn refusal(error: HistoryError) -> ApiError {
    let message = error.to_string();
    match error {
        HistoryError::NoIndex => {
            let hint = "ask a node with role rpc, or one started with --enable-index";
            ApiError::new(StatusCode::NOT_FOUND, "E_NO_INDEX", message, hint)
        }
        HistoryError::Pruned { .. } => {
            let hint = "start again without cursor, or ask an archival node";
            ApiError::new(StatusCode::GONE, "E_PRUNED", message, hint)
        }
        HistoryError::Beyond { .. } => bad_cursor(message),
        HistoryError::Store(error) => {
            super::view::ViewError::Storage { message: error.to_string() }.into()
        }
    }
}

fn render(page: &History, after: Option<Place>) -> Value {
    let transactions: Vec<Value> = page.items.iter().map(entry).collect();
    let last = page.items.last().map(IndexedTransaction::place).or(after);
    json!({
        "schema": "qbind.transactions/v1",
        "indexed_from": page.from,
        "indexed_to": page.to,
        "transactions": transactions,
        "cursor": last.map(|place| place.to_string()),
        "more": page.has_more,
    })
}

fn entry(t: &IndexedTransaction) -> Value {
    let mut entry = json!({
        "id": t.id,
        "height": t.height,
        "index": t.index,
        "sender": t.sender,
        "recipient": t.recipient,
        // JSON numbers lose digits above 2^53.
        "amount": t.amount.to_string(),
        "fee": t.fee.to_string(),
    });
    let status = serde_json::to_value(t.status).expect("our own types have text keys");
    if let (Value::Object(entry), Value::Object(status)) = (&mut entry, status) {
        entry.extend(status);
    }
    entry
}
