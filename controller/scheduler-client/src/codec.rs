//! Frames of Dask's RPC, for either side of a connection.
//!
//! A message is a `u64` that counts the bytes that follow at once, the number of frames, the length of each
//! frame, and the frames; large last frames may lie beyond that count. All numbers are little-endian. The
//! first frame is msgpack, and the others are what msgpack cannot carry, such as pickled exceptions.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Error;

/// A scheduler of ten thousand workers describes itself in less.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Answers that we ask for have one frame, errors a few more.
pub const MAX_FRAMES: usize = 4096;

/// The bytes of a number.
const WORD: usize = 8;

/// What the bytes received so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The start of a message, of which at least this many bytes in all are needed to say more.
    Incomplete(usize),
    /// A message.
    Complete {
        /// The first frame.
        first: &'a [u8],
        /// The bytes of the whole message; what follows is another one.
        length: usize,
    },
}

/// A message of one frame.
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
        // Neither can overflow: each is at most MAX_MESSAGE.
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

/// Reads the first frame of the next message into `buffer`'s stead: what came after the message stays in
/// `buffer` for the next call. The memory used grows with what is received, not with what is announced.
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

/// The `index`-th number, if it was received already.
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
