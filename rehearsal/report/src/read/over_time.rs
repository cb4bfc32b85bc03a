//! Figures over time per region, from commit feeds and the load's own record.

use super::Reader;
use crate::input::{Plot, Series};
use qbind_gates::records::{FeedLine, LoadSummary, LoadTransaction, paths};
use qbind_plan::{LiveRecord, Plan};
use std::collections::BTreeMap;

/// About as many values as a line can show.
const VALUES: u64 = 240;

/// The window that all plots share, in steps.
struct Axis {
    start_unix_ms: u64,
    step_ms: u64,
    steps: usize,
}

impl Axis {
    fn new(start_unix_ms: u64, end_unix_ms: u64) -> Self {
        let span = end_unix_ms.saturating_sub(start_unix_ms).max(1000);
        let step_ms = span.div_ceil(VALUES).div_ceil(1000).max(1) * 1000;
        Self { start_unix_ms, step_ms, steps: span.div_ceil(step_ms) as usize + 1 }
    }

    fn step(&self, unix_ms: u64) -> Option<usize> {
        let after = unix_ms.checked_sub(self.start_unix_ms)?;
        usize::try_from(after / self.step_ms).ok().filter(|step| *step < self.steps)
    }
}

/// Per region and step.
struct Grid<T> {
    regions: Vec<String>,
    cells: Vec<Vec<T>>,
}

impl<T: Default + Clone> Grid<T> {
    fn new(plan: &Plan, axis: &Axis) -> Self {
        let regions: Vec<String> = plan.regions.iter().map(|region| region.id.clone()).collect();
        let cells = vec![vec![T::default(); axis.steps]; regions.len()];
        Self { regions, cells }
    }

    fn series(self, value: impl Fn(&mut T) -> Option<u64>) -> Vec<Series> {
        self.regions
            .into_iter()
            .zip(self.cells)
            .map(|(name, mut row)| Series { name, values: row.iter_mut().map(&value).collect() })
            .collect()
    }
}

pub(super) fn plots(
    reader: &mut Reader<'_>,
    plan: Option<&Plan>,
    live: Option<&LiveRecord>,
    load: Option<&LoadSummary>,
) -> Vec<Plot> {
    let window = live
        .map(|live| (live.started_unix_ms, live.ended_unix_ms))
        .or_else(|| load.map(|load| (load.started_unix_ms, load.ended_unix_ms)));
    let (Some(plan), Some((start, end))) = (plan, window) else { return Vec::new() };
    let axis = Axis::new(start, load.map_or(end, |load| end.max(load.ended_unix_ms)));
    let region_of: BTreeMap<&str, usize> = plan
        .nodes
        .iter()
        .filter_map(|node| {
            let region = plan.regions.iter().position(|region| region.id == node.region)?;
            Some((node.name.as_str(), region))
        })
        .collect();
    let mut plots = heights_and_views(reader, plan, &axis, &region_of);
    if let Some(load) = load {
        plots.extend(throughput_and_latency(reader, plan, &axis, load, &region_of));
    }
    plots
}

/// The slowest node of a region stands for it, so that a node left behind shows.
fn heights_and_views(
    reader: &mut Reader<'_>,
    plan: &Plan,
    axis: &Axis,
    region_of: &BTreeMap<&str, usize>,
) -> Vec<Plot> {
    let mut heights: Grid<Option<u64>> = Grid::new(plan, axis);
    let mut views: Grid<Option<u64>> = Grid::new(plan, axis);
    for node in &plan.nodes {
        // Highest height and view this node had at the end of each step.
        let mut reached: Vec<Option<(u64, u64)>> = vec![None; axis.steps];
        let mut before: Option<(u64, u64)> = None;
        reader.lines(&paths::commits(&node.name), |line: FeedLine| {
            if let FeedLine::Commit { height, view, seen_unix_ms, .. } = line {
                let commit = Some((height, view));
                match axis.step(seen_unix_ms) {
                    Some(step) => reached[step] = reached[step].max(commit),
                    None if seen_unix_ms < axis.start_unix_ms => before = before.max(commit),
                    None => {}
                }
            }
        });
        let Some(region) = region_of.get(node.name.as_str()) else { continue };
        let last = reached.iter().rposition(Option::is_some);
        let mut now = before;
        for (step, value) in reached.into_iter().enumerate() {
            now = now.max(value);
            // After its last commit a node is either still there or not: nothing is drawn.
            if last.is_some_and(|last| step > last) {
                break;
            }
            if let Some((height, view)) = now {
                lower(&mut heights.cells[*region][step], height);
                lower(&mut views.cells[*region][step], view);
            }
        }
    }
    let plot = |title: &str, unit: &str, grid: Grid<Option<u64>>| Plot {
        title: title.to_owned(),
        caption: "Of the region's slowest node, as its commit feed showed it.".to_owned(),
        unit: unit.to_owned(),
        scale: 1,
        from_zero: false,
        start_unix_ms: axis.start_unix_ms,
        step_ms: axis.step_ms,
        series: grid.series(|value| *value),
    };
    vec![plot("Height", "blocks", heights), plot("View", "views", views)]
}

fn lower(cell: &mut Option<u64>, value: u64) {
    *cell = Some(cell.map_or(value, |least| least.min(value)));
}

fn throughput_and_latency(
    reader: &mut Reader<'_>,
    plan: &Plan,
    axis: &Axis,
    load: &LoadSummary,
    region_of: &BTreeMap<&str, usize>,
) -> Vec<Plot> {
    let mut committed: Grid<Option<u64>> = Grid::new(plan, axis);
    let mut latencies: Grid<Vec<u32>> = Grid::new(plan, axis);
    reader.lines(paths::TRANSACTIONS, |tx: LoadTransaction| {
        let Some(region) = region_of.get(tx.node.as_str()) else { return };
        let at = |us: u64| axis.step(load.started_unix_ms.saturating_add(us / 1000));
        // A step in which something was due and nothing committed is zero, not a gap.
        if let Some(step) = at(tx.scheduled_us) {
            committed.cells[*region][step].get_or_insert(0);
        }
        let Some(us) = tx.committed_us else { return };
        if let Some(step) = at(us) {
            *committed.cells[*region][step].get_or_insert(0) += 1;
        }
        // A transfer's latency belongs to when it was due: that is when its sender was waiting.
        if let Some(step) = at(tx.scheduled_us) {
            let ms = us.saturating_sub(tx.scheduled_us) / 1000;
            latencies.cells[*region][step].push(u32::try_from(ms).unwrap_or(u32::MAX));
        }
    });
    let step_ms = axis.step_ms;
    let plot = |title: &str, caption: &str, unit: &str, scale, series| Plot {
        title: title.to_owned(),
        caption: caption.to_owned(),
        unit: unit.to_owned(),
        scale,
        from_zero: true,
        start_unix_ms: axis.start_unix_ms,
        step_ms,
        series,
    };
    vec![
        plot(
            "Throughput",
            "Transfers accepted in the region, when their commit was seen.",
            "transfers per second",
            1000,
            committed.series(|count| count.map(|n| n * 1_000_000 / step_ms)),
        ),
        plot(
            "Latency",
            "Median from submit to commit seen, of transfers due at that time.",
            "ms",
            1,
            latencies.series(|values| {
                values.sort_unstable();
                values.get(values.len().saturating_sub(1) / 2).map(|ms| u64::from(*ms))
            }),
        ),
    ]
}
