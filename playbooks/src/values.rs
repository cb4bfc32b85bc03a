//! The values of a playbook's variables.

use std::collections::BTreeMap;

use crate::error::PlaybookError;
use crate::model::{Action, Check, InterlockRule, Kind, Playbook, Step, Text, Variable};
use crate::read::GIVEN;

/// Longer values are mistakes.
const MOST_BYTES: usize = 4_096;

/// Values that have been checked against the variables of a playbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Checks `settings` (`name=value`) and adds defaults; `qbindctl` is the program's own path.
    ///
    /// # Errors
    /// The operator's fault: an unknown or missing variable, or a value that is not of its kind.
    pub fn new(
        playbook: &Playbook,
        settings: &[String],
        qbindctl: &str,
    ) -> Result<Self, PlaybookError> {
        let mut values = BTreeMap::new();
        let wrong =
            |name: &str, reason: String| PlaybookError::Variable { name: name.to_owned(), reason };
        for setting in settings {
            let Some((name, value)) = setting.split_once('=') else {
                return Err(wrong(setting, "give it as name=value".into()));
            };
            let Some(variable) = playbook.variables.get(name) else {
                let known: Vec<&str> = playbook.variables.keys().map(String::as_str).collect();
                return Err(wrong(
                    name,
                    format!("no such variable; there are {}", known.join(", ")),
                ));
            };
            validate(variable, value).map_err(|reason| wrong(name, reason))?;
            if values.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(wrong(name, "given twice".into()));
            }
        }
        for (name, variable) in &playbook.variables {
            if let Some(default) = &variable.default {
                values.entry(name.clone()).or_insert_with(|| default.clone());
            }
            if !values.contains_key(name) && !variable.optional {
                return Err(wrong(name, format!("missing: {}", variable.about)));
            }
        }
        values.insert(GIVEN.to_owned(), qbindctl.to_owned());
        let values = Self(values);
        for name in values.needed(playbook) {
            if !values.0.contains_key(name) {
                let about = playbook.variables.get(name).map_or("", |variable| &variable.about);
                return Err(wrong(name, format!("missing: {about}")));
            }
        }
        Ok(values)
    }

    /// Whether a step runs with these values.
    pub fn selects(&self, step: &Step) -> bool {
        step.when.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// The text itself.
    pub(crate) fn resolve<'a>(&'a self, text: &'a Text) -> &'a str {
        match text {
            Text::Plain(text) => text,
            Text::Variable(name) => {
                self.0.get(name).expect("whatever a selected step needs was checked to be there")
            }
        }
    }

    /// Names and values, for the journal.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The variables that the steps which run refer to.
    fn needed<'a>(&self, playbook: &'a Playbook) -> Vec<&'a str> {
        let mut texts: Vec<&Text> = Vec::new();
        let steps = playbook.diagnose.iter().chain(&playbook.act).chain([&playbook.done]);
        for step in steps.filter(|step| self.selects(step)) {
            match &step.action {
                Action::Check(check) => texts.push(base(check)),
                Action::Program(program) => texts.extend(&program.arguments),
                Action::Wait(wait) => texts.extend(wait.all.iter().map(base)),
                Action::Confirm(_) => {}
            }
        }
        for interlock in &playbook.interlocks {
            match &interlock.rule {
                InterlockRule::RefuseWhenAll(checks) => texts.extend(checks.iter().map(base)),
                InterlockRule::KeepsQuorum(quorum) => texts.extend([&quorum.node, &quorum.others]),
            }
        }
        let names = texts.into_iter().filter_map(|text| match text {
            Text::Variable(name) => Some(name.as_str()),
            Text::Plain(_) => None,
        });
        names.collect()
    }
}

fn base(check: &Check) -> &Text {
    match check {
        Check::Http(http) => &http.base,
        Check::Metric(metric) => &metric.base,
    }
}

/// Letters, digits, dashes and underscores, not a dash first.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(fits)
}

/// Whether a value is of the variable's kind; the error says why not.
pub(crate) fn validate(variable: &Variable, value: &str) -> Result<(), String> {
    let shown: String = value.chars().take(60).collect();
    if value.is_empty() || value.len() > MOST_BYTES {
        return Err(format!("a value has 1 to {MOST_BYTES} bytes"));
    }
    if value.starts_with('-') {
        return Err(format!("`{shown}` begins with a dash, which a program takes for an option"));
    }
    if value.chars().any(char::is_control) {
        return Err("a value has no control characters".into());
    }
    match variable.kind {
        Kind::Url => check_url(value),
        Kind::Urls => value.split(',').try_for_each(check_url),
        Kind::Name => {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
            if value.chars().all(fits) {
                return Ok(());
            }
            Err(format!("`{shown}` has more than letters, digits and . _ - @ :"))
        }
        Kind::Path => Ok(()),
        Kind::Choice => {
            if variable.choices.iter().any(|choice| choice == value) {
                return Ok(());
            }
            Err(format!("`{shown}` is none of {}", variable.choices.join(", ")))
        }
        Kind::Number => {
            let is_whole = value.bytes().all(|byte| byte.is_ascii_digit());
            if is_whole && value.parse::<u64>().is_ok() {
                return Ok(());
            }
            Err(format!("`{shown}` is not a whole number"))
        }
    }
}

/// `http://host:port`, nothing else: what follows is the playbook's business.
fn check_url(text: &str) -> Result<(), String> {
    let shown: String = text.chars().take(60).collect();
    if text.starts_with("https:") {
        return Err(format!("`{shown}`: UNSUPPORTED, nodes speak http; give http://host:port"));
    }
    let url = reqwest::Url::parse(text).map_err(|error| format!("`{shown}`: {error}"))?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if url.scheme() == "http" && url.has_host() && is_bare && !text.ends_with('/') {
        return Ok(());
    }
    Err(format!("`{shown}` is not of the form http://host:port"))
}
