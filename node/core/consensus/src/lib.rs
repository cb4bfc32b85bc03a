//! Vote at most once per view and phase, certify, commit, change leader.
//!
//! # Protocol
//!
//! Views are numbered from 1; the leader of a view is fixed by round robin. In a view:
//!
//! 1. the leader broadcasts a *proposal*: a block, the quorum certificate (QC) of its parent, and a
//!    timeout certificate (TC) of the view before unless that QC is of the view before;
//! 2. every validator broadcasts one *vote*; a quorum of votes is the block's QC and starts the next
//!    view;
//! 3. who sees the QC without having given the view up broadcasts a *commit vote*; a quorum of them
//!    is the commit certificate: the block and its ancestors are final;
//! 4. who waits too long, or sees two blocks of the leader, broadcasts a *timeout* with its highest QC;
//!    a quorum is the TC and starts the next view.
//!
//! A block is final three message delays after it is proposed and a new one starts every two. The
//! family is Simplex (Chan and Pass, TCC 2023) with the timeout certificates of HotStuff-2
//! (Malkhi and Nayak, 2023, section 4).
//!
//! ```text
//!            proposal ok              QC(v)                     QC(v)
//!  enter v ───────────────▶ voted ─────────────▶ commit vote ──▶ enter v+1
//!     │                       │ timer                              ▲
//!     └──── timer ────────────┴────────▶ gave up ──── TC(v) ───────┘   (a QC(v) also ends v,
//!                                                                       but earns no commit vote)
//! ```
//!
//! # Safety
//!
//! Let `q = floor(2T/3) + 1` be the quorum by stake and less than `T - q + 1` stake be faulty, so two
//! quorums share an honest validator. *Claim:* if block B has a commit certificate of view v, every
//! QC of a view `w >= v` certifies B or a descendant of B. By induction on w:
//!
//! - `w = v`: honest validators vote once per view, so only B can be certified in v.
//! - `w > v`: the certified block had an honest vote, so its justification was checked. Either it
//!   extends QC(w-1), and the hypothesis applies to w-1 >= v. Or it carries TC(w-1) and extends a QC of view
//!   p with p >= the highest QC view reported in TC(w-1). If w-1 = v: an honest validator both sent
//!   a commit vote in v and gave v up; impossible, as each excludes the other. If w-1 > v: an
//!   honest signer of TC(w-1) sent a commit vote in v before; from then on it reports QC views
//!   >= v; so v <= p < w and the hypothesis applies to p.
//!
//! So two commit certificates never conflict. The argument needs three facts to survive a crash: the
//! view and block last voted for, that a view was given up, and the highest QC known when a commit
//! vote was sent. They are the [`SafetyRecord`], and `Effect::Persist` precedes every `Effect::Sign`.
//! What was recorded may not have been sent, so a restart says the same again, which excludes nothing.
//!
//! # Liveness
//!
//! After GST the timer of a view grows until it exceeds three delays. Certificates are rebroadcast
//! with timeouts, so all honest validators reach the highest view; its leader, if honest, knows the
//! highest QC of the TC that started it, its proposal passes every honest check, and the block is
//! certified and committed. Enough honest timeouts (`T - q + 1` stake) make the others give up too.
//! The timer doubles with each view given up in a row, so the first commit after a long partition may
//! take as long as the partition, and once more for each faulty leader that follows.
//!
//! # Epochs
//!
//! A validator set is fixed for an epoch, and each epoch is a run of this protocol of its own: its
//! genesis is the last block of the epoch before, its views go on from that block's. A block that names
//! the next validators is the last of its epoch. After it only empty blocks may follow, to help it to a
//! certificate if its own view failed; they are not of the chain. All commit certificates of an epoch
//! lie on one branch, by the claim above, so all honest replicas end it with the same block and start
//! the next from it. No statement of one epoch counts in another: votes, timeouts and blocks carry the
//! epoch under their signatures, and the safety record is of one epoch.
//!
//! # Deviations
//!
//! - From Simplex: dummy blocks are replaced by TCs that carry the highest QC, so a proposal proves its
//!   parent with one TC instead of one per skipped view.
//! - From HotStuff-2: votes go to all, not to the next leader: the same bytes, one delay less, and no
//!   leader pays for re-broadcasting lists of ML-DSA signatures.
//!
//! # Never here
//!
//! A clock, a socket, a disk, randomness, a signature check (only `Verified` values come in), a log.
#![no_std]
extern crate alloc;

mod chain;
mod collect;
mod event;
mod machine;
mod message;
mod pacemaker;
mod safety;
#[cfg(test)]
mod tests;

pub use event::{Content, Effect, Event, Evidence};
pub use machine::{Config, Consensus, Restored};
pub use message::{Message, Unsigned};
pub use pacemaker::{Pacemaker, Timing};
pub use safety::SafetyRecord;
