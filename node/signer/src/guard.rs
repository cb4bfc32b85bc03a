//! The second double-sign guard: a high-water mark per kind of message, kept apart from the
//! database so that restoring an old copy of that does not make a validator sign twice.
//!
//! The file has a header and, for each kind, two slots written in turn, each in a sector of its
//! own and with a checksum: a write that is cut off spoils only the slot whose signature has not
//! left yet. [`Guard::approve`] returns after fsync.

use qbind_crypto::sha3_256;
use qbind_types::{BatchId, BlockId, Epoch, PublicKey, View};
use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use thiserror::Error;

const MAGIC: &[u8; 16] = b"QBIND:GUARD:v2\0\0";
const SECTOR: usize = 512;
const KINDS: usize = 5;
/// Guards made before batches had a mark end here; the rest of the file is empty slots.
const OLD_FILE_BYTES: usize = SECTOR * (1 + 2 * 4);
const FILE_BYTES: usize = SECTOR * (1 + 2 * KINDS);
/// Sequence, epoch, view, content.
const BODY: usize = 8 + 8 + 8 + 32;
const CHECKSUM: usize = 32;

/// What a validator is about to bind itself to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// "I propose this block."
    Proposal {
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
    },
    /// First phase.
    Vote {
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
    },
    /// Second phase.
    CommitVote {
        /// The block's view.
        view: View,
        /// The block.
        block: BlockId,
    },
    /// "I give this view up."
    Timeout {
        /// The view given up.
        view: View,
        /// View of the highest certificate known.
        high_qc_view: View,
    },
    /// "This is my batch of this round."
    Batch {
        /// The round.
        round: u64,
        /// The batch.
        batch: BatchId,
    },
}

impl Statement {
    fn kind(&self) -> usize {
        match self {
            Self::Proposal { .. } => 0,
            Self::Vote { .. } => 1,
            Self::CommitVote { .. } => 2,
            Self::Timeout { .. } => 3,
            Self::Batch { .. } => 4,
        }
    }

    fn mark(&self, epoch: Epoch, sequence: u64) -> Mark {
        let (view, content) = match self {
            Self::Proposal { view, block }
            | Self::Vote { view, block }
            | Self::CommitVote { view, block } => (*view, block.0),
            Self::Timeout { view, high_qc_view } => {
                let mut content = [0; 32];
                content[24..].copy_from_slice(&high_qc_view.0.to_be_bytes());
                (*view, content)
            }
            Self::Batch { round, batch } => (View(*round), batch.0),
        };
        Mark { sequence, epoch, view, content }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposal { view, block } => write!(f, "a proposal of {block} in view {view}"),
            Self::Vote { view, block } => write!(f, "a vote for {block} in view {view}"),
            Self::CommitVote { view, block } => {
                write!(f, "a commit vote for {block} in view {view}")
            }
            Self::Timeout { view, high_qc_view } => {
                write!(f, "a timeout of view {view} with a certificate of view {high_qc_view}")
            }
            Self::Batch { round, batch } => write!(f, "the batch {batch} of round {round}"),
        }
    }
}

/// Which rule a statement would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Something of a later epoch was signed.
    #[error("statements of epoch {signed} were signed already")]
    EarlierEpoch {
        /// The later epoch.
        signed: Epoch,
    },
    /// A later one of its kind was signed.
    #[error("one in view {signed} was signed already")]
    Behind {
        /// The later view.
        signed: View,
    },
    /// Another block in the same view.
    #[error("another block was signed in that view")]
    Conflict,
    /// The view, or a later one, was given up.
    #[error("view {given_up} was given up already")]
    GivenUp {
        /// That view.
        given_up: View,
    },
    /// Another batch of the round, or one of a later round, was signed.
    #[error("another batch of that round, or one of round {signed}, was signed already")]
    Batch {
        /// The latest round.
        signed: u64,
    },
    /// A timeout that hides a certificate this validator has used.
    #[error("a certificate of view {known} was used already")]
    HidesCertificate {
        /// The view of that certificate.
        known: View,
    },
}

