//! G7, G8 and G10: what our own client saw.

use crate::{
    catalogue::known,
    chain::Chain,
    evidence::Evidence,
    finding::{Finding, margin},
    measured::Measured,
    records::{Fate, LOAD_SCHEMA, LoadSummary, LoadTransaction, paths},
    stats::{block_bootstrap, percentile},
    verdict::Gate,
    windows::Windows,
};
use qbind_plan::{Plan, TIME_MAX_UNIX_MS};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Transfers outside warm-up and cut windows, and what became of them.
pub(crate) struct Observed {
    /// Latencies in bootstrap blocks by scheduled time.
    pub(crate) blocks: Vec<Vec<u64>>,
    pub(crate) sorted: Vec<u64>,
    /// Committed per second that counts, in bootstrap blocks.
    pub(crate) seconds: Vec<Vec<u64>>,
    pub(crate) counted_s: u64,
    /// Never answered; their latency is at least what they waited.
    pub(crate) waiting: u64,
}

/// An estimate with its interval.
struct Estimate {
    value: u64,
    low: u64,
    high: u64,
}

pub(crate) struct Performance<'a> {
    evidence: &'a Evidence,
    plan: &'a Plan,
    windows: &'a Windows,
    chain: Option<&'a Chain>,
    observed: Option<Observed>,
    measured: &'a Measured,
}

impl<'a> Performance<'a> {
    pub(crate) fn of(
        evidence: &'a Evidence,
        plan: &'a Plan,
        windows: &'a Windows,
        chain: Option<&'a Chain>,
        measured: &'a Measured,
    ) -> Self {
        let observed = observe(evidence, plan, windows);
        Self { evidence, plan, windows, chain, observed, measured }
    }

    fn finding(&self, evidence: &[&str]) -> Finding {
        let mut finding = Finding::over(self.windows.shown());
        finding.evidence = evidence.iter().map(|e| (*e).to_owned()).collect();
        finding
    }

    fn floor(&self, finding: &mut Finding) -> Option<u64> {
        self.measured.sound(finding)?;
        self.measured.floor(self.plan).map_err(|why| finding.unknown(why)).ok()
    }

    /// Enough latencies to decide on, else why not.
    fn latencies(&self, finding: &mut Finding) -> Option<&Observed> {
        let Some(observed) = &self.observed else {
            finding.unknown(self.evidence.absence(match self.evidence.load {
                Some(_) => paths::TRANSACTIONS,
                None => paths::LOAD_SUMMARY,
            }));
            return None;
        };
        if let Some(why) =
            self.evidence.load.as_ref().and_then(|load| {
                offered(load, &self.evidence.transactions, self.plan, self.windows)
            })
        {
            finding.unknown(why);
            return None;
        }
        finding.samples = observed.sorted.len() as u64;
        let min = self.plan.bounds.latency_samples_min;
        if finding.samples < min {
            finding.unknown(format!(
                "{} latencies outside warm-up and cut windows, at least {min} decide",
                finding.samples
            ));
            return None;
        }
        Some(observed)
    }

    fn quantile(&self, observed: &Observed, permille: u64) -> Option<Estimate> {
        let value = percentile(&observed.sorted, permille)?;
        let (low, high) =
            block_bootstrap(&observed.blocks, self.plan.seed, self.resamples(), |sorted| {
                percentile(sorted, permille).unwrap_or(0)
            })?;
        Some(Estimate { value, low, high })
    }

    fn resamples(&self) -> u32 {
        self.plan.bounds.bootstrap_resamples
    }

    /// PASS only if the whole interval is at most `bound`, FAIL if none of it is.
    fn at_most(&self, finding: &mut Finding, what: &str, estimate: &Estimate, bound: u64) {
        finding.keep_margin(margin(i128::from(bound) - i128::from(estimate.high), bound));
        let interval = format!("{} to {}", millis(estimate.low), millis(estimate.high));
        if estimate.low > bound {
            finding.fail(format!(
                "{what} is {interval} ms at 95 %, at most {} allowed",
                millis(bound)
            ));
        } else if estimate.high > bound {
            let more = self.more_minutes(estimate, bound);
            finding.unknown(format!(
                "{what} is {interval} ms at 95 %, which holds the bound of {} ms: {more}",
                millis(bound)
            ));
        }
    }

    /// How much longer the window would have to be for the interval to leave the bound.
    fn more_minutes(&self, estimate: &Estimate, bound: u64) -> String {
        let half = (estimate.high - estimate.low).div_ceil(2);
        let distance = estimate.value.abs_diff(bound);
        let seconds = self.observed.as_ref().map_or(0, |o| o.counted_s);
        if distance == 0 {
            return "the estimate is the bound, no length decides".to_owned();
        }
        // An interval shrinks with the square root of the sample.
        let ratio_milli = u128::from(half) * 1000 / u128::from(distance);
        let whole = u128::from(seconds) * ratio_milli / 1000 * ratio_milli / 1000;
        let more = whole.saturating_sub(u128::from(seconds));
        format!("about {} more minutes would decide", more.div_ceil(60).max(1))
    }

