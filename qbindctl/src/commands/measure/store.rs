//! What a measurement leaves behind: samples, tables, heat maps.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use qbind_measure::{HeatValue, Measurement, RawMeasurement, csv, heat_map_svg, markdown};

use super::Failure;

/// The names that may not be there yet: evidence is not written over.
const FILES: [&str; 7] =
    ["matrix.json", "samples.jsonl", "table.md", "table.csv", "rtt.svg", "jitter.svg", "loss.svg"];

/// Refuses before anything is measured what could not be stored afterwards.
pub(super) fn prepare(out: &Path) -> Result<(), Failure> {
    fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
    for name in FILES {
        if out.join(name).exists() {
            let file = out.join(name);
            let message = format!("{} exists already; name another --out", file.display());
            return Err(Failure::usage(message));
        }
    }
    Ok(())
}

pub(super) fn write(
    out: &Path,
    raw: &RawMeasurement,
    measurement: &Measurement,
) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(measurement).expect("plain data serialises");
    let texts = [
        ("matrix.json", format!("{json}\n")),
        ("table.md", markdown(measurement)),
        ("table.csv", csv(measurement)),
        ("rtt.svg", heat_map_svg(measurement, HeatValue::Rtt)),
        ("jitter.svg", heat_map_svg(measurement, HeatValue::Jitter)),
        ("loss.svg", heat_map_svg(measurement, HeatValue::Loss)),
    ];
    for (name, text) in texts {
        let file = out.join(name);
        fs::write(&file, text).map_err(|error| unwritable(&file, &error))?;
    }
    let file = out.join("samples.jsonl");
    let samples = File::create_new(&file).map_err(|error| unwritable(&file, &error))?;
    let mut samples = BufWriter::new(samples);
    raw.write_to(&mut samples).map_err(|error| Failure::caused(&error, super::USAGE))?;
    samples.flush().map_err(|error| unwritable(&file, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}