/// Why a statement must not be signed.
#[derive(Debug, Error)]
pub enum GuardError {
    /// It contradicts what was signed before.
    #[error("refused to sign {statement}")]
    Refused {
        /// What was asked.
        statement: Box<Statement>,
        /// Why not.
        #[source]
        refusal: Refusal,
    },
    /// The file cannot be read or written; nothing is signed until it is opened again.
    #[error("cannot {what} the signing guard {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process signs with it.
    #[error("the signing guard {} is held by another process; stop that one first", path.display())]
    Held {
        /// Which file.
        path: PathBuf,
    },
    /// It guards another key.
    #[error("the signing guard {} belongs to another key; check signer_keystore_path", path.display())]
    OtherKey {
        /// Which file.
        path: PathBuf,
    },
    /// Its content is no guard's.
    #[error(
        "the signing guard {} is damaged; restore it, or make sure that this key has not signed \
         for as long as the chain needs to be certain, before removing it",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    sequence: u64,
    epoch: Epoch,
    view: View,
    content: [u8; 32],
}

impl Mark {
    fn high_qc_view(&self) -> View {
        View(u64::from_be_bytes(self.content[24..].try_into().expect("eight bytes")))
    }
}

/// Remembers what a key signed last, and refuses what contradicts it.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    file: fs::File,
    key: [u8; 32],
    marks: [Option<Mark>; KINDS],
    is_new: bool,
    is_broken: bool,
}

