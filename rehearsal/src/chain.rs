//! A node's chain, checked from outside.

use qbind_crypto::LightClient;
use qbind_scrape::{FetchError, Fetcher, Target};
use qbind_types::Height;
use std::time::Duration;

pub use qbind_scrape::{FollowError, FollowOptions, Followed, FollowedEpoch};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Follows the chain of the node whose HTTP listener is at `http` (`host:port`).
///
/// # Errors
/// The node's fault: it does not answer, or what it hands over is not the chain of that genesis.
pub fn follow_node(
    http: &str,
    light: &mut LightClient,
    options: FollowOptions,
    seen: impl FnMut(Height, Height),
) -> Result<Followed, FollowError> {
    let unusable = |reason: String| FollowError::Fetch {
        what: "anything".to_owned(),
        node: http.to_owned(),
        source: FetchError::Unreachable { reason },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| unusable(e.to_string()))?;
    let fetcher = Fetcher::new(PATIENCE).map_err(|e| unusable(e.to_string()))?;
    let target = Target::at(http);
    runtime.block_on(qbind_scrape::follow(&fetcher, &target, light, options, seen))
}
