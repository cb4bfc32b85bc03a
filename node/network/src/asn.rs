//! Which autonomous system announces an address.

use std::{collections::BTreeMap, net::IpAddr};

/// Prefixes and the autonomous systems that announce them; the longest match counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsnTable {
    /// By prefix length, then by masked address.
    v4: BTreeMap<u8, BTreeMap<u128, u32>>,
    v6: BTreeMap<u8, BTreeMap<u128, u32>>,
}

/// A line of the table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}; expected `PREFIX ASN`, for example `10.11.0.0/16 64511`")]
pub struct AsnTableError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: AsnLineProblem,
}

/// What is wrong with a line of the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AsnLineProblem {
    /// Not two words.
    #[error("{words} words")]
    Words {
        /// Words found.
        words: usize,
    },
    /// Not an address and a length.
    #[error("`{text}` is not an address prefix")]
    Prefix {
        /// The word.
        text: String,
    },
    /// Bits behind the prefix length are set.
    #[error("`{text}` has address bits beyond its prefix length")]
    HostBits {
        /// The word.
        text: String,
    },
    /// Not a number of 32 bits.
    #[error("`{text}` is not an AS number")]
    Number {
        /// The word.
        text: String,
    },
    /// The same prefix with another number before.
    #[error("`{text}` is given twice with different AS numbers")]
    Conflict {
        /// The prefix.
        text: String,
    },
}

impl AsnTable {
    /// Reads lines of `PREFIX ASN`; `#` starts a comment.
    ///
    /// # Errors
    /// The table author's fault; names the line.
    pub fn parse(text: &str) -> Result<Self, AsnTableError> {
        let mut table = Self::default();
        for (index, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = content.split_whitespace().collect();
            if !words.is_empty() {
                table
                    .insert(&words)
                    .map_err(|problem| AsnTableError { line: index + 1, problem })?;
            }
        }
        Ok(table)
    }

    fn insert(&mut self, words: &[&str]) -> Result<(), AsnLineProblem> {
        let &[prefix, number] = words else {
            return Err(AsnLineProblem::Words { words: words.len() });
        };
        let bad_prefix = || AsnLineProblem::Prefix { text: prefix.to_owned() };
        let (address, length) = prefix.split_once('/').ok_or_else(bad_prefix)?;
        let address: IpAddr = address.parse().map_err(|_| bad_prefix())?;
        let length: u8 = length.parse().map_err(|_| bad_prefix())?;
        let (bits, width) = bits_of(address);
        if length > width {
            return Err(bad_prefix());
        }
        if masked(bits, width, length) != bits {
            return Err(AsnLineProblem::HostBits { text: prefix.to_owned() });
        }
        let digits = number.strip_prefix("AS").unwrap_or(number);
        let asn: u32 =
            digits.parse().map_err(|_| AsnLineProblem::Number { text: number.to_owned() })?;
        let tables = if width == 32 { &mut self.v4 } else { &mut self.v6 };
        match tables.entry(length).or_default().insert(bits, asn) {
            Some(before) if before != asn => {
                Err(AsnLineProblem::Conflict { text: prefix.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// The autonomous system of `address`, if any prefix covers it.
    pub fn lookup(&self, address: IpAddr) -> Option<u32> {
        let (bits, width) = bits_of(address);
        let tables = if width == 32 { &self.v4 } else { &self.v6 };
        tables
            .iter()
            .rev()
            .find_map(|(length, prefixes)| prefixes.get(&masked(bits, width, *length)).copied())
    }

    /// Whether it holds no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn bits_of(address: IpAddr) -> (u128, u8) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn masked(bits: u128, width: u8, length: u8) -> u128 {
    let shift = u32::from(width - length);
    bits.checked_shr(shift).unwrap_or(0).checked_shl(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &AsnTable, address: &str, expected: Option<u32>) {
        assert_eq!(table.lookup(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn the_longest_prefix_wins() {
        let table = AsnTable::parse(
            "# test\n10.0.0.0/8 1\n10.11.0.0/16 AS2 # inner\n\n10.11.12.13/32 3\n2001:db8::/32 4\n",
        )
        .unwrap();
        check(&table, "10.1.1.1", Some(1));
        check(&table, "10.11.1.1", Some(2));
        check(&table, "10.11.12.13", Some(3));
        check(&table, "::ffff:10.11.12.13", Some(3));
        check(&table, "11.0.0.0", None);
        check(&table, "2001:db8:1::1", Some(4));
        check(&table, "2001:db9::1", None);
        check(&AsnTable::parse("0.0.0.0/0 9\n").unwrap(), "200.1.1.1", Some(9));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line, problem) in [
            (
                "10.0.0.0/8 1\n10.0.0.0/33 1",
                2,
                AsnLineProblem::Prefix { text: "10.0.0.0/33".into() },
            ),
            ("10.0.0.1/8 1", 1, AsnLineProblem::HostBits { text: "10.0.0.1/8".into() }),
            ("\n\n10.0.0.0/8 x", 3, AsnLineProblem::Number { text: "x".into() }),
            ("10.0.0.0/8", 1, AsnLineProblem::Words { words: 1 }),
            (
                "10.0.0.0/8 1\n10.0.0.0/8 2",
                2,
                AsnLineProblem::Conflict { text: "10.0.0.0/8".into() },
            ),
        ] {
            assert_eq!(AsnTable::parse(text), Err(AsnTableError { line, problem }), "{text}");
        }
    }
}
