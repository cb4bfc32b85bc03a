//! HTTP from a place inside the lab.

use crate::{Enter, error::chain};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::runtime::Runtime;

/// Largest answer that is read.
const MAX_BODY_BYTES: usize = 64 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// No answer.
#[derive(Debug, Error)]
#[error("no answer from http://{address}{path}: {detail}")]
pub struct HttpError {
    /// Who was asked.
    pub address: SocketAddr,
    /// For what.
    pub path: String,
    /// Why not, with its causes.
    pub detail: String,
}

/// A client whose sockets are in one place; calls block, from any thread outside a runtime.
#[derive(Clone)]
pub struct PlaceHttp {
    runtime: Arc<Runtime>,
    client: reqwest::Client,
}

impl HttpReply {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, `None` where it is none.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A runtime whose worker threads are all in a place.
///
/// `block_on` polls its future on the calling thread, which is elsewhere: spawn what opens
/// sockets, and block on the join handle.
///
/// # Errors
/// The machine's fault: no threads, or the namespace is gone.
pub fn runtime_in(enter: Enter, threads: usize) -> io::Result<Runtime> {
    // A thread cannot report from its start hook; try once where it can be reported.
    let probe = Arc::clone(&enter);
    let entered = std::thread::Builder::new().name("enter".to_owned()).spawn(move || probe())?;
    entered.join().map_err(|_| io::Error::other("entering a namespace panicked"))??;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("in-lab")
        .enable_all()
        .on_thread_start(move || {
            // Outside its namespace the thread would talk to the wrong network.
            enter().expect("the namespace could be entered a moment ago");
        })
        .build()
}

impl PlaceHttp {
    /// A client in a place.
    ///
    /// # Errors
    /// The machine's fault.
    pub fn new(enter: Enter) -> io::Result<Self> {
        let runtime = Arc::new(runtime_in(enter, 1)?);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { runtime, client })
    }

    /// Asks with GET.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub fn get(
        &self,
        address: SocketAddr,
        path: &str,
        timeout: Duration,
    ) -> Result<HttpReply, HttpError> {
        let request = self.client.get(url(address, path));
        self.wait(request, address, path, timeout)
    }

    /// Asks with POST.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub fn post(
        &self,
        address: SocketAddr,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<HttpReply, HttpError> {
        let request = self.client.post(url(address, path)).body(body);
        self.wait(request.header("content-type", content_type), address, path, timeout)
    }

    /// Asks several at once, and answers in their order.
    pub fn get_all(
        &self,
        addresses: &[SocketAddr],
        path: &str,
        timeout: Duration,
    ) -> Vec<Result<HttpReply, HttpError>> {
        let ask = |address: &SocketAddr| {
            let request = self.client.get(url(*address, path));
            self.runtime.spawn(send(request, *address, path.to_owned(), timeout))
        };
        let asked: Vec<_> = addresses.iter().map(ask).collect();
        let answers = asked.into_iter().map(|task| self.runtime.block_on(task));
        answers.map(|answer| answer.expect("the task returns its errors")).collect()
    }

    fn wait(
        &self,
        request: reqwest::RequestBuilder,
        address: SocketAddr,
        path: &str,
        timeout: Duration,
    ) -> Result<HttpReply, HttpError> {
        let task = self.runtime.spawn(send(request, address, path.to_owned(), timeout));
        self.runtime.block_on(task).expect("the task returns its errors")
    }
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

async fn send(
    request: reqwest::RequestBuilder,
    address: SocketAddr,
    path: String,
    timeout: Duration,
) -> Result<HttpReply, HttpError> {
    match exchange(request.timeout(timeout)).await {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => {
            let detail = format!("the answer is larger than {MAX_BODY_BYTES} bytes");
            Err(HttpError { address, path, detail })
        }
        Err(error) => Err(HttpError { address, path, detail: chain(&error.without_url()) }),
    }
}

/// The answer; `None` if it is too large.
async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<Option<HttpReply>> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(HttpReply { status, body }))
}
