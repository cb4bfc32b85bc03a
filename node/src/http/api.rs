//! The routes.

use super::{
    error::ApiError,
    history, render,
    server::App,
    submit::{MAX_BODY, submit},
};
use crate::configuration::to_json;
use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use qbind_types::{BatchId, Epoch, Height, encode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{str::FromStr, time::Duration};

/// Most commits in one answer.
const MAX_PAGE: usize = 1_000;
/// Longest a request may take, its body included.
const DEADLINE: Duration = Duration::from_secs(10);

type Answer = Result<Json<Value>, ApiError>;

pub(super) fn router(app: App) -> Router {
    let busy = Router::new()
        .route("/readyz", get(readyz))
        .route("/v1/transactions", post(submit).get(history::of_range))
        .route("/v1/transactions/{id}", get(transaction))
        .route("/v1/accounts/{address}", get(account))
        .route("/v1/accounts/{address}/proof", get(account_proof))
        .route("/v1/accounts/{address}/transactions", get(history::of_account))
        .route("/v1/blocks/{height}", get(block))
        .route("/v1/blocks/{height}/raw", get(block_raw))
        .route("/v1/epochs/{epoch}/end/raw", get(epoch_end_raw))
        .route("/v1/batches/{id}/raw", get(batch_raw))
        .route("/v1/commits", get(commits))
        .route("/v1/commits/transactions", get(committed_transactions))
        .route("/v1/status", get(status))
        .route("/v1/config", get(config))
        .route("/v1/peers", get(peers))
        .route("/v1/validators", get(validators))
        .route("/v1/validators/{epoch}/raw", get(validators_raw))
        .route("/v1/registry", get(registry))
        .route("/v1/slashing", get(slashing))
        .route("/v1/evidence", get(evidence))
        .route("/v1/monetary", get(monetary))
        .route_layer(middleware::from_fn_with_state(app.clone(), bounded));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .merge(busy)
        .fallback(async || {
            let hint = "the paths are in docs/protocol.md, section HTTP";
            ApiError::new(StatusCode::NOT_FOUND, "E_PATH", "no such path", hint)
        })
        .method_not_allowed_fallback(async || {
            let hint = "use GET, or POST for /v1/transactions";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            ApiError::new(status, "E_METHOD", "this path does not take this method", hint)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), watched))
        .with_state(app)
}

/// Every request ends in time and is counted; one that announces too large a body ends at once.
async fn watched(State(app): State<App>, request: Request, next: Next) -> Response {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if announced.and_then(|v| v.parse::<u64>().ok()).is_some_and(|bytes| bytes > MAX_BODY as u64) {
        let hint = "send one transaction of at most 64 KiB";
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let error = ApiError::new(status, "E_PAYLOAD", "the body is too large", hint);
        app.count(status);
        return error.into_response();
    }
    let response = tokio::time::timeout(DEADLINE, next.run(request)).await.unwrap_or_else(|_| {
        let hint = "send the body at once, or ask for less";
        let status = StatusCode::REQUEST_TIMEOUT;
        ApiError::new(status, "E_TIMEOUT", "the request took longer than 10 s", hint)
            .into_response()
    });
    app.count(response.status());
    response
}

/// No more requests at once than there is room for; the rest is told so at once.
async fn bounded(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.room.clone().try_acquire_owned() {
        Ok(_share) => next.run(request).await,
        Err(_) => ApiError::busy().into_response(),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.render()).into_response()
}

async fn readyz(State(app): State<App>) -> Result<Response, ApiError> {
    let reasons = app.not_ready().await?;
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"schema": "qbind.ready/v1", "ready": ready, "reasons": reasons});
    Ok((status, Json(body)).into_response())
}

async fn transaction(State(app): State<App>, path: PathText) -> Answer {
    let id = text(path, "a transaction id: 0x and 64 hexadecimal digits")?;
    let view = app.ask(move |node| node.transaction(&id)).await??;
    Ok(Json(render::transaction(&view)))
}

async fn account(State(app): State<App>, path: PathText) -> Answer {
    let address = text(path, "an address: 0x and 64 hexadecimal digits")?;
    let view = app.ask(move |node| node.account(&address)).await??;
    Ok(Json(render::account(&address, &view)))
}

async fn account_proof(State(app): State<App>, path: PathText) -> Answer {
    let address = text(path, "an address: 0x and 64 hexadecimal digits")?;
    let view = app.ask(move |node| node.account_proof(&address)).await??;
    let view = view.ok_or_else(|| {
        let hint = "the node may be catching up; try again, or ask another node";
        let message = "no committed block names a state that this node still holds";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "E_NO_PROOF", message, hint)
    })?;
    Ok(Json(render::account_proof(&view)))
}

async fn block(State(app): State<App>, path: PathText) -> Answer {
    let height = Height(text(path, HEIGHT)?);
    let view = app.ask(move |node| node.block(height)).await??;
    let view = view.ok_or_else(|| no_block(height))?;
    Ok(Json(render::block(&view)))
}

async fn block_raw(State(app): State<App>, path: PathText) -> Result<Response, ApiError> {
    let height = Height(text(path, HEIGHT)?);
    let committed = app.ask(move |node| node.committed(height)).await??;
    Ok(bytes(encode(&committed.ok_or_else(|| no_block(height))?)))
}

