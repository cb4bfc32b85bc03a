//! The report as one HTML file.

use crate::{
    checklist, findings,
    input::{Pair, ReportInput},
    plot, text,
};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use qbind_gates::{Gate, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("html/report.html");
const STYLE: &str = include_str!("html/report.css");

/// The report as one self-contained HTML file: no script, no external resource.
pub fn render_html(input: &ReportInput) -> String {
    let mut environment = Environment::new();
    // A misspelt name fails the tests instead of leaving a blank.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The name ends in .html, so every value is escaped.
    environment.add_template("report.html", TEMPLATE).expect("a test renders it");
    environment.add_template("report.css", STYLE).expect("a test renders it");
    let template = environment.get_template("report.html").expect("added above");
    template.render(Serde(view(input))).expect("every value the template names is in the view")
}

/// A verdict with the word and the sign that stand for it beside its colour.
#[derive(Serialize)]
struct Badge {
    word: String,
    /// Class of the style sheet: `pass`, `fail`, `unknown`, `invalid`.
    kind: &'static str,
    sign: &'static str,
}

fn badge(word: &str) -> Badge {
    let (kind, sign) = match word {
        "PASS" => ("pass", "✓"),
        "FAIL" => ("fail", "✕"),
        "INVALID" => ("invalid", "⊘"),
        _ => ("unknown", "?"),
    };
    Badge { word: word.to_owned(), kind, sign }
}

fn sign_offs_badge(standing: &str) -> Badge {
    let like = match standing {
        "APPROVED" => "PASS",
        "REFUSED" => "FAIL",
        _ => "UNKNOWN",
    };
    Badge { word: standing.to_owned(), ..badge(like) }
}

#[derive(Serialize)]
struct GateView<'a> {
    gate: &'a Gate,
    badge: Badge,
    severity: String,
    vantage: &'static str,
    margin: Option<Margin>,
    samples: String,
    window: Option<String>,
    cuts: Vec<String>,
}

/// How far inside its bound a result lies.
#[derive(Serialize)]
struct Margin {
    text: String,
    /// Width of the bar in percent, at most 100.
    bar: i64,
    inside: bool,
}

fn margin(permille: i64) -> Margin {
    let (sign, n) = (if permille < 0 { "−" } else { "" }, permille.unsigned_abs());
    let inside = permille >= 0;
    let bar = i64::try_from(n / 10).unwrap_or(100).clamp(1, 100);
    Margin { text: format!("{sign}{}.{} %", n / 10, n % 10), bar, inside }
}

fn gate_view<'a>(input: &ReportInput, gate: &'a Gate) -> GateView<'a> {
    let start = input.figures_start();
    let span = |from: u64, to: u64| match start {
        Some(start) => format!(
            "{} to {} into the window",
            text::duration(from.saturating_sub(start)),
            text::duration(to.saturating_sub(start))
        ),
        None => format!("{} to {}", text::time(from), text::time(to)),
    };
    GateView {
        badge: badge(&gate.verdict.to_string()),
        severity: gate.severity.to_string(),
        vantage: match gate.vantage {
            qbind_gates::Vantage::CrossNode => "compared across nodes",
            qbind_gates::Vantage::Observed => "observed from outside",
            qbind_gates::Vantage::SelfReported => "reported by the nodes",
        },
        margin: gate.margin_permille.map(margin),
        samples: text::grouped(gate.samples),
        window: gate.window.as_ref().map(|window| {
            format!("{} to {}", text::time(window.from_unix_ms), text::time(window.to_unix_ms))
        }),
        cuts: gate
            .window
            .iter()
            .flat_map(|window| &window.cut)
            .map(|cut| {
                format!("{}: {} ({})", cut.node, span(cut.from_unix_ms, cut.to_unix_ms), cut.fault)
            })
            .collect(),
        gate,
    }
}

impl ReportInput {
    /// Start of the live window, where a plot knows it.
    fn figures_start(&self) -> Option<u64> {
        self.plots.first().map(|plot| plot.start_unix_ms)
    }
}

#[derive(Serialize)]
struct Heat {
    title: &'static str,
    unit: &'static str,
    rows: Vec<HeatRow>,
}

#[derive(Serialize)]
struct HeatRow {
    from: String,
    cells: Vec<HeatCell>,
}

#[derive(Serialize)]
struct HeatCell {
    text: String,
    /// Share of the largest value, in percent.
    heat: u64,
}

/// One map for each of round trip, jitter and loss.
fn heat_maps(input: &ReportInput, regions: &[String]) -> Vec<Heat> {
    type Figure = (&'static str, &'static str, fn(&Pair) -> u64, fn(&Pair) -> String);
    let maps: [Figure; 3] = [
        ("Round trip, median", "ms", |p| p.p50_us, |p| text::millis(p.p50_us)),
        ("Jitter", "ms, p95 − p50", |p| p.jitter_us, |p| text::millis(p.jitter_us)),
        (
            "Loss",
            "of the probes sent",
            |p| p.lost * 1_000_000 / p.sent.max(1),
            |p| text::loss(p.lost, p.sent),
        ),
    ];
    maps.iter()
        .map(|(title, unit, value, shown)| {
            let most = input.pairs.iter().map(value).max().unwrap_or(0).max(1);
            let cell = |from: &String, to: &String| {
                let pair = input.pairs.iter().find(|pair| pair.from == *from && pair.to == *to);
                match pair {
                    Some(pair) => HeatCell { text: shown(pair), heat: value(pair) * 100 / most },
                    None if from == to => HeatCell { text: "·".to_owned(), heat: 0 },
                    None => HeatCell { text: "not measured".to_owned(), heat: 0 },
                }
            };
            let row = |from: &String| HeatRow {
                from: from.clone(),
                cells: regions.iter().map(|to| cell(from, to)).collect(),
            };
            Heat { title, unit, rows: regions.iter().map(row).collect() }
        })
        .collect()
}

