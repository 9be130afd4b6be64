//! Reads and writes the frames of Dask's RPC, for either side of a connection.
//!
//! A message consists of a `u64` that counts the bytes that follow at once, the number of frames, the length of each
//! frame, and the frames. Large last frames may lie beyond that count. All numbers are little-endian. The first frame
//! is msgpack. The others contain data that msgpack cannot represent, such as pickled exceptions.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Error;

/// The largest message in bytes. A scheduler of ten thousand workers describes itself in less.
pub const MAX_MESSAGE: usize = 64 << 20;
/// The most frames of a message. Expected answers have one frame, errors a few more.
pub const MAX_FRAMES: usize = 4096;

/// The size of a number in bytes.
const WORD: usize = 8;

/// The state of decoding the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The start of a message. At least this many bytes in total are needed to continue.
    Incomplete(usize),
    /// A message.
    Complete {
        /// The first frame.
        first: &'a [u8],
        /// The length of the whole message. Bytes beyond it belong to another one.
        length: usize,
    },
}

/// Encodes a message of one frame.
#[must_use]
pub fn encode(frame: &[u8]) -> Vec<u8> {
    let words = [2 * WORD + frame.len(), 1, frame.len()];
    let mut message: Vec<u8> = words.iter().flat_map(|word| (*word as u64).to_le_bytes()).collect();
    message.extend_from_slice(frame);
    message
}

/// Finds the message at the start of `received`.
pub fn decode(received: &[u8]) -> Result<Progress<'_>, Error> {
    let (Some(at_once), Some(frames)) = (number(received, 0)?, number(received, 1)?) else {
        return Ok(Progress::Incomplete(2 * WORD));
    };
    if !(1..=MAX_FRAMES).contains(&frames) {
        return Err(malformed(&format!("a message has {frames} frames, and may have 1 to {MAX_FRAMES}")));
    }
    let prelude = (2 + frames) * WORD;
    if received.len() < prelude {
        return Ok(Progress::Incomplete(prelude));
    }
    let (mut length, mut adds_up) = (prelude, at_once + WORD == prelude);
    for index in 0..frames {
        // Neither sum can overflow: each term is at most `MAX_MESSAGE`.
        length += number(received, 2 + index)?.unwrap_or(0);
        adds_up |= at_once + WORD == length;
        if length > MAX_MESSAGE {
            return Err(too_large());
        }
    }
    if !adds_up {
        return Err(malformed("the lengths in a message contradict each other"));
    }
    if received.len() < length {
        return Ok(Progress::Incomplete(length));
    }
    let first = number(received, 2)?.unwrap_or(0);
    Ok(Progress::Complete { first: &received[prelude..prelude + first], length })
}

/// Removes the next message from `buffer` and returns its first frame. Bytes after the message stay in `buffer` for
/// the next call. The memory used grows with the bytes received, not with the announced length.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Vec<u8>, Error> {
    loop {
        let needed = match decode(buffer)? {
            Progress::Complete { first, length } => {
                let first = first.to_vec();
                buffer.drain(..length);
                return Ok(first);
            }
            Progress::Incomplete(needed) => needed,
        };
        let missing = (needed - buffer.len()) as u64;
        match stream.take(missing).read_to_end(buffer).await {
            Ok(read) if read as u64 == missing => {}
            Ok(_) => return Err(malformed("the connection was closed")),
            Err(error) => return Err(Error::broken(&error)),
        }
    }
}

/// Returns the `index`-th number, if it was received already.
fn number(received: &[u8], index: usize) -> Result<Option<usize>, Error> {
    let Some(word) = received.get(index * WORD..).and_then(<[u8]>::first_chunk) else {
        return Ok(None);
    };
    let number = usize::try_from(u64::from_le_bytes(*word)).ok().filter(|number| *number <= MAX_MESSAGE);
    number.map(Some).ok_or_else(too_large)
}

fn too_large() -> Error {
    malformed(&format!("a message is larger than {MAX_MESSAGE} bytes"))
}

fn malformed(problem: &str) -> Error {
    Error::Protocol(problem.to_owned())
}

#[cfg(test)]
mod tests;
