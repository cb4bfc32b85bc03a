//! HTTP requests, bounded in time and bytes.

use std::time::Duration;

use crate::error::RunError;

/// A larger answer is not one.
const MOST_BYTES: usize = 4 << 20;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Who asks: this process, or somebody inside another network.
pub trait Http {
    /// Asks with GET.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    fn get(&self, url: &str, timeout: Duration) -> Result<HttpAnswer, String>;
}

/// Asks from where the calling thread is.
pub struct HttpClient {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl HttpClient {
    /// # Errors
    /// The machine's fault.
    pub fn new() -> Result<Self, RunError> {
        let prepare = |source| RunError::Prepare { doing: "ask over HTTP", source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(prepare)?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| prepare(std::io::Error::other(error)))?;
        Ok(Self { runtime, client })
    }
}

impl Http for HttpClient {
    fn get(&self, url: &str, timeout: Duration) -> Result<HttpAnswer, String> {
        let request = self.client.get(url).timeout(timeout);
        self.runtime.block_on(async {
            let mut answer = request.send().await.map_err(explain)?;
            let status = answer.status().as_u16();
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(explain)? {
                if body.len() + chunk.len() > MOST_BYTES {
                    return Err(format!("the answer is larger than {MOST_BYTES} bytes"));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(HttpAnswer { status, body })
        })
    }
}

/// With every cause: the outermost one only says that a request failed.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
