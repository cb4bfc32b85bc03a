//! G13: whether the emulated network is what was asked for.

use crate::{
    catalogue::known,
    evidence::Evidence,
    finding::Finding,
    measured::Measured,
    records::{LinkCounters, LinkSnapshot, paths},
    verdict::Gate,
};
use qbind_plan::{FaultKind, Plan, PlannedLink};
use std::collections::BTreeMap;

/// Width of the emulator's bins: a median can be off by one.
const BIN_US: u64 = 100;
/// Datagrams below which a link's median and jitter say nothing.
const DATAGRAMS_MIN: u64 = 500;
/// Jitter differences below this are processing, whatever the share.
const JITTER_SLACK_US: u64 = 1_000;

pub(crate) fn gate(evidence: &Evidence, plan: &Plan, measured: &Measured) -> Gate {
    let mut finding = Finding::default();
    let b = &plan.bounds;
    finding.bound = format!(
        "median delay +- {} us, jitter +- {} in 1,000, loss inside its 95 % interval",
        b.link_delay_tolerance_us, b.link_jitter_tolerance_permille
    );
    finding.evidence = vec!["links/".to_owned(), paths::SAMPLES.to_owned()];
    let [measure_start, measure_end, live_start, live_end] = paths::LINK_SNAPSHOTS;
    let mut worst = 0;
    for link in &plan.links {
        let name = format!("{} -> {}", link.from, link.to);
        match between(evidence, measure_start, measure_end, link) {
            Ok(counted) => worst = worst.max(datagrams(&mut finding, plan, link, &name, &counted)),
            Err(why) => finding.unknown(why),
        }
        match between(evidence, live_start, live_end, link) {
            Ok(counted) => {
                ordered(&mut finding, plan, link, &name, &counted);
                if !is_burst(plan, link) {
                    loss(&mut finding, link, &format!("{name} in the live window"), &counted);
                }
            }
            Err(why) => finding.unknown(why),
        }
    }
    if plan.links.is_empty() {
        finding.unknown("the plan names no links");
    }
    probes(&mut finding, measured, plan);
    finding.value = format!("worst median {worst} us off, {} links", plan.links.len());
    finding.into_gate(known("G13"))
}

/// What a link did between two snapshots.
struct Counted {
    packets: u64,
    lost_random: u64,
    lost_queue: u64,
    datagrams: Vec<(u64, u64)>,
    ordered: Vec<(u64, u64)>,
}

fn between(
    evidence: &Evidence,
    first: &str,
    last: &str,
    link: &PlannedLink,
) -> Result<Counted, String> {
    let find = |path: &str| -> Result<&LinkCounters, String> {
        let snapshot: &LinkSnapshot =
            evidence.links.get(path).ok_or_else(|| evidence.absence(path))?;
        let found = snapshot.links.iter().find(|l| l.from == link.from && l.to == link.to);
        found.ok_or_else(|| format!("{path} lacks {} -> {}", link.from, link.to))
    };
    let (a, b) = (find(first)?, find(last)?);
    let minus = |b: u64, a: u64| {
        b.checked_sub(a)
            .ok_or_else(|| format!("{last} counts less than {first}: emulator restarted"))
    };
    let bins = |b: &[(u64, u64)], a: &[(u64, u64)]| -> Result<Vec<(u64, u64)>, String> {
        let before: BTreeMap<u64, u64> = a.iter().copied().collect();
        b.iter()
            .map(|(low, n)| Ok((*low, minus(*n, before.get(low).copied().unwrap_or(0))?)))
            .collect()
    };
    Ok(Counted {
        // What was cut off by plan had no chance to be lost at random.
        packets: minus(b.packets_in, a.packets_in)?
            .saturating_sub(minus(b.lost_partition, a.lost_partition)?),
        lost_random: minus(b.lost_random, a.lost_random)?,
        lost_queue: minus(b.lost_queue, a.lost_queue)?,
        datagrams: bins(&b.datagram_delay_bins, &a.datagram_delay_bins)?,
        ordered: bins(&b.ordered_delay_bins, &a.ordered_delay_bins)?,
    })
}

/// How many packets bins hold.
fn packets(bins: &[(u64, u64)]) -> u64 {
    bins.iter().fold(0, |sum: u64, (_, n)| sum.saturating_add(*n))
}

/// The middle of the bin that holds a quantile.
fn quantile(bins: &[(u64, u64)], permille: u64) -> u64 {
    let mut bins = bins.to_vec();
    bins.sort_unstable();
    let total: u128 = bins.iter().map(|(_, n)| u128::from(*n)).sum();
    let rank = (total * u128::from(permille)).div_ceil(1000).max(1);
    let mut seen = 0;
    for (low, n) in &bins {
        seen += u128::from(*n);
        if seen >= rank {
            return low.saturating_add(BIN_US / 2);
        }
    }
    0
}

