//! The guide's table, for terminals, Markdown and CSV.

use std::fmt::Write as _;

use tabled::builder::Builder;
use tabled::settings::Style;

use crate::measurement::Measurement;
use crate::stats::PairStats;

/// The guide's columns, and beside them how sure the loss is.
const COLUMNS: [&str; 8] =
    ["From", "To", "RTT (p50)", "RTT (p99)", "Jitter", "Loss %", "Loss 95 %", "Sent"];

/// For a terminal.
pub fn terminal(measurement: &Measurement) -> String {
    let mut builder = Builder::default();
    builder.push_record(COLUMNS);
    for row in &measurement.pairs {
        builder.push_record(cells(row));
    }
    let mut table = builder.build();
    table.with(Style::rounded());
    table.to_string()
}

/// For a document.
pub fn markdown(measurement: &Measurement) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", escaped.join(" | ")));
    };
    line(&COLUMNS.map(str::to_owned));
    line(&COLUMNS.map(|_| ":---".to_owned()));
    for row in &measurement.pairs {
        line(&cells(row));
    }
    text
}

/// For a spreadsheet, and for the mapping: it reads the first six columns.
pub fn csv(measurement: &Measurement) -> String {
    let mut text = String::from(
        "from,to,p50_us,jitter_us,sent,lost,min_us,p90_us,p95_us,p99_us,max_us,rfc3550_us,pdv_us,\
         stddev_us,loss_bps,loss_low_ppm,loss_high_ppm,late,duplicates,reordered,longest_burst\n",
    );
    for row in &measurement.pairs {
        let duplicates = row.duplicates.map(|count| count.to_string()).unwrap_or_default();
        let numbers = [row.p50_us, row.jitter_us, row.sent, row.lost, row.min_us, row.p90_us]
            .into_iter()
            .chain([row.p95_us, row.p99_us, row.max_us, row.rfc3550_us, row.pdv_us])
            .chain([row.stddev_us, row.loss_bps, row.loss_low_ppm, row.loss_high_ppm, row.late]);
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let (from, to) = (quoted(&row.from), quoted(&row.to));
        writeln!(
            text,
            "{from},{to},{},{duplicates},{},{}",
            numbers.join(","),
            row.reordered,
            row.longest_burst
        )
        .expect("memory takes all");
    }
    text
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

fn cells(row: &PairStats) -> [String; 8] {
    let millis = |us| if row.received == 0 { "-".to_owned() } else { qbind_links::millis(us) };
    [
        row.from.clone(),
        row.to.clone(),
        millis(row.p50_us),
        millis(row.p99_us),
        millis(row.jitter_us),
        percent(row.lost * 1_000_000 / row.sent.max(1)),
        format!("{} to {}", percent(row.loss_low_ppm), percent(row.loss_high_ppm)),
        row.sent.to_string(),
    ]
}

/// Parts per million as per cent with two decimals, rounded to the nearest.
pub(crate) fn percent(ppm: u64) -> String {
    let hundredths = (ppm + 50) / 100;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::Coordinates;
    use crate::raw::tests::{pair, raw};

    fn measurement() -> Measurement {
        let mut rtt = vec![70_250; 1_000];
        rtt[3] = -1;
        raw(vec![pair("a|b", "c,d", &rtt), pair("c,d", "a|b", &[-1; 1_000])])
            .evaluate(&Coordinates::new())
    }

    #[test]
    fn the_guides_table_in_markdown() {
        let expected = "\
| From | To | RTT (p50) | RTT (p99) | Jitter | Loss % | Loss 95 % | Sent |
| :--- | :--- | :--- | :--- | :--- | :--- | :--- | :--- |
| a\\|b | c,d | 70.250 ms | 70.250 ms | 0.000 ms | 0.10 | 0.00 to 0.56 | 1000 |
| c,d | a\\|b | - | - | - | 100.00 | 99.63 to 100.00 | 1000 |
";
        assert_eq!(markdown(&measurement()), expected);
    }

    #[test]
    fn the_csv_is_read_by_the_mapping() {
        let measurement = measurement();
        let mut pairs = qbind_links::read_text("m.csv", &csv(&measurement)).expect("readable");
        assert_eq!(pairs.len(), 2);
        for (pair, row) in pairs.iter_mut().zip(&measurement.pairs) {
            pair.longest_burst = Some(row.longest_burst);
        }
        assert_eq!(pairs, measurement.measurements());
    }

    #[test]
    fn the_terminals_table_has_a_line_for_each_pair() {
        let text = terminal(&measurement());
        assert!(text.contains("70.250 ms") && text.lines().count() == 6, "{text}");
    }
}
