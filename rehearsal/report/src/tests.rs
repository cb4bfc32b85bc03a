use crate::{
    ReportInput, render_checklist, render_html, render_json, render_junit, render_markdown,
    render_upgrade_checklist, sample,
};
use qbind_gates::{Outcome, Severity, Verdict};
use std::fs;

/// `QBIND_REPORT_SAMPLES=DIR` writes the samples there, to look at.
#[test]
fn the_samples_render() {
    for (name, input) in [
        ("pass", sample::pass()),
        ("fail", sample::fail()),
        ("inconclusive", sample::inconclusive()),
        ("signed", sample::signed()),
    ] {
        let html = render_html(&input);
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
        assert_eq!(html, render_html(&input), "the same input gives the same page");
        if let Some(dir) = std::env::var_os("QBIND_REPORT_SAMPLES") {
            let dir = std::path::Path::new(&dir);
            fs::write(dir.join(format!("{name}.html")), html).unwrap();
            fs::write(dir.join(format!("{name}.md")), render_checklist(&input)).unwrap();
        }
    }
}

#[test]
fn the_verdict_and_its_reason_come_first() {
    for (input, word, reason) in [
        (sample::pass(), "PASS", "All 11 hard gates passed"),
        (sample::fail(), "FAIL", "G1, no commit divergence, failed: height 1388 has"),
        (sample::inconclusive(), "INCONCLUSIVE", "G2, no block mismatch, could not be decided"),
    ] {
        let html = render_html(&input);
        let body = html.find("<body>").unwrap();
        let verdict = html[body..].find(&format!("</i>{word}</div>")).expect(word);
        let why = html[body..].find(reason).expect(reason);
        let gates = html[body..].find("id=\"gates\"").unwrap();
        assert!(verdict < why && why < gates);
    }
    let html = render_html(&sample::fail());
    assert!(html.contains("Outside its bound without deciding: G10. This needs a signed waiver."));
    // What only informs needs none; a soft gate that is not known does.
    let mut input = sample::pass();
    for (id, severity, verdict) in
        [("G9", Severity::Soft, Outcome::Unknown), ("G10", Severity::Informational, Outcome::Fail)]
    {
        let gate = input.gates.iter_mut().find(|gate| gate.id == id).unwrap();
        (gate.severity, gate.verdict) = (severity, verdict);
    }
    let html = render_html(&input);
    assert!(html.contains("<li>Outside its bound, for information: G10.</li>"));
    assert!(
        html.contains("<li>Not known, which does not decide: G9. This needs a signed waiver.</li>")
    );
}

