//! `qbindctl map`: which preset a measured network maps to, and why.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use qbind_links::{
    Class, DelayMatrix, Exercised, Floor, LayoutCheck, Mapping, PairMeasurement, Preset,
    RegionLayout, Seat, TargetNote, check_layout, floor, map, millis, read, region_targets,
};
use serde::Serialize;

const MAPPED: u8 = 0;
const INVALID: u8 = 3;
const USAGE: u8 = 64;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum MapOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `map`.
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// A measurement file, CSV or JSON; give it once for each file to put together
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) measurements: Vec<PathBuf>,
    /// What is in a region: its continent, and how many validators of equal power; for the layout
    /// check, the guide's usual figures and the least latency
    #[arg(long = "region", value_name = "NAME=CONTINENT[:VALIDATORS]", value_parser = parse_region)]
    pub(crate) regions: Vec<RegionLayout>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: MapOutput,
}

/// Runs the command and returns its exit code.
pub(crate) fn run(args: MapArgs) -> u8 {
    let mut pairs = Vec::new();
    for file in &args.measurements {
        match read(file) {
            Ok(more) => pairs.extend(more),
            Err(error) => return refuse(&error),
        }
    }
    if let Some(reason) = find_layout_fault(&args.regions, &pairs) {
        eprintln!("qbindctl: --region: {reason}");
        return USAGE;
    }
    let answer = Answer::of(&pairs, &args.regions);
    match args.output {
        MapOutput::Text => print!("{}", answer.text()),
        MapOutput::Json => println!("{}", answer.json()),
    }
    if answer.mapping.class == Class::Invalid { INVALID } else { MAPPED }
}

/// What is printed; in JSON in this order.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    #[serde(flatten)]
    mapping: Mapping,
    preset: Option<Preset>,
    layout: Option<LayoutCheck>,
    region_targets: Vec<TargetNote>,
    floor: Option<Floor>,
}

impl Answer {
    fn of(pairs: &[PairMeasurement], regions: &[RegionLayout]) -> Self {
        let mapping = map(pairs);
        let is_valid = mapping.class != Class::Invalid;
        let continents: BTreeMap<String, String> =
            regions.iter().map(|r| (r.region.clone(), r.continent.clone())).collect();
        let seats: Vec<Seat> = regions
            .iter()
            .flat_map(|region| {
                let seat = |power: &u64| Seat { region: region.region.clone(), power: *power };
                region.validators.iter().map(seat)
            })
            .collect();
        // Nothing is known of the delay inside a region, and a floor may be too low.
        let matrix = DelayMatrix::from_measurements(pairs, 0);
        Self {
            layout: (!regions.is_empty()).then(|| check_layout(regions)),
            schema: "qbindctl.map/v1",
            preset: mapping.coverage.as_ref().map(|coverage| coverage.preset),
            region_targets: if is_valid { region_targets(pairs, &continents) } else { Vec::new() },
            floor: floor(&matrix, &seats).ok().filter(|_| is_valid),
            mapping,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serialises")
    }

    fn text(&self) -> String {
        let mapping = &self.mapping;
        let mut text = format!("class: {}", mapping.class.name());
        let flags: Vec<String> = mapping.flags.iter().map(|flag| format!("{flag:?}")).collect();
        if !flags.is_empty() {
            text += &format!(" (flags {})", flags.join(", "));
        }
        text.push('\n');
        if mapping.class == Class::Invalid {
            text += "no preset follows from this measurement:\n";
        }
        for reason in &mapping.reasons {
            text += &format!("  {reason}\n");
        }
        self.coverage_text(&mut text);
        if let Some(bound) = mapping.height_bound {
            text += &format!(
                "height bound: {} blocks; the verdict at {} is shown as well\n",
                bound.blocks, bound.always_shown
            );
        }
        self.layout_text(&mut text);
        if let Some(floor) = &self.floor {
            text += &format!(
                "least latency possible, medians: consensus {}, batch certificate {}, both {}\n",
                millis(floor.consensus_us.p50),
                millis(floor.batch_certificate_us.p50),
                millis(floor.submit_to_commit_us.p50)
            );
        }
        let notes: Vec<String> = self
            .region_targets
            .iter()
            .flat_map(|target| target.notes.iter().map(|note| format!("{}: {note}", target.pair)))
            .collect();
        if !notes.is_empty() {
            text += "not as the guide's illustrative figures (no verdict follows):\n";
            notes.iter().for_each(|note| text += &format!("  {note}\n"));
        }
        text
    }

    fn coverage_text(&self, text: &mut String) {
        let Some(coverage) = &self.mapping.coverage else { return };
        *text += &format!("preset: {}\n", coverage.preset.name());
        let mut line = |what: &str, figures: &Exercised, show: fn(u64) -> String| {
            let verdict = if figures.is_covered { "covers" } else { "does NOT cover" };
            let (preset, measured) = (show(figures.preset), show(figures.measured));
            writeln!(text, "  {what}: its {preset} {verdict} the measured {measured}")
                .expect("memory takes all");
        };
        line("one-way delay", &coverage.delay_us, millis);
        line("jitter", &coverage.jitter_us, millis);
        line("loss", &coverage.loss_bps, |bps| format!("{bps} bps"));
        for what in &coverage.not_expressed {
            *text += &format!("  not expressed by any preset: {what}\n");
        }
        if let Some(profile) = &self.mapping.custom_profile {
            *text += "exact matrix, run in addition to the preset:\n";
            for link in &profile.links {
                *text += &format!(
                    "  {} -> {}: {} ms one way, jitter {} ms, loss {} bps\n",
                    link.from, link.to, link.base_latency_ms, link.jitter_ms, link.loss_bps
                );
            }
        }
    }

    fn layout_text(&self, text: &mut String) {
        let Some(layout) = &self.layout else { return };
        *text += &format!(
            "layout: {} validators, {} faults tolerated\n",
            layout.validators, layout.tolerated
        );
        for fault in &layout.faults {
            *text += &format!("  NOT as the guide asks: {fault}\n");
        }
        for loss in &layout.losses {
            let effect = if loss.keeps_quorum { "the chain goes on" } else { "the chain HALTS" };
            *text += &format!("  without {}: {effect}\n", loss.region);
        }
    }
}

fn find_layout_fault(regions: &[RegionLayout], pairs: &[PairMeasurement]) -> Option<String> {
    for (at, region) in regions.iter().enumerate() {
        let name = &region.region;
        if regions[..at].iter().any(|other| other.region == *name) {
            return Some(format!("{name} is given twice"));
        }
        if !pairs.iter().any(|pair| pair.from == *name || pair.to == *name) {
            return Some(format!("{name} is in no measurement; check the name"));
        }
    }
    None
}

fn parse_region(text: &str) -> Result<RegionLayout, String> {
    let usage = || format!("`{text}` is not NAME=CONTINENT[:VALIDATORS]");
    let (region, rest) = text.split_once('=').ok_or_else(usage)?;
    let (continent, count) = match rest.split_once(':') {
        Some((continent, count)) => (continent, count.parse::<u16>().map_err(|_| usage())?),
        None => (rest, 0),
    };
    if region.is_empty() || continent.is_empty() || count > 1_000 {
        return Err(usage());
    }
    Ok(RegionLayout {
        region: region.into(),
        continent: continent.into(),
        validators: vec![1; usize::from(count)],
    })
}

fn refuse(error: &dyn Error) -> u8 {
    eprint!("qbindctl: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprint!(": {inner}");
        cause = inner.source();
    }
    eprintln!();
    USAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &std::path::Path, text: &str) -> PathBuf {
        let file = dir.join("m.csv");
        std::fs::write(&file, text).expect("a new file");
        file
    }

