//! One bounded HTTP request.

use crate::scraper::Target;
use std::time::Duration;
use thiserror::Error;

/// Why there is no answer: the node's or the network's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// Nobody listens, or the connection broke.
    #[error("no connection: {reason}")]
    Unreachable {
        /// As the client says.
        reason: String,
    },
    /// No complete answer in time.
    #[error("no complete answer within {limit_ms} ms")]
    Slow {
        /// Time allowed.
        limit_ms: u64,
    },
    /// More bytes than allowed.
    #[error("the body exceeds {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Another status than 200.
    #[error("HTTP status {status}")]
    Status {
        /// Which.
        status: u16,
    },
    /// Not what was asked for.
    #[error("not the expected content: {reason}")]
    Content {
        /// What is wrong.
        reason: String,
    },
}

/// Asks nodes, each answer bounded in time and bytes.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    timeout: Duration,
}

impl Fetcher {
    /// Every request ends within `timeout`.
    ///
    /// # Errors
    /// The host's fault: no HTTP client can be made.
    pub fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        // A proxy named by the environment must not stand between us and what we measure.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .build()?;
        Ok(Self { client, timeout })
    }

    /// Status and body of `GET path`, at most `limit` bytes of it.
    ///
    /// # Errors
    /// See [`FetchError`]; a status other than 200 is none here.
    pub async fn get(
        &self,
        target: &Target,
        path: &str,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let url = format!("http://{}{path}", target.http);
        let response = self.client.get(url).send().await.map_err(|e| self.failed(&e))?;
        self.read(response, limit).await
    }

    /// Status and answer of `POST path` with `body` as raw bytes.
    ///
    /// # Errors
    /// See [`FetchError`]; no status is one here.
    pub async fn post(
        &self,
        target: &Target,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let url = format!("http://{}{path}", target.http);
        let request = self.client.post(url).header("content-type", "application/octet-stream");
        let response = request.body(body).send().await.map_err(|e| self.failed(&e))?;
        self.read(response, limit).await
    }

    fn failed(&self, error: &reqwest::Error) -> FetchError {
        match error.is_timeout() {
            true => FetchError::Slow {
                limit_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            },
            false => FetchError::Unreachable { reason: innermost(error) },
        }
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(&e))? {
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    /// The body of `GET path` with status 200.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn body(
        &self,
        target: &Target,
        path: &str,
        limit: usize,
    ) -> Result<Vec<u8>, FetchError> {
        match self.get(target, path, limit).await? {
            (200, body) => Ok(body),
            (status, _) => Err(FetchError::Status { status }),
        }
    }

    /// The JSON of `GET path` with status 200.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn json<T: serde::de::DeserializeOwned>(
        &self,
        target: &Target,
        path: &str,
        limit: usize,
    ) -> Result<T, FetchError> {
        let body = self.body(target, path, limit).await?;
        serde_json::from_slice(&body).map_err(|e| FetchError::Content { reason: e.to_string() })
    }
}

/// The last cause of a client error, which names the system's reason.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
