//! Bundles made to harm their reader: each is refused for its own reason.

use super::*;
use crate::findings::FindingCode as Code;

/// A sound archive with one more entry, made by `header` and followed by `content`.
fn with_entry(header: impl Fn(&mut [u8; BLOCK]), content: &[u8]) -> Vec<u8> {
    let mut block = ustar::header("steps/zzz.json", content.len() as u64).unwrap();
    header(&mut block);
    fix_checksum(&mut block);
    let mut archive = unpack(&bundle());
    // Just before `test-result.dsse.json`, where the name sorts.
    let at = archive.len() - 2 * BLOCK - last_entry_bytes(&archive);
    let mut entry = block.to_vec();
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(BLOCK), 0);
    archive.splice(at..at, entry);
    pack(&archive)
}

fn last_entry_bytes(archive: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let parsed = ustar::parse(archive[at..at + BLOCK].try_into().unwrap()).unwrap();
        let length = BLOCK + (parsed.size as usize).next_multiple_of(BLOCK);
        if parsed.name == layout::TEST_RESULT {
            return length;
        }
        at += length;
    }
}

fn fix_checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn renamed(name: &str) -> Vec<u8> {
    with_entry(
        |block| {
            block[..100].fill(0);
            block[..name.len()].copy_from_slice(name.as_bytes());
        },
        b"x",
    )
}

fn typed(flag: u8) -> Vec<u8> {
    with_entry(|block| block[156] = flag, b"")
}

fn edited(change: impl Fn(&mut BTreeMap<String, Vec<u8>>)) -> Vec<u8> {
    let mut all = files(&bundle());
    change(&mut all);
    bundle_of(&all)
}

fn set(name: &'static str, content: &'static [u8]) -> Vec<u8> {
    edited(|files| drop(files.insert(name.to_owned(), content.to_vec())))
}

fn reordered() -> Vec<u8> {
    let all = files(&bundle());
    let entries: Vec<_> = all.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    pack(&tar(entries.into_iter().rev()))
}

fn doubled() -> Vec<u8> {
    let all = files(&bundle());
    let entries = all.iter().map(|(name, content)| (name.as_str(), &content[..]));
    pack(&tar(entries.flat_map(|entry| [entry, entry])))
}

fn sealed_frame(frame: Vec<u8>) -> Vec<u8> {
    let seal = seal_for(&frame);
    [frame, seal].concat()
}

/// A frame whose header asks for a window of 1 GiB.
fn wide_window() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(30).unwrap();
    std::io::Write::write_all(&mut encoder, &unpack(&bundle())).unwrap();
    sealed_frame(encoder.finish().unwrap())
}

/// 256 MiB of zeros in a few kilobytes.
fn bomb() -> Vec<u8> {
    let size = 256usize << 20;
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let mut write = |bytes: &[u8]| std::io::Write::write_all(&mut encoder, bytes).unwrap();
    write(&ustar::header("scrapes/a.txt", size as u64).unwrap());
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| write(&zeros));
    write(&[0; 2 * BLOCK]);
    sealed_frame(encoder.finish().unwrap())
}

