//! Whether a node was scraped often enough.

use crate::{evidence::Scrape, feed::Feed, series::scalar, windows::Windows};

const VIEW: &str = "qbind_consensus_current_view";

/// Times of the scrapes that succeeded and are fresh: a node whose feed tells of a commit between two
/// scrapes is in a later view than it was, or its metrics stand still.
fn fresh(scrapes: &[Scrape], feed: Option<&Feed>, windows: &Windows) -> Vec<u64> {
    let mut times = Vec::new();
    let mut before: Option<(u64, i64)> = None;
    for scrape in scrapes {
        let at = scrape.at_unix_ms;
        let Some(samples) = scrape.samples.as_ref() else { continue };
        if !(windows.start..=windows.end).contains(&at) {
            continue;
        }
        let Ok(view) = scalar(samples, VIEW) else {
            // Gates that need the view say so; here it is only a sign of life.
            times.push(at);
            continue;
        };
        let stands_still = before.is_some_and(|(then, old)| {
            view == old && feed.is_some_and(|feed| feed.committed_between(then, at))
        });
        if !stands_still {
            times.push(at);
            before = Some((at, view));
        }
    }
    times
}

/// The first hole longer than `max_ms` that no planned fault excuses, as a sentence.
pub(crate) fn hole(
    scrapes: &[Scrape],
    node: &str,
    feed: Option<&Feed>,
    windows: &Windows,
    max_ms: u64,
) -> Option<String> {
    silence(fresh(scrapes, feed, windows), node, windows, max_ms)
        .map(|why| format!("no fresh scrape of {why}"))
}

/// The first stretch of the live window longer than `max_ms` without one of `times` that no planned fault
/// excuses, as the rest of a sentence.
pub(crate) fn silence(
    mut times: Vec<u64>,
    node: &str,
    windows: &Windows,
    max_ms: u64,
) -> Option<String> {
    times.retain(|at| (windows.start..=windows.end).contains(at));
    times.sort_unstable();
    if times.is_empty() {
        return Some(format!("{node} in the live window"));
    }
    let edges = std::iter::once(windows.start).chain(times.iter().copied());
    let ends = times.iter().copied().chain(std::iter::once(windows.end));
    edges.zip(ends).find_map(|(from, to)| {
        let unexplained = (to - from).saturating_sub(windows.excused_ms(node, from, to));
        (unexplained > max_ms).then(|| {
            format!("{node} for {unexplained} ms from {} ms into the window", from - windows.start)
        })
    })
}
