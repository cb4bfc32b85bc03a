//! What a gate found while it looked, and how that adds up.

use crate::{
    catalogue::Entry,
    verdict::{Gate, Outcome, Severity, Vantage, Window},
};

/// At most this many sentences of a kind are kept; the rest is counted.
const KEPT: usize = 6;

/// Findings of one gate. Any failure fails it; else a different environment makes it INVALID; else
/// anything missing makes it UNKNOWN; only without all of these does it pass.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    fails: Sentences,
    invalids: Sentences,
    unknowns: Sentences,
    remarks: Sentences,
    pub(crate) value: String,
    pub(crate) bound: String,
    pub(crate) margin_permille: Option<i64>,
    pub(crate) samples: u64,
    pub(crate) window: Option<Window>,
    pub(crate) evidence: Vec<String>,
}

#[derive(Debug, Default)]
struct Sentences {
    kept: Vec<String>,
    count: usize,
}

impl Sentences {
    fn push(&mut self, text: String) {
        self.count += 1;
        if self.kept.len() < KEPT && !self.kept.contains(&text) {
            self.kept.push(text);
        }
    }

    fn absorb(&mut self, other: Self) {
        self.count += other.count.saturating_sub(other.kept.len());
        other.kept.into_iter().for_each(|text| self.push(text));
    }

    fn text(&self) -> Option<String> {
        let more = self.count.saturating_sub(self.kept.len());
        match (self.count, more) {
            (0, _) => None,
            (_, 0) => Some(self.kept.join("; ")),
            _ => Some(format!("{}; and {more} more", self.kept.join("; "))),
        }
    }
}

impl Finding {
    /// Nothing found yet in a window.
    pub(crate) fn over(window: Window) -> Self {
        Self { window: Some(window), ..Self::default() }
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>) {
        self.fails.push(text.into());
    }

    pub(crate) fn invalid(&mut self, text: impl Into<String>) {
        self.invalids.push(text.into());
    }

    pub(crate) fn unknown(&mut self, text: impl Into<String>) {
        self.unknowns.push(text.into());
    }

    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Takes over the sentences of another, as if they had been found here one after another.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.fails.absorb(other.fails);
        self.invalids.absorb(other.invalids);
        self.unknowns.absorb(other.unknowns);
        self.remarks.absorb(other.remarks);
    }

    /// Takes over a verdict reached elsewhere.
    pub(crate) fn as_found(&mut self, (outcome, note): &(Outcome, String)) {
        match outcome {
            Outcome::Fail => self.fail(note.clone()),
            Outcome::Invalid => self.invalid(note.clone()),
            Outcome::Unknown => self.unknown(note.clone()),
            Outcome::Pass => self.remark(note.clone()),
        }
    }

    /// Nothing but missing data so far.
    pub(crate) fn has_failed(&self) -> bool {
        self.fails.count > 0
    }

    fn outcome(&self) -> Outcome {
        if self.fails.count > 0 {
            Outcome::Fail
        } else if self.invalids.count > 0 {
            Outcome::Invalid
        } else if self.unknowns.count > 0 {
            Outcome::Unknown
        } else {
            Outcome::Pass
        }
    }

    /// Compares a measured number with an upper bound, and keeps the thinnest margin.
    pub(crate) fn at_most(&mut self, value: u64, bound: u64, what: &str) {
        self.keep_margin(margin(bound as i128 - value as i128, bound));
        if value > bound {
            self.fail(format!("{what} is {value}, at most {bound} allowed"));
        }
    }

    /// Compares a measured number with a lower bound, and keeps the thinnest margin.
    pub(crate) fn at_least(&mut self, value: u64, bound: u64, what: &str) {
        self.keep_margin(margin(value as i128 - bound as i128, bound));
        if value < bound {
            self.fail(format!("{what} is {value}, at least {bound} required"));
        }
    }

    pub(crate) fn keep_margin(&mut self, margin: i64) {
        self.margin_permille = Some(self.margin_permille.map_or(margin, |m| m.min(margin)));
    }

    pub(crate) fn into_gate(self, entry: &Entry) -> Gate {
        let head = (entry.id, entry.title, entry.query.to_owned());
        self.into_added(head, entry.severity, entry.vantage)
    }

    /// As a gate with this id, title and query.
    pub(crate) fn into_added(
        self,
        (id, title, query): (&str, &str, String),
        severity: Severity,
        vantage: Vantage,
    ) -> Gate {
        let verdict = self.outcome();
        let parts = [&self.fails, &self.invalids, &self.unknowns, &self.remarks];
        let note: Vec<String> = parts.iter().filter_map(|s| s.text()).collect();
        Gate {
            id: id.to_owned(),
            title: title.to_owned(),
            severity,
            verdict,
            vantage,
            query,
            value: if self.value.is_empty() { "none".to_owned() } else { self.value },
            bound: self.bound,
            margin_permille: self.margin_permille,
            samples: self.samples,
            window: self.window,
            evidence: self.evidence,
            note: note.join(". "),
        }
    }
}

/// `distance` in thousandths of `bound`.
pub(crate) fn margin(distance: i128, bound: u64) -> i64 {
    let permille = distance * 1000 / i128::from(bound.max(1));
    i64::try_from(permille.clamp(-1_000_000, 1_000_000)).expect("clamped")
}
