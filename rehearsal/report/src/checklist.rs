//! The guide's checklists, filled in from the evidence (guide, sections 6.2 and 7).

use crate::{input::ReportInput, text};
use qbind_gates::{Gate, Outcome, Verdict};
use serde::Serialize;
use std::fmt::Write;

/// One box of the checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    pub(crate) ticked: bool,
    pub(crate) text: String,
    /// What it rests on.
    pub(crate) evidence: String,
}

/// A heading and its boxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) items: Vec<Item>,
}

/// A row of the upgrade checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) requirement: &'static str,
    pub(crate) required: &'static str,
    /// `yes`, `no`, or `open` where this evidence cannot say.
    pub(crate) met: &'static str,
    pub(crate) evidence: String,
}

fn gate<'a>(input: &'a ReportInput, id: &str) -> Option<&'a Gate> {
    input.gates.iter().find(|gate| gate.id == id)
}

fn passed(input: &ReportInput, id: &str) -> bool {
    gate(input, id).is_some_and(|gate| gate.verdict == Outcome::Pass)
}

fn said(input: &ReportInput, id: &str) -> String {
    match gate(input, id) {
        Some(gate) => format!("{} {}: {}", gate.id, gate.verdict, gate.value),
        None => format!("{id}: no result"),
    }
}

fn by_gate(input: &ReportInput, text: &str, id: &str) -> Item {
    Item { ticked: passed(input, id), text: text.to_owned(), evidence: said(input, id) }
}

fn step_verdict<'a>(input: &'a ReportInput, id: &str) -> &'a str {
    let step = input.steps.iter().find(|step| step.id == id);
    step.and_then(|step| step.verdict.as_deref()).unwrap_or("NOT RUN")
}

fn by_step(input: &ReportInput, text: String, id: &str) -> Item {
    let verdict = step_verdict(input, id);
    let evidence = format!("steps/{}/result.json: {verdict}", id.to_lowercase());
    Item { ticked: verdict == "PASS", text, evidence }
}

/// The guide's section 7.
pub(crate) fn sections(input: &ReportInput) -> Vec<Section> {
    let least = input.pairs.iter().map(|pair| pair.sent).min();
    let measured = Item {
        ticked: least.is_some_and(|sent| sent >= 1000),
        text: "Network measurements documented".to_owned(),
        evidence: match least {
            Some(sent) => format!(
                "measure/: {} directed pairs, at least {} probes each",
                input.pairs.len(),
                text::grouped(sent)
            ),
            None => "no measurement".to_owned(),
        },
    };
    let nodes = input.run.nodes.len();
    let monitored = Item {
        ticked: nodes > 0 && input.run.nodes.iter().all(|n| input.scraped_nodes.contains(n)),
        text: "Monitoring infrastructure ready".to_owned(),
        evidence: format!("scrapes/: {} of {nodes} nodes scraped", input.scraped_nodes.len()),
    };
    let prerequisites = vec![
        by_step(input, "T238 synthetic harness green".to_owned(), "T238"),
        by_step(input, "T185/T237 invariants green".to_owned(), "T185"),
        measured,
        monitored,
    ];
    let sequence = [
        ("T185", "Basic health & invariants"),
        ("T222", "Consensus chaos"),
        ("T221", "DAG–Consensus coupling"),
        ("T223", "Stage B soak"),
        ("T234", "PQC performance"),
        ("T236", "Fee adversarial"),
        ("T238", "Multi-region invariants"),
    ];
    let sequence = sequence
        .iter()
        .map(|(id, name)| by_step(input, format!("{id}: {name} — {}", step_verdict(input, id)), id))
        .collect();
    let safety = vec![
        by_gate(input, "commit_divergence == false", "G1"),
        by_gate(input, "block_mismatch_total == 0", "G2"),
        by_gate(input, "No double-spend detected", "G3"),
        by_gate(input, "No negative balances", "G4"),
    ];
    let bounds = vec![
        by_gate(input, "max_height_divergence ≤ 5 (normal) / ≤ 10 (stress)", "G5"),
        by_gate(input, "outbound_peers ≥ 4", "G6"),
        by_gate(input, "ASN diversity ≥ 2", "G6"),
    ];
    let performance = vec![
        by_gate(input, "TPS within 0.5–2× of T234 baseline", "G7"),
        by_gate(input, "Latency within 0.5–2× of T234 baseline", "G7"),
    ];
    let mut sections = vec![
        Section { title: "Prerequisites", items: prerequisites },
        Section { title: "Test Sequence", items: sequence },
        Section { title: "Safety Invariants", items: safety },
        Section { title: "Bounds Checks", items: bounds },
        Section { title: "Performance", items: performance },
    ];
    let open = sections.iter().flat_map(|s| &s.items).filter(|item| !item.ticked).count();
    let ready = open == 0 && input.verdict == Verdict::Pass;
    let sign_off = Item {
        ticked: ready,
        text: "All checks passed — Ready for MainNet / Upgrade".to_owned(),
        evidence: format!("verdict {}, {open} boxes open", input.verdict),
    };
    sections.push(Section { title: "Sign-Off", items: vec![sign_off] });
    sections
}

