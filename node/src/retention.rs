//! From which height on a node keeps history.

#[cfg(test)]
pub(crate) mod blocks;

use qbind_types::Height;
use std::path::Path;

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The last executed height.
    pub tip: Height,
    /// Heights the operator wants kept.
    pub retain: u64,
    /// The oldest snapshot kept here: who starts from it asks for the blocks after it.
    pub oldest_snapshot: Option<Height>,
    /// The lowest height among the connected peers that are waited for.
    pub slowest_peer: Option<Height>,
}

impl Needs {
    /// Heights below this one may be deleted.
    pub fn floor(&self) -> Height {
        let wanted = Height(self.tip.0.saturating_sub(self.retain));
        let others = [self.oldest_snapshot, self.slowest_peer];
        others.into_iter().flatten().map(Height::next).fold(wanted, Height::min)
    }
}

/// Peers below this height are not waited for: they are further back than twice of what is kept, and
/// need a snapshot.
pub fn hopeless_below(tip: Height, retain: u64) -> Height {
    Height(tip.0.saturating_sub(retain.saturating_mul(2)))
}

/// Bytes of the files in a folder, as `du` counts them. Files that vanish meanwhile count nothing.
pub fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_stays_for_the_operator_the_snapshots_and_the_peers() {
        let needs = |oldest: Option<u64>, slowest: Option<u64>| Needs {
            tip: Height(1_000),
            retain: 300,
            oldest_snapshot: oldest.map(Height),
            slowest_peer: slowest.map(Height),
        };
        assert_eq!(needs(None, None).floor(), Height(700));
        assert_eq!(needs(Some(800), Some(990)).floor(), Height(700));
        assert_eq!(needs(Some(500), Some(990)).floor(), Height(501));
        assert_eq!(needs(Some(500), Some(450)).floor(), Height(451));
        assert_eq!(Needs { retain: 5_000, ..needs(None, None) }.floor(), Height(0));
        assert_eq!(hopeless_below(Height(1_000), 300), Height(400));
        assert_eq!(hopeless_below(Height(1_000), u64::MAX), Height(0));
    }
}
