//! The same block through two ledgers, and every way in which they can differ.

use qbind_ledger::{Applied, Ledger, Receipt};
use std::{collections::BTreeMap, fmt};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// State root, accounts or the list of changes.
    State,
    /// Success, skip or failure of a transaction, or the number of receipts.
    ReceiptStatus,
    /// Gas used.
    GasUsed,
    /// A fee, its burned part, or the sum burned.
    FeeDistribution,
    /// The receipts root.
    ReceiptsRoot,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "state divergence",
            Self::ReceiptStatus => "receipt status divergence",
            Self::GasUsed => "gas used divergence",
            Self::FeeDistribution => "fee distribution divergence",
            Self::ReceiptsRoot => "receipts root divergence",
        })
    }
}

/// Every kind of difference a soak found, and the first height it was found at.
pub(super) type Differences = BTreeMap<Difference, u64>;

/// Compares what one block did in two ledgers, and the two ledgers after it.
pub(super) fn compare(
    found: &mut Differences,
    serial: (&Ledger, &Applied),
    parallel: (&Ledger, &Applied),
) {
    let height = serial.0.height().0;
    let mut note = |kind, is_same: bool| {
        if !is_same {
            found.entry(kind).or_insert(height);
        }
    };
    let ((ledger_a, a), (ledger_b, b)) = (serial, parallel);
    note(Difference::State, a.state_root == b.state_root && a.changes == b.changes);
    note(Difference::State, ledger_a.accounts().eq(ledger_b.accounts()));
    note(Difference::State, ledger_a.state_root() == ledger_b.state_root());
    note(Difference::ReceiptsRoot, a.receipts_root == b.receipts_root);
    let same = |field: fn(&Receipt, &Receipt) -> bool| {
        a.receipts.len() == b.receipts.len()
            && a.receipts.iter().zip(&b.receipts).all(|(x, y)| field(x, y))
    };
    note(Difference::ReceiptStatus, same(|x, y| (x.tx_index, x.status) == (y.tx_index, y.status)));
    note(Difference::GasUsed, same(|x, y| x.gas_used == y.gas_used));
    note(
        Difference::FeeDistribution,
        same(|x, y| (x.fee, x.burned) == (y.fee, y.burned))
            && a.burned == b.burned
            && ledger_a.burned() == ledger_b.burned(),
    );
}
