//! From which height on a node keeps history.

#[cfg(test)]
pub(crate) mod blocks;

use qbind_types::Height;
use std::path::Path;

/// What decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The last executed height.
    pub tip: Height,
    /// Heights the operator wants kept.
    pub retain: u64,
    /// The snapshots kept here: who starts from one asks for the blocks after it.
    pub snapshots: Vec<Height>,
    /// The lowest height among the connected peers that are waited for.
    pub slowest_peer: Option<Height>,
    /// Snapshots below this height are not waited for: one forgotten folder would fill the disk.
    pub hopeless_below: Height,
}

impl Needs {
    /// Heights below this one may be deleted.
    pub fn floor(&self) -> Height {
        let wanted = Height(self.tip.0.saturating_sub(self.retain));
        let others = self.oldest_snapshot().into_iter().chain(self.slowest_peer);
        others.map(Height::next).fold(wanted, Height::min)
    }

    /// The oldest snapshot that is waited for.
    pub fn oldest_snapshot(&self) -> Option<Height> {
        self.snapshots.iter().copied().filter(|h| *h >= self.hopeless_below).min()
    }

    /// Snapshots that nobody can start from any more once what may be deleted is.
    pub fn stale_snapshots(&self) -> impl Iterator<Item = Height> {
        self.snapshots.iter().copied().filter(|h| *h < self.hopeless_below)
    }
}

/// Peers and snapshots below this height are not waited for: they are further back than twice of what is
/// kept.
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
        let needs = |snapshots: &[u64], slowest: Option<u64>| Needs {
            tip: Height(1_000),
            retain: 300,
            snapshots: snapshots.iter().copied().map(Height).collect(),
            slowest_peer: slowest.map(Height),
            hopeless_below: Height(400),
        };
        assert_eq!(needs(&[], None).floor(), Height(700));
        assert_eq!(needs(&[800], Some(990)).floor(), Height(700));
        assert_eq!(needs(&[500, 800], Some(990)).floor(), Height(501));
        assert_eq!(needs(&[500], Some(450)).floor(), Height(451));
        assert_eq!(Needs { retain: 5_000, ..needs(&[], None) }.floor(), Height(0));
        // One is too old to be of use.
        assert_eq!(needs(&[399, 500], None).floor(), Height(501));
        let stale: Vec<Height> = needs(&[399, 400], None).stale_snapshots().collect();
        assert_eq!(stale, [Height(399)]);
        assert_eq!(hopeless_below(Height(1_000), 300), Height(400));
        assert_eq!(hopeless_below(Height(1_000), u64::MAX), Height(0));
    }
}
