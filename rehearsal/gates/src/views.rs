//! G9: view changes that the network explains.

use crate::{
    catalogue::known, evidence::Evidence, finding::Finding, measured::Measured, records::paths,
    series::scalar, verdict::Gate, windows::Windows,
};
use qbind_plan::Plan;

const CHANGES: &str = "qbind_consensus_view_changes_total";
const VIEW: &str = "qbind_consensus_current_view";

/// Message delays in a view, each of which a lost packet can stretch.
const DELAYS_PER_VIEW: u64 = 3;

pub(crate) fn gate(
    evidence: &Evidence,
    plan: &Plan,
    windows: &Windows,
    measured: &Measured,
) -> Gate {
    let mut finding = Finding::over(windows.shown());
    finding.evidence = vec![paths::SCRAPE_INDEX.to_owned(), paths::SAMPLES.to_owned()];
    let Some(matrix) = measured.sound(&mut finding) else {
        return finding.into_gate(known("G9"));
    };
    let worst = matrix.iter().map(|p| (p.lost * 1000).div_ceil(p.sent.max(1))).max().unwrap_or(0);
    let permille = plan.bounds.view_changes_base_permille + DELAYS_PER_VIEW * worst;
    let extra = plan.bounds.view_changes_per_fault * plan.faults.len() as u64;
    finding.bound = format!(
        "<= {permille} per 1,000 views (base {} + {DELAYS_PER_VIEW} x worst loss {worst}) + {extra} \
         for {} planned faults",
        plan.bounds.view_changes_base_permille,
        plan.faults.len()
    );
    let mut most = None;
    for node in &plan.nodes {
        let scrapes = evidence.scrapes.get(&node.name).into_iter().flatten();
        let mut previous: Option<(u64, u64, u64)> = None;
        let (mut changes, mut views, mut pairs) = (0u64, 0u64, 0u64);
        for scrape in scrapes {
            let at = scrape.at_unix_ms;
            let Some(samples) = &scrape.samples else { continue };
            if !(windows.start..=windows.end).contains(&at) {
                continue;
            }
            let (changed, view) = match (scalar(samples, CHANGES), scalar(samples, VIEW)) {
                (Ok(c), Ok(v)) => (u64::try_from(c).unwrap_or(0), u64::try_from(v).unwrap_or(0)),
                (Err(why), _) => {
                    finding.unknown(format!("{}: {CHANGES} {}", node.name, why.why()));
                    continue;
                }
                (_, Err(why)) => {
                    finding.unknown(format!("{}: {VIEW} {}", node.name, why.why()));
                    continue;
                }
            };
            if let Some((then, c, v)) = previous
                && !windows.overlaps(&node.name, then, at)
                // A restart sets the counter back; that stretch cannot be counted.
                && changed >= c
                && view >= v
            {
                changes = changes.saturating_add(changed - c);
                views = views.saturating_add(view - v);
                pairs += 1;
            }
            previous = Some((at, changed, view));
        }
        if pairs == 0 {
            finding.unknown(format!("no two scrapes of {} can be compared", node.name));
            continue;
        }
        finding.samples += pairs;
        let what = format!("view changes of {} in {views} views", node.name);
        let allowed = u128::from(views) * u128::from(permille) / 1000 + u128::from(extra);
        finding.at_most(changes, u64::try_from(allowed).unwrap_or(u64::MAX), &what);
        most = most.max(Some((changes, views)));
    }
    if let Some((changes, views)) = most {
        finding.value = format!("at most {changes} changes, in {views} views");
    }
    finding.remark(format!("{} faults in the window", windows.faults()));
    finding.into_gate(known("G9"))
}
