//! Replaces the counters if the crate is built without the feature `metrics`.

use std::time::Duration;

/// Counts nothing.
#[derive(Debug, Default)]
pub(super) struct Counters;

#[expect(clippy::unused_self, reason = "the methods are those of the real counters")]
impl Counters {
    pub(super) fn started(&self) {}

    pub(super) fn ended(&self) {}

    pub(super) fn completed(&self, _hook: &'static str, _outcome: &'static str, _duration: Duration) {}
}
