//! Where things of a plot lie: geometry in thousandths of the frame, nothing drawn.

use crate::{
    input::{Fault, Plot},
    text,
};
use serde::Serialize;

/// Side of the drawing, in its own units. It is stretched over the frame, so labels stay outside.
const SIDE: u64 = 1000;
const X_TICKS: u64 = 6;
/// Larger values are drawn as this one: beyond it there is nothing to tell apart.
const MOST: u64 = 1 << 53;

/// A plot ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Drawn {
    title: String,
    caption: String,
    unit: String,
    lines: Vec<Line>,
    y_ticks: Vec<Tick>,
    x_ticks: Vec<Tick>,
    bands: Vec<Band>,
    /// The same in words, for those who do not see the picture.
    summary: String,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    /// Which dash pattern and colour.
    style: usize,
    /// SVG path data; empty without any value.
    path: String,
    last: String,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: String,
    label: String,
}

/// A fault, over all plots the same letter.
#[derive(Debug, Serialize)]
pub(crate) struct Band {
    letter: String,
    from: String,
    width: String,
    recovery: String,
}

/// The letter by which plots and table name a fault.
pub(crate) fn letter(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    if index < 26 { letter.to_string() } else { format!("{letter}{}", index / 26) }
}

pub(crate) fn draw(plot: &Plot, faults: &[Fault]) -> Drawn {
    let steps = plot.series.iter().map(|s| s.values.len()).max().unwrap_or(0) as u64;
    let span_ms = (steps.max(2) - 1).saturating_mul(plot.step_ms.clamp(1, MOST));
    let values =
        || plot.series.iter().flat_map(|s| s.values.iter().flatten()).map(|v| (*v).min(MOST));
    let least = if plot.from_zero { 0 } else { values().min().unwrap_or(0) };
    let (low, high, tick) = axis(least, values().max().unwrap_or(0), plot.scale.clamp(1, 1 << 32));
    let x = |ms: u64| permille(ms.min(span_ms), span_ms);
    let y = |value: u64| SIDE * 10 - permille(value.clamp(low, high) - low, high - low);
    let lines: Vec<Line> = plot
        .series
        .iter()
        .enumerate()
        .map(|(index, series)| {
            let points = series.values.iter().enumerate().map(|(n, value)| {
                value.map(|value| (x((n as u64).saturating_mul(plot.step_ms.max(1))), y(value)))
            });
            let last = series.values.iter().rev().flatten().next();
            Line {
                name: series.name.clone(),
                style: index % 6,
                path: path(points),
                last: last.map_or("no data".to_owned(), |v| shown(*v, plot.scale)),
            }
        })
        .collect();
    let y_ticks = (0..)
        .map(|n| low + n * tick)
        .take_while(|value| *value <= high)
        .map(|value| Tick { at: percent(y(value)), label: shown(value, plot.scale) })
        .collect();
    let x_step = round_up((span_ms / 1000).div_ceil(X_TICKS).max(1)) * 1000;
    let x_ticks = (0..)
        .map(|n| n * x_step)
        .take_while(|ms| *ms <= span_ms)
        .map(|ms| Tick { at: percent(x(ms)), label: clock(ms) })
        .collect();
    Drawn {
        title: plot.title.clone(),
        caption: plot.caption.clone(),
        unit: plot.unit.clone(),
        bands: bands(plot, faults, span_ms),
        summary: summary(plot, &lines),
        lines,
        y_ticks,
        x_ticks,
    }
}

fn bands(plot: &Plot, faults: &[Fault], span_ms: u64) -> Vec<Band> {
    let within = |unix_ms: u64| unix_ms.saturating_sub(plot.start_unix_ms).min(span_ms);
    faults
        .iter()
        .enumerate()
        .filter_map(|(index, fault)| {
            let from = within(fault.from_unix_ms?);
            let healed = within(fault.healed_unix_ms?).max(from);
            let clear = within(fault.healed_unix_ms?.saturating_add(fault.recovery_ms)).max(healed);
            Some(Band {
                letter: letter(index),
                from: percent(permille(from, span_ms)),
                width: percent(permille(healed - from, span_ms)),
                recovery: percent(permille(clear - healed, span_ms)),
            })
        })
        .collect()
}

/// Round ends and a round tick that hold everything.
fn axis(least: u64, most: u64, scale: u64) -> (u64, u64, u64) {
    let span = (most - least.min(most)).max(1);
    // Ticks are whole in the unit shown unless the span is smaller than the unit.
    let tick = if span >= 4 * scale {
        round_up(span.div_ceil(scale).div_ceil(5)) * scale
    } else {
        round_up(span.div_ceil(5))
    };
    let low = least / tick * tick;
    (low, most.max(low + tick).div_ceil(tick) * tick, tick)
}

