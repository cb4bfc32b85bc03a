//! Raw samples become a preset, its reasons, its coverage and the exact matrix.
//!
//! **What it is.** The pure half of the rehearsal's measurement: tables of round-trip times in, one of the
//! guide's five multi-region classes out (or *Invalid*, with every reason), together with the numbers that
//! decided, what the class's simulated preset does not exercise, the measured matrix as a profile of its own,
//! the layout check, and the least latency any run over such a network can have.
//!
//! **What it promises.** Everything is integer and total: no clock, no network, no float, no panic on hostile
//! numbers, the same answer on every machine. Renaming regions renames the answer and changes nothing else.
//! More loss or more jitter never gives a milder class.
//!
//! **What it must never do.** Guess: a missing direction, too few probes or a silent pair is *Invalid*.
//!
//! **Files.** [`read`] turns CSV or JSON into [`PairMeasurement`]s, [`map`] classifies them, [`floor`] bounds
//! the latency of commits from below, [`check_layout`] says what the loss of a region does to the quorum.

mod binomial;
mod class;
mod coverage;
mod drift;
mod floor;
mod layout;
mod mapping;
mod matrix;
mod presets;
mod reader;
mod targets;

pub use binomial::{
    Fraction, LossInterval, MAX_SENT, clopper_pearson, loss_below_half_percent_is_proved,
    most_lost_that_proves, tail_is_at_most,
};
pub use class::{Class, Flag, HeightBound, PairMeasurement, millis};
pub use coverage::{Coverage, Exercised};
pub use drift::{Drift, Moved, drift};
pub use floor::{DelayMatrix, Floor, FloorError, Seat, Spread, floor};
pub use layout::{LayoutCheck, RegionLayout, RegionLoss, check_layout};
pub use mapping::{Decided, Mapping, map};
pub use matrix::{CustomLink, CustomProfile};
pub use presets::{LinkProfile, Preset, PresetLink};
pub use reader::{ReadError, read, read_text};
pub use targets::{TargetNote, region_targets};
