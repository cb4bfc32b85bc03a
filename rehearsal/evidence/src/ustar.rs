//! The one ustar header there is for a name and a size, and what is wrong with any other.

/// Bytes of a header and of every block.
pub(crate) const BLOCK: usize = 512;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const PREFIX: std::ops::Range<usize> = 345..500;

/// Splits a name over the `prefix` and `name` fields; `None` when it fits neither way.
///
/// The split is at the last slash that leaves at most 155 bytes before it, so there is one per name.
pub(crate) fn split_name(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME.len() {
        return Some(("", name));
    }
    let within = name.len().min(PREFIX.len() + 1);
    let slash = name.as_bytes()[..within].iter().rposition(|b| *b == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (rest.len() <= NAME.len()).then_some((prefix, rest))
}

/// The header of a regular file: mode 0644, time 0, owner 0, no owner names.
///
/// The name must have passed [`crate::layout::check_name`] or at least fit.
pub(crate) fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    let (prefix, rest) = split_name(name)?;
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest.as_bytes());
    let mut field =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(100, "0000644\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(SIZE.start, &format!("{size:011o}\0"));
    field(136, "00000000000\0");
    field(TYPE, "0");
    field(257, "ustar\x0000");
    field(329, "0000000\0");
    field(337, "0000000\0");
    field(PREFIX.start, prefix);
    let sum = checksum(&block);
    block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

fn checksum(block: &[u8; BLOCK]) -> u32 {
    let spaces = CHECKSUM.len() as u32 * u32::from(b' ');
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
    sum(&block[..CHECKSUM.start]) + spaces + sum(&block[CHECKSUM.end..])
}

/// What could be read of a header, and how it departs from the one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Name as written, bytes outside printable ASCII replaced.
    pub(crate) name: String,
    /// Bytes that follow.
    pub(crate) size: u64,
    /// What the type flag says, if not a regular file.
    pub(crate) special: Option<&'static str>,
    /// What else departs from the strict profile.
    pub(crate) deviation: Option<&'static str>,
}

/// Reads a header. `Err` says why nothing after it can be trusted to be where it seems.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Parsed, &'static str> {
    let stored = octal(&block[CHECKSUM]).ok_or("has no readable checksum")?;
    if stored != u64::from(checksum(block)) {
        return Err("has a wrong checksum");
    }
    let size = octal(&block[SIZE]).ok_or("has a size that is not octal")?;
    let special = match block[TYPE] {
        b'0' | 0 => None,
        b'1' => Some("a hard link"),
        b'2' => Some("a symbolic link"),
        b'3' => Some("a character device"),
        b'4' => Some("a block device"),
        b'5' => Some("a directory"),
        b'6' => Some("a FIFO"),
        b'x' | b'g' => Some("a pax extended header"),
        b'L' | b'K' => Some("a GNU long name"),
        b'S' => Some("a GNU sparse file"),
        _ => Some("of an unknown type"),
    };
    let name = match (text(&block[PREFIX]), text(&block[NAME])) {
        (prefix, name) if prefix.is_empty() => name,
        (prefix, name) => format!("{prefix}/{name}"),
    };
    // Everything the format leaves no choice about is checked in one comparison.
    let strict = header(&name, size);
    let deviation = (strict.as_ref() != Some(block)).then(|| deviation(block, strict.as_ref()));
    Ok(Parsed { name, size, special, deviation })
}

fn deviation(block: &[u8; BLOCK], strict: Option<&[u8; BLOCK]>) -> &'static str {
    const FIELDS: &[(std::ops::Range<usize>, &str)] = &[
        (257..265, "is not plain ustar (magic or version)"),
        (TYPE..TYPE + 1, "has another type flag"),
        (100..108, "has a mode other than 0644"),
        (108..124, "has an owner"),
        (136..148, "has a modification time"),
        (157..257, "has a link target"),
        (265..329, "has owner names"),
        (329..345, "has device numbers"),
        (SIZE, "writes its size another way"),
        (0..BLOCK, "splits or pads its fields another way"),
    ];
    let Some(strict) = strict else { return "has a name that does not fit" };
    FIELDS
        .iter()
        .find(|(range, _)| block[range.clone()] != strict[range.clone()])
        .map_or("departs from the strict profile", |(_, what)| what)
}

/// Octal digits, then NUL or space to the end. No sign, no base-256.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if digits.is_empty() || rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => Some(value * 8 + u64::from(digit - b'0')),
        _ => None,
    })
}

/// Up to the first NUL; what is not printable ASCII shows as `?` so that no terminal obeys it.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let shown = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '?' };
    field[..end].iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_ordinary_tools_read_it_too() {
        let long = format!("scrapes/{}/{}", "n".repeat(90), "f".repeat(60));
        for name in ["plan.yaml", "steps/t222/result.json", &long] {
            let block = header(name, 1234).unwrap();
            let parsed = parse(&block).unwrap();
            let expected =
                Parsed { name: name.to_owned(), size: 1234, special: None, deviation: None };
            assert_eq!(parsed, expected);
            let mut archive = block.to_vec();
            archive.resize(BLOCK + 1536, b'x');
            archive.resize(BLOCK + 1536 + 1024, 0);
            let mut archive = tar::Archive::new(&archive[..]);
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), name);
            assert_eq!(entry.size(), 1234);
            assert!(entry.header().entry_type().is_file());
        }
    }

    #[test]
    fn every_changed_byte_of_a_header_is_noticed() {
        let block = header("steps/t222/result.json", 77).unwrap();
        for position in 0..BLOCK {
            for mask in [1u8, 0x20, 0x80] {
                let mut changed = block;
                changed[position] ^= mask;
                assert_ne!(parse(&changed).ok(), parse(&block).ok(), "byte {position}");
            }
        }
    }

    #[test]
    fn names_what_departs_from_the_profile() {
        for (at, bytes, expected) in [
            (136, &b"00000000001"[..], "has a modification time"),
            (108, b"0000001", "has an owner"),
            (257, b"ustar  \0", "is not plain ustar (magic or version)"),
            (265, b"root", "has owner names"),
            (100, b"0000755", "has a mode other than 0644"),
        ] {
            let mut block = header("plan.yaml", 0).unwrap();
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let sum = checksum(&block);
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(parse(&block).unwrap().deviation, Some(expected));
        }
    }

    #[test]
    fn a_name_splits_one_way_or_not_at_all() {
        assert_eq!(split_name("a"), Some(("", "a")));
        assert_eq!(split_name(&"a".repeat(101)), None);
        let deep = format!("{}/{}", "p".repeat(155), "n".repeat(100));
        assert_eq!(split_name(&deep).map(|(p, n)| (p.len(), n.len())), Some((155, 100)));
        assert_eq!(split_name(&format!("{}/{}", "p".repeat(156), "n".repeat(90))), None);
    }
}
