//! Tests of reading and writing frames.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Returns a message with these frames. The first number of the message counts `at_once` of them.
fn message(frames: &[Vec<u8>], at_once: usize) -> Vec<u8> {
    let lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
    let counted = (1 + frames.len()) * WORD + lengths[..at_once].iter().sum::<usize>();
    let words = [vec![counted, frames.len()], lengths].concat();
    let prelude = words.iter().flat_map(|word| (*word as u64).to_le_bytes());
    prelude.chain(frames.iter().flatten().copied()).collect()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read_all(mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read(&mut bytes, &mut Vec::new()))
}

/// The scheduler of a real Dask sends the number 2 in this form.
#[test]
fn a_message_is_two_counts_the_lengths_and_the_frames() {
    let bytes = [17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(encode(&[2]), bytes);
    assert_eq!(decode(&bytes).unwrap(), Progress::Complete { first: &[2], length: 25 });
}

#[test]
fn lengths_that_contradict_each_other_or_are_absurd_are_errors() {
    let (max, frames) = (MAX_MESSAGE as u64, MAX_FRAMES as u64);
    let table = [
        ("too large", words(&[max + 1, 1])),
        ("more than any number", words(&[u64::MAX, 1])),
        ("no frames", words(&[8, 0])),
        ("too many frames", words(&[(frames + 2) * 8, frames + 1])),
        ("too large a frame", words(&[17, 1, max + 1])),
        ("frames that are too large together", words(&[24 + max / 2, 2, max / 2, max / 2 + 1])),
        ("the prelude is not counted", words(&[8, 1, 8])),
        ("more counted than there is", words(&[26, 1, 1])),
        ("a part of a frame is counted", words(&[20, 1, 8])),
        ("HTTP", b"HTTP/1.1 400 Bad Request".to_vec()),
    ];
    for (what, bytes) in table {
        assert!(decode(&bytes).is_err(), "{what}");
    }
}

/// A peer that announces much and sends little must not cost much memory.
#[tokio::test]
async fn memory_grows_with_what_is_received() {
    let size = MAX_MESSAGE as u64 - 24;
    let announced = words(&[size + 16, 1, size]);
    let mut buffer = Vec::new();
    assert!(read(&mut announced.as_slice(), &mut buffer).await.is_err());
    assert!(buffer.capacity() < 4096, "{}", buffer.capacity());
}

#[tokio::test]
async fn what_follows_a_message_is_the_next_one() {
    let bytes = [message(&[vec![1], vec![2; 9]], 2), encode(&[3])].concat();
    let (mut buffer, mut stream) = (Vec::new(), bytes.as_slice());
    assert_eq!(read(&mut stream, &mut buffer).await.unwrap(), [1]);
    assert_eq!(read(&mut stream, &mut buffer).await.unwrap(), [3]);
    assert!(read(&mut stream, &mut buffer).await.is_err());
}

fn frames() -> impl Strategy<Value = (Vec<Vec<u8>>, usize)> {
    vec(vec(any::<u8>(), 0..40), 1..6).prop_flat_map(|frames| {
        let count = frames.len();
        (Just(frames), 0..=count)
    })
}

proptest! {
    #[test]
    fn any_message_is_read_back_wherever_its_count_ends((frames, at_once) in frames(), rest in vec(any::<u8>(), 0..9)) {
        let bytes = message(&frames, at_once);
        let received = [bytes.as_slice(), &rest].concat();
        prop_assert_eq!(decode(&received).unwrap(), Progress::Complete { first: &frames[0], length: bytes.len() });
        prop_assert_eq!(read_all(&bytes).unwrap(), frames[0].clone());
    }

    #[test]
    fn the_start_of_a_message_asks_for_more_of_it((frames, at_once) in frames(), cut in any::<prop::sample::Index>()) {
        let bytes = message(&frames, at_once);
        let start = &bytes[..cut.index(bytes.len())];
        let Progress::Incomplete(needed) = decode(start).unwrap() else {
            return Err(TestCaseError::fail("it is complete"));
        };
        prop_assert!(start.len() < needed && needed <= bytes.len());
        prop_assert!(read_all(start).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(Progress::Complete { first, length }) = decode(&bytes) {
            prop_assert!(first.len() < length && length <= bytes.len());
        }
        _ = read_all(&bytes);
    }

    /// Small numbers reach more of the code than arbitrary bytes, which are mostly too large.
    #[test]
    fn arbitrary_numbers_never_panic(numbers in vec(0..60_u64, 0..9), index in 0..9_usize, large in any::<u64>()) {
        let mut numbers = numbers;
        if let Some(number) = numbers.get_mut(index) {
            *number = large;
        }
        let bytes = words(&numbers);
        if let Ok(Progress::Complete { first, length }) = decode(&bytes) {
            prop_assert!(first.len() < length && length <= bytes.len());
        }
    }

    #[test]
    fn mutated_messages_never_panic((frames, at_once) in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = message(&frames, at_once);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        _ = read_all(&bytes);
    }
}
