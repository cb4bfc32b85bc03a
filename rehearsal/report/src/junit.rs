//! The steps and gates as JUnit XML, for whoever already collects that.

use crate::input::ReportInput;
use qbind_gates::{Gate, Outcome, Severity, Verdict};
use std::fmt::Write;

/// A test for the overall verdict, one suite for the seven steps, one for the gates. A hard gate that did not pass is a failure,
/// as is a step; one that could not be decided is an error; a soft or informational one is skipped with
/// its reason, for it does not decide.
pub fn render_junit(input: &ReportInput) -> String {
    let steps: Vec<Case> = input
        .steps
        .iter()
        .map(|step| Case {
            name: format!("{} {}", step.id, step.title),
            seconds_milli: step.duration_ms,
            end: match step.verdict.as_deref() {
                Some("PASS") => End::Passed,
                Some(verdict) => End::Failed(format!("{verdict}: {}", step.failures.join("; "))),
                None => End::Error("no result".to_owned()),
            },
            said: step.replay.clone(),
        })
        .collect();
    let gates: Vec<Case> = input.gates.iter().map(gate).collect();
    let verdict = vec![Case {
        name: "overall verdict".to_owned(),
        seconds_milli: 0,
        end: match input.verdict {
            Verdict::Pass => End::Passed,
            Verdict::Fail => End::Failed("FAIL".to_owned()),
            other => End::Error(other.to_string()),
        },
        said: input.verdict.to_string(),
    }];
    let sign_offs = sign_offs(input);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Case> = verdict.iter().chain(&steps).chain(&gates).chain(&sign_offs).collect();
    writeln!(
        out,
        "<testsuites name=\"dress rehearsal {}\" {}>",
        escaped(&input.run.id),
        counts(&all)
    )
    .expect(MEMORY);
    let suites =
        [("verdict", &verdict), ("steps", &steps), ("gates", &gates), ("sign-offs", &sign_offs)];
    for (name, cases) in suites.into_iter().filter(|(_, cases)| !cases.is_empty()) {
        writeln!(
            out,
            "  <testsuite name=\"{name}\" {}>",
            counts(&cases.iter().collect::<Vec<_>>())
        )
        .expect(MEMORY);
        cases.iter().for_each(|case| case.write(name, &mut out));
        out += "  </testsuite>\n";
    }
    out + "</testsuites>\n"
}

const MEMORY: &str = "writing to memory";

enum End {
    Passed,
    Skipped(String),
    Failed(String),
    Error(String),
}

struct Case {
    name: String,
    seconds_milli: u64,
    end: End,
    said: String,
}

fn gate(gate: &Gate) -> Case {
    let why = format!("{}: {} (required: {}) {}", gate.verdict, gate.value, gate.bound, gate.note);
    Case {
        name: format!("{} {}", gate.id, gate.title),
        seconds_milli: 0,
        end: match (gate.verdict, gate.severity) {
            (Outcome::Pass, _) => End::Passed,
            // It makes the whole run invalid, whatever its severity.
            (Outcome::Invalid, _) => End::Error(why),
            (_, Severity::Soft | Severity::Informational) => End::Skipped(why),
            (Outcome::Fail, Severity::Hard) => End::Failed(why),
            (Outcome::Unknown, Severity::Hard) => End::Error(why),
        },
        said: gate.value.clone(),
    }
}

/// Whether the bundle is approved, then each decision; nothing where nobody asked.
fn sign_offs(input: &ReportInput) -> Vec<Case> {
    let Some(given) = &input.sign_offs else { return Vec::new() };
    let case = |name: String, end: End, said: &str| Case {
        name,
        seconds_milli: 0,
        end,
        said: said.to_owned(),
    };
    let why = format!("{}: {}", given.standing, given.reasons.join("; "));
    let end = match given.standing.as_str() {
        "APPROVED" => End::Passed,
        "REFUSED" => End::Failed(why),
        _ => End::Error(why),
    };
    let count = format!("{} of {} approvals", given.approvals, given.threshold);
    let mut cases = vec![case(format!("policy {}", given.policy), end, &count)];
    cases.extend(given.decisions.iter().map(|decision| {
        let end = match (&decision.objection, decision.approves) {
            (Some(why), _) => End::Skipped(format!("does not count: {why}")),
            (None, true) => End::Passed,
            (None, false) => End::Failed(format!("rejects: {}", decision.reason)),
        };
        case(format!("{} as {}", decision.who, decision.role), end, &decision.decided_at)
    }));
    cases
}

fn counts(cases: &[&Case]) -> String {
    let count = |wanted: fn(&End) -> bool| cases.iter().filter(|case| wanted(&case.end)).count();
    let time: u64 = cases.iter().map(|case| case.seconds_milli).sum();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(|end| matches!(end, End::Failed(_))),
        count(|end| matches!(end, End::Error(_))),
        count(|end| matches!(end, End::Skipped(_))),
        seconds(time)
    )
}

fn seconds(milli: u64) -> String {
    format!("{}.{:03}", milli / 1000, milli % 1000)
}

impl Case {
    fn write(&self, suite: &str, out: &mut String) {
        let (name, time) = (escaped(&self.name), seconds(self.seconds_milli));
        write!(
            out,
            "    <testcase classname=\"rehearsal.{suite}\" name=\"{name}\" time=\"{time}\">"
        )
        .expect(MEMORY);
        let ended = match &self.end {
            End::Passed => None,
            End::Skipped(why) => Some(("skipped", why)),
            End::Failed(why) => Some(("failure", why)),
            End::Error(why) => Some(("error", why)),
        };
        if let Some((element, why)) = ended {
            write!(out, "<{element} message=\"{}\"/>", escaped(why)).expect(MEMORY);
        }
        writeln!(out, "<system-out>{}</system-out></testcase>", escaped(&self.said)).expect(MEMORY);
    }
}

/// Text for XML 1.0, which has no place for most control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
