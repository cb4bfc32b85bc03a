//! Metrics and commit feeds, stored raw.
//!
//! Promises: every attempt leaves a line, whether it succeeded or not, so a gap in the evidence is
//! a fact and never a silence; bodies are stored as they came; every answer is bounded in time and
//! bytes, so a slow, broken or hostile node costs its own lines and nothing else; blocks and
//! batches are fetched from whoever hands over what the id names.
//!
//! Never here: a judgement. Gates read what lies on disk.
//!
//! ```text
//! scrapes/index.jsonl, scrapes/<node>/<seq>.txt   every /metrics body
//! status/, peers/<node>.jsonl, config/<node>.json  what nodes say of themselves
//! commits/, transactions/<node>.jsonl              commit feeds, polls and gaps
//! blocks/, batches/*.borsh, blocks/index.jsonl     raw blocks and batches, once each
//! ```

mod account;
mod blocks;
mod clock;
mod feed;
mod fetch;
mod light;
mod round;
mod scraper;
mod store;
#[cfg(test)]
mod tests;

pub use account::{AccountError, ProvenState, ToldAccount, account, prove_account};
pub use fetch::{FetchError, Fetcher};
pub use light::{FollowError, FollowOptions, Followed, FollowedEpoch, follow, reach};
pub use scraper::{Options, ScrapeError, ScrapeSummary, Scraper, Target};
pub use store::StoreError;