/// Probes: independent offsets, so median, jitter and loss can all be held against the plan.
fn datagrams(
    finding: &mut Finding,
    plan: &Plan,
    link: &PlannedLink,
    name: &str,
    counted: &Counted,
) -> u64 {
    let total = packets(&counted.datagrams);
    finding.samples = finding.samples.saturating_add(total);
    if total < DATAGRAMS_MIN {
        finding.unknown(format!("{name}: {total} datagrams counted, {DATAGRAMS_MIN} decide"));
        return 0;
    }
    let median = quantile(&counted.datagrams, 500);
    let off = median.abs_diff(link.delay_us);
    let tolerance = plan.bounds.link_delay_tolerance_us + BIN_US;
    finding.keep_margin(crate::finding::margin(i128::from(tolerance) - i128::from(off), tolerance));
    if off > tolerance {
        finding.invalid(format!("{name}: median delay {median} us, asked {}", link.delay_us));
    }
    // The 95th percentile of a uniform offset within +-j lies 0.9 j above the median.
    let jitter = quantile(&counted.datagrams, 950).saturating_sub(median);
    let asked = link.jitter_us * 9 / 10;
    let slack = (asked * plan.bounds.link_jitter_tolerance_permille / 1000).max(JITTER_SLACK_US);
    if jitter.abs_diff(asked) > slack {
        finding.invalid(format!("{name}: jitter {jitter} us above the median, asked {asked}"));
    }
    loss(finding, link, name, counted);
    off
}

/// Whether more loss is planned on the link than it always has.
fn is_burst(plan: &Plan, link: &PlannedLink) -> bool {
    plan.faults.iter().filter(|f| f.kind == FaultKind::LossBurst).any(|fault| {
        let ends = [fault.from.as_deref(), fault.to.as_deref()];
        ends.contains(&Some(&link.from)) && ends.contains(&Some(&link.to))
    })
}

/// More packets than an interval is computed of: both numbers are then scaled down, which widens it.
const PACKETS: u64 = 100_000;

fn loss(finding: &mut Finding, link: &PlannedLink, name: &str, counted: &Counted) {
    let asked_ppm = u64::from(link.loss_bps) * 100;
    let (packets, lost) = match counted.packets {
        n if n > PACKETS => {
            let scaled = u128::from(counted.lost_random) * u128::from(PACKETS) / u128::from(n);
            (PACKETS, u64::try_from(scaled).unwrap_or(PACKETS))
        }
        n => (n, counted.lost_random),
    };
    match qbind_links::clopper_pearson(packets, lost) {
        Some(interval) => {
            // Several links are checked at once: twice the interval's half-width on each side keeps
            // a sound emulator from failing one link in twenty.
            let width = interval.high_ppm.saturating_sub(interval.low_ppm);
            let (low, high) =
                (interval.low_ppm.saturating_sub(width / 2), interval.high_ppm + width / 2);
            if !(low..=high).contains(&asked_ppm) {
                finding.invalid(format!(
                    "{name}: lost {} of {}, asked {} in 10,000",
                    counted.lost_random, counted.packets, link.loss_bps
                ));
            }
        }
        None => finding.unknown(format!("{name}: no packets counted")),
    }
    if counted.lost_queue > 0 {
        finding.remark(format!("{name}: {} packets lost to a full queue", counted.lost_queue));
    }
}

/// Node traffic: offsets drift, so only the middle of the delay is held against the plan.
fn ordered(finding: &mut Finding, plan: &Plan, link: &PlannedLink, name: &str, counted: &Counted) {
    let total = packets(&counted.ordered);
    if total == 0 {
        finding.unknown(format!("{name}: no node traffic in the live window"));
        return;
    }
    finding.samples = finding.samples.saturating_add(total);
    let median = quantile(&counted.ordered, 500);
    // In order, a packet is never earlier than the one before: the median may sit anywhere inside
    // the jitter, and queueing behind large messages adds to it.
    let high = link.delay_us + link.jitter_us + plan.bounds.link_delay_tolerance_us + BIN_US;
    let low = link.delay_us.saturating_sub(link.jitter_us + plan.bounds.link_delay_tolerance_us);
    if !(low..=high).contains(&median) {
        finding.invalid(format!(
            "{name}: node traffic took {median} us in the live window, asked {} +- {}",
            link.delay_us, link.jitter_us
        ));
    }
}

/// What probes saw end to end.
fn probes(finding: &mut Finding, measured: &Measured, plan: &Plan) {
    let Some(matrix) = measured.sound(finding) else { return };
    for link in &plan.links {
        let back = plan.links.iter().find(|l| l.from == link.to && l.to == link.from);
        let Some(back) = back else { continue };
        let name = format!("{} -> {}", link.from, link.to);
        let Some(pair) = matrix.iter().find(|p| p.from == link.from && p.to == link.to) else {
            finding.unknown(format!("{} lacks {name}", paths::SAMPLES));
            continue;
        };
        finding.samples = finding.samples.saturating_add(1);
        let asked = link.delay_us + back.delay_us;
        if pair.p50_us.abs_diff(asked) > 2 * plan.bounds.link_delay_tolerance_us {
            finding.invalid(format!(
                "{name}: probes saw a median of {} us there and back, asked {asked}",
                pair.p50_us
            ));
        }
    }
}
