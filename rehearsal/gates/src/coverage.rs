//! Whether a node was scraped often enough.

use crate::{evidence::Scrape, windows::Windows};

/// The first hole longer than `max_ms` that no planned fault excuses, as a sentence.
pub(crate) fn hole(
    scrapes: &[Scrape],
    node: &str,
    windows: &Windows,
    max_ms: u64,
) -> Option<String> {
    let good = scrapes.iter().filter(|s| s.samples.is_some()).map(|s| s.at_unix_ms);
    let mut times: Vec<u64> =
        good.filter(|at| (windows.start..=windows.end).contains(at)).collect();
    times.sort_unstable();
    if times.is_empty() {
        return Some(format!("no scrape of {node} in the live window succeeded"));
    }
    let edges = std::iter::once(windows.start).chain(times.iter().copied());
    let ends = times.iter().copied().chain(std::iter::once(windows.end));
    edges.zip(ends).find_map(|(from, to)| {
        let unexplained = (to - from).saturating_sub(windows.excused_ms(node, from, to));
        (unexplained > max_ms).then(|| {
            format!(
                "no scrape of {node} succeeded for {unexplained} ms from {} ms into the window",
                from - windows.start
            )
        })
    })
}
