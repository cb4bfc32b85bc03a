//! What was seen, before anything is concluded from it.
//!
//! The stored form is JSON lines: the first line is the header ([`RawMeasurement`] without its pairs), and each
//! further line one [`RawPair`]. In a pair, `rtt_ns[i]` and `late_us[i]` belong to the i-th counted probe, which
//! was due at `phase_us + i * interval_us` after the first due time; -1 in `rtt_ns` is "no answer".

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::SamplesError;
use crate::schedule::Schedule;

/// The name of the stored form.
const SCHEMA: &str = "qbind.samples/v1";

/// The samples of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMeasurement {
    /// How it was measured.
    pub schedule: Schedule,
    /// When the first probe was due.
    pub started_unix_ms: u64,
    /// One entry for every directed pair.
    pub pairs: Vec<RawPair>,
}

/// The samples of one directed pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPair {
    /// The region probed from.
    pub from: String,
    /// The region probed.
    pub to: String,
    /// The address probed from.
    pub source: Ipv4Addr,
    /// The address probed.
    pub target: Ipv4Addr,
    /// Where on the grid this pair starts.
    pub phase_us: u64,
    /// How much later than due each probe left.
    pub late_us: Vec<u64>,
    /// Round-trip time of each probe, or -1.
    pub rtt_ns: Vec<i64>,
    /// Answers to probes that had been answered; absent where the engine cannot tell.
    pub duplicates: Option<u64>,
    /// Round trips that the kernel stamped at neither end or one only, so that the program's clock was used.
    pub program_stamped: u64,
    /// Probes that the system refused to send; they count as sent and lost.
    pub refused: u64,
    /// Steps of the wall clock during the run: the largest, and how many.
    pub largest_clock_step_us: u64,
    /// See above.
    pub clock_steps: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: String,
    schedule: Schedule,
    started_unix_ms: u64,
}

impl RawMeasurement {
    /// Writes the stored form.
    ///
    /// # Errors
    /// The world's fault: `to` cannot be written.
    pub fn write_to(&self, mut to: impl Write) -> Result<(), SamplesError> {
        let header = Header {
            schema: SCHEMA.into(),
            schedule: self.schedule.clone(),
            started_unix_ms: self.started_unix_ms,
        };
        let mut put = |line: usize, text: serde_json::Result<String>| {
            let text = text.expect("numbers and strings always have a form in JSON");
            writeln!(to, "{text}").map_err(|source| SamplesError::Io { line, source })
        };
        put(1, serde_json::to_string(&header))?;
        for (at, pair) in self.pairs.iter().enumerate() {
            put(at + 2, serde_json::to_string(pair))?;
        }
        Ok(())
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The author's fault: a line that is not what this crate writes.
    pub fn read_from(from: impl BufRead) -> Result<Self, SamplesError> {
        let mut lines = from.lines().enumerate().map(|(at, line)| {
            let line_number = at + 1;
            (line_number, line.map_err(|source| SamplesError::Io { line: line_number, source }))
        });
        let wrong = |line, reason: String| SamplesError::Line { line, reason };
        let Some((_, first)) = lines.next() else {
            return Err(wrong(1, "empty".into()));
        };
        let header: Header =
            serde_json::from_str(&first?).map_err(|error| wrong(1, error.to_string()))?;
        if header.schema != SCHEMA {
            return Err(wrong(1, format!("schema {} is not {SCHEMA}", header.schema)));
        }
        header.schedule.validate().map_err(|error| wrong(1, error.to_string()))?;
        let mut pairs: Vec<RawPair> = Vec::new();
        let mut names = BTreeSet::new();
        for (line, text) in lines {
            let pair: RawPair =
                serde_json::from_str(&text?).map_err(|error| wrong(line, error.to_string()))?;
            pair.check(&header.schedule).map_err(|reason| wrong(line, reason))?;
            if !names.insert((pair.from.clone(), pair.to.clone())) {
                return Err(wrong(line, format!("{} -> {} is given twice", pair.from, pair.to)));
            }
            pairs.push(pair);
        }
        Ok(Self { schedule: header.schedule, started_unix_ms: header.started_unix_ms, pairs })
    }
}

impl RawPair {
    fn check(&self, schedule: &Schedule) -> Result<(), String> {
        let counts = [self.late_us.len() as u64, self.rtt_ns.len() as u64];
        if counts != [schedule.probes; 2] {
            return Err(format!("{counts:?} samples, the schedule has {}", schedule.probes));
        }
        // An hour: nothing waits for longer, and sums of such numbers cannot overflow.
        const HOUR_NS: i64 = 3_600_000_000_000;
        if self.rtt_ns.iter().any(|rtt| !(-1..=HOUR_NS).contains(rtt)) {
            return Err("a round-trip time is below -1 or above an hour".into());
        }
        if self.late_us.iter().any(|late| *late > HOUR_NS as u64 / 1_000) {
            return Err("a probe left more than an hour late".into());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A pair with the given round trips in microseconds; -1 is lost.
    pub(crate) fn pair(from: &str, to: &str, rtt_us: &[i64]) -> RawPair {
        RawPair {
            from: from.into(),
            to: to.into(),
            source: Ipv4Addr::LOCALHOST,
            target: Ipv4Addr::LOCALHOST,
            phase_us: 0,
            late_us: vec![5; rtt_us.len()],
            rtt_ns: rtt_us.iter().map(|us| if *us < 0 { -1 } else { us * 1_000 }).collect(),
            duplicates: Some(0),
            program_stamped: 0,
            refused: 0,
            largest_clock_step_us: 0,
            clock_steps: 0,
        }
    }

    pub(crate) fn raw(pairs: Vec<RawPair>) -> RawMeasurement {
        let probes = pairs.first().map_or(1, |pair| pair.rtt_ns.len() as u64);
        let schedule = Schedule { probes, ..Schedule::quick(1) };
        RawMeasurement { schedule, started_unix_ms: 1_700_000_000_000, pairs }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let raw = raw(vec![pair("a", "b", &[70_000, -1, 71_000]), pair("b", "a", &[1, 2, 3])]);
        let mut bytes = Vec::new();
        raw.write_to(&mut bytes).expect("memory");
        assert_eq!(RawMeasurement::read_from(bytes.as_slice()).expect("ours"), raw);
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let raw = raw(vec![pair("a", "b", &[70_000, -1, 71_000]), pair("b", "a", &[1, 2, 3])]);
        let mut bytes = Vec::new();
        raw.write_to(&mut bytes).expect("memory");
        let text = String::from_utf8(bytes).expect("text");
        let refused = |from: &str, to: &str| {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text);
            let error = RawMeasurement::read_from(damaged.as_bytes());
            error.expect_err("damaged").to_string()
        };
        assert!(refused("samples/v1", "samples/v9").starts_with("samples, line 1"));
        assert!(refused("[70000000,", "[").starts_with("samples, line 2: [3, 2] samples"));
        assert!(refused("[70000000", "[-2").contains("below -1"));
        assert!(refused("[70000000", "[9000000000000000000").contains("above an hour"));
        assert!(refused("\"b\",\"to\":\"a\"", "\"a\",\"to\":\"b\"").contains("line 3: a -> b"));
        assert!(refused("\"clock_steps\"", "\"clock_stops\"").contains("unknown field"));
        assert!(RawMeasurement::read_from(&b""[..]).is_err());
    }
}
