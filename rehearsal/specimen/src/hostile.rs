//! Bundles made to harm their reader, and how an attacker makes them.

use qbind_evidence::{DigestPair, FindingCode as Code};
use std::{collections::BTreeMap, io::Read, io::Write};

const BLOCK: usize = 512;
const SEAL: [u8; 8] = [0x52, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];

/// A bundle to refuse.
pub struct Hostile {
    /// What it is.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// One of the findings it must lead to.
    pub expected: Code,
}

/// The seal over a frame: it has no key, so anybody can make it.
fn seal_for(frame: &[u8]) -> Vec<u8> {
    [&SEAL[..], &DigestPair::of(frame).sha256.0].concat()
}

fn sealed_frame(frame: Vec<u8>) -> Vec<u8> {
    let seal = seal_for(&frame);
    [frame, seal].concat()
}

/// Compresses and seals an archive.
fn pack(archive: &[u8]) -> Vec<u8> {
    sealed_frame(zstd::encode_all(archive, 3).expect("memory"))
}

fn unpack(bundle: &[u8]) -> Vec<u8> {
    zstd::decode_all(bundle).expect("a sound bundle")
}

fn fix_checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// The strict header of a regular file.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).expect("a short name");
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_device_major(0).expect("ustar");
    header.set_device_minor(0).expect("ustar");
    header.set_entry_type(tar::EntryType::Regular);
    let mut block: [u8; BLOCK] = *header.as_bytes();
    fix_checksum(&mut block);
    block
}

fn entry(header: &[u8], content: &[u8]) -> Vec<u8> {
    let mut entry = [header, content].concat();
    entry.resize(entry.len().next_multiple_of(BLOCK), 0);
    entry
}

/// The files of a bundle.
pub fn files(bundle: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let archive = unpack(bundle);
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().expect("a sound archive") {
        let mut entry = entry.expect("a sound archive");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("memory");
        files.insert(name, content);
    }
    files
}

fn archive<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in entries {
        archive.extend(entry(&header(name, content.len() as u64), content));
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// Packs files again as they are, statements and all.
pub fn repacked(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    pack(&archive(files.iter().map(|(name, content)| (name.as_str(), &content[..]))))
}

/// What an attacker works on.
struct Bench<'a> {
    bundle: &'a [u8],
    archive: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Bench<'_> {
    /// The archive with one more entry where its name sorts, its header changed by `change`.
    fn with_entry(&self, change: impl Fn(&mut [u8; BLOCK]), content: &[u8]) -> Vec<u8> {
        let mut block = header("steps/zzz.json", content.len() as u64);
        change(&mut block);
        fix_checksum(&mut block);
        let before = |name: &&String| name.as_str() < "steps/zzz.json";
        let size = |content: &Vec<u8>| BLOCK + content.len().next_multiple_of(BLOCK);
        let at: usize =
            self.files.iter().filter(|(name, _)| before(name)).map(|(_, c)| size(c)).sum();
        let mut archive = self.archive.clone();
        archive.splice(at..at, entry(&block, content));
        pack(&archive)
    }

    fn renamed(&self, name: &str) -> Vec<u8> {
        let change = |block: &mut [u8; BLOCK]| {
            block[..100].fill(0);
            block[..name.len()].copy_from_slice(name.as_bytes());
        };
        self.with_entry(change, b"x")
    }

    fn typed(&self, flag: u8) -> Vec<u8> {
        self.with_entry(|block| block[156] = flag, b"")
    }

    fn field(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        self.with_entry(|block| block[at..at + bytes.len()].copy_from_slice(bytes), b"")
    }

    fn without(&self, name: &str) -> Vec<u8> {
        let mut files = self.files.clone();
        files.remove(name);
        repacked(&files)
    }

    fn set(&self, name: &str, content: &[u8]) -> Vec<u8> {
        let mut files = self.files.clone();
        files.insert(name.to_owned(), content.to_vec());
        repacked(&files)
    }

    fn entries(&self) -> Vec<(&str, &[u8])> {
        self.files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect()
    }

    fn reordered(&self) -> Vec<u8> {
        pack(&archive(self.entries().into_iter().rev()))
    }

    fn doubled(&self) -> Vec<u8> {
        pack(&archive(self.entries().into_iter().flat_map(|entry| [entry, entry])))
    }

    /// A frame whose header asks for a window of 1 GiB.
    fn wide_window(&self) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory");
        encoder.window_log(30).expect("a window");
        encoder.write_all(&self.archive).expect("memory");
        sealed_frame(encoder.finish().expect("memory"))
    }

    fn junk_in_padding(&self) -> Vec<u8> {
        let mut archive = self.archive.clone();
        // The last byte of the last file's block, if the file does not fill it.
        let end = archive.len() - 2 * BLOCK;
        archive[end - 1] = b'x';
        pack(&archive)
    }

    fn named_by_a_stranger(&self) -> Vec<u8> {
        let name = format!("sign-offs/{}.dsse.json", "0".repeat(64));
        self.set(&name, &self.files["attestation.dsse.json"])
    }
}

/// 256 MiB of zeros in a few kilobytes.
fn bomb() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory");
    let mut write = |bytes: &[u8]| encoder.write_all(bytes).expect("memory");
    write(&header("scrapes/a.txt", 256 << 20));
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| write(&zeros));
    write(&[0; 2 * BLOCK]);
    sealed_frame(encoder.finish().expect("memory"))
}

