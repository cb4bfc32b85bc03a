use super::*;
use qbind_crypto::SecretKey;

const EPOCH: Epoch = Epoch(3);

fn key(seed: u8) -> PublicKey {
    SecretKey::from_seed(&[seed; 32]).public_key()
}

fn block(n: u8) -> BlockId {
    BlockId([n; 32])
}

fn vote(view: u64, n: u8) -> Statement {
    Statement::Vote { view: View(view), block: block(n) }
}

fn commit(view: u64, n: u8) -> Statement {
    Statement::CommitVote { view: View(view), block: block(n) }
}

fn proposal(view: u64, n: u8) -> Statement {
    Statement::Proposal { view: View(view), block: block(n) }
}

fn timeout(view: u64, high_qc: u64) -> Statement {
    Statement::Timeout { view: View(view), high_qc_view: View(high_qc) }
}

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guard");
        Self { _dir: dir, path }
    }

    fn open(&self) -> Guard {
        Guard::open(&self.path, &key(1)).unwrap()
    }
}

fn check(guard: &mut Guard, statement: Statement, expected: Option<Refusal>) {
    let refusal = match guard.approve(EPOCH, statement) {
        Ok(()) => None,
        Err(GuardError::Refused { refusal, .. }) => Some(refusal),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(refusal, expected, "{statement}");
}

#[test]
fn one_block_a_view_and_never_back_also_after_a_restart() {
    let fixture = Fixture::new();
    assert!(fixture.open().is_new());
    for make in [proposal, vote, commit] {
        check(&mut fixture.open(), make(5, 1), None);
        let mut guard = fixture.open();
        assert!(!guard.is_new());
        check(&mut guard, make(5, 1), None);
        check(&mut guard, make(5, 2), Some(Refusal::Conflict));
        check(&mut guard, make(4, 1), Some(Refusal::Behind { signed: View(5) }));
        check(&mut guard, make(6, 2), None);
        check(&mut guard, make(5, 1), Some(Refusal::Behind { signed: View(6) }));
    }
}

#[test]
fn a_view_given_up_is_not_voted_in() {
    let fixture = Fixture::new();
    let mut guard = fixture.open();
    check(&mut guard, vote(7, 1), None);
    check(&mut guard, timeout(7, 6), None);
    // What was signed before may be signed again; nothing new.
    check(&mut guard, vote(7, 1), None);
    let given_up = Some(Refusal::GivenUp { given_up: View(7) });
    check(&mut guard, commit(7, 1), given_up);
    check(&mut guard, proposal(6, 1), given_up);
    drop(guard);
    check(&mut fixture.open(), commit(7, 1), given_up);
    check(&mut fixture.open(), commit(8, 1), None);
}

#[test]
fn a_timeout_never_hides_a_certificate() {
    let fixture = Fixture::new();
    let mut guard = fixture.open();
    check(&mut guard, commit(9, 1), None);
    check(&mut guard, timeout(10, 8), Some(Refusal::HidesCertificate { known: View(9) }));
    check(&mut guard, timeout(10, 9), None);
    // The same view given up again, knowing more, is no contradiction; knowing less is.
    check(&mut guard, timeout(10, 9), None);
    check(&mut guard, timeout(12, 11), None);
    check(&mut guard, timeout(12, 10), Some(Refusal::HidesCertificate { known: View(11) }));
    check(&mut guard, timeout(11, 11), Some(Refusal::Behind { signed: View(12) }));
}

#[test]
fn a_write_cut_off_anywhere_leaves_the_mark_before_it() {
    let fixture = Fixture::new();
    for view in 1..=3 {
        check(&mut fixture.open(), vote(view, 1), None);
    }
    let before = fs::read(&fixture.path).unwrap();
    check(&mut fixture.open(), vote(4, 1), None);
    let after = fs::read(&fixture.path).unwrap();
    let changed: Vec<usize> = (0..after.len()).filter(|i| before[*i] != after[*i]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    assert_eq!(first / SECTOR, last / SECTOR, "one write, one sector");
    for cut in first..last {
        let mut torn = before.clone();
        torn[first..=cut].copy_from_slice(&after[first..=cut]);
        fs::write(&fixture.path, &torn).unwrap();
        check(&mut fixture.open(), vote(3, 2), Some(Refusal::Conflict));
        fs::write(&fixture.path, &torn).unwrap();
        check(&mut fixture.open(), vote(4, 2), None);
    }
}

#[test]
fn a_damaged_foreign_or_held_guard_is_refused() {
    let fixture = Fixture::new();
    let mut guard = fixture.open();
    check(&mut guard, vote(1, 1), None);
    check(&mut guard, vote(2, 1), None);
    let held = Guard::open(&fixture.path, &key(1)).unwrap_err();
    assert!(matches!(held, GuardError::Held { .. }), "{held}");
    drop(guard);
    let foreign = Guard::open(&fixture.path, &key(2)).unwrap_err();
    assert!(matches!(foreign, GuardError::OtherKey { .. }), "{foreign}");
    let good = fs::read(&fixture.path).unwrap();
    let mut both = good.clone();
    for slot in [0, 1] {
        both[slot_offset(1, slot) + 9] ^= 1;
    }
    let mut magic = good.clone();
    magic[0] ^= 1;
    for bytes in [&both[..], &magic[..], &good[..100]] {
        fs::write(&fixture.path, bytes).unwrap();
        let damaged = Guard::open(&fixture.path, &key(1)).unwrap_err();
        assert!(matches!(damaged, GuardError::Damaged { .. }), "{damaged}");
    }
}

#[test]
fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    fixture.open();
    let mode = fs::metadata(&fixture.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_later_epoch_begins_afresh_and_ends_the_earlier_one() {
    let fixture = Fixture::new();
    let mut guard = fixture.open();
    guard.approve(EPOCH, vote(90, 1)).unwrap();
    guard.approve(EPOCH, timeout(91, 89)).unwrap();
    drop(guard);
    let mut guard = fixture.open();
    guard.approve(EPOCH.next(), vote(80, 2)).unwrap();
    let refused = |result: Result<(), GuardError>| match result {
        Err(GuardError::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    };
    let signed = EPOCH.next();
    for statement in [vote(95, 1), commit(95, 1), proposal(95, 1), timeout(95, 94), vote(90, 1)] {
        let refusal = refused(guard.approve(EPOCH, statement));
        assert_eq!(refusal, Some(Refusal::EarlierEpoch { signed }), "{statement}");
    }
    assert_eq!(refused(guard.approve(EPOCH.next(), vote(80, 1))), Some(Refusal::Conflict));
    guard.approve(EPOCH.next(), timeout(81, 80)).unwrap();
}

fn batch(round: u64, n: u8) -> Statement {
    Statement::Batch { round, batch: BatchId([n; 32]) }
}

#[test]
fn one_batch_a_round_and_never_back_whatever_was_voted() {
    let fixture = Fixture::new();
    let mut guard = fixture.open();
    check(&mut guard, vote(9, 1), None);
    check(&mut guard, batch(3, 1), None);
    check(&mut guard, batch(3, 1), None);
    check(&mut guard, batch(3, 2), Some(Refusal::Batch { signed: 3 }));
    drop(guard);
    let mut guard = fixture.open();
    check(&mut guard, batch(2, 1), Some(Refusal::Batch { signed: 3 }));
    check(&mut guard, batch(4, 2), None);
    check(&mut guard, vote(10, 1), None);
    // Rounds begin anew with an epoch.
    guard.approve(Epoch(4), batch(1, 5)).unwrap();
}

#[test]
fn a_guard_from_before_batches_had_a_mark_goes_on() {
    let fixture = Fixture::new();
    check(&mut fixture.open(), vote(9, 1), None);
    let file = fs::OpenOptions::new().write(true).open(&fixture.path).unwrap();
    file.set_len(OLD_FILE_BYTES as u64).unwrap();
    let mut guard = fixture.open();
    assert!(!guard.is_new());
    check(&mut guard, vote(9, 2), Some(Refusal::Conflict));
    check(&mut guard, batch(3, 1), None);
    drop(guard);
    check(&mut fixture.open(), batch(3, 2), Some(Refusal::Batch { signed: 3 }));
}
