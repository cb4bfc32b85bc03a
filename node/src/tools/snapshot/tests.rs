//! Archives as they should be and as strangers might send them; servers that fail.

use super::{
    tar::{self, BLOCK, Entry},
    *,
};
use aws_lc_rs::digest::{SHA3_256, digest};
use flate2::{Compression, write::GzEncoder};
use qbind_storage::{CERTIFIED, FileEntry, META_FILE, Meta};
use qbind_types::{BlockId, Epoch, GenesisHash, Height, Millis, Network, StateRoot};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

fn sha3(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA3_256, bytes))
}

/// Files of no chain, but of the right form.
fn snapshot(dir: &Path, height: u64) -> PathBuf {
    let to = dir.join(height.to_string());
    fs::create_dir_all(to.join("state")).unwrap();
    // Not compressible, and some more than one read.
    let noise: Vec<u8> =
        (0..600_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let files =
        [("state/000007.sst", noise), ("state/CURRENT", b"x".to_vec()), (CERTIFIED, vec![])];
    let entry = |(path, bytes): &(&str, Vec<u8>)| {
        fs::write(to.join(path), bytes).unwrap();
        let size_bytes = bytes.len() as u64;
        FileEntry { path: (*path).to_owned(), size_bytes, sha3_256: sha3(bytes) }
    };
    let meta = Meta {
        schema: "qbind.snapshot/v1".to_owned(),
        height: Height(height),
        block_hash: BlockId([1; 32]),
        state_root: StateRoot([2; 32]),
        epoch: Epoch(3),
        chain_id: Network::Devnet.chain_id(),
        chain_name: "test".to_owned(),
        genesis_hash: GenesisHash([4; 32]),
        accounts: 5,
        created_at_unix_ms: Millis(6),
        files: files.iter().map(entry).collect(),
    };
    fs::write(to.join(META_FILE), serde_json::to_vec(&meta).unwrap()).unwrap();
    to
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn same(a: &Path, b: &Path) {
    assert_eq!(names(a), names(b));
    for name in names(a) {
        if a.join(&name).is_dir() {
            same(&a.join(&name), &b.join(&name));
        } else {
            assert_eq!(
                fs::read(a.join(&name)).unwrap(),
                fs::read(b.join(&name)).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_packed_is_unpacked_the_same_also_by_tar_as_the_runbook_types_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let from = snapshot(dir, 500_000);
    let out = dir.join("server");
    let latest = pack(&from, &out).unwrap();
    assert_eq!(names(&out), ["500000.tar.gz", "latest.json"]);
    let archive = out.join(&latest.file);
    assert_eq!(latest.size_bytes, fs::metadata(&archive).unwrap().len());
    assert_eq!(latest.sha3_256, sha3(&fs::read(&archive).unwrap()));
    let written: Latest =
        serde_json::from_slice(&fs::read(out.join("latest.json")).unwrap()).unwrap();
    assert_eq!(written, latest);
    let unpacked = unpack(&archive, &dir.join("own"), Some(&latest.sha3_256), |_| {}).unwrap();
    same(&from, &unpacked);
    let again = unpack(&archive, &dir.join("own"), None, |_| {});
    assert!(matches!(again, Err(ArchiveError::Exists { .. })));
    let other = "00".repeat(32);
    let wrong = unpack(&archive, &dir.join("more"), Some(&other), |_| {});
    assert!(matches!(wrong, Err(ArchiveError::Digest { .. })));
    // tar -xzf 500000.tar.gz -C /data/qbind/snapshots/
    let theirs = dir.join("theirs");
    fs::create_dir(&theirs).unwrap();
    let tar = |args: &[&str]| Command::new("tar").args(args).current_dir(&out).status().unwrap();
    assert!(tar(&["-xzf", "500000.tar.gz", "-C", theirs.to_str().unwrap()]).success());
    same(&from, &theirs.join("500000"));
    // And the other way round.
    let packed = dir.join("theirs.tar.gz");
    let (packed_text, dir_text) = (packed.to_str().unwrap(), dir.to_str().unwrap());
    assert!(tar(&["-czf", packed_text, "-C", dir_text, "500000"]).success());
    same(&from, &unpack(&packed, &dir.join("back"), None, |_| {}).unwrap());
}

#[test]
fn an_older_snapshot_is_packed_without_becoming_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("server");
    pack(&snapshot(dir.path(), 20), &out).unwrap();
    pack(&snapshot(dir.path(), 10), &out).unwrap();
    let latest: Latest =
        serde_json::from_slice(&fs::read(out.join("latest.json")).unwrap()).unwrap();
    assert_eq!(latest.height, Height(20));
    assert_eq!(names(&out), ["10.tar.gz", "20.tar.gz", "latest.json"]);
}

#[test]
fn a_damaged_snapshot_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let from = snapshot(dir.path(), 10);
    fs::write(from.join("state/CURRENT"), b"y").unwrap();
    let out = dir.path().join("server");
    assert!(
        matches!(pack(&from, &out), Err(ArchiveError::Damaged { file }) if file == "state/CURRENT")
    );
    fs::remove_file(from.join("state/CURRENT")).unwrap();
    assert!(matches!(pack(&from, &out), Err(ArchiveError::Io { .. })));
    assert_eq!(names(&out), Vec::<String>::new());
    assert!(matches!(pack(dir.path(), &out), Err(ArchiveError::Snapshot { .. })));
}

fn block(name: &str, kind: u8, size: u64) -> [u8; BLOCK] {
    let entry = Entry::File { name: name.to_owned(), size };
    let mut block = tar::header(&entry).unwrap();
    block[156] = kind;
    block[157..166].copy_from_slice(b"/etc/shad");
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    block
}

fn gz(blocks: &[&[u8]]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    blocks.iter().for_each(|b| gz.write_all(b).unwrap());
    gz.finish().unwrap()
}

#[test]
fn a_hostile_archive_is_refused_and_leaves_nothing() {
    let file = |name: &str| block(name, b'0', 0);
    let folder = |name: &str| block(name, b'5', 0);
    let end = [0; 2 * BLOCK];
    let zeros = vec![0; 64 << 20];
    let mut broken = file("10/meta.json");
    broken[20] ^= 1;
    let good = gz(&[&folder("10"), &file("10/meta.json"), &end]);
    let twice = [&good[..], &good].concat();
    let large = block("10/state/a.sst", b'0', zeros.len() as u64);
    let liar = block("10/state/a.sst", b'0', 5_000);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("leaves the folder", gz(&[&file("10/../../x"), &end])),
        ("leaves it from state", gz(&[&file("10/state/.."), &end])),
        ("an absolute path", gz(&[&file("/10/x"), &end])),
        ("no height", gz(&[&file("ten/x"), &end])),
        ("a height written otherwise", gz(&[&file("010/x"), &end])),
        ("a file instead of the folder", gz(&[&file("10"), &end])),
        ("a file instead of state", gz(&[&file("10/state"), &end])),
        ("a hidden file", gz(&[&file("10/.x"), &end])),
        ("a deeper folder", gz(&[&folder("10/state/a"), &end])),
        ("a deeper file", gz(&[&file("10/state/a/b"), &end])),
        ("another folder", gz(&[&folder("10/other"), &end])),
        ("two snapshots", gz(&[&folder("10"), &folder("20"), &end])),
        ("a name twice", gz(&[&file("10/x"), &file("10/x"), &end])),
        ("a symbolic link", gz(&[&block("10/x", b'2', 0), &end])),
        ("a hard link", gz(&[&block("10/x", b'1', 0), &end])),
        ("a device", gz(&[&block("10/x", b'3', 0), &end])),
        ("a long name that follows", gz(&[&block("10/x", b'L', 0), &end])),
        ("a broken header", gz(&[&broken, &end])),
        ("a bomb", gz(&[&large, &zeros, &end])),
        ("less than it says", gz(&[&liar, &[0; BLOCK]])),
        ("no end", gz(&[&folder("10")])),
        ("something after the end", gz(&[&folder("10"), &end, b"more"])),
        ("a second archive", twice),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("no gzip", b"10/meta.json".to_vec()),
        ("nothing", gz(&[&end])),
        ("not even that", vec![]),
    ];
    for (what, bytes) in cases {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("archive");
        fs::write(&archive, bytes).unwrap();
        let into = dir.path().join("a/into");
        let error = unpack(&archive, &into, None, |_| {}).expect_err(what);
        assert!(matches!(error, ArchiveError::Form { .. }), "{what}: {error}");
        assert_eq!(names(&into), Vec::<String>::new(), "{what}");
        assert_eq!(names(dir.path()), ["a", "archive"], "{what}");
        assert_eq!(names(&dir.path().join("a")), ["into"], "{what}");
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::write(&archive, good).unwrap();
    unpack(&archive, dir.path(), None, |_| {}).unwrap();
}

/// A static file server that may know no parts, and breaks off some answers.
struct Server {
    url: String,
    /// Answers that break off in the middle from now on.
    breaks: Arc<AtomicUsize>,
    /// First bytes that were asked for, answer by answer.
    asked: Arc<Mutex<Vec<u64>>>,
}

fn serve(dir: PathBuf, knows_parts: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mainnet", listener.local_addr().unwrap());
    let (breaks, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (b, a) = (breaks.clone(), asked.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            answer(stream, &dir, knows_parts, &b, &a);
        }
    });
    Server { url, breaks, asked }
}

fn answer(
    mut stream: TcpStream,
    dir: &Path,
    knows_parts: bool,
    breaks: &AtomicUsize,
    asked: &Mutex<Vec<u64>>,
) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let text = String::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let Ok(bytes) = fs::read(dir.join(path.trim_start_matches("/mainnet/"))) else {
        stream
            .write_all(b"HTTP/1.1 404 none\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        return;
    };
    let range = text
        .lines()
        .find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let range = range.map(|r| {
        r.split_once('-')
            .map(|(a, b)| (a.parse::<usize>().unwrap(), b.parse::<usize>().unwrap()))
            .unwrap()
    });
    let (status, from, to) = match range {
        Some((from, to)) if knows_parts => ("206 part", from, usize::min(to + 1, bytes.len())),
        _ => ("200 ok", 0, bytes.len()),
    };
    if path.ends_with(".tar.gz") {
        asked.lock().unwrap().push(from as u64);
    }
    let length = to - from;
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let is_broken = path.ends_with(".tar.gz")
        && breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
    let end = if is_broken { from + length / 2 } else { to };
    // The client may have had enough.
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&bytes[from..end]))
        .unwrap_or_default();
}

