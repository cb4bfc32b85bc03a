//! One result for humans, JSON and signers.
//!
//! [`ReportInput`] is everything a report says; [`ReportInput::from_dir`] fills it from an evidence
//! directory, and [`render_html`], [`render_markdown`], [`render_checklist`], [`render_junit`] and
//! [`render_json`] turn it into text. [`export_openmetrics`] writes the raw scrapes for a Prometheus.
//!
//! Promises: the verdict and its reason come first; every gate is shown; what the evidence does not
//! hold is shown as missing, never left out or filled in; meaning never rests on colour alone; the
//! HTML is one file without script or external resource; nothing in the evidence can break out of
//! the page. Rendering is pure: the same input gives the same bytes.
//!
//! Never here: judging. A gate's verdict is taken as it stands in `gates.json`.

mod checklist;
mod findings;
mod html;
mod input;
mod junit;
mod markdown;
mod openmetrics;
mod plot;
mod read;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
mod text;

pub use checklist::{render_checklist, render_upgrade_checklist};
pub use html::render_html;
pub use input::{
    Artifact, Fault, Figures, Mapping, Pair, Plot, Region, ReportInput, Run, Series, SignOffs,
    SignedDecision, Step, Waived,
};
pub use junit::render_junit;
pub use markdown::render_markdown;
pub use openmetrics::{ExportError, Exported, export_openmetrics};
pub use read::ReadError;

/// The JSON twin: the input itself under a schema line, with what the report adds to it.
pub fn render_json(input: &ReportInput) -> String {
    let value = serde_json::json!({
        "schema": "qbind.report/v1",
        "verdict": input.verdict,
        "why": findings::why(input),
        "thinnest": findings::thinnest(input).iter().map(|gate| &gate.id).collect::<Vec<_>>(),
        "not_tested": findings::not_tested(input),
        "report": input,
    });
    let mut text = serde_json::to_string_pretty(&value).expect("strings and numbers serialise");
    text.push('\n');
    text
}