    pub(crate) fn against_baseline(&self) -> Gate {
        let step = paths::step("t234");
        let mut finding = self.finding(&[paths::TRANSACTIONS, &step, paths::SAMPLES]);
        let b = &self.plan.bounds;
        let rate = u64::from(self.plan.load.rate_per_second);
        finding.bound = format!(
            "TPS >= {} x T234, latency p50 <= {} x (T234 + floor)",
            thousandths(b.tps_min_permille),
            thousandths(b.latency_max_permille)
        );
        let baseline = match self.evidence.steps.get("t234") {
            None => Err(self.evidence.absence(&step)),
            Some(file) => Baseline::read(&file.result, rate),
        };
        let baseline = match baseline {
            Ok(baseline) => baseline,
            Err(why) => {
                finding.unknown(why);
                return finding.into_gate(known("G7"));
            }
        };
        let Some(floor) = self.floor(&mut finding) else {
            return finding.into_gate(known("G7"));
        };
        let Some(observed) = self.latencies(&mut finding) else {
            return finding.into_gate(known("G7"));
        };
        let mut value = String::new();
        if observed.counted_s < b.tps_seconds_min {
            finding.unknown(format!(
                "{} seconds outside warm-up and cut windows, at least {} decide",
                observed.counted_s, b.tps_seconds_min
            ));
        } else if let Some(tps) = self.throughput(observed) {
            let (bound, stale) = (
                baseline.tps_milli * b.tps_min_permille / 1000,
                baseline.tps_milli * b.tps_max_permille / 1000,
            );
            value = format!(
                "{} TPS ({} to {}), T234 {}; ",
                thousandths(tps.value),
                thousandths(tps.low),
                thousandths(tps.high),
                thousandths(baseline.tps_milli)
            );
            finding.keep_margin(margin(i128::from(tps.low) - i128::from(bound), bound));
            if tps.high < bound {
                finding.fail(format!(
                    "TPS is {} to {} at 95 %, at least {} required",
                    thousandths(tps.low),
                    thousandths(tps.high),
                    thousandths(bound)
                ));
            } else if tps.low < bound {
                finding.unknown(format!(
                    "TPS is {} to {} at 95 %, which holds the bound of {}: {}",
                    thousandths(tps.low),
                    thousandths(tps.high),
                    thousandths(bound),
                    self.more_minutes(&tps, bound)
                ));
            }
            if tps.value > stale {
                finding.remark("TPS is above the band: the baseline is stale");
            }
        }
        if let Some(p50) = self.quantile(observed, 500) {
            let base = baseline.p50_us + floor;
            let bound = base * b.latency_max_permille / 1000;
            value += &format!(
                "p50 {} ms ({} to {}), T234 {} + floor {}",
                millis(p50.value),
                millis(p50.low),
                millis(p50.high),
                millis(baseline.p50_us),
                millis(floor)
            );
            self.at_most(&mut finding, "latency p50", &p50, bound);
            if p50.value < base * b.latency_min_permille / 1000 {
                finding.remark("latency p50 is below the band: the baseline is stale");
            }
        }
        finding.value = value;
        finding.into_gate(known("G7"))
    }

    fn throughput(&self, observed: &Observed) -> Option<Estimate> {
        let mean = |values: &[u64]| {
            let n = (values.len() as u64).max(1);
            values.iter().sum::<u64>() * 1000 / n
        };
        let all: Vec<u64> = observed.seconds.iter().flatten().copied().collect();
        let (low, high) =
            block_bootstrap(&observed.seconds, self.plan.seed, self.resamples(), mean)?;
        Some(Estimate { value: mean(&all), low, high })
    }

