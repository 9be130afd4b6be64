//! A moment by two clocks: one that people and other machines read, and one that nobody sets.

use std::{sync::LazyLock, time::Instant};

use jiff::{SignedDuration, Timestamp};

/// A moment. How much time has passed between two of them is told by `steady` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, to compare with what others have written. It may be set forward or back.
    pub wall: Timestamp,
    /// Time since some moment in the life of this process, which only goes on.
    pub steady: SignedDuration,
}

impl Moment {
    /// Returns this moment.
    pub fn now() -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let steady = SignedDuration::try_from(START.elapsed()).unwrap_or(SignedDuration::MAX);
        Self { wall: Timestamp::now(), steady }
    }
}
