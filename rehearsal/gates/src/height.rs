//! G5: heights at aligned instants.

use crate::{
    catalogue::known, coverage, evidence::Evidence, feed::Feed, finding::Finding,
    measured::Measured, records::paths, verdict::Gate, windows::Windows,
};
use qbind_links::Class;
use qbind_plan::{Expectation, Plan};
use std::collections::BTreeMap;

/// A fault shorter than this may pass between two blocks.
const SHOWS_AFTER_MS: u64 = 5_000;

/// A node's height over time.
struct Track(Vec<(u64, u64)>);

impl Track {
    fn of(feed: &Feed) -> Self {
        let mut points: Vec<(u64, u64)> =
            feed.commits.iter().map(|(h, c)| (c.committed_unix_ms, *h)).collect();
        points.sort_unstable();
        let mut highest = 0;
        for (_, height) in &mut points {
            highest = highest.max(*height);
            *height = highest;
        }
        Self(points)
    }

    fn at(&self, instant: u64) -> u64 {
        let after = self.0.partition_point(|(at, _)| *at <= instant);
        after.checked_sub(1).map_or(0, |i| self.0[i].1)
    }
}

pub(crate) fn gate(
    evidence: &Evidence,
    plan: &Plan,
    feeds: &BTreeMap<String, Feed>,
    windows: &Windows,
    measured: &Measured,
) -> Gate {
    let mut finding = Finding::over(windows.shown());
    finding.evidence = vec!["commits/".to_owned(), paths::SAMPLES.to_owned()];
    let (normal, stress) =
        (plan.bounds.height_divergence_normal_blocks, plan.bounds.height_divergence_stress_blocks);
    let class = measured.sound(&mut finding).map(|pairs| qbind_links::map(pairs).class);
    let bound = match class {
        Some(Class::Uniform | Class::Asymmetric | Class::HighJitter) => normal,
        Some(Class::Lossy | Class::Mixed) => stress,
        Some(Class::Invalid) => {
            finding.unknown("the measured matrix maps to no class, so no bound follows");
            stress
        }
        None => stress,
    };
    let name = class.map_or("unknown", Class::name);
    finding.bound = format!("<= {bound} blocks ({name} links) at every instant, converging");
    let mut tracks = BTreeMap::new();
    for node in &plan.nodes {
        match feeds.get(&node.name).filter(|f| f.tip() > 0) {
            Some(feed) => {
                for found in feed.contradictions.iter().filter(|c| c.exceeds(plan.bounds.align_ms))
                {
                    finding.unknown(format!("{} {found}: its feed cannot be used", node.name));
                }
                let max_ms = plan.bounds.scrape_gap_max_ms;
                let silence = coverage::silence(feed.polls.clone(), &node.name, windows, max_ms);
                if let Some(why) = silence {
                    finding.unknown(format!("no commit feed of {why}"));
                }
                tracks.insert(node.name.as_str(), (Track::of(feed), feed));
            }
            None => finding.unknown(evidence.absence(&paths::commits(&node.name))),
        }
    }
    if tracks.len() < 2 {
        finding.unknown("fewer than two commit feeds: nothing to compare");
        return finding.into_gate(known("G5"));
    }
    let mut spreads: Vec<u64> = Vec::new();
    let step = usize::try_from(plan.bounds.align_ms.max(1)).unwrap_or(usize::MAX);
    for instant in (windows.start..=windows.end).step_by(step) {
        let here = tracks.iter().filter(|(node, _)| !windows.is_cut(node, instant));
        let mut heights = Vec::new();
        for (node, (track, feed)) in here {
            if feed.knows(instant) {
                heights.push((track.at(instant), *node));
            } else {
                let into = instant - windows.start;
                finding.unknown(format!("height of {node} is not known {into} ms into the window"));
            }
        }
        let (Some((low, slow)), Some((high, _))) = (heights.iter().min(), heights.iter().max())
        else {
            continue;
        };
        if heights.len() < 2 {
            continue;
        }
        spreads.push(high - low);
        let what = format!(
            "spread {} ms into the window ({slow} at {low}, highest {high})",
            instant - windows.start
        );
        finding.at_most(high - low, bound, &what);
    }
    finding.samples = spreads.len() as u64;
    let worst = spreads.iter().max().copied();
    finding.value = worst.map_or("none".to_owned(), |w| format!("{w} blocks at most"));
    if let Some(worst) = worst {
        let verdict = if worst <= normal { "holds" } else { "does not hold" };
        finding.remark(format!("the bound of {normal} {verdict}"));
    } else {
        finding.unknown("no instant at which two nodes could be compared");
    }
    converges(&mut finding, &tracks, windows, bound, &spreads);
    progresses(&mut finding, &tracks, plan, evidence, windows);
    finding.into_gate(known("G5"))
}

type Tracks<'a> = BTreeMap<&'a str, (Track, &'a Feed)>;

fn converges(
    finding: &mut Finding,
    tracks: &Tracks<'_>,
    windows: &Windows,
    bound: u64,
    spreads: &[u64],
) {
    let known: Vec<u64> = tracks
        .values()
        .filter(|(_, feed)| feed.knows(windows.end))
        .map(|(track, _)| track.at(windows.end))
        .collect();
    if let (Some(low), Some(high)) = (known.iter().min(), known.iter().max()) {
        finding.at_most(high - low, bound, "spread of all nodes at the end");
    }
    let quarter = spreads.len() / 4;
    if quarter > 0 {
        let (first, last) = (&spreads[..quarter], &spreads[spreads.len() - quarter..]);
        // Twice the sums are compared, so that half a block per instant needs no fraction.
        let (first, last): (u64, u64) = (first.iter().sum(), last.iter().sum());
        if 2 * last > 2 * first + bound * quarter as u64 {
            finding.fail(format!(
                "the spread grows: {first} over the first {quarter} instants, {last} over the last"
            ));
        }
    }
}

/// Blocks are committed at all, and also during faults that leave a quorum.
fn progresses(
    finding: &mut Finding,
    tracks: &Tracks<'_>,
    plan: &Plan,
    evidence: &Evidence,
    windows: &Windows,
) {
    let tip = |at: u64| tracks.values().map(|(track, _)| track.at(at)).max().unwrap_or(0);
    if tip(windows.end) == tip(windows.start) {
        finding.fail("no block was committed in the live window");
    }
    let done = evidence.live.iter().flat_map(|l| &l.faults);
    for fault in done {
        let Some(planned) = plan.faults.iter().find(|p| p.id == fault.id) else { continue };
        let lasted = fault.healed_unix_ms.saturating_sub(fault.from_unix_ms);
        let grew = tip(fault.healed_unix_ms) > tip(fault.from_unix_ms);
        match planned.expectation {
            Expectation::Continues if !grew && lasted >= SHOWS_AFTER_MS => finding
                .fail(format!("no block was committed during {}, which leaves a quorum", fault.id)),
            Expectation::HaltsUntilHealed => {
                let after = fault.healed_unix_ms + planned.recovery_ms;
                if after <= windows.end && tip(after) == tip(fault.healed_unix_ms) {
                    finding.fail(format!("no block was committed after {} healed", fault.id));
                }
            }
            Expectation::Continues => {}
        }
    }
}