    pub(crate) fn tail(&self) -> Gate {
        let mut finding = self.finding(&[paths::TRANSACTIONS, paths::LOAD_SUMMARY]);
        let bound = self.plan.bounds.commit_p99_max_ms * 1000;
        finding.bound = format!("p99 < {} ms, nothing accepted is lost", millis(bound));
        let lost: Vec<_> =
            self.evidence.transactions.iter().filter(|t| t.fate == Fate::Lost).collect();
        for tx in &lost {
            finding.fail(format!("{} was accepted by {} and never committed", tx.id, tx.node));
        }
        if let Some(load) = &self.evidence.load {
            let recorded = self.evidence.transactions.len() as u64;
            if load.offered != recorded {
                finding.unknown(format!(
                    "{} holds {recorded} transfers, the summary says {}",
                    paths::TRANSACTIONS,
                    load.offered
                ));
            }
            // A client that fell behind its own schedule did not offer the load it claims.
            if load.late_sends * 100 > load.offered {
                finding.unknown(format!(
                    "the client itself was late with {} of {} transfers",
                    load.late_sends, load.offered
                ));
            }
        }
        self.confirmed_by_the_chain(&mut finding);
        if let Some(observed) = self.latencies(&mut finding) {
            if observed.waiting > 0 {
                finding.remark(format!("{} transfers were never answered", observed.waiting));
            }
            if let Some(p99) = self.quantile(observed, 990) {
                finding.value = format!(
                    "p99 {} ms ({} to {}), {} lost",
                    millis(p99.value),
                    millis(p99.low),
                    millis(p99.high),
                    lost.len()
                );
                self.at_most(&mut finding, "commit latency p99", &p99, bound - 1);
            }
        }
        finding.into_gate(known("G8"))
    }

    /// What the client saw commit must be in the chain.
    fn confirmed_by_the_chain(&self, finding: &mut Finding) {
        let Some(chain) = self.chain else { return };
        let mut unverified = 0u64;
        let mut by_height: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
        for tx in &self.evidence.transactions {
            let (Some(height), Some(_)) = (tx.height, tx.committed_us) else { continue };
            let at = usize::try_from(height).unwrap_or(usize::MAX).wrapping_sub(1);
            let Some(link) = chain.links.get(at).filter(|l| l.is_whole) else {
                unverified += 1;
                continue;
            };
            let ids = by_height
                .entry(height)
                .or_insert_with(|| link.transactions.iter().map(|tx| tx.id).collect());
            if !ids.contains(&tx.id) {
                finding.fail(format!(
                    "{} told the client that {} committed at height {height}, the block lacks it",
                    tx.node, tx.id
                ));
            }
        }
        if unverified > 0 {
            finding.remark(format!(
                "{unverified} transfers committed at heights that could not be verified (see G1)"
            ));
        }
    }

    pub(crate) fn against_floor(&self) -> Gate {
        let mut finding = self.finding(&[paths::TRANSACTIONS, paths::SAMPLES]);
        let factor = self.plan.bounds.floor_max_permille;
        finding.bound = format!("p50 <= {} x floor", thousandths(factor));
        if let Some(floor) = self.floor(&mut finding)
            && let Some(observed) = self.latencies(&mut finding)
            && let Some(p50) = self.quantile(observed, 500)
        {
            finding.value = format!(
                "p50 {} ms ({} to {}), floor {}",
                millis(p50.value),
                millis(p50.low),
                millis(p50.high),
                millis(floor)
            );
            self.at_most(&mut finding, "latency p50", &p50, floor * factor / 1000);
        }
        finding.into_gate(known("G10"))
    }
}

/// What T234 found on this machine.
struct Baseline {
    tps_milli: u64,
    p50_us: u64,
}

impl Baseline {
    /// From the scenario whose offered load is nearest to this run's.
    fn read(result: &Value, rate: u64) -> Result<Self, String> {
        let scenarios = result["scenarios"].as_array().cloned().unwrap_or_default();
        let baselines = scenarios.iter().map(|s| &s["facts"]["baseline"]).filter_map(|facts| {
            let offered = facts["offered_tps"].as_u64()?;
            let tps_milli = facts["tps_milli"].as_u64().filter(|tps| *tps < 1_000_000_000_000)?;
            let p50_us = facts["p50_us"].as_u64().filter(|p50| *p50 < 3_600_000_000)?;
            Some((offered, tps_milli, p50_us))
        });
        let Some((offered, tps_milli, p50_us)) =
            baselines.min_by_key(|(offered, ..)| offered.abs_diff(rate))
        else {
            return Err(
                "no scenario of T234 states baseline.offered_tps, .tps_milli and .p50_us".into()
            );
        };
        if offered.abs_diff(rate) * 10 > rate {
            return Err(format!(
                "T234 was offered {offered} transfers per second, this run {rate}: a baseline \
                 counts at the same load only"
            ));
        }
        Ok(Self { tps_milli, p50_us })
    }
}

/// A transfer due this shortly before a fault of its node, or during it, says nothing. A fixed stretch: who
/// left out those that happened to wait would leave out the slow ones.
const LEAD_MS: u64 = 2_000;
/// How far the load may begin from the live window.
const START_SLACK_MS: u64 = 5_000;

