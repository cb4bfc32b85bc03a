//! Looking at something once.

use std::time::Duration;

use serde::Serialize;

use crate::exposition::find;
use crate::http::Http;
use crate::model::{Check, HttpCheck, MetricCheck};
use crate::values::Values;

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It could not be known, which is never yes.
    Unknown,
}

/// An outcome and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// What was seen, for people.
    pub seen: String,
}

impl Answer {
    pub(crate) fn new(outcome: Outcome, seen: String) -> Self {
        Self { outcome, seen }
    }
}

pub(crate) fn look(check: &Check, values: &Values, http: &dyn Http) -> Answer {
    match check {
        Check::Http(check) => look_at_status(check, values, http),
        Check::Metric(check) => look_at_metric(check, values, http),
    }
}

/// Several, of which all have to be yes; looks at every one, so that the journal shows them.
pub(crate) fn look_at_all(checks: &[Check], values: &Values, http: &dyn Http) -> Answer {
    let answers: Vec<Answer> = checks.iter().map(|check| look(check, values, http)).collect();
    let outcome = if answers.iter().any(|answer| answer.outcome == Outcome::No) {
        Outcome::No
    } else {
        answers.iter().map(|answer| answer.outcome).max().unwrap_or(Outcome::Unknown)
    };
    let seen: Vec<String> = answers.into_iter().map(|answer| answer.seen).collect();
    Answer::new(outcome, seen.join("; "))
}

fn look_at_status(check: &HttpCheck, values: &Values, http: &dyn Http) -> Answer {
    let url = format!("{}{}", values.resolve(&check.base), check.path);
    match http.get(&url, Duration::from_millis(check.timeout_ms)) {
        Err(reason) => Answer::new(Outcome::Unknown, format!("{url}: no answer ({reason})")),
        Ok(answer) => {
            let is_so = answer.status == check.status;
            let outcome = if is_so { Outcome::Yes } else { Outcome::No };
            let seen = format!("{url}: {}, expected {}", answer.status, check.status);
            Answer::new(outcome, seen)
        }
    }
}

fn look_at_metric(check: &MetricCheck, values: &Values, http: &dyn Http) -> Answer {
    let url = format!("{}{}", values.resolve(&check.base), check.path);
    let unknown = |reason: String| Answer::new(Outcome::Unknown, format!("{url}: {reason}"));
    let answer = match http.get(&url, Duration::from_millis(check.timeout_ms)) {
        Err(reason) => return unknown(format!("no answer ({reason})")),
        Ok(answer) if answer.status != 200 => return unknown(format!("status {}", answer.status)),
        Ok(answer) => answer,
    };
    let Ok(text) = String::from_utf8(answer.body) else {
        return unknown("the answer is not text".into());
    };
    match find(&text, &check.name, &check.labels) {
        Err(reason) => unknown(reason),
        Ok(value) => {
            let is_so = check.op.holds(value, check.value);
            let outcome = if is_so { Outcome::Yes } else { Outcome::No };
            let (name, sign, bound) = (&check.name, check.op.sign(), check.value);
            Answer::new(outcome, format!("{name} is {value}, expected {sign} {bound}"))
        }
    }
}