/// Regions of the plan, and after them any that only the measurement knows.
fn regions(input: &ReportInput) -> Vec<String> {
    let mut regions: Vec<String> =
        input.run.regions.iter().map(|region| region.id.clone()).collect();
    for name in input.pairs.iter().flat_map(|pair| [&pair.from, &pair.to]) {
        if !regions.contains(name) {
            regions.push(name.clone());
        }
    }
    regions
}

fn view(input: &ReportInput) -> Value {
    let names = regions(input);
    let gates: Vec<GateView<'_>> = input.gates.iter().map(|g| gate_view(input, g)).collect();
    let thinnest: Vec<GateView<'_>> =
        findings::thinnest(input).into_iter().map(|g| gate_view(input, g)).collect();
    let count = |outcome| input.gates.iter().filter(|gate| gate.verdict == outcome).count();
    let counts: Vec<String> = [
        (count(Outcome::Pass), "passed"),
        (count(Outcome::Fail), "failed"),
        (count(Outcome::Unknown), "undecided"),
        (count(Outcome::Invalid), "invalid"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, word)| format!("{n} {word}"))
    .collect();
    let pairs: Vec<Value> = input.pairs.iter().map(pair_view).collect();
    let steps: Vec<Value> = input
        .steps
        .iter()
        .map(|step| {
            let duration = step.verdict.as_ref().map(|_| text::duration(step.duration_ms));
            json!({
                "step": step,
                "badge": badge(step.verdict.as_deref().unwrap_or("NO RESULT")),
                "duration": duration,
            })
        })
        .collect();
    let start = input.figures_start();
    let faults: Vec<Value> = input
        .faults
        .iter()
        .enumerate()
        .map(|(index, fault)| {
            let when = fault.from_unix_ms.map(|from| match start {
                Some(start) => format!("at {}", plot::clock(from.saturating_sub(start))),
                None => text::time(from),
            });
            let lasted = fault.from_unix_ms.zip(fault.healed_unix_ms);
            json!({
                "fault": fault,
                "letter": plot::letter(index),
                "when": when,
                "lasted": lasted.map(|(from, to)| text::duration(to.saturating_sub(from))),
                "recovery": text::duration(fault.recovery_ms),
            })
        })
        .collect();
    let plots: Vec<_> = input.plots.iter().map(|p| plot::draw(p, &input.faults)).collect();
    let controls: Vec<Value> = input
        .controls
        .iter()
        .map(|control| {
            let word = match (control.caught, control.skipped.is_empty()) {
                (true, _) => "PASS",
                (false, true) => "FAIL",
                (false, false) => "UNKNOWN",
            };
            json!({ "control": control, "badge": badge(word) })
        })
        .collect();
    let caught = input.controls.iter().filter(|control| control.caught).count();
    json!({
        "verdict": badge(&input.verdict.to_string()),
        "why": findings::why(input),
        "counts": counts.join(", "),
        "run": &input.run,
        "started": input.run.started_unix_ms.map(text::time),
        "lasted": input.run.started_unix_ms.zip(input.run.finished_unix_ms)
            .map(|(from, to)| text::duration(to.saturating_sub(from))),
        "figures": input.figures.as_ref().map(figures_view),
        "thinnest": thinnest,
        "gates": gates,
        "region_names": names,
        "heat": heat_maps(input, &names),
        "pairs": pairs,
        "mapping": &input.mapping,
        "plots": plots,
        "faults": faults,
        "steps": steps,
        "controls": controls,
        "sign_offs": input.sign_offs,
        "sign_offs_badge": input.sign_offs.as_ref().map(|given| sign_offs_badge(&given.standing)),
        "controls_caught": format!("{caught} of {}", input.controls.len()),
        "not_tested": findings::not_tested(input),
        "missing": &input.missing,
        "notes": &input.notes,
        "checklist": checklist::sections(input),
        "upgrade": checklist::upgrade_rows(input),
        "bundle": input.run.bundle.as_deref().unwrap_or("BUNDLE.qbundle"),
    })
}

fn pair_view(pair: &Pair) -> Value {
    json!({
        "from": &pair.from,
        "to": &pair.to,
        "p50": text::millis(pair.p50_us),
        "p99": pair.p99_us.map(text::millis),
        "jitter": text::millis(pair.jitter_us),
        "loss": text::loss(pair.lost, pair.sent),
        "at_most": pair.loss_high_ppm.map(|ppm| text::loss(ppm, 1_000_000)),
        "sent": text::grouped(pair.sent),
    })
}

fn figures_view(figures: &crate::input::Figures) -> Value {
    json!({
        "tps": text::thousandths(figures.tps_milli),
        "rate": text::grouped(figures.rate_per_second),
        "window": text::duration(figures.window_ms),
        "p50": text::millis(figures.latency_p50_us),
        "p99": text::millis(figures.latency_p99_us),
        "accepted": text::grouped(figures.accepted),
        "committed": text::grouped(figures.committed),
        "lost": text::grouped(figures.lost),
        "duplicated": text::grouped(figures.duplicated),
    })
}
