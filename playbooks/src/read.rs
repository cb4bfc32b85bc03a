//! From YAML to a checked playbook.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::PlaybookError;
use crate::model::{
    Action, Check, Comparison, HttpCheck, Interlock, InterlockRule, Kind, MetricCheck, Playbook,
    Program, Quorum, Severity, Step, Text, Variable, Wait,
};
use crate::values::{is_name, validate};

const SCHEMA: &str = "qbind.playbook/v1";
/// Given by the program that runs the playbook, not by the operator.
pub(crate) const GIVEN: &str = "qbindctl";
/// A longer file is not a playbook.
const MOST_BYTES: usize = 256 * 1024;
/// An hour.
const MOST_MS: u64 = 3_600_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlaybook {
    schema: String,
    id: String,
    title: String,
    severity: Severity,
    source: String,
    about: String,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    #[serde(default)]
    diagnose: Vec<RawStep>,
    #[serde(default)]
    interlocks: Vec<RawInterlock>,
    act: Vec<RawStep>,
    done: RawStep,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    id: String,
    title: String,
    #[serde(default)]
    when: BTreeMap<String, String>,
    #[serde(default)]
    destructive: bool,
    http: Option<RawHttp>,
    metric: Option<RawMetric>,
    program: Option<RawProgram>,
    wait_until: Option<RawWait>,
    confirm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    http: Option<RawHttp>,
    metric: Option<RawMetric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    base: String,
    path: String,
    status: u16,
    timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetric {
    base: String,
    path: String,
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    op: Comparison,
    value: f64,
    timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProgram {
    arguments: Vec<String>,
    timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWait {
    all: Vec<RawCheck>,
    every_ms: u64,
    timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterlock {
    id: String,
    because: String,
    refuse_when_all: Option<Vec<RawCheck>>,
    keeps_quorum: Option<RawQuorum>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuorum {
    node: String,
    others: String,
    path: String,
    timeout_ms: u64,
}

/// Reads a playbook; `file` is its name in errors.
///
/// # Errors
/// The author's fault, with the place.
pub fn parse(file: &str, text: &str) -> Result<Playbook, PlaybookError> {
    if text.len() > MOST_BYTES {
        let reason = format!("longer than {MOST_BYTES} bytes");
        return Err(PlaybookError::Rule { file: file.into(), key: "file".into(), reason });
    }
    // Playbooks need no aliases, and a hand-written file is small.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_events: 20_000, max_aliases: 0, max_anchors: 0 },
    };
    let raw: RawPlaybook = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let plain = error.without_snippet();
        let place = plain.location();
        let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
        let text = plain.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        PlaybookError::Syntax { file: file.to_owned(), line, column, message }
    })?;
    let digest = qbind_evidence::Digest::of(&[text.as_bytes()]).to_string();
    let reader = Reader { file, variables: &raw.variables };
    reader.check_header(&raw)?;
    Ok(Playbook {
        diagnose: reader.steps(raw.diagnose, "diagnose")?,
        interlocks: reader.interlocks(raw.interlocks)?,
        act: reader.steps(raw.act, "act")?,
        done: reader.done(raw.done)?,
        id: raw.id,
        title: raw.title,
        severity: raw.severity,
        source: raw.source,
        about: raw.about,
        variables: raw.variables,
        digest,
    })
}

struct Reader<'a> {
    file: &'a str,
    variables: &'a BTreeMap<String, Variable>,
}

impl Reader<'_> {
    fn wrong(&self, key: impl Into<String>, reason: impl Into<String>) -> PlaybookError {
        PlaybookError::Rule { file: self.file.into(), key: key.into(), reason: reason.into() }
    }

    fn check_header(&self, raw: &RawPlaybook) -> Result<(), PlaybookError> {
        if raw.schema != SCHEMA {
            return Err(self.wrong("schema", format!("{} is not {SCHEMA}", raw.schema)));
        }
        if !is_name(&raw.id) {
            return Err(self.wrong("id", "a name has letters, digits and dashes only"));
        }
        for (name, variable) in self.variables {
            let key = format!("variables.{name}");
            if !is_name(name) || name == GIVEN {
                return Err(self.wrong(key, "this name cannot be used"));
            }
            if (variable.kind == Kind::Choice) == variable.choices.is_empty() {
                return Err(self.wrong(key, "choices belong to the kind `choice`, and only there"));
            }
            for value in variable.choices.iter().chain(&variable.default) {
                validate(variable, value).map_err(|reason| self.wrong(key.clone(), reason))?;
            }
        }
        let mut seen = BTreeSet::new();
        let steps = raw.diagnose.iter().chain(&raw.act).chain([&raw.done]).map(|step| &step.id);
        for id in steps.chain(raw.interlocks.iter().map(|interlock| &interlock.id)) {
            if !is_name(id) || !seen.insert(id) {
                return Err(self.wrong(id.clone(), "ids are names, and each is given once"));
            }
        }
        Ok(())
    }

    fn steps(&self, raw: Vec<RawStep>, part: &str) -> Result<Vec<Step>, PlaybookError> {
        raw.into_iter()
            .map(|step| {
                let step = self.step(step)?;
                if part == "diagnose" && step.is_destructive {
                    return Err(self.wrong(step.id, "a diagnosis destroys nothing"));
                }
                Ok(step)
            })
            .collect()
    }

    fn done(&self, raw: RawStep) -> Result<Step, PlaybookError> {
        let step = self.step(raw)?;
        if !matches!(step.action, Action::Wait(_)) || !step.when.is_empty() {
            return Err(self.wrong(step.id, "`done` is a wait_until, without conditions"));
        }
        Ok(step)
    }

    fn step(&self, raw: RawStep) -> Result<Step, PlaybookError> {
        let id = raw.id;
        let mut actions = Vec::new();
        if let Some(http) = raw.http {
            actions.push(Action::Check(Check::Http(self.http(&id, http)?)));
        }
        if let Some(metric) = raw.metric {
            actions.push(Action::Check(Check::Metric(self.metric(&id, metric)?)));
        }
        if let Some(program) = raw.program {
            actions.push(Action::Program(self.program(&id, program)?));
        }
        if let Some(wait) = raw.wait_until {
            actions.push(Action::Wait(self.wait(&id, wait)?));
        }
        actions.extend(raw.confirm.map(Action::Confirm));
        let Some(action) = actions.pop().filter(|_| actions.is_empty()) else {
            return Err(
                self.wrong(id, "a step has one of http, metric, program, wait_until, confirm")
            );
        };
        if raw.destructive && !matches!(action, Action::Program(_)) {
            return Err(self.wrong(id, "only a program can be destructive"));
        }
        for (name, value) in &raw.when {
            let Some(variable) = self.variables.get(name) else {
                return Err(self.wrong(id, format!("no variable is named {name}")));
            };
            validate(variable, value).map_err(|reason| self.wrong(id.clone(), reason))?;
        }
        Ok(Step { title: raw.title, when: raw.when, is_destructive: raw.destructive, action, id })
    }

    fn interlocks(&self, raw: Vec<RawInterlock>) -> Result<Vec<Interlock>, PlaybookError> {
        raw.into_iter()
            .map(|raw| {
                let id = raw.id;
                let rule = match (raw.refuse_when_all, raw.keeps_quorum) {
                    (Some(checks), None) => InterlockRule::RefuseWhenAll(self.checks(&id, checks)?),
                    (None, Some(quorum)) => InterlockRule::KeepsQuorum(Quorum {
                        node: self.text(&id, &quorum.node, &[Kind::Url])?,
                        others: self.text(&id, &quorum.others, &[Kind::Urls])?,
                        path: self.path(&id, quorum.path)?,
                        timeout_ms: self.limit(&id, quorum.timeout_ms)?,
                    }),
                    _ => {
                        let reason = "an interlock has one of refuse_when_all, keeps_quorum";
                        return Err(self.wrong(id, reason));
                    }
                };
                Ok(Interlock { because: raw.because, rule, id })
            })
            .collect()
    }

    fn checks(&self, id: &str, raw: Vec<RawCheck>) -> Result<Vec<Check>, PlaybookError> {
        if raw.is_empty() {
            return Err(self.wrong(id, "name at least one check"));
        }
        let one = |raw: RawCheck| match (raw.http, raw.metric) {
            (Some(http), None) => Ok(Check::Http(self.http(id, http)?)),
            (None, Some(metric)) => Ok(Check::Metric(self.metric(id, metric)?)),
            _ => Err(self.wrong(id, "a check has one of http, metric")),
        };
        raw.into_iter().map(one).collect()
    }

    fn http(&self, id: &str, raw: RawHttp) -> Result<HttpCheck, PlaybookError> {
        Ok(HttpCheck {
            base: self.text(id, &raw.base, &[Kind::Url])?,
            path: self.path(id, raw.path)?,
            status: raw.status,
            timeout_ms: self.limit(id, raw.timeout_ms)?,
        })
    }

    fn metric(&self, id: &str, raw: RawMetric) -> Result<MetricCheck, PlaybookError> {
        if !raw.value.is_finite() {
            return Err(self.wrong(id, "the bound is not a number"));
        }
        Ok(MetricCheck {
            base: self.text(id, &raw.base, &[Kind::Url])?,
            path: self.path(id, raw.path)?,
            name: raw.name,
            labels: raw.labels,
            op: raw.op,
            value: raw.value,
            timeout_ms: self.limit(id, raw.timeout_ms)?,
        })
    }

    fn program(&self, id: &str, raw: RawProgram) -> Result<Program, PlaybookError> {
        if raw.arguments.is_empty() {
            return Err(self.wrong(id, "arguments: the program comes first"));
        }
        // Several values in one argument would have to be taken apart again by the program.
        let kinds = [Kind::Url, Kind::Name, Kind::Path, Kind::Choice, Kind::Number];
        let texts = raw.arguments.iter().map(|text| self.text(id, text, &kinds));
        Ok(Program {
            arguments: texts.collect::<Result<_, _>>()?,
            timeout_ms: self.limit(id, raw.timeout_ms)?,
        })
    }

    fn wait(&self, id: &str, raw: RawWait) -> Result<Wait, PlaybookError> {
        Ok(Wait {
            all: self.checks(id, raw.all)?,
            every_ms: self.limit(id, raw.every_ms)?,
            timeout_ms: self.limit(id, raw.timeout_ms)?,
        })
    }

    /// Plain text, or `${name}` as a whole.
    fn text(&self, id: &str, text: &str, kinds: &[Kind]) -> Result<Text, PlaybookError> {
        let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name else {
            if text.contains("${") {
                let reason = format!("`{text}` mixes text and a variable; give it as a whole");
                return Err(self.wrong(id, reason));
            }
            return Ok(Text::Plain(text.to_owned()));
        };
        let kind = match self.variables.get(name) {
            Some(variable) => variable.kind,
            None if name == GIVEN => Kind::Path,
            None => return Err(self.wrong(id, format!("no variable is named {name}"))),
        };
        if !kinds.contains(&kind) {
            let reason = format!("the variable {name} is of the kind {kind:?}, which does not fit");
            return Err(self.wrong(id, reason));
        }
        Ok(Text::Variable(name.to_owned()))
    }

    fn path(&self, id: &str, path: String) -> Result<String, PlaybookError> {
        let is_fine = path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic());
        if is_fine { Ok(path) } else { Err(self.wrong(id, format!("path `{path}` is no path"))) }
    }

    fn limit(&self, id: &str, ms: u64) -> Result<u64, PlaybookError> {
        if (1..=MOST_MS).contains(&ms) {
            return Ok(ms);
        }
        Err(self.wrong(id, format!("{ms} ms; from 1 to {MOST_MS} are possible")))
    }
}