/// A hundred thousand empty files.
fn many() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect("memory");
    for n in 0..100_000 {
        encoder.write_all(&header(&format!("scrapes/a/{n:06}.txt"), 0)).expect("memory");
    }
    encoder.write_all(&[0; 2 * BLOCK]).expect("memory");
    sealed_frame(encoder.finish().expect("memory"))
}

/// Hostile relatives of a sound bundle that has `genesis.json` and `gates.json`.
pub fn hostile(bundle: &[u8]) -> Vec<Hostile> {
    let b = Bench { bundle, archive: unpack(bundle), files: files(bundle) };
    let frame = b.bundle[..b.bundle.len() - 40].to_vec();
    let (whole, end) = (&b.archive[..], b.archive.len());
    let corpus: Vec<(&'static str, Vec<u8>, Code)> = vec![
        ("nothing", Vec::new(), Code::NotABundle),
        ("text", b"hello".to_vec(), Code::NotABundle),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), Code::NotABundle),
        ("uncompressed", whole.to_vec(), Code::NotABundle),
        ("skippable-frame-first", seal_for(b""), Code::NotABundle),
        ("empty-frame", pack(b""), Code::Damaged),
        ("empty-archive", pack(&[0; 2 * BLOCK]), Code::Missing),
        ("cut-in-the-middle", b.bundle[..b.bundle.len() / 2].to_vec(), Code::Damaged),
        ("no-seal", frame.clone(), Code::Container),
        ("half-a-seal", b.bundle[..b.bundle.len() - 9].to_vec(), Code::Container),
        ("another-seal", sealed_frame([&frame[..], &seal_for(b"")].concat()), Code::Container),
        ("bytes-after-the-seal", [b.bundle, b"x"].concat(), Code::Container),
        ("second-frame", [&frame[..], b.bundle].concat(), Code::Container),
        ("one-end-block", pack(&whole[..end - BLOCK]), Code::Damaged),
        ("no-end", pack(&whole[..end - 2 * BLOCK]), Code::Damaged),
        ("more-after-the-end", pack(&[whole, &[0; BLOCK]].concat()), Code::TrailingData),
        ("hidden-archive", pack(&[whole, whole].concat()), Code::TrailingData),
        ("window-of-1-gib", b.wide_window(), Code::Damaged),
        ("bomb", bomb(), Code::Bomb),
        ("100000-files", many(), Code::Missing),
        ("path-traversal", b.renamed("steps/../../../etc/cron.d/x"), Code::Name),
        ("absolute-path", b.renamed("/etc/passwd"), Code::Name),
        ("backslash", b.renamed("steps\\x"), Code::Name),
        ("escape-sequence", b.renamed("steps/\x1b[2J"), Code::Name),
        ("upper-case-twin", b.renamed("Plan.yaml"), Code::Name),
        ("dot-file", b.renamed("./steps/x"), Code::Name),
        ("a-file-in-a-file", b.renamed("steps/t222/result.json/x"), Code::Name),
        ("unknown-folder", b.renamed("keystore/x"), Code::Name),
        ("empty-name", b.renamed(""), Code::Name),
        ("hard-link", b.typed(b'1'), Code::NotAFile),
        ("symbolic-link", b.typed(b'2'), Code::NotAFile),
        ("device", b.typed(b'3'), Code::NotAFile),
        ("directory", b.typed(b'5'), Code::NotAFile),
        ("fifo", b.typed(b'6'), Code::NotAFile),
        ("pax-header", b.typed(b'x'), Code::NotAFile),
        ("gnu-long-name", b.typed(b'L'), Code::NotAFile),
        ("sparse-file", b.typed(b'S'), Code::NotAFile),
        ("old-type-flag", b.typed(0), Code::Header),
        ("a-time", b.field(146, b"1"), Code::Header),
        ("an-owner", b.field(114, b"1"), Code::Header),
        ("set-uid", b.field(101, b"4"), Code::Header),
        ("gnu-magic", b.field(257, b"ustar  \0"), Code::Header),
        ("binary-size", b.field(124, &[0x80]), Code::Header),
        ("negative-size", b.field(124, b"-"), Code::Header),
        ("size-of-8-gib", b.field(124, b"77777777777"), Code::TooLarge),
        ("junk-in-padding", b.junk_in_padding(), Code::Header),
        ("out-of-order", b.reordered(), Code::Unsorted),
        ("every-name-twice", b.doubled(), Code::Duplicate),
        ("a-file-more", b.set("steps/zzz.json", b"{}"), Code::Unlisted),
        ("no-plan", b.without("plan.yaml"), Code::Missing),
        ("no-manifest", b.without("manifest.json"), Code::Missing),
        ("no-signature", b.without("attestation.dsse.json"), Code::Missing),
        ("no-test-result", b.without("test-result.dsse.json"), Code::Missing),
        ("empty-manifest", b.set("manifest.json", b"{}"), Code::Manifest),
        ("deep-manifest", b.set("manifest.json", &[b'['; 100_000]), Code::Manifest),
        ("empty-envelope", b.set("attestation.dsse.json", b"{}"), Code::Envelope),
        ("cut-gates", b.set("gates.json", b"{"), Code::Changed),
        ("swapped-genesis", b.set("genesis.json", b"{}"), Code::Subject),
        (
            "swapped-statements",
            b.set("attestation.dsse.json", &b.files["test-result.dsse.json"]),
            Code::Statement,
        ),
        ("sign-off-by-a-stranger", b.named_by_a_stranger(), Code::SignOff),
    ];
    let made = |(name, bytes, expected)| Hostile { name, bytes, expected };
    corpus.into_iter().map(made).collect()
}
