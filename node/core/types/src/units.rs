//! Numbers that must not be mixed up.

use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// A round of leadership; view 0 is genesis.
    View(u64)
);
unit!(
    /// Distance of a block from genesis, which has height 0.
    Height(u64)
);
unit!(
    /// A period with one fixed validator set.
    Epoch(u64)
);
unit!(
    /// Milliseconds: a duration, or a time since the Unix epoch where the name says `_unix`.
    Millis(u64)
);
unit!(
    /// Position of a validator in its epoch's set.
    ValidatorIndex(u16)
);
unit!(
    /// Stake that counts towards a quorum.
    VotingPower(u64)
);

impl View {
    /// The view after this one; the last one is its own, for peers may name any.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Epoch {
    /// The epoch after this one; the last one is its own, for peers may name any.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Height {
    /// The height after this one; the last one is its own, for peers may name any.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The lowest multiple of [`crate::limits::CHECKPOINT`] above this height.
    pub fn next_checkpoint(self) -> Self {
        let step = crate::limits::CHECKPOINT;
        Self((self.0 / step).saturating_add(1).saturating_mul(step))
    }

    /// Whether a certified block names the state after this height.
    pub fn is_checkpoint(self) -> bool {
        self.0.is_multiple_of(crate::limits::CHECKPOINT)
    }
}

impl Millis {
    /// This time plus a duration, saturating.
    pub fn plus(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(duration.0))
    }
}
