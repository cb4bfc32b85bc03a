//! What a plan may ask of whoever judges it: a stranger's plan must not take unbounded time, nor numbers
//! that overflow.

use crate::{Plan, added};
use std::collections::BTreeSet;

/// A time in milliseconds since 1970 beyond every real one (the year 2,514) and far below overflow.
pub const TIME_MAX_UNIX_MS: u64 = 1 << 44;

const DAY_S: u64 = 86_400;

/// The first number of `plan` outside its limits, as its key and what is wrong.
pub(crate) fn broken(plan: &Plan) -> Option<(String, String)> {
    let b = &plan.bounds;
    let permille = 1..=1_000_000;
    let blocks = 0..=1_000_000;
    let mut all = vec![
        ("live.window_s", u64::from(plan.live.window_s), 1..=DAY_S),
        ("live.warmup_s", plan.live.warmup_s.into(), 0..=DAY_S),
        ("live.scrape_interval_ms", plan.live.scrape_interval_ms.into(), 1..=3_600_000),
        ("live.commit_poll_ms", plan.live.commit_poll_ms.into(), 1..=3_600_000),
        ("load.rate_per_second", plan.load.rate_per_second.into(), 0..=100_000),
        (
            "bounds.height_divergence_normal_blocks",
            b.height_divergence_normal_blocks,
            blocks.clone(),
        ),
        ("bounds.height_divergence_stress_blocks", b.height_divergence_stress_blocks, blocks),
        ("bounds.align_ms", b.align_ms, 100..=60_000),
        ("bounds.outbound_peers_min", b.outbound_peers_min, 0..=1_000),
        ("bounds.asn_diversity_min", b.asn_diversity_min, 0..=1_000),
        ("bounds.outbound_target", b.outbound_target, 0..=1_000),
        ("bounds.tps_min_permille", b.tps_min_permille, permille.clone()),
        ("bounds.tps_max_permille", b.tps_max_permille, permille.clone()),
        ("bounds.latency_max_permille", b.latency_max_permille, permille.clone()),
        ("bounds.latency_min_permille", b.latency_min_permille, permille.clone()),
        ("bounds.commit_p99_max_ms", b.commit_p99_max_ms, 1..=3_600_000),
        ("bounds.view_changes_base_permille", b.view_changes_base_permille, 0..=1_000_000),
        ("bounds.view_changes_per_fault", b.view_changes_per_fault, 0..=1_000_000),
        ("bounds.floor_max_permille", b.floor_max_permille, permille),
        ("bounds.link_delay_tolerance_us", b.link_delay_tolerance_us, 0..=10_000_000),
        ("bounds.link_jitter_tolerance_permille", b.link_jitter_tolerance_permille, 0..=1_000),
        ("bounds.scrape_gap_max_ms", b.scrape_gap_max_ms, 0..=3_600_000),
        ("bounds.latency_samples_min", b.latency_samples_min, 1..=5_000_000),
        ("bounds.tps_seconds_min", b.tps_seconds_min, 1..=DAY_S),
        ("bounds.bootstrap_resamples", b.bootstrap_resamples.into(), 40..=1_000),
        ("bounds.bootstrap_block_s", b.bootstrap_block_s.into(), 1..=3_600),
    ];
    for fault in &plan.faults {
        all.push(("faults.at_ms", fault.at_ms, 0..=1000 * DAY_S));
        all.push(("faults.duration_ms", fault.duration_ms, 0..=1000 * DAY_S));
        all.push(("faults.recovery_ms", fault.recovery_ms, 0..=1000 * DAY_S));
    }
    for link in &plan.links {
        all.push(("links.delay_us", link.delay_us, 0..=10_000_000));
        all.push(("links.jitter_us", link.jitter_us, 0..=10_000_000));
        all.push(("links.loss_bps", link.loss_bps.into(), 0..=10_000));
    }
    if !["lab", "inventory"].contains(&plan.target.as_str()) {
        return Some((
            "target".into(),
            format!("is {:?}, lab or inventory are known", plan.target),
        ));
    }
    if plan.nodes.len() > 1_000
        || plan.validators().count() > 256
        || plan.faults.len() > 100
        || plan.links.len() > 1_000
    {
        return Some(("nodes, faults, links".into(), "are more than any network has".into()));
    }
    if let Some((n, key, why)) = added::problems(&plan.added_gates).into_iter().next() {
        return Some((format!("added_gates[{n}].{key}"), why));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = plan.nodes.iter().find(|node| !names.insert(&node.name)) {
        return Some(("nodes.name".into(), format!("is {:?} twice", twice.name)));
    }
    if let Some((n, why)) = added::aimless(&plan.added_gates, &plan.nodes) {
        return Some((format!("added_gates[{n}].whose"), why));
    }
    let outside = all.into_iter().find(|(_, value, limits)| !limits.contains(value));
    if let Some((key, value, limits)) = outside {
        let (least, most) = (limits.start(), limits.end());
        return Some((key.to_owned(), format!("is {value}, from {least} to {most} is allowed")));
    }
    let instants = u64::from(plan.live.window_s) * 1000 / b.align_ms;
    if instants * plan.nodes.len() as u64 > 20_000_000 {
        return Some(("bounds.align_ms".into(), "asks for too many comparisons of heights".into()));
    }
    let transfers = u64::from(plan.load.rate_per_second) * u64::from(plan.live.window_s);
    if transfers > 5_000_000 {
        let message = format!("asks for {transfers} transfers, at most 5000000 are judged");
        return Some(("load.rate_per_second".into(), message));
    }
    None
}