#[test]
fn each_kind_of_hostile_bundle_is_refused_for_its_own_reason() {
    let good = bundle();
    let archive = unpack(&good);
    let frame = good[..good.len() - crate::container::SEAL_BYTES].to_vec();
    let corpus: Vec<(&str, Vec<u8>, Code)> = vec![
        ("nothing", Vec::new(), Code::NotABundle),
        ("text", b"hello".to_vec(), Code::NotABundle),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), Code::NotABundle),
        ("an uncompressed archive", archive.clone(), Code::NotABundle),
        ("a skippable frame first", seal_for(b""), Code::NotABundle),
        ("an empty frame", pack(b""), Code::Damaged),
        ("an empty archive", pack(&[0; 2 * BLOCK]), Code::Missing),
        ("cut in the middle", good[..good.len() / 2].to_vec(), Code::Damaged),
        ("no seal", frame.clone(), Code::Container),
        ("half a seal", good[..good.len() - 9].to_vec(), Code::Container),
        ("another seal", sealed_frame([&frame[..], &seal_for(b"")].concat()), Code::Container),
        ("bytes after the seal", [&good[..], b"x"].concat(), Code::Container),
        ("a second frame", [&frame[..], &good[..]].concat(), Code::Container),
        ("one end block", pack(&archive[..archive.len() - BLOCK]), Code::Damaged),
        ("no end", pack(&archive[..archive.len() - 2 * BLOCK]), Code::Damaged),
        ("more after the end", pack(&[&archive[..], &[0; BLOCK]].concat()), Code::TrailingData),
        ("a hidden archive", pack(&[&archive[..], &archive[..]].concat()), Code::TrailingData),
        ("a window of 1 GiB", wide_window(), Code::Damaged),
        ("a bomb", bomb(), Code::Bomb),
        ("path traversal", renamed("steps/../../../etc/cron.d/x"), Code::Name),
        ("an absolute path", renamed("/etc/passwd"), Code::Name),
        ("a backslash", renamed("steps\\x"), Code::Name),
        ("an escape sequence", renamed("steps/\x1b[2J"), Code::Name),
        ("an upper case twin", renamed("Plan.yaml"), Code::Name),
        ("a dot file", renamed("./steps/x"), Code::Name),
        ("an unknown folder", renamed("keystore/x"), Code::Name),
        ("an empty name", renamed(""), Code::Name),
        ("a hard link", typed(b'1'), Code::NotAFile),
        ("a symbolic link", typed(b'2'), Code::NotAFile),
        ("a device", typed(b'3'), Code::NotAFile),
        ("a directory", typed(b'5'), Code::NotAFile),
        ("a FIFO", typed(b'6'), Code::NotAFile),
        ("a pax header", typed(b'x'), Code::NotAFile),
        ("a GNU long name", typed(b'L'), Code::NotAFile),
        ("a sparse file", typed(b'S'), Code::NotAFile),
        ("an old type flag", typed(0), Code::Header),
        ("a time", with_entry(|b| b[146] = b'1', b""), Code::Header),
        ("an owner", with_entry(|b| b[114] = b'1', b""), Code::Header),
        ("set-uid", with_entry(|b| b[101] = b'4', b""), Code::Header),
        ("GNU magic", with_entry(|b| b[257..265].copy_from_slice(b"ustar  \0"), b""), Code::Header),
        ("a binary size", with_entry(|b| b[124] = 0x80, b""), Code::Header),
        ("a negative size", with_entry(|b| b[124] = b'-', b""), Code::Header),
        ("a size of 8 GiB", with_entry(|b| b[124..135].fill(b'7'), b""), Code::TooLarge),
        ("junk in the padding", junk_in_padding(&archive), Code::Header),
        ("names out of order", reordered(), Code::Unsorted),
        ("every name twice", doubled(), Code::Duplicate),
        ("a file more", set("steps/zzz.json", b"{}"), Code::Unlisted),
        ("a file less", edited(|f| drop(f.remove("plan.yaml"))), Code::Missing),
        ("no manifest", edited(|f| drop(f.remove("manifest.json"))), Code::Missing),
        ("no signature", edited(|f| drop(f.remove("attestation.dsse.json"))), Code::Missing),
        ("an empty manifest", set("manifest.json", b"{}"), Code::Manifest),
        ("a deep manifest", set("manifest.json", &[b'['; 100_000]), Code::Manifest),
        ("an empty envelope", set("attestation.dsse.json", b"{}"), Code::Envelope),
        ("a cut file", set("gates.json", b"{"), Code::Changed),
    ];
    for (what, bytes, expected) in &corpus {
        let answer = check(bytes);
        assert!(!answer.valid, "{what}");
        assert!(codes(&answer).contains(expected), "{what}: {:?}", answer.findings);
        let printable = |text: &str| text.chars().all(|c| !c.is_control());
        assert!(answer.findings.iter().all(|f| printable(&f.to_string())), "{what}");
    }
}

fn junk_in_padding(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let end = archive.len() - 2 * BLOCK;
    archive[end - 1] = b'x';
    pack(&archive)
}

#[test]
fn limits_end_the_reading() {
    let with = |limits: Limits| {
        let options = VerifyOptions { limits, ..VerifyOptions::default() };
        codes(&verify(&bundle()[..], &options))
    };
    let limits = Limits::default();
    assert_eq!(with(limits), []);
    assert!(with(Limits { files: 3, ..limits }).contains(&Code::TooLarge));
    assert!(with(Limits { file_bytes: 300, ..limits }).contains(&Code::TooLarge));
    assert!(with(Limits { total_bytes: 9_000, ..limits }).contains(&Code::TooLarge));
    let options =
        VerifyOptions { limits: Limits { findings: 5, ..limits }, ..VerifyOptions::default() };
    let answer = verify(&doubled()[..], &options);
    assert!(answer.findings.len() < 12, "{}", answer.findings.len());
}
