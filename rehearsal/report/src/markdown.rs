//! The report as one Markdown file: for a review, a ticket, a chat.

use crate::{
    checklist::plain,
    findings,
    input::{ReportInput, SignOffs},
    text,
};
use std::fmt::Write;

/// A cell is nothing rather than empty.
fn cell(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { plain(text) }
}

struct Page(String);

impl Page {
    fn heading(&mut self, title: &str) {
        write!(self.0, "\n## {title}\n\n").expect("writing to memory");
    }

    fn line(&mut self, text: &str) {
        writeln!(self.0, "{text}").expect("writing to memory");
    }

    fn list(&mut self, title: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.heading(title);
        items.iter().for_each(|item| self.line(&format!("- {}", plain(item))));
    }

    /// `columns` with a colon are ranged right.
    fn table(&mut self, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let names: Vec<&str> = columns.iter().map(|name| name.trim_end_matches(':')).collect();
        let rule = |name: &&str| if name.ends_with(':') { "---:" } else { "---" };
        let rules: Vec<&str> = columns.iter().map(rule).collect();
        self.line(&format!("| {} |", names.join(" | ")));
        self.line(&format!("| {} |", rules.join(" | ")));
        for row in rows {
            let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
            self.line(&format!("| {} |", cells.join(" | ")));
        }
    }
}

fn sign_offs(page: &mut Page, given: &SignOffs) {
    page.heading("Sign-offs");
    page.line(&format!(
        "**{}** under {}: {} of {} approvals, asked at {}\n",
        plain(&given.standing),
        plain(&given.policy),
        given.approvals,
        given.threshold,
        plain(&given.asked_at)
    ));
    given.reasons.iter().for_each(|why| page.line(&format!("- lacks: {}", plain(why))));
    page.line("");
    let rows = given.decisions.iter().map(|decision| {
        let word = if decision.approves { "approves" } else { "REJECTS" };
        let worth =
            decision.objection.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}"));
        let (who, role, at) = (&decision.who, &decision.role, &decision.decided_at);
        let said = [who, role, at, &decision.reason].map(Clone::clone);
        let [who, role, at, reason] = said;
        vec![who, role, word.to_owned(), reason, at, worth]
    });
    page.table(&["Who", "As", "Decides", "Why", "When", "Counts"], rows);
    let waived: Vec<String> = given
        .waived
        .iter()
        .map(|waived| {
            format!("{} by {}: {}", waived.gate, waived.by.join(", "), waived.reasons.join("; "))
        })
        .collect();
    page.list("Waivers", &waived);
}

/// The report as Markdown: the verdict first, every gate, and what was not tested. Curves are in the page.
pub fn render_markdown(input: &ReportInput) -> String {
    let run = &input.run;
    let mut page = Page(format!("# {}: QBIND multi-region dress rehearsal\n\n", input.verdict));
    let of = [&run.gate_type, &run.target, &run.form, &run.id].map(|text| cell(text)).join(", ");
    let begun = run.started_unix_ms.map_or_else(String::new, text::time);
    page.line(&format!("{of}, {}\n", cell(&begun)));
    findings::why(input).iter().for_each(|why| page.line(&format!("- {}", plain(why))));
    if let Some(figures) = &input.figures {
        page.line(&format!(
            "- {} of {} transfers committed, {} lost, {} a second; latency {} ms at the median, {} ms at \
             p99, faults included",
            text::grouped(figures.committed),
            text::grouped(figures.offered),
            text::grouped(figures.lost),
            text::thousandths(figures.tps_milli),
            text::millis(figures.latency_p50_us),
            text::millis(figures.latency_p99_us)
        ));
    }
    let thin: Vec<&str> = findings::thinnest(input).iter().map(|gate| gate.id.as_str()).collect();
    if !thin.is_empty() {
        page.line(&format!("- thinnest margins first: {}", plain(&thin.join(", "))));
    }
    page.heading("Gates");
    let gates = input.gates.iter().map(|gate| {
        let margin =
            gate.margin_permille.map(|n| format!("{}.{} %", n / 10, n.unsigned_abs() % 10));
        vec![
            gate.id.clone(),
            gate.verdict.to_string(),
            gate.severity.to_string(),
            gate.title.clone(),
            gate.value.clone(),
            gate.bound.clone(),
            margin.unwrap_or_default(),
        ]
    });
    page.table(&["Gate", "Verdict", "", "What", "Found", "Required", "Margin:"], gates);
    let noted = input.gates.iter().filter(|gate| !gate.note.is_empty());
    let noted: Vec<String> = noted.map(|gate| format!("{}: {}", gate.id, gate.note)).collect();
    page.list("What the gates note", &noted);
    if !input.pairs.is_empty() {
        page.heading("Network");
        if let Some(mapping) = &input.mapping {
            page.line(&format!("Maps to **{}**.\n", plain(&mapping.class)));
        }
        let pairs = input.pairs.iter().map(|pair| {
            let millis = |us: Option<u64>| us.map_or_else(String::new, text::millis);
            vec![
                pair.from.clone(),
                pair.to.clone(),
                millis(Some(pair.p50_us)),
                millis(pair.p99_us),
                millis(Some(pair.jitter_us)),
                text::loss(pair.lost, pair.sent),
            ]
        });
        page.table(&["From", "To", "p50 ms:", "p99 ms:", "Jitter ms:", "Loss:"], pairs);
    }
    page.heading("Steps");
    let steps = input.steps.iter().map(|step| {
        let verdict = step.verdict.clone().unwrap_or_else(|| "NOT RUN".to_owned());
        vec![step.id.clone(), verdict, step.title.clone(), text::grouped(step.checks)]
    });
    page.table(&["Step", "Verdict", "What", "Checks:"], steps);
    let faults: Vec<String> = input
        .faults
        .iter()
        .map(|fault| {
            let done = if fault.done { "carried out" } else { "NOT carried out as planned" };
            format!("{}: {}, {done} on {}", fault.id, fault.what, fault.nodes.join(", "))
        })
        .collect();
    page.list("Planned faults", &faults);
    let controls: Vec<String> = input
        .controls
        .iter()
        .map(|control| {
            let word = match (control.caught, control.skipped.is_empty()) {
                (true, _) => "shown to fail",
                (false, true) => "MISSED",
                (false, false) => "not shown",
            };
            format!("{}: {word}: {}", control.gate, control.injected)
        })
        .collect();
    page.list("Negative controls", &controls);
    if let Some(given) = &input.sign_offs {
        sign_offs(&mut page, given);
    }
    page.list("Notes", &input.notes);
    page.list("Not tested", &findings::not_tested(input));
    page.list("Missing evidence", &input.missing);
    page.heading("Check it yourself");
    page.line("`qbindctl attest verify BUNDLE --trust KEYS --recompute` judges the raw files again, offline.");
    page.0
}