#[test]
fn a_fetch_survives_broken_connections_and_goes_on_where_it_was() {
    for knows_parts in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (out, into) = (dir.path().join("server"), dir.path().join("into"));
        let from = snapshot(dir.path(), 30);
        let latest = pack(&from, &out).unwrap();
        let server = serve(out, knows_parts);
        server.breaks.store(1, Ordering::SeqCst);
        same(&from, &fetch(&server.url, &into, None).unwrap());
        let asked = server.asked.lock().unwrap().clone();
        let half = latest.size_bytes / 2;
        // Where there are no parts the whole is asked for, again and again.
        let expected = if knows_parts { vec![0, half] } else { vec![0, 0] };
        assert_eq!(asked, expected, "parts: {knows_parts}");
        assert_eq!(names(&into), ["30"], "the archive is gone");
        // What is there is not fetched again.
        fetch(&format!("{}/latest.json", server.url), &into, None).unwrap();
        assert_eq!(server.asked.lock().unwrap().len(), 2);
    }
}

#[test]
fn what_other_fetches_have_left_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (out, into) = (dir.path().join("server"), dir.path().join("into"));
    pack(&snapshot(dir.path(), 30), &out).unwrap();
    fs::create_dir_all(&into).unwrap();
    for name in [".fetched-0123456789abcdef.tar.gz", "20.tar.gz"] {
        fs::write(into.join(name), b"x").unwrap();
    }
    fetch(&serve(out, true).url, &into, None).unwrap();
    assert_eq!(names(&into), ["20.tar.gz", "30"]);
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (out, into) = (dir.path().join("server"), dir.path().join("into"));
    let from = snapshot(dir.path(), 30);
    pack(&from, &out).unwrap();
    let server = serve(out, true);
    server.breaks.store(40, Ordering::SeqCst);
    let error = fetch(&server.url, &into, None).expect_err("every connection breaks");
    assert!(error.is_transient(), "{error}");
    let had = server.asked.lock().unwrap().last().copied().unwrap();
    assert!(had > 0);
    server.breaks.store(0, Ordering::SeqCst);
    same(&from, &fetch(&server.url, &into, None).unwrap());
    let next = server.asked.lock().unwrap().last().copied().unwrap();
    assert!(next >= had, "{next} after {had}");
}

