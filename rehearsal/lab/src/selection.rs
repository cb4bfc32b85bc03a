//! Which links a harm is done to.

use std::{fmt, str::FromStr};
use thiserror::Error;

/// Directed links, as an operator names them.
///
/// As text: `all`; a region, `eu`; one direction, `eu>us` (or `eu:us`, which needs no quotes in a
/// shell); everything between groups of regions, `eu,us/jp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSelection {
    /// Every link between regions.
    All,
    /// Every link from and to one region.
    Region(String),
    /// One direction between two regions.
    Direction {
        /// The sender's region.
        from: String,
        /// The receiver's region.
        to: String,
    },
    /// Every link between regions of different groups.
    Between(Vec<Vec<String>>),
}

/// The text selects no links of this network; the operator's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectionError {
    /// No region has this id.
    #[error("no region {region}; there are {known}")]
    UnknownRegion {
        /// As given.
        region: String,
        /// The ids there are.
        known: String,
    },
    /// Not a form that is understood.
    #[error(
        "\"{text}\" names no links: say `all`, a region (`eu`), a direction (`eu:us`), or groups \
         (`eu,us/jp`)"
    )]
    Form {
        /// As given.
        text: String,
    },
    /// A region stands in two groups, or in both ends of a direction.
    #[error("{region} stands on both sides")]
    BothSides {
        /// Which.
        region: String,
    },
}

impl LinkSelection {
    /// Whether the link belongs to it.
    pub(crate) fn contains(&self, link_from: &str, link_to: &str) -> bool {
        match self {
            Self::All => true,
            Self::Region(region) => link_from == region || link_to == region,
            Self::Direction { from, to } => link_from == from && link_to == to,
            Self::Between(groups) => {
                let group =
                    |region: &str| groups.iter().position(|g| g.iter().any(|r| r == region));
                let (a, b) = (group(link_from), group(link_to));
                a.is_some() && b.is_some() && a != b
            }
        }
    }

    /// Checks that every region it names is one of `known`, once.
    pub(crate) fn check(&self, known: &[String]) -> Result<(), SelectionError> {
        let named: Vec<&String> = match self {
            Self::All => Vec::new(),
            Self::Region(region) => vec![region],
            Self::Direction { from, to } => vec![from, to],
            Self::Between(groups) => groups.iter().flatten().collect(),
        };
        for (i, region) in named.iter().enumerate() {
            if !known.contains(region) {
                let region = (*region).clone();
                return Err(SelectionError::UnknownRegion { region, known: known.join(", ") });
            }
            if named[..i].contains(region) {
                return Err(SelectionError::BothSides { region: (*region).clone() });
            }
        }
        Ok(())
    }
}

impl FromStr for LinkSelection {
    type Err = SelectionError;
    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let form = || SelectionError::Form { text: text.to_owned() };
        let selection = if text == "all" {
            Self::All
        } else if let Some((from, to)) = text.split_once(['>', ':']) {
            Self::Direction { from: from.trim().to_owned(), to: to.trim().to_owned() }
        } else if text.contains('/') {
            let group = |g: &str| g.split(',').map(|r| r.trim().to_owned()).collect();
            Self::Between(text.split('/').map(group).collect())
        } else {
            Self::Region(text.trim().to_owned())
        };
        let is_name = |name: &String| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let fine = match &selection {
            Self::All => true,
            Self::Region(region) => is_name(region),
            Self::Direction { from, to } => is_name(from) && is_name(to),
            Self::Between(groups) => groups.iter().flatten().all(is_name),
        };
        if fine { Ok(selection) } else { Err(form()) }
    }
}

impl fmt::Display for LinkSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Region(region) => f.write_str(region),
            Self::Direction { from, to } => write!(f, "{from}>{to}"),
            Self::Between(groups) => {
                let groups: Vec<_> = groups.iter().map(|g| g.join(",")).collect();
                f.write_str(&groups.join("/"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [(&str, &str); 6] =
        [("eu", "us"), ("eu", "jp"), ("us", "eu"), ("us", "jp"), ("jp", "eu"), ("jp", "us")];

    fn check(text: &str, expected: &str) {
        let known = ["eu", "us", "jp"].map(str::to_owned);
        let got = text.parse::<LinkSelection>().and_then(|s| s.check(&known).map(|()| s));
        let got = match got {
            Ok(selection) => {
                let chosen = LINKS.iter().filter(|(f, t)| selection.contains(f, t));
                chosen.map(|(f, t)| format!("{f}>{t}")).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert!(got.starts_with(expected), "{text}: {got}");
    }

    #[test]
    fn selects_what_it_says() {
        check("all", "eu>us eu>jp us>eu us>jp jp>eu jp>us");
        check("eu", "eu>us eu>jp us>eu jp>eu");
        check("eu:us", "eu>us");
        check("jp>us", "jp>us");
        check("eu,us/jp", "eu>jp us>jp jp>eu jp>us");
        check("eu/us/jp", "eu>us eu>jp us>eu us>jp jp>eu jp>us");
    }

    #[test]
    fn refuses_what_names_nothing() {
        check("mars", "no region mars; there are eu, us, jp");
        check("eu:mars", "no region mars");
        check("eu:eu", "eu stands on both sides");
        check("eu/eu,us", "eu stands on both sides");
        check("", "\"\" names no links");
        check("eu//us", "\"eu//us\" names no links");
        check("eu us", "\"eu us\" names no links");
    }
}
