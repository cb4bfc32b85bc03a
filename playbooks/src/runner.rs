//! Runs a playbook, and journals what it does.

use std::time::{Duration, Instant};

use qbind_evidence::Journal;
use serde_json::json;

use crate::check::{Answer, Outcome, look, look_at_all};
use crate::error::RunError;
use crate::http::Http;
use crate::model::{Action, Check, Interlock, InterlockRule, Playbook, Quorum, Step, Text, Wait};
use crate::process;
use crate::values::Values;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The condition of `done` holds.
    Done,
    /// A step failed, or the condition does not hold in time.
    NotDone {
        /// The step.
        step: String,
        /// What was seen last.
        seen: String,
    },
    /// Whether it holds cannot be known.
    Unknown {
        /// The step.
        step: String,
        /// What was seen last.
        seen: String,
    },
    /// An interlock or the operator refused; nothing was changed.
    Refused {
        /// The interlock or step.
        by: String,
        /// Why.
        why: String,
    },
    /// The operator declined after something had been done already.
    Stopped {
        /// The step.
        step: String,
    },
}

impl Verdict {
    /// The exit code that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotDone { .. } | Self::Stopped { .. } => 1,
            Self::Unknown { .. } => 2,
            Self::Refused { .. } => 4,
        }
    }
}

/// Who is asked before something destructive.
pub trait Consent {
    /// Whether to go on with `what`.
    fn ask(&mut self, what: &str) -> bool;
}

/// What a run tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step begins.
    Began {
        /// `diagnose`, `interlock`, `act` or `done`.
        part: &'static str,
        /// Its id.
        id: String,
        /// Its title.
        title: String,
    },
    /// A step has ended.
    Ended {
        /// As it began.
        part: &'static str,
        /// Its id.
        id: String,
        /// What it found; no to an interlock means that it refuses.
        answer: Answer,
    },
}

/// Everything a run needs.
pub struct Run<'a> {
    /// What to do.
    pub playbook: &'a Playbook,
    /// With which values.
    pub values: &'a Values,
    /// Who asks nodes.
    pub http: &'a dyn Http,
    /// Who agrees.
    pub consent: &'a mut dyn Consent,
    /// Where it is written down.
    pub journal: &'a Journal,
    /// Who hears of it.
    pub tell: &'a mut dyn FnMut(&Event),
}

/// What would be done, one line a step, nothing asked and nothing changed.
pub fn plan(playbook: &Playbook, values: &Values) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |part: &str, step: &Step| {
        if values.selects(step) {
            let mark = if step.is_destructive { " (destructive: needs consent)" } else { "" };
            let what = describe(&step.action, values);
            lines.push(format!("{part} {}{mark}: {what}", step.id));
        }
    };
    playbook.diagnose.iter().for_each(|step| put("diagnose", step));
    playbook.act.iter().for_each(|step| put("act", step));
    put("done", &playbook.done);
    let interlocks = playbook.interlocks.iter().map(|interlock| {
        let rule = match &interlock.rule {
            InterlockRule::RefuseWhenAll(checks) => {
                let checks: Vec<String> =
                    checks.iter().map(|check| describe_check(check, values)).collect();
                format!("refuses when {}", checks.join(" and "))
            }
            InterlockRule::KeepsQuorum(quorum) => format!(
                "refuses when taking down {} leaves too few of {}",
                values.resolve(&quorum.node),
                values.resolve(&quorum.others)
            ),
        };
        format!("interlock {}: {rule}", interlock.id)
    });
    // They stand between observing and acting.
    let at = lines.iter().take_while(|line| line.starts_with("diagnose")).count();
    let interlocks: Vec<String> = interlocks.collect();
    lines.splice(at..at, interlocks);
    lines
}