#[test]
fn a_server_that_lies_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (out, into) = (dir.path().join("server"), dir.path().join("into"));
    let latest = pack(&snapshot(dir.path(), 30), &out).unwrap();
    let server = serve(out.clone(), true);
    let told = |latest: &Latest| {
        fs::write(out.join("latest.json"), serde_json::to_vec(latest).unwrap()).unwrap()
    };
    let wrong = |what: &str| {
        let error = fetch(&server.url, &into, None).expect_err(what);
        assert!(!error.is_transient(), "{what}: {error}");
        assert!(!into.join("30").exists() && !names(&into).iter().any(|n| n == "x"), "{what}");
    };
    told(&Latest { sha3_256: "00".repeat(32), ..latest.clone() });
    wrong("another digest");
    assert_eq!(names(&into), Vec::<String>::new(), "wrong bytes are not kept");
    told(&Latest { sha3_256: "../x".to_owned(), ..latest.clone() });
    wrong("a digest that is a path");
    told(&Latest { file: "../../x".to_owned(), ..latest.clone() });
    wrong("a file that is a path");
    told(&Latest { schema: "other".to_owned(), ..latest.clone() });
    wrong("another schema");
    told(&Latest { size_bytes: 1 << 60, ..latest.clone() });
    let error = fetch(&server.url, &into, None).expect_err("more than this disk holds");
    assert!(matches!(error, FetchError::Room { .. }) && error.is_transient(), "{error}");
    assert_eq!(names(&into), Vec::<String>::new(), "nothing was asked for");
    fs::write(out.join("latest.json"), b"{").unwrap();
    wrong("no JSON");
    fs::remove_file(out.join("latest.json")).unwrap();
    wrong("no latest.json");
    told(&latest);
    fs::remove_file(out.join(&latest.file)).unwrap();
    wrong("no archive");
    let error = fetch("https://snapshots.qbind.network/mainnet", &into, None).expect_err("no TLS");
    assert!(error.to_string().starts_with("UNSUPPORTED"), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = fetch(&nobody, &into, None).expect_err("nobody listens");
    assert!(error.is_transient(), "{error}");
}