    fn run_on(text: &str, regions: &[&str]) -> u8 {
        let dir = tempfile::tempdir().expect("a directory");
        let regions = regions.iter().map(|text| parse_region(text).expect("fine")).collect();
        let measurements = vec![file(dir.path(), text)];
        run(MapArgs { measurements, regions, output: MapOutput::Json })
    }

    const HEADER: &str = "from,to,p50_us,jitter_us,sent,lost\n";
    const BOTH: &str = "a,b,80000,9,3000,0\nb,a,81000,9,3000,0\n";

    #[test]
    fn exit_codes_tell_mapped_invalid_and_wrong_apart() {
        assert_eq!(run_on(&format!("{HEADER}{BOTH}"), &["a=eu:4"]), MAPPED);
        assert_eq!(run_on(&format!("{HEADER}a,b,80000,9,3000,0\n"), &[]), INVALID);
        assert_eq!(run_on(HEADER, &[]), INVALID);
        assert_eq!(run_on(&format!("{HEADER}{BOTH}"), &["c=eu"]), USAGE);
        assert_eq!(run_on(&format!("{HEADER}{BOTH}"), &["a=eu", "a=na"]), USAGE);
        assert_eq!(run_on(&format!("{HEADER}a,b,-1,9,3000,0\n"), &[]), USAGE);
        assert_eq!(run_on("nonsense", &[]), USAGE);
        let measurements = vec![PathBuf::from("/nowhere/m.csv")];
        let args = MapArgs { measurements, regions: Vec::new(), output: MapOutput::Text };
        assert_eq!(run(args), USAGE);
    }

    #[test]
    fn the_answer_has_the_schema_first_and_everything_that_decided() {
        let text = format!("{HEADER}{BOTH}");
        let pairs = qbind_links::read_text("m", &text).expect("fine");
        let regions = ["a=eu:2", "b=na:2"].map(|text| parse_region(text).expect("fine"));
        let answer = Answer::of(&pairs, &regions);
        let text = answer.json();
        assert!(
            text.starts_with("{\n  \"schema\": \"qbindctl.map/v1\",\n  \"class\": \"Uniform\"")
        );
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["preset"], "uniform_latency");
        assert_eq!(json["height_bound"]["blocks"], 5);
        assert_eq!(json["custom_profile"]["links"][1]["base_latency_ms"], 41);
        assert_eq!(json["layout"]["losses"][0]["keeps_quorum"], false);
        assert_eq!(json["reasons"].as_array().map(Vec::len), Some(4));
        let shown = answer.text();
        for part in
            ["class: Uniform", "without a: the chain HALTS", "least latency", "41 ms one way"]
        {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn region_arguments_are_checked() {
        assert_eq!(parse_region("eu=europe:3").expect("fine").validators.len(), 3);
        for wrong in ["eu", "=x", "eu=", "eu=x:-1", "eu=x:y", "eu=x:5000"] {
            assert!(parse_region(wrong).is_err(), "{wrong}");
        }
    }
}