/// Why the load was not the one planned.
fn offered(
    load: &LoadSummary,
    transactions: &[LoadTransaction],
    plan: &Plan,
    windows: &Windows,
) -> Option<String> {
    let (rate, window_s) = (u64::from(plan.load.rate_per_second), u64::from(plan.live.window_s));
    let path = paths::LOAD_SUMMARY;
    if load.schema != LOAD_SCHEMA {
        return Some(format!("{path} has another schema"));
    }
    if load.rate_per_second != rate || load.window_ms != window_s * 1000 {
        return Some(format!(
            "{path} is of {} transfers a second for {} ms, the plan's load is {rate} for {window_s} s",
            load.rate_per_second, load.window_ms
        ));
    }
    if load.started_unix_ms.abs_diff(windows.start) > START_SLACK_MS {
        return Some(format!(
            "the load began {} ms from the live window",
            load.started_unix_ms.abs_diff(windows.start)
        ));
    }
    if !(load.started_unix_ms..=TIME_MAX_UNIX_MS).contains(&load.ended_unix_ms) {
        return Some("the load ended before it began".to_owned());
    }
    let total = rate * window_s;
    if transactions.len() as u64 != total {
        return Some(format!(
            "{} holds {} transfers, the plan's load is {total}",
            paths::TRANSACTIONS,
            transactions.len()
        ));
    }
    // Each was due when the plan's rate says so, wherever its line stands.
    let mut is_there = vec![false; transactions.len()];
    for tx in transactions {
        let place = usize::try_from(tx.n).ok().and_then(|n| is_there.get_mut(n));
        let is_due = tx.scheduled_us == tx.n.saturating_mul(1_000_000) / rate.max(1);
        match place {
            Some(place) if !*place && is_due => *place = true,
            _ => return Some(format!("transfer {} is not one the plan's rate gives", tx.n)),
        }
    }
    None
}

pub(crate) fn observe(evidence: &Evidence, plan: &Plan, windows: &Windows) -> Option<Observed> {
    let load = evidence.load.as_ref()?;
    if evidence.transactions.is_empty() {
        return None;
    }
    let started = load.started_unix_ms;
    let warm = windows.start + u64::from(plan.live.warmup_s) * 1000;
    let end = windows.end.min(started.saturating_add(load.window_ms));
    let block_ms = u64::from(plan.bounds.bootstrap_block_s) * 1000;
    let mut blocks: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut committed: BTreeMap<u64, u64> = BTreeMap::new();
    let mut waiting = 0;
    for tx in &evidence.transactions {
        let scheduled = started.saturating_add(tx.scheduled_us / 1000);
        if let Some(at) = tx.committed_us {
            *committed.entry(started.saturating_add(at / 1000) / 1000).or_default() += 1;
        }
        let waited = load.ended_unix_ms.saturating_sub(started);
        let Some(until) = until(tx, waited) else { continue };
        let counts = scheduled >= warm
            && scheduled <= end
            && !windows.overlaps(&tx.node, scheduled, scheduled + LEAD_MS);
        if counts {
            waiting += u64::from(tx.committed_us.is_none());
            let latency = until.saturating_sub(tx.scheduled_us);
            blocks.entry(scheduled / block_ms).or_default().push(latency);
        }
    }
    let mut sorted: Vec<u64> = blocks.values().flatten().copied().collect();
    sorted.sort_unstable();
    // Whole seconds, none of whose edges is in any cut window.
    let is_clear =
        |s: &u64| !windows.is_cut_anywhere(s * 1000) && !windows.is_cut_anywhere(s * 1000 + 999);
    let clear: Vec<u64> = (warm.div_ceil(1000)..end / 1000).filter(is_clear).collect();
    let per_second: Vec<u64> =
        clear.iter().map(|s| committed.get(s).copied().unwrap_or(0)).collect();
    let size = usize::try_from(plan.bounds.bootstrap_block_s).unwrap_or(1).max(1);
    Some(Observed {
        blocks: blocks.into_values().collect(),
        sorted,
        counted_s: per_second.len() as u64,
        seconds: per_second.chunks(size).map(<[u64]>::to_vec).collect(),
        waiting,
    })
}

/// When the waiting ended, from the start of the load; nothing for what was never owed a commit.
fn until(tx: &LoadTransaction, end_ms: u64) -> Option<u64> {
    let end_us = end_ms.saturating_mul(1000);
    match tx.fate {
        // Nobody saw anything after the end.
        Fate::Committed | Fate::Duplicated => Some(tx.committed_us?.min(end_us)),
        Fate::Lost | Fate::Unanswered => Some(end_us),
        Fate::Rejected | Fate::Skipped => None,
    }
}

/// Microseconds as milliseconds.
fn millis(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// Thousandths as a decimal.
fn thousandths(n: u64) -> String {
    format!("{}.{:03}", n / 1000, n % 1000)
}
