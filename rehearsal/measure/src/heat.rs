//! A heat map of the matrix, as a self-contained SVG.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::measurement::Measurement;
use crate::stats::PairStats;
use crate::table::percent;

/// What the cells show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeatValue {
    /// The median round trip.
    Rtt,
    /// `p95 - p50`.
    Jitter,
    /// The share of lost probes.
    Loss,
}

impl HeatValue {
    fn title(self) -> &'static str {
        match self {
            Self::Rtt => "Round-trip time, median",
            Self::Jitter => "Jitter, p95 - p50",
            Self::Loss => "Loss",
        }
    }

    /// A number that orders cells, and its text.
    fn of(self, row: &PairStats) -> (u64, String) {
        let loss_ppm = row.lost * 1_000_000 / row.sent.max(1);
        match self {
            Self::Loss => (loss_ppm, format!("{} %", percent(loss_ppm))),
            _ if row.received == 0 => (u64::MAX, "no answer".into()),
            Self::Rtt => (row.p50_us, tenths(row.p50_us)),
            Self::Jitter => (row.jitter_us, tenths(row.jitter_us)),
        }
    }
}

/// Milliseconds with one decimal, rounded to the nearest.
fn tenths(us: u64) -> String {
    let tenths = (us + 50) / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

const CELL_WIDTH: usize = 104;
const CELL_HEIGHT: usize = 44;
const MARGIN: usize = 132;
const TOP: usize = 60;

/// Draws the matrix: a row for each region probed from, a column for each region probed.
///
/// Numbers stand in the cells, so that colour is never the only carrier; text outside of cells takes the
/// colour of the surrounding document.
pub fn heat_map_svg(measurement: &Measurement, value: HeatValue) -> String {
    let names = measurement.pairs.iter().flat_map(|row| [row.from.as_str(), row.to.as_str()]);
    let regions: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    let cells: Vec<(u64, String)> = measurement.pairs.iter().map(|row| value.of(row)).collect();
    let known = || cells.iter().map(|cell| cell.0).filter(|number| *number < u64::MAX);
    let (low, high) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let width = MARGIN + regions.len() * CELL_WIDTH;
    let height = TOP + regions.len() * CELL_HEIGHT;
    let title = value.title();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" role=\"img\" aria-label=\"{title}\" style=\"max-width:100%;height:auto\" \
         font-family=\"system-ui,sans-serif\" font-size=\"13\">\n\
         <text x=\"0\" y=\"16\" font-weight=\"600\" fill=\"currentColor\">{title}</text>\n"
    );
    let mut put = |x: usize, y: usize, anchor: &str, fill: &str, text: &str| {
        let text = escaped(text);
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{text}</text>"
        )
        .expect("memory takes all");
    };
    for (at, region) in regions.iter().enumerate() {
        let shown = shortened(region);
        put(MARGIN + at * CELL_WIDTH + CELL_WIDTH / 2, TOP - 10, "middle", "currentColor", &shown);
        put(MARGIN - 10, TOP + at * CELL_HEIGHT + 27, "end", "currentColor", &shown);
    }
    let place = |name: &str| regions.iter().position(|region| *region == name);
    for (row, (number, text)) in measurement.pairs.iter().zip(&cells) {
        let (Some(y), Some(x)) = (place(&row.from), place(&row.to)) else { continue };
        let (x, y) = (MARGIN + x * CELL_WIDTH, TOP + y * CELL_HEIGHT);
        let (w, h) = (CELL_WIDTH - 2, CELL_HEIGHT - 2);
        let fill = colour(*number, low, high);
        writeln!(
            svg,
            "<g><title>{} to {}: {text}</title>\
             <rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"4\" fill=\"{fill}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#1b1b1b\">{text}</text></g>",
            escaped(&row.from),
            escaped(&row.to),
            x + w / 2,
            y + 27
        )
        .expect("memory takes all");
    }
    svg.push_str("</svg>\n");
    svg
}

/// From pale to warm, dark text readable on all of it.
fn colour(number: u64, low: u64, high: u64) -> String {
    if number == u64::MAX {
        return "#c9c9c9".into();
    }
    let parts = u128::from(number - low) * 1_000 / u128::from((high - low).max(1));
    let mix = |from: u128, to: u128| (from * (1_000 - parts) + to * parts) / 1_000;
    format!("#{:02x}{:02x}{:02x}", mix(0xd6, 0xf2), mix(0xea, 0x9b), mix(0xdf, 0x7a))
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= 15 {
        return name.to_owned();
    }
    name.chars().take(14).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Coordinates;
    use crate::raw::tests::{pair, raw};

    #[test]
    fn every_pair_has_a_cell_with_its_number_and_names_are_escaped() {
        let measurement = raw(vec![
            pair("<eu>", "us", &[70_249; 1_000]),
            pair("us", "<eu>", &[90_250; 1_000]),
            pair("us", "a region with a long name", &[-1; 1_000]),
        ])
        .evaluate(&Coordinates::new());
        let svg = heat_map_svg(&measurement, HeatValue::Rtt);
        assert_eq!(svg.matches("<rect").count(), 3);
        for part in ["70.2 ms", "90.3 ms", "no answer", "&lt;eu&gt;", "a region with …", "#c9c9c9"]
        {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("<eu>"));
        assert!(heat_map_svg(&measurement, HeatValue::Loss).contains("100.00 %"));
        assert!(heat_map_svg(&measurement, HeatValue::Jitter).contains("0.0 ms"));
    }
}
