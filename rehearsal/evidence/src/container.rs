//! The file around the archive: one zstd frame, then a seal over its bytes.
//!
//! Different zstd frames can hold the same content, so a changed byte might go unnoticed by every
//! digest inside. The seal is a zstd skippable frame (which `zstd` and `tar` pass over) of exactly
//! 40 bytes that holds the SHA-256 of all bytes before it: processors compute it four times as fast as the
//! SHA3-256 of everything inside. It guards against damage, and tells a second reading that this is the
//! file of the first; who signs is decided inside.

use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read, Write};
use zstd::stream::{raw::CParameter, write::Encoder};

/// Magic number of a zstd frame.
pub(crate) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frame number 2 with 32 bytes of content; number 1 held a SHA3-256.
const SEAL_HEADER: [u8; 8] = [0x52, 0x2a, 0x4d, 0x18, 32, 0, 0, 0];
/// Bytes of the seal.
pub(crate) const SEAL_BYTES: usize = 40;
/// Largest window a reader allocates, as a power of two: 16 MiB.
pub(crate) const WINDOW_LOG: u32 = 24;
const LEVEL: i32 = 6;

/// Compresses what is written, and seals it at the end.
pub(crate) struct Writer<W: Write> {
    encoder: Encoder<'static, HashingWriter<W>>,
}

struct HashingWriter<W> {
    inner: W,
    digester: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digester.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(inner: W) -> io::Result<Self> {
        let mut encoder = Encoder::new(HashingWriter { inner, digester: Sha256::new() }, LEVEL)?;
        // Fixed rather than left to the level, whose tables differ between zstd releases.
        encoder.set_parameter(CParameter::WindowLog(22))?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(false)?;
        Ok(Self { encoder })
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        let HashingWriter { mut inner, digester } = self.encoder.finish()?;
        inner.write_all(&SEAL_HEADER)?;
        inner.write_all(&digester.finalize())?;
        inner.flush()?;
        Ok(inner)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// Counts and hashes what is consumed from a buffered reader.
pub(crate) struct Tap<R> {
    inner: R,
    digester: Sha256,
    consumed: u64,
}

impl<R: BufRead> Tap<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, digester: Sha256::new(), consumed: 0 }
    }

    /// Bytes consumed so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads what follows the frame, which must be exactly its seal: the digest it holds, or what is wrong.
    pub(crate) fn check_seal(&mut self) -> io::Result<Result<Digest, &'static str>> {
        let frame: [u8; 32] = std::mem::take(&mut self.digester).finalize().into();
        let mut rest = Vec::with_capacity(SEAL_BYTES + 1);
        self.inner.by_ref().take(SEAL_BYTES as u64 + 1).read_to_end(&mut rest)?;
        Ok(match rest.len() {
            0 => Err("has no seal: it was packed by another tool, or cut short"),
            SEAL_BYTES if rest[..8] != SEAL_HEADER => {
                Err("ends in something other than the seal of this format")
            }
            SEAL_BYTES if rest[8..] != frame => {
                Err("was altered after it was sealed: its bytes are not those the seal covers")
            }
            SEAL_BYTES => Ok(Digest(frame)),
            n if n < SEAL_BYTES => Err("has a seal that is cut short"),
            _ => Err("has data after its end"),
        })
    }
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if amount > 0
            && let Ok(buffered) = self.inner.fill_buf()
        {
            self.digester.update(&buffered[..amount]);
            self.consumed += amount as u64;
        }
        self.inner.consume(amount);
    }
}

/// The seal for a frame, for those who build one by hand.
#[cfg(test)]
pub(crate) fn seal_for(frame: &[u8]) -> Vec<u8> {
    let mut bytes = SEAL_HEADER.to_vec();
    bytes.extend_from_slice(&Sha256::digest(frame));
    bytes
}
