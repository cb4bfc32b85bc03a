//! A node's chain, checked from outside.

use qbind_crypto::LightClient;
use qbind_scrape::{FetchError, Fetcher, Target};
use qbind_types::{Address, Height};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

pub use qbind_scrape::{
    AccountError, FollowError, FollowOptions, Followed, FollowedEpoch, ProvenState, ToldAccount,
};

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
    let (runtime, fetcher) = means().map_err(|source| FollowError::Fetch {
        what: "anything".to_owned(),
        node: http.to_owned(),
        source,
    })?;
    let target = Target::at(http);
    runtime.block_on(qbind_scrape::follow(&fetcher, &target, light, options, seen))
}

/// What the node at `http` says of an account.
///
/// # Errors
/// The node's fault: it does not answer.
pub fn account_of_node(http: &str, address: &Address) -> Result<ToldAccount, AccountError> {
    let (runtime, fetcher) = means().map_err(|source| no_means(http, source))?;
    runtime.block_on(qbind_scrape::account(&fetcher, &Target::at(http), address))
}

/// What the node at `http` proves of an account to whoever knows what `light` knows.
///
/// # Errors
/// The node's fault: it does not answer, or lies.
pub fn prove_account_of_node(
    http: &str,
    light: &mut LightClient,
    address: &Address,
) -> Result<ProvenState, AccountError> {
    let (runtime, fetcher) = means().map_err(|source| no_means(http, source))?;
    let target = Target::at(http);
    runtime.block_on(qbind_scrape::prove_account(&fetcher, &target, light, address))
}

fn means() -> Result<(Runtime, Fetcher), FetchError> {
    let unusable = |reason: String| FetchError::Unreachable { reason };
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| unusable(e.to_string()))?;
    let fetcher = Fetcher::new(PATIENCE).map_err(|e| unusable(e.to_string()))?;
    Ok((runtime, fetcher))
}

fn no_means(http: &str, source: FetchError) -> AccountError {
    AccountError::Fetch { what: "anything", node: http.to_owned(), source }
}