impl Run<'_> {
    /// Runs to the end.
    ///
    /// # Errors
    /// The machine's fault: the journal cannot be written, or nothing can be started.
    pub fn execute(mut self) -> Result<Verdict, RunError> {
        let values: serde_json::Map<_, _> =
            self.values.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        self.journal.append(
            "playbook.started",
            json!({"id": self.playbook.id, "digest": self.playbook.digest, "values": values}),
        )?;
        let verdict = self.go()?;
        let data = match &verdict {
            Verdict::Done => json!({"verdict": "DONE"}),
            Verdict::NotDone { step, seen } => {
                json!({"verdict": "NOT_DONE", "step": step, "seen": seen})
            }
            Verdict::Unknown { step, seen } => {
                json!({"verdict": "UNKNOWN", "step": step, "seen": seen})
            }
            Verdict::Refused { by, why } => json!({"verdict": "REFUSED", "by": by, "why": why}),
            Verdict::Stopped { step } => json!({"verdict": "STOPPED", "step": step}),
        };
        self.journal.append("playbook.ended", data)?;
        Ok(verdict)
    }

    fn go(&mut self) -> Result<Verdict, RunError> {
        let playbook = self.playbook;
        for step in &playbook.diagnose {
            self.step("diagnose", step)?;
        }
        for interlock in &playbook.interlocks {
            let answer = self.interlock(interlock)?;
            if answer.outcome == Outcome::No {
                let why = format!("{} ({})", interlock.because, answer.seen);
                return Ok(Verdict::Refused { by: interlock.id.clone(), why });
            }
        }
        let mut has_changed = false;
        for step in &playbook.act {
            if !self.values.selects(step) {
                continue;
            }
            if !self.has_consent(step)? {
                let id = step.id.clone();
                if has_changed {
                    return Ok(Verdict::Stopped { step: id });
                }
                let why = "it needs consent: confirm it, or give --yes".to_owned();
                return Ok(Verdict::Refused { by: id, why });
            }
            has_changed |= step.is_destructive;
            if let Some(answer) = self.step("act", step)?
                && answer.outcome != Outcome::Yes
            {
                return Ok(failed(step, answer));
            }
        }
        match self.step("done", &playbook.done)? {
            Some(answer) if answer.outcome != Outcome::Yes => Ok(failed(&playbook.done, answer)),
            _ => Ok(Verdict::Done),
        }
    }

    fn has_consent(&mut self, step: &Step) -> Result<bool, RunError> {
        let question = match &step.action {
            Action::Confirm(question) => question.clone(),
            action if step.is_destructive => {
                format!("{}: {}", step.title, describe(action, self.values))
            }
            _ => return Ok(true),
        };
        let is_given = self.consent.ask(&question);
        let data = json!({"id": step.id, "question": question, "given": is_given});
        self.journal.append("consent", data)?;
        Ok(is_given)
    }

    /// One step; `None` when these values leave it out.
    fn step(&mut self, part: &'static str, step: &Step) -> Result<Option<Answer>, RunError> {
        if !self.values.selects(step) {
            return Ok(None);
        }
        self.began(part, &step.id, &step.title, &describe(&step.action, self.values))?;
        let answer = match &step.action {
            Action::Check(check) => look(check, self.values, self.http),
            Action::Wait(wait) => self.wait(wait),
            Action::Confirm(_) => Answer::new(Outcome::Yes, "confirmed".into()),
            Action::Program(program) => {
                let arguments: Vec<&str> =
                    program.arguments.iter().map(|text| self.values.resolve(text)).collect();
                process::run(&arguments, Duration::from_millis(program.timeout_ms))?
            }
        };
        self.ended(part, &step.id, answer).map(Some)
    }

    /// No is "do not act".
    fn interlock(&mut self, interlock: &Interlock) -> Result<Answer, RunError> {
        self.began("interlock", &interlock.id, &interlock.because, "")?;
        let answer = match &interlock.rule {
            InterlockRule::RefuseWhenAll(checks) => {
                let answer = look_at_all(checks, self.values, self.http);
                let outcome = match answer.outcome {
                    Outcome::Yes => Outcome::No,
                    Outcome::No | Outcome::Unknown => Outcome::Yes,
                };
                Answer { outcome, ..answer }
            }
            InterlockRule::KeepsQuorum(quorum) => self.keeps_quorum(quorum),
        };
        self.ended("interlock", &interlock.id, answer)
    }

    /// Whether the network still tolerates what is down when this node goes down, too.
    fn keeps_quorum(&self, quorum: &Quorum) -> Answer {
        let is_up = |base: &str| {
            let check = Check::Http(crate::model::HttpCheck {
                base: Text::Plain(base.to_owned()),
                path: quorum.path.clone(),
                status: 200,
                timeout_ms: quorum.timeout_ms,
            });
            // Who does not answer may be up; but it cannot be counted on.
            look(&check, self.values, self.http).outcome == Outcome::Yes
        };
        let node = self.values.resolve(&quorum.node);
        let all = self.values.resolve(&quorum.others).split(',');
        let others: std::collections::BTreeSet<&str> = all.filter(|other| *other != node).collect();
        let down: Vec<&str> = others.iter().copied().filter(|other| !is_up(other)).collect();
        let validators = others.len() + 1;
        let tolerated = (validators - 1) / 3;
        let seen = format!(
            "{} of {validators} validators down besides this one, {tolerated} tolerated{}{}",
            down.len(),
            if down.is_empty() { "" } else { ": " },
            down.join(", ")
        );
        // A node that is down already does not get worse by being started again.
        let would_harm = down.len() + 1 > tolerated && is_up(node);
        Answer::new(if would_harm { Outcome::No } else { Outcome::Yes }, seen)
    }

    fn wait(&self, wait: &Wait) -> Answer {
        let end = Instant::now() + Duration::from_millis(wait.timeout_ms);
        loop {
            let answer = look_at_all(&wait.all, self.values, self.http);
            let next = Instant::now() + Duration::from_millis(wait.every_ms);
            if answer.outcome == Outcome::Yes {
                return answer;
            }
            if next > end {
                let seen = format!("after {} ms: {}", wait.timeout_ms, answer.seen);
                return Answer { seen, ..answer };
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn began(
        &mut self,
        part: &'static str,
        id: &str,
        title: &str,
        what: &str,
    ) -> Result<(), RunError> {
        self.journal.append("step.began", json!({"part": part, "id": id, "what": what}))?;
        (self.tell)(&Event::Began { part, id: id.to_owned(), title: title.to_owned() });
        Ok(())
    }

    fn ended(&mut self, part: &'static str, id: &str, answer: Answer) -> Result<Answer, RunError> {
        let data = json!({"id": id, "outcome": answer.outcome, "seen": answer.seen});
        self.journal.append("step.ended", data)?;
        (self.tell)(&Event::Ended { part, id: id.to_owned(), answer: answer.clone() });
        Ok(answer)
    }
}

fn failed(step: &Step, answer: Answer) -> Verdict {
    let (step, seen) = (step.id.clone(), answer.seen);
    match answer.outcome {
        Outcome::Unknown => Verdict::Unknown { step, seen },
        _ => Verdict::NotDone { step, seen },
    }
}

fn describe(action: &Action, values: &Values) -> String {
    match action {
        Action::Check(check) => describe_check(check, values),
        Action::Confirm(question) => format!("ask: {question}"),
        Action::Program(program) => {
            // Quoted as a list: it is one.
            let arguments: Vec<&str> =
                program.arguments.iter().map(|text| values.resolve(text)).collect();
            format!("run {arguments:?}, at most {} ms", program.timeout_ms)
        }
        Action::Wait(wait) => {
            let checks: Vec<String> =
                wait.all.iter().map(|check| describe_check(check, values)).collect();
            format!("wait until {}, at most {} ms", checks.join(" and "), wait.timeout_ms)
        }
    }
}

fn describe_check(check: &Check, values: &Values) -> String {
    match check {
        Check::Http(http) => {
            format!("{}{} is {}", values.resolve(&http.base), http.path, http.status)
        }
        Check::Metric(metric) => {
            let labels: Vec<String> =
                metric.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            format!("{}{labels} {} {}", metric.name, metric.op.sign(), metric.value)
        }
    }
}