/// The guide's section 6.2.
pub(crate) fn upgrade_rows(input: &ReportInput) -> Vec<Row> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let all = |ids: &[&str]| yes_no(ids.iter().all(|id| passed(input, id)));
    let say = |ids: &[&str]| ids.iter().map(|id| said(input, id)).collect::<Vec<_>>().join("; ");
    let binary = input.run.artifacts.iter().find(|artifact| artifact.name == "qbind-node");
    vec![
        Row {
            requirement: "New binary built and tested",
            required: "CI green, binary hash",
            met: "open",
            evidence: match binary {
                Some(binary) => {
                    format!("qbind-node SHA3-256 {}; attach the CI run", binary.sha3)
                }
                None => "no binary hash in the plan; attach it and the CI run".to_owned(),
            },
        },
        Row {
            requirement: "T238.5 dress rehearsal complete",
            required: "Metrics export, Grafana screenshots",
            met: yes_no(input.verdict == Verdict::Pass),
            evidence: format!("verdict {}; scrapes/ and report.html", input.verdict),
        },
        Row {
            requirement: "Safety invariants verified",
            required: "commit_divergence == false, block_mismatch_total == 0",
            met: all(&["G1", "G2"]),
            evidence: say(&["G1", "G2"]),
        },
        Row {
            requirement: "Height divergence within bounds",
            required: "Metrics showing convergence",
            met: all(&["G5"]),
            evidence: say(&["G5"]),
        },
        Row {
            requirement: "P2P health maintained",
            required: "outbound_peers >= 4, ASN diversity OK",
            met: all(&["G6"]),
            evidence: say(&["G6"]),
        },
        Row {
            requirement: "Performance acceptable",
            required: "TPS/latency within documented bounds",
            met: all(&["G7", "G8"]),
            evidence: say(&["G7", "G8"]),
        },
    ]
}

/// The guide's section 7 checklist in Markdown, every box ticked or left open by the evidence, and
/// the upgrade checklist after it.
pub fn render_checklist(input: &ReportInput) -> String {
    let run = &input.run;
    let regions: Vec<&str> = run.regions.iter().map(|region| region.id.as_str()).collect();
    let date = run.finished_unix_ms.or(run.started_unix_ms);
    let mut out = format!(
        "## T238.5 Multi-Region Dress Rehearsal Checklist\n\n\
         **Date**: {}  \n**Operator**: {}  \n**Regions**: {}\n\n\
         Verdict: **{}** ({}, {}, {}). A ticked box rests on the evidence named after it.\n",
        date.map_or_else(blank, |ms| text::time(ms)[..10].to_owned()),
        run.operator.as_deref().map_or_else(blank, plain),
        if regions.is_empty() { blank() } else { plain(&regions.join(", ")) },
        input.verdict,
        plain(&run.gate_type),
        plain(&run.target),
        plain(&run.form),
    );
    for section in sections(input) {
        write!(out, "\n### {}\n", section.title).expect("writing to memory");
        for item in section.items {
            let mark = if item.ticked { 'x' } else { ' ' };
            writeln!(out, "- [{mark}] {} *({})*", item.text, plain(&item.evidence))
                .expect("writing to memory");
        }
    }
    out += "\nSignature: in the bundle, `attestation.dsse.json` (`qbindctl attest verify`)  \n";
    out += &format!("Date: {}\n\n", blank());
    out += &render_upgrade_checklist(input);
    out
}

/// The six rows of the guide's section 6.2 with what this run has to show for each.
pub fn render_upgrade_checklist(input: &ReportInput) -> String {
    let mut out = "## Upgrade Checklist\n\n\
        | Step | Requirement | Evidence Required | Met | Evidence |\n\
        | :--- | :--- | :--- | :--- | :--- |\n"
        .to_owned();
    for (index, row) in upgrade_rows(input).into_iter().enumerate() {
        let (required, evidence) = (plain(row.required), plain(&row.evidence));
        let number = index + 1;
        writeln!(out, "| {number} | {} | {required} | {} | {evidence} |", row.requirement, row.met)
            .expect("writing to memory");
    }
    out
}

fn blank() -> String {
    "_______________".to_owned()
}

/// Text that stays text in Markdown, also in a table and when the Markdown becomes HTML.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '`' | '[' | ']' | '\\' | '#' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
