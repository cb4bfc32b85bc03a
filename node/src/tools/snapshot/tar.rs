//! The few headers of a tar archive that a snapshot needs: regular files and folders.

/// Bytes of a header and of every block.
pub(super) const BLOCK: usize = 512;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const PREFIX: std::ops::Range<usize> = 345..500;
/// Largest size that eleven octal digits hold; a file of RocksDB has 64 MiB.
pub(super) const LARGEST: u64 = (1 << 33) - 1;

/// What a header announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Folder { name: String },
    File { name: String, size: u64 },
    End,
}

/// The ustar header of a file or folder; `None` where its name or size does not fit.
pub(super) fn header(entry: &Entry) -> Option<[u8; BLOCK]> {
    let (name, size, mode, kind) = match entry {
        Entry::File { name, size } => (name.clone(), *size, "0000644\0", b'0'),
        Entry::Folder { name } => (format!("{name}/"), 0, "0000755\0", b'5'),
        Entry::End => return Some([0; BLOCK]),
    };
    if name.len() > NAME.len() || size > LARGEST {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut field =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, &name);
    field(100, mode);
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(SIZE.start, &format!("{size:011o}\0"));
    field(136, "00000000000\0");
    field(257, "ustar\x0000");
    block[TYPE] = kind;
    let sum = checksum(&block);
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

fn checksum(block: &[u8; BLOCK]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
    sum(&block[..CHECKSUM.start]) + 8 * u32::from(b' ') + sum(&block[CHECKSUM.end..])
}

/// Reads a header.
///
/// # Errors
/// It is none, or announces anything but a file or a folder.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Entry, &'static str> {
    if block.iter().all(|b| *b == 0) {
        return Ok(Entry::End);
    }
    let stored = octal(&block[CHECKSUM]).ok_or("a header has no readable checksum")?;
    if stored != u64::from(checksum(block)) {
        return Err("a header has a wrong checksum");
    }
    if block[PREFIX].iter().any(|b| *b != 0) {
        return Err("a name is longer than any in a snapshot");
    }
    let name = &block[NAME];
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    let name = std::str::from_utf8(&name[..end]).map_err(|_| "a name is no text")?.to_owned();
    let size = octal(&block[SIZE]).ok_or("a size is no octal number")?;
    match block[TYPE] {
        b'0' | 0 => Ok(Entry::File { name, size }),
        b'5' if size == 0 => Ok(Entry::Folder { name: name.trim_end_matches('/').to_owned() }),
        b'5' => Err("a folder has content"),
        b'1' => Err("it holds a hard link"),
        b'2' => Err("it holds a symbolic link"),
        _ => Err("it holds something else than files and folders"),
    }
}

/// Digits, then only zeros and spaces.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c| c == ' ' || c == '\0');
    if digits.is_empty() || !digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        let file = Entry::File { name: "50/state/000007.sst".to_owned(), size: 12_345_678 };
        let folder = Entry::Folder { name: "50/state".to_owned() };
        for entry in [file, folder, Entry::End] {
            let block = header(&entry).expect("it fits");
            assert_eq!(parse(&block), Ok(entry));
        }
        let name = "x".repeat(101);
        assert_eq!(header(&Entry::File { name, size: 1 }), None);
        assert_eq!(header(&Entry::File { name: String::new(), size: LARGEST + 1 }), None);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let entry = Entry::File { name: "50/meta.json".to_owned(), size: 700 };
        let block = header(&entry).expect("it fits");
        for at in 0..BLOCK {
            let mut changed = block;
            changed[at] ^= 1;
            // Blanks around a number and what follows the end of a name say nothing.
            let is_same = parse(&changed) == Ok(entry.clone());
            assert!(!is_same || (154..156).contains(&at), "byte {at}");
        }
    }
}