#[test]
fn sign_offs_stand_where_somebody_asked_for_them() {
    let input = sample::signed();
    let html = render_html(&input);
    for part in [
        "under the policy MainNet &lt;launch&gt;, asked at 2027-01-17T00:00:00Z: 1 of 2 approvals",
        "</i>PENDING</span>",
        "lacks: 1 of 2 approvals",
        "<b>Bob 1 (Bob M., Other)</b>",
        "<b>rejects</b><div class=\"soft small\">G10 is too near</div>",
        "no: the policy does not know this key",
        "<b>G10</b> by Ada 1: the link was repaired",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let markdown = render_markdown(&input);
    for part in [
        "**PENDING** under MainNet",
        "| Bob 1 (Bob M., Other) | council | REJECTS | G10 is too near |",
        "no: the policy does not know this key",
        "- G10 by Ada 1: the link was repaired",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    let junit = render_junit(&input);
    let suite = junit.split("<testsuite name=\"sign-offs\"").nth(1).expect("a suite");
    assert!(suite.starts_with(" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""), "{suite}");
    // The report of a bundle is the same page before and after somebody signed.
    let plain = ReportInput { sign_offs: None, ..input };
    assert_eq!(render_html(&plain), render_html(&sample::pass()));
    assert!(!render_html(&plain).contains("id=\"sign-offs\""));
    assert!(!render_markdown(&plain).contains("## Sign-offs"));
    assert!(!render_junit(&plain).contains("sign-offs"));
}

#[test]
fn every_gate_step_fault_and_pair_is_shown() {
    let input = sample::fail();
    let html = render_html(&input);
    for gate in &input.gates {
        assert!(
            html.contains(&format!("<article class=\"gate\" id=\"{}\">", gate.id)),
            "{}",
            gate.id
        );
        assert!(html.contains(&escaped(&gate.value)), "{}", gate.value);
    }
    for step in &input.steps {
        assert!(
            html.contains(&format!("<b>{}</b> {}", step.id, escaped(&step.title))),
            "{}",
            step.id
        );
    }
    for fault in &input.faults {
        assert!(html.contains(&escaped(&fault.what)), "{}", fault.what);
    }
    for text in ["201.9", "0.10 %", "Asymmetric", "<b>a</b>", "1 of 2 turned exactly"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("p50 611.040 ms") && html.contains("−26.5 % outside"));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#x27;")
        .replace('/', "&#x2f;")
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let html = render_html(&sample::pass());
    for forbidden in
        ["<script", "http://", "https://", "src=", "href=", "@import", "url(", "<iframe", "<link"]
    {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
}

/// Puts hostile text into every string of an input.
fn poisoned(input: &ReportInput, poison: &str) -> ReportInput {
    fn walk(value: &mut serde_json::Value, poison: &str, key: &str) {
        match value {
            // Words with a fixed meaning stay; any other text may come from a node or a file.
            serde_json::Value::String(_)
                if ["verdict", "severity", "vantage", "target", "form"].contains(&key) => {}
            serde_json::Value::String(text) => *text = format!("{text}{poison}"),
            serde_json::Value::Array(items) => {
                items.iter_mut().for_each(|item| walk(item, poison, key));
            }
            serde_json::Value::Object(map) => {
                map.iter_mut().for_each(|(key, item)| walk(item, poison, &key.clone()));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(input).unwrap();
    walk(&mut value, poison, "");
    serde_json::from_value(value).unwrap()
}

#[test]
fn hostile_text_stays_text() {
    let poison = "</title></style></svg><script>alert(1)</script><img src=x onerror=\"x\" '>{{ 7*7 }}{% if %}";
    let html = render_html(&poisoned(&sample::fail(), poison));
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("onerror=\"x\""));
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(html.contains("{{ 7*7 }}"), "templates in data are not run");
    assert_eq!(html.matches("</style>").count(), 1);
    assert_eq!(html.matches("</title>").count(), 1);

    let markdown = render_checklist(&poisoned(&sample::fail(), "|<b>\n# x\n[a](b)"));
    assert!(
        !markdown.contains("<b>") && !markdown.contains("\n# x") && !markdown.contains("[a](b)")
    );
    assert!(
        markdown
            .lines()
            .filter(|l| l.starts_with("| "))
            .all(|l| { l.replace("\\|", "").matches('|').count() == 6 })
    );
}

#[test]
fn what_is_missing_is_shown_as_missing() {
    let html = render_html(&sample::inconclusive());
    for text in [
        "scrapes&#x2f;index.jsonl: not there",
        "<code>map.json</code>",
        "what the client saw of the load",
        "not known",
        "NO RESULT",
        "Step T234, PQC performance: there is no result.",
    ] {
        assert!(html.contains(text), "{text}");
    }
    let empty = tempfile::tempdir().unwrap();
    let input = ReportInput::from_dir(empty.path()).unwrap();
    assert_eq!(input.verdict, Verdict::Inconclusive);
    let html = render_html(&input);
    for text in [
        "There are no gate results, so nothing was decided.",
        "gates.json: not there",
        "plan.yaml: not there",
        "no measurement of the links",
        "no series of the live window",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!render_checklist(&input).contains("[x]"), "nothing is ticked without evidence");
    assert!(ReportInput::from_dir(&empty.path().join("none")).is_err());
}

#[test]
fn the_checklist_is_the_guides_and_follows_the_evidence() {
    let pass = render_checklist(&sample::pass());
    for line in [
        "## T238.5 Multi-Region Dress Rehearsal Checklist",
        "**Date**: 2026-02-10",
        "**Operator**: Ada Lovelace",
        "**Regions**: eu-west, us-east, ap-tokyo",
        "- [x] T238 synthetic harness green",
        "- [x] T185/T237 invariants green",
        "- [x] Network measurements documented",
        "- [x] Monitoring infrastructure ready",
        "- [x] T222: Consensus chaos — PASS",
        "- [x] commit_divergence == false",
        "- [x] No double-spend detected",
        "- [x] outbound_peers ≥ 4",
        "- [x] TPS within 0.5–2× of T234 baseline",
        "- [x] All checks passed — Ready for MainNet / Upgrade",
    ] {
        assert!(pass.contains(line), "{line}\n{pass}");
    }
    let fail = render_checklist(&sample::fail());
    for line in [
        "- [ ] T222: Consensus chaos — FAIL",
        "- [ ] commit_divergence == false",
        "- [x] block_mismatch_total == 0",
        "- [ ] All checks passed",
    ] {
        assert!(fail.contains(line), "{line}\n{fail}");
    }
    let open = render_checklist(&sample::inconclusive());
    for line in [
        "- [ ] T234: PQC performance — NOT RUN",
        "- [ ] Monitoring infrastructure ready",
        "- [ ] block_mismatch_total == 0",
        "- [ ] All checks passed",
    ] {
        assert!(open.contains(line), "{line}\n{open}");
    }
    let upgrade = render_upgrade_checklist(&sample::fail());
    assert_eq!(upgrade.lines().filter(|line| line.starts_with("| ")).count(), 8);
    assert!(upgrade.contains("| 3 | Safety invariants verified | commit_divergence == false, block_mismatch_total == 0 | no |"));
}

#[test]
fn the_json_twin_says_the_same() {
    let value: serde_json::Value = serde_json::from_str(&render_json(&sample::fail())).unwrap();
    assert_eq!(value["schema"], "qbind.report/v1");
    assert_eq!(value["verdict"], "FAIL");
    assert_eq!(value["thinnest"][0], "G10");
    let read: ReportInput = serde_json::from_value(value["report"].clone()).unwrap();
    assert_eq!(read, sample::fail());
}

#[test]
fn junit_says_of_each_step_and_gate_how_it_ended() {
    let pass = render_junit(&sample::pass());
    assert!(pass.contains("failures=\"0\" errors=\"0\""), "{pass}");
    let mut input = sample::fail();
    let xml = render_junit(&input);
    let count = |xml: &str, what: &str| xml.matches(what).count();
    assert_eq!(count(&xml, "<testcase "), input.gates.len() + input.steps.len() + 1);
    assert!(xml.contains("<failure message=\"FAIL: "), "{xml}");
    // A soft gate that failed is skipped with its reason.
    assert!(xml.contains("<skipped message=\"FAIL: "), "{xml}");
    assert!(render_junit(&sample::inconclusive()).contains("<error message=\"UNKNOWN: "));
    // Without gates nothing is green.
    let mut nothing = sample::pass();
    (nothing.gates, nothing.verdict) = (Vec::new(), Verdict::Inconclusive);
    assert!(render_junit(&nothing).contains("<error message=\"INCONCLUSIVE\"/>"));
    // Nothing in the evidence can break out.
    input.gates[0].note = "\"/></testcase>\u{1}<evil>".to_owned();
    input.steps[0].verdict = None;
    let xml = render_junit(&input);
    assert!(!xml.contains("<evil>") && !xml.contains('\u{1}'), "{xml}");
    assert!(xml.contains("<error message=\"no result\"/>"), "{xml}");
    assert_eq!(count(&xml, "<testcase "), count(&xml, "</testcase>"));
}

#[test]
fn the_markdown_twin_says_the_same_and_holds_no_markup_of_others() {
    let input = sample::fail();
    let text = render_markdown(&input);
    assert!(text.starts_with("# FAIL: "), "{text:.80}");
    for gate in &input.gates {
        assert!(text.contains(&format!("| {} | {} |", gate.id, gate.verdict)), "{}", gate.id);
    }
    for step in &input.steps {
        assert!(text.contains(&format!("| {} | ", step.id)), "{}", step.id);
    }
    for heading in ["Gates", "Network", "Steps", "Planned faults", "Not tested"] {
        assert!(text.contains(&format!("\n## {heading}\n")), "{heading}");
    }
    let poison = "|x|\n# y <script> [z](http://evil) `q`";
    let poisoned = render_markdown(&poisoned(&input, poison));
    assert!(
        !poisoned.contains("<script>") && !poisoned.contains("[z](") && !poisoned.contains("\n# y")
    );
    // A table row of a gate keeps its seven cells.
    let row = poisoned.lines().find(|line| line.starts_with("| G5")).unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
}