/// The next of 1, 2, 5 times a power of ten.
fn round_up(n: u64) -> u64 {
    let mut power = 1u64;
    loop {
        for factor in [1, 2, 5] {
            if power.saturating_mul(factor) >= n {
                return power.saturating_mul(factor);
            }
        }
        power = power.saturating_mul(10);
    }
}

/// Tenths of a thousandth of the side.
fn permille(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * u128::from(SIDE * 10) / u128::from(whole.max(1)))
        .unwrap_or(SIDE * 10)
}

fn tenth(n: u64) -> String {
    format!("{}.{}", n / 10, n % 10)
}

/// Of tenths of a thousandth, for CSS.
fn percent(n: u64) -> String {
    format!("{}.{:02}%", n / 100, n % 100)
}

fn path(points: impl Iterator<Item = Option<(u64, u64)>>) -> String {
    let mut out = String::new();
    let mut pen_down = false;
    let mut alone = false;
    for point in points {
        match point {
            Some((x, y)) => {
                let (x, y) = (tenth(x), tenth(y));
                out += &if pen_down { format!("L{x} {y}") } else { format!("M{x} {y}") };
                alone = !pen_down;
                pen_down = true;
            }
            None => {
                // A single value between gaps would leave no mark.
                if alone {
                    out += "h.1";
                }
                (pen_down, alone) = (false, false);
            }
        }
    }
    if alone {
        out += "h.1";
    }
    out
}

fn shown(value: u64, scale: u64) -> String {
    let scale = scale.max(1);
    match value % scale {
        0 => text::grouped(value / scale),
        rest => format!("{}.{}", text::grouped(value / scale), rest * 10 / scale),
    }
}

/// `0:30`, minutes and seconds since the start.
pub(crate) fn clock(ms: u64) -> String {
    let s = ms / 1000;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s % 3600 / 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

fn summary(plot: &Plot, lines: &[Line]) -> String {
    let ends: Vec<String> =
        lines.iter().map(|line| format!("{} ends at {}", line.name, line.last)).collect();
    format!("{} over time in {}: {}", plot.title, plot.unit, ends.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Series;

    fn plot(values: Vec<Option<u64>>) -> Plot {
        Plot {
            title: "Height".to_owned(),
            caption: String::new(),
            unit: "blocks".to_owned(),
            scale: 1,
            from_zero: true,
            start_unix_ms: 10_000,
            step_ms: 1000,
            series: vec![Series { name: "eu".to_owned(), values }],
        }
    }

    #[test]
    fn values_lie_where_they_should_and_gaps_stay_gaps() {
        let drawn = draw(&plot(vec![Some(0), Some(50), None, Some(100), None]), &[]);
        assert_eq!(drawn.lines[0].path, "M0.0 1000.0L250.0 500.0M750.0 0.0h.1");
        let labels: Vec<_> = drawn.y_ticks.iter().map(|t| (&*t.at, &*t.label)).collect();
        assert_eq!(
            labels,
            [
                ("100.00%", "0"),
                ("80.00%", "20"),
                ("60.00%", "40"),
                ("40.00%", "60"),
                ("20.00%", "80"),
                ("0.00%", "100")
            ]
        );
        assert_eq!(drawn.lines[0].last, "100");
    }

    #[test]
    fn nothing_flat_or_huge_breaks_the_geometry() {
        for values in [
            vec![],
            vec![None; 5],
            vec![Some(7)],
            vec![Some(0); 3],
            vec![Some(u64::MAX), Some(0)],
            vec![Some(u64::MAX); 2],
        ] {
            for from_zero in [true, false] {
                let drawn = draw(&Plot { from_zero, ..plot(values.clone()) }, &[]);
                assert!(!drawn.y_ticks.is_empty() && drawn.y_ticks.len() < 12, "{values:?}");
            }
        }
    }

    #[test]
    fn faults_are_clipped_to_the_window_and_lettered() {
        let fault = |from, healed| Fault {
            id: "kill".to_owned(),
            what: String::new(),
            nodes: vec![],
            from_unix_ms: from,
            healed_unix_ms: healed,
            recovery_ms: 1000,
            expectation: String::new(),
            done: true,
            note: String::new(),
        };
        let faults = [
            fault(None, None),
            fault(Some(11_000), Some(12_000)),
            fault(Some(13_500), Some(90_000)),
        ];
        let drawn = draw(&plot(vec![Some(1); 5]), &faults);
        let bands: Vec<_> =
            drawn.bands.iter().map(|b| (&*b.letter, &*b.from, &*b.width, &*b.recovery)).collect();
        assert_eq!(
            bands,
            [("b", "25.00%", "25.00%", "25.00%"), ("c", "87.50%", "12.50%", "0.00%")]
        );
    }
}