impl Guard {
    /// Opens the guard of `key`, creating it (mode 0600) if there is none, and keeps other
    /// processes out.
    ///
    /// # Errors
    /// The operator's fault or the disk's; see [`GuardError`].
    pub fn open(path: &Path, key: &PublicKey) -> Result<Self, GuardError> {
        let failed = |what, source| GuardError::File { what, path: path.to_owned(), source };
        let key = sha3_256(&[key.as_bytes()]);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(GuardError::Held { path: path.to_owned() });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", source)),
        }
        let length = file.metadata().map_err(|e| failed("read", e))?.len();
        let mut guard = Self {
            path: path.to_owned(),
            file,
            key,
            marks: [None; KINDS],
            is_new: length == 0,
            is_broken: false,
        };
        if guard.is_new {
            guard.initialise().map_err(|e| failed("create", e))?;
        } else {
            guard.load()?;
        }
        Ok(guard)
    }

    /// Whether there was no guard before: right for a key that has never signed, alarming for any
    /// other.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn initialise(&self) -> io::Result<()> {
        let mut bytes = vec![0; FILE_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..48].copy_from_slice(&self.key);
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_all()?;
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn load(&mut self) -> Result<(), GuardError> {
        let damaged = || GuardError::Damaged { path: self.path.clone() };
        let mut bytes = vec![0; FILE_BYTES];
        let failed = |what, source| GuardError::File { what, path: self.path.clone(), source };
        if self.file.metadata().map_err(|e| failed("read", e))?.len() == OLD_FILE_BYTES as u64 {
            let grown = self.file.set_len(FILE_BYTES as u64).and_then(|()| self.file.sync_all());
            grown.map_err(|e| failed("extend", e))?;
        }
        self.file.read_exact_at(&mut bytes, 0).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => damaged(),
            _ => GuardError::File { what: "read", path: self.path.clone(), source },
        })?;
        if &bytes[..16] != MAGIC {
            return Err(damaged());
        }
        if bytes[16..48] != self.key {
            return Err(GuardError::OtherKey { path: self.path.clone() });
        }
        for kind in 0..KINDS {
            let slots = [0, 1].map(|slot| {
                let at = slot_offset(kind, slot);
                read_slot(&bytes[at..at + SECTOR], kind, &self.key)
            });
            self.marks[kind] = match slots {
                [Slot::Holds(a), Slot::Holds(b)] => {
                    Some(if a.sequence > b.sequence { a } else { b })
                }
                // The other slot's write was cut off, so its signature never left.
                [Slot::Holds(mark), _] | [_, Slot::Holds(mark)] => Some(mark),
                [Slot::Empty, _] | [_, Slot::Empty] => None,
                [Slot::Spoilt, Slot::Spoilt] => return Err(damaged()),
            };
        }
        Ok(())
    }

    /// Returns after the statement, made in `epoch`, is on disk, when it contradicts nothing signed before; a
    /// statement approved before is approved again.
    ///
    /// # Errors
    /// Our fault when it contradicts: do not sign. The disk's when it cannot be written: do not
    /// sign either, and nothing is approved any more.
    pub fn approve(&mut self, epoch: Epoch, statement: Statement) -> Result<(), GuardError> {
        if self.is_broken {
            let source = io::Error::other("an earlier write failed");
            return Err(GuardError::File { what: "trust", path: self.path.clone(), source });
        }
        let kind = statement.kind();
        let sequence = self.marks[kind].map_or(1, |mark| mark.sequence + 1);
        let mark = statement.mark(epoch, sequence);
        if let Some(last) = self.marks[kind]
            && (last.epoch, last.view, last.content) == (mark.epoch, mark.view, mark.content)
        {
            return Ok(());
        }
        self.objection(epoch, &statement).map_or(Ok(()), |refusal| {
            Err(GuardError::Refused { statement: Box::new(statement), refusal })
        })?;
        self.write(kind, &mark).map_err(|source| {
            self.is_broken = true;
            GuardError::File { what: "write", path: self.path.clone(), source }
        })?;
        self.marks[kind] = Some(mark);
        Ok(())
    }

    fn objection(&self, epoch: Epoch, statement: &Statement) -> Option<Refusal> {
        let newest = self.marks.iter().flatten().map(|mark| mark.epoch).max();
        if let Some(signed) = newest.filter(|newest| epoch < *newest) {
            return Some(Refusal::EarlierEpoch { signed });
        }
        // Views of an earlier epoch mean nothing in this one.
        let mark = |kind: usize| self.marks[kind].filter(|mark| mark.epoch == epoch);
        let last = mark(statement.kind());
        match statement {
            Statement::Timeout { view, high_qc_view } => {
                // A certificate once used to bind others must be shown when a view is given up,
                // or the next leader could build beside it.
                let committed = mark(2).map(|mark| mark.view);
                let shown = last.filter(|mark| mark.view == *view).map(|mark| mark.high_qc_view());
                last.filter(|mark| *view < mark.view)
                    .map(|mark| Refusal::Behind { signed: mark.view })
                    .or_else(|| {
                        committed
                            .max(shown)
                            .filter(|known| high_qc_view < known)
                            .map(|known| Refusal::HidesCertificate { known })
                    })
            }
            Statement::Batch { round, .. } => last
                .filter(|mark| *round <= mark.view.0)
                .map(|mark| Refusal::Batch { signed: mark.view.0 }),
            Statement::Proposal { view, .. }
            | Statement::Vote { view, .. }
            | Statement::CommitVote { view, .. } => {
                let given_up = mark(3).map(|mark| mark.view).filter(|v| view <= v);
                match last {
                    Some(mark) if *view < mark.view => Some(Refusal::Behind { signed: mark.view }),
                    Some(mark) if *view == mark.view => Some(Refusal::Conflict),
                    _ => given_up.map(|given_up| Refusal::GivenUp { given_up }),
                }
            }
        }
    }

    fn write(&self, kind: usize, mark: &Mark) -> io::Result<()> {
        let mut bytes = [0; BODY + CHECKSUM];
        bytes[..8].copy_from_slice(&mark.sequence.to_be_bytes());
        bytes[8..16].copy_from_slice(&mark.epoch.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&mark.view.0.to_be_bytes());
        bytes[24..BODY].copy_from_slice(&mark.content);
        let sum = checksum(&bytes[..BODY], kind, &self.key);
        bytes[BODY..].copy_from_slice(&sum);
        let slot = usize::from(mark.sequence.is_multiple_of(2));
        let at = u64::try_from(slot_offset(kind, slot)).expect("a few kilobytes");
        self.file.write_all_at(&bytes, at)?;
        self.file.sync_data()
    }
}

fn slot_offset(kind: usize, slot: usize) -> usize {
    SECTOR * (1 + 2 * kind + slot)
}

fn checksum(body: &[u8], kind: usize, key: &[u8; 32]) -> [u8; 32] {
    let kind = u8::try_from(kind).expect("five kinds");
    sha3_256(&[MAGIC, key, &[kind], body])
}

enum Slot {
    Empty,
    Holds(Mark),
    Spoilt,
}

fn read_slot(bytes: &[u8], kind: usize, key: &[u8; 32]) -> Slot {
    let (body, sum) = (&bytes[..BODY], &bytes[BODY..BODY + CHECKSUM]);
    if bytes[..BODY + CHECKSUM].iter().all(|b| *b == 0) {
        return Slot::Empty;
    }
    if sum != checksum(body, kind, key) {
        return Slot::Spoilt;
    }
    let number = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    let content = body[24..].try_into().expect("thirty-two bytes");
    let (epoch, view) = (Epoch(number(8)), View(number(16)));
    Slot::Holds(Mark { sequence: number(0), epoch, view, content })
}

#[cfg(test)]
mod tests;