async fn epoch_end_raw(State(app): State<App>, path: PathText) -> Result<Response, ApiError> {
    let epoch = Epoch(text(path, "an epoch, and /end/raw")?);
    let committed = app.ask(move |node| node.epoch_end(epoch)).await??;
    let none = || ApiError::not_found(format!("epoch {epoch} has not ended here"));
    Ok(bytes(encode(&committed.ok_or_else(none)?)))
}

async fn batch_raw(State(app): State<App>, path: PathText) -> Result<Response, ApiError> {
    let id: BatchId = text(path, "a batch id: 0x and 64 hexadecimal digits")?;
    let encoded = app.ask(move |node| node.batch(&id)).await??;
    Ok(bytes(encoded.ok_or_else(|| ApiError::not_found(format!("no batch {id} here")))?))
}

async fn commits(State(app): State<App>, page: PageQuery) -> Answer {
    let (from, limit) = range(page)?;
    let page = app.ask(move |node| node.commits(from, limit)).await??;
    Ok(Json(render::commits(&page)))
}

async fn committed_transactions(State(app): State<App>, page: PageQuery) -> Answer {
    let (from, limit) = range(page)?;
    let page = app.ask(move |node| node.committed_transactions(from, limit)).await??;
    Ok(Json(render::committed_transactions(&page)))
}

async fn status(State(app): State<App>) -> Answer {
    let status = app.ask(|node| node.status()).await?;
    Ok(Json(render::with_schema("qbind.status/v1", &status)))
}

async fn config(State(app): State<App>) -> Json<Value> {
    Json(to_json(&app.resolved))
}

async fn peers(State(app): State<App>) -> Answer {
    let peers = app.ask(|node| node.peers()).await?;
    Ok(Json(json!({"schema": "qbind.peers/v1", "peers": peers})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochParameter {
    epoch: Option<u64>,
}

async fn validators(
    State(app): State<App>,
    query: Result<Query<EpochParameter>, QueryRejection>,
) -> Answer {
    let Query(EpochParameter { epoch }) = query.map_err(|rejection| {
        let (status, text) = (StatusCode::BAD_REQUEST, rejection.body_text());
        ApiError::new(status, "E_QUERY", text, "write ?epoch=N, or nothing for the current epoch")
    })?;
    let epoch = epoch.map(Epoch);
    let validators = app.ask(move |node| node.validators(epoch)).await??;
    let validators = validators.ok_or_else(|| no_epoch(epoch))?;
    Ok(Json(render::with_schema("qbind.validators/v1", &validators)))
}

async fn validators_raw(State(app): State<App>, path: PathText) -> Result<Response, ApiError> {
    let epoch = Epoch(text(path, "an epoch: a whole number")?);
    let encoded = app.ask(move |node| node.validators_raw(epoch)).await??;
    Ok(bytes(encoded.ok_or_else(|| no_epoch(Some(epoch)))?))
}

async fn registry(State(app): State<App>) -> Answer {
    let registry = app.ask(|node| node.registry()).await?;
    Ok(Json(render::with_schema("qbind.registry/v1", &registry)))
}

async fn slashing(State(app): State<App>) -> Answer {
    let slashing = app.ask(|node| node.slashing()).await?;
    Ok(Json(render::with_schema("qbind.slashing/v1", &slashing)))
}

async fn evidence(State(app): State<App>) -> Answer {
    let found = app.ask(|node| node.evidence()).await?;
    Ok(Json(json!({"schema": "qbind.evidence/v1", "evidence": found})))
}

async fn monetary(State(app): State<App>) -> Answer {
    let monetary = app.ask(|node| node.monetary()).await?;
    Ok(Json(render::with_schema("qbind.monetary/v1", &monetary)))
}

fn no_epoch(epoch: Option<Epoch>) -> ApiError {
    let epoch = epoch.unwrap_or_default();
    ApiError::not_found(format!("the validators of epoch {epoch} are not known here"))
}

const HEIGHT: &str = "a height: a whole number";

fn no_block(height: Height) -> ApiError {
    ApiError::not_found(format!("no committed block of height {height} here"))
}

fn bytes(encoded: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], encoded).into_response()
}

type PathText = Result<Path<String>, PathRejection>;

pub(super) fn text<T: FromStr>(path: PathText, expected: &'static str) -> Result<T, ApiError> {
    path.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(|| {
        let message = format!("the path must end in {expected}");
        ApiError::new(StatusCode::BAD_REQUEST, "E_PATH", message, "correct the path")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    from: Option<u64>,
    limit: Option<usize>,
}

type PageQuery = Result<Query<PageParameters>, QueryRejection>;

fn range(page: PageQuery) -> Result<(Height, usize), ApiError> {
    let fault = |message: String| {
        let hint = "write ?from=HEIGHT&limit=N with N from 1 to 1000";
        ApiError::new(StatusCode::BAD_REQUEST, "E_QUERY", message, hint)
    };
    let Query(page) = page.map_err(|rejection| fault(rejection.body_text()))?;
    let limit = page.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(fault(format!("limit is {limit}")));
    }
    Ok((Height(page.from.unwrap_or(1)), limit))
}
