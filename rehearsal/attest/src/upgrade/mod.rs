//! Upgrade envelopes: what the council approves before binaries are rolled out.

mod envelope;
mod judge;
mod keyset;
mod release;

pub use envelope::{
    Approval, Class, Envelope, EnvelopeError, Evidence, MERKLE_KIND, VERSION, VERSION_OLD,
};
pub use judge::{ApprovalReport, Backing, Judgement, Question, judge};
pub use keyset::{CouncilKey, Keyset, KeysetError};
pub use release::{
    Binary, Build, Container, GenesisRef, Git, ReleaseError, ReleaseManifest, Sbom, platform_of,
};
