//! What a reader must know first: why this verdict, how thin it is, what it does not cover.

use crate::{input::ReportInput, text};
use qbind_gates::{Gate, Outcome, Severity, Verdict};

/// Thinnest margins shown.
const THINNEST: usize = 5;
const WAIVER: &str = " This needs a signed waiver.";

/// The reason for the verdict, in sentences, the deciding ones first.
pub(crate) fn why(input: &ReportInput) -> Vec<String> {
    if input.gates.is_empty() {
        return vec!["There are no gate results, so nothing was decided.".to_owned()];
    }
    let hard = |gate: &&Gate| gate.severity == Severity::Hard;
    let of = |outcome: Outcome| input.gates.iter().filter(move |gate| gate.verdict == outcome);
    let mut sentences = Vec::new();
    match input.verdict {
        Verdict::Pass => {
            let all = input.gates.iter().filter(hard).count();
            let checks: u64 = input.gates.iter().filter(hard).map(|gate| gate.samples).sum();
            let checks = text::grouped(checks);
            sentences.push(format!("All {all} hard gates passed, over {checks} samples."));
        }
        Verdict::Fail => sentences.extend(of(Outcome::Fail).filter(hard).map(sentence)),
        Verdict::Invalid => sentences.extend(of(Outcome::Invalid).map(sentence)),
        Verdict::Inconclusive => sentences.extend(of(Outcome::Unknown).filter(hard).map(sentence)),
    }
    for (outcome, severity, what, then) in [
        (Outcome::Fail, Severity::Soft, "Outside its bound without deciding", WAIVER),
        (Outcome::Unknown, Severity::Soft, "Not known, which does not decide", WAIVER),
        (Outcome::Fail, Severity::Informational, "Outside its bound, for information", ""),
        (Outcome::Unknown, Severity::Informational, "Not known, for information", ""),
    ] {
        let open = of(outcome).filter(|gate| gate.severity == severity);
        let gates: Vec<&str> = open.map(|gate| gate.id.as_str()).collect();
        if !gates.is_empty() {
            sentences.push(format!("{what}: {}.{then}", gates.join(", ")));
        }
    }
    sentences
}

fn sentence(gate: &Gate) -> String {
    let verdict = match gate.verdict {
        Outcome::Pass => "passed",
        Outcome::Fail => "failed",
        Outcome::Unknown => "could not be decided",
        Outcome::Invalid => "found an environment that was not as planned",
    };
    let because = if gate.note.is_empty() { &gate.value } else { &gate.note };
    format!("{}, {}, {verdict}: {}.", gate.id, gate.title, because.trim_end_matches('.'))
}

/// Gates whose result lies nearest to its bound, the thinnest first.
pub(crate) fn thinnest(input: &ReportInput) -> Vec<&Gate> {
    let mut gates: Vec<&Gate> =
        input.gates.iter().filter(|gate| gate.margin_permille.is_some()).collect();
    gates.sort_by_key(|gate| gate.margin_permille);
    gates.truncate(THINNEST);
    gates
}

/// What a reader might take for granted and must not.
pub(crate) fn not_tested(input: &ReportInput) -> Vec<String> {
    let mut list = Vec::new();
    if input.run.target != "inventory" {
        list.push(
            "Real links and hosts: delay, jitter and loss were emulated between processes on one \
             machine, which shared its processors and disk."
                .to_owned(),
        );
    }
    if input.run.form != "full" {
        list.push(
            "Long duration: this was the quick form, with 1,000 probes a pair, short steps and a \
             short live window. Leaks and slow drifts do not show in it."
                .to_owned(),
        );
    }
    for (words, what) in [
        ("kill", "The loss of a validator under load: no node was killed."),
        ("cut", "A partition under load: no region was cut off."),
        ("loss", "A burst of loss under load: none was planned."),
    ] {
        if !input.faults.iter().any(|fault| fault.what.contains(words)) {
            list.push(what.to_owned());
        }
    }
    list.extend(input.faults.iter().filter(|fault| !fault.done).map(|fault| {
        format!("The planned fault {}: it was not carried out as planned.", fault.id)
    }));
    list.extend(
        input
            .steps
            .iter()
            .filter(|step| step.verdict.is_none())
            .map(|step| format!("Step {}, {}: there is no result.", step.id, step.title)),
    );
    if input.controls.is_empty() {
        list.push(
            "The gates themselves: no violation was injected in this run to show that each gate \
             turns red."
                .to_owned(),
        );
    }
    list.push(
        "Malicious validators on the live network, clock skew, full or failing disks, and floods \
         from outside."
            .to_owned(),
    );
    list.extend(input.not_tested.iter().cloned());
    list
}
