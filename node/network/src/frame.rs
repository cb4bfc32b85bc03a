//! Length-prefixed frames: u32 big-endian, then that many bytes.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::io;

/// Read at a time: memory grows with what arrived, never with what a length claims.
const STEP: usize = 64 * 1024;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer's fault: the length exceeds what the channel allows.
    #[error("a frame of {claimed} bytes was announced, at most {max} are allowed")]
    TooLong { claimed: usize, max: usize },
    /// The stream ended within a frame.
    #[error("the stream ended {missing} bytes before the end of a frame")]
    Truncated { missing: usize },
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

/// Reads one frame; `None` at a clean end between two frames.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    max: usize,
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut header = [0u8; 4];
    let got = fill(reader, &mut header).await?;
    if got == 0 {
        return Ok(None);
    }
    if got < header.len() {
        return Err(FrameError::Truncated { missing: header.len() - got });
    }
    let claimed = u32::from_be_bytes(header) as usize;
    if claimed > max {
        return Err(FrameError::TooLong { claimed, max });
    }
    let mut body = Vec::new();
    while body.len() < claimed {
        let from = body.len();
        body.resize(claimed.min(from + STEP), 0);
        let got = fill(reader, &mut body[from..]).await?;
        if from + got < body.len() {
            return Err(FrameError::Truncated { missing: claimed - from - got });
        }
    }
    Ok(Some(body))
}

/// Reads until `buffer` is full or the stream ends; says how much it got.
async fn fill<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut [u8],
) -> Result<usize, FrameError> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]).await.map_err(FrameError::Io)? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

/// Up to this length a frame is handed on in one piece: the layers below make a record and a packet of
/// their own of each piece, up to 16 KiB.
const PIECE: usize = 16 * 1024;

/// Writes one frame, without flushing.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    body: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(body.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "frame of 4 GiB or more"))?;
    let header = length.to_be_bytes();
    if header.len() + body.len() <= PIECE {
        return writer.write_all(&[&header[..], body].concat()).await;
    }
    writer.write_all(&header).await?;
    writer.write_all(body).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{executor::block_on, io::Cursor};
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    fn read(bytes: &[u8], max: usize) -> Result<Option<Vec<u8>>, FrameError> {
        block_on(read_frame(&mut Cursor::new(bytes), max))
    }

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        let body: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let mut wire = Vec::new();
        block_on(write_frame(&mut wire, &body)).unwrap();
        assert_eq!(read(&wire, body.len()).unwrap(), Some(body));
        assert_eq!(read(&[], 10).unwrap(), None);
        assert_eq!(read(&[0, 0, 0, 0], 10).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn a_short_frame_is_written_in_one_piece() {
        struct Pieces(Vec<usize>);
        impl AsyncWrite for Pieces {
            fn poll_write(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                piece: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.0.push(piece.len());
                Poll::Ready(Ok(piece.len()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let pieces = |length: usize| {
            let mut pieces = Pieces(Vec::new());
            block_on(write_frame(&mut pieces, &vec![7; length])).unwrap();
            pieces.0
        };
        assert_eq!(pieces(2_500), [2_504]);
        assert_eq!(pieces(PIECE - 4), [PIECE]);
        assert_eq!(pieces(PIECE - 3), [4, PIECE - 3]);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_any_byte_is_kept() {
        let error = read(&[0xff; 8], 32 * 1024 * 1024).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { claimed: 0xffff_ffff, .. }));
    }

    #[test]
    fn a_frame_cut_short_is_an_error_at_every_place() {
        let mut wire = Vec::new();
        block_on(write_frame(&mut wire, &[7; 5])).unwrap();
        for end in 1..wire.len() {
            assert!(
                matches!(read(&wire[..end], 100), Err(FrameError::Truncated { .. })),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_the_claim() {
        // 32 MiB announced, three bytes sent: one step is the most that may be set aside.
        let mut wire = (32u32 * 1024 * 1024).to_be_bytes().to_vec();
        wire.extend([1, 2, 3]);
        let error = read(&wire, 32 * 1024 * 1024).unwrap_err();
        assert!(
            matches!(error, FrameError::Truncated { missing } if missing == 32 * 1024 * 1024 - 3)
        );
    }
}
