//! Sealing and verifying take memory that does not grow with the evidence.

use qbind_evidence::{
    DigestPair, Facts, Form, GateType, Journal, SealOptions, Subject, VerifyOptions, seal, verify,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs::{self, File},
    io::{BufReader, BufWriter, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and gives its result with the most bytes it held at once.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

#[test]
fn a_large_bundle_needs_no_more_memory_than_a_small_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    fs::write(out.join("plan.yaml"), "schema: qbind.plan/v1\n").unwrap();
    let gates = r#"{"schema":"qbind.gates/v1","verdict":"PASS","gates":[{"id":"G1","severity":"hard","verdict":"PASS"}]}"#;
    fs::write(out.join("gates.json"), gates).unwrap();
    let journal = Journal::create(&out.join("journal.jsonl")).unwrap();
    journal.append("plan.fixed", serde_json::json!({})).unwrap();
    fs::create_dir(out.join("scrapes")).unwrap();
    let mut large = BufWriter::new(File::create(out.join("scrapes/large.txt")).unwrap());
    let mut bytes: u64 = 0;
    for n in 0u64.. {
        let line = format!("qbind_thing_total {}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        large.write_all(line.as_bytes()).unwrap();
        bytes += line.len() as u64;
        if bytes > 64 << 20 {
            break;
        }
    }
    large.flush().unwrap();
    let facts = Facts {
        schema: Facts::SCHEMA.to_owned(),
        run_id: "memory".to_owned(),
        gate_type: GateType::PostIncident,
        target: "lab".to_owned(),
        form: Form::Quick,
        regions: vec!["eu".to_owned()],
        started_unix_ms: 1,
        finished_unix_ms: 2,
        valid_days: 1,
        subjects: vec![Subject { name: "qbind-node".to_owned(), digest: DigestPair::of(b"x") }],
        producer: "test".to_owned(),
    };
    let bundle = out.join("a.qbundle");
    let options = SealOptions { facts: Some(&facts), signers: &[] };
    let (sealed, sealing) = peak_of(|| seal(out, &bundle, &options).unwrap());
    assert!(sealed.bytes > 64 << 20);
    let (answer, verifying) =
        peak_of(|| verify(BufReader::new(File::open(&bundle).unwrap()), &VerifyOptions::default()));
    assert!(answer.valid, "{:?}", answer.findings);
    assert!(sealing < 4 << 20, "sealing held {sealing} bytes");
    assert!(verifying < 4 << 20, "verifying held {verifying} bytes");
}
