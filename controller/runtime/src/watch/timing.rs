//! The timing of watches: time limits, the size of pages, and the backoff after failures.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::{utils::Backoff, watcher};
use tokio::time::Instant;

/// How long one watch request lasts, in seconds. The API server ends it then, so that a watch that is silent for longer
/// is dead.
pub const WATCH_SECONDS: u32 = 30;
/// The number of objects in a page of a list. Each may have 1.5 MiB, and takes several times as much memory until it is
/// processed. Several kinds are listed at once when the controller starts.
const PAGE: u32 = 25;
/// How long a connection may be silent while a response is awaited, in seconds, if a call has no timeout of its own.
pub const SILENCE_SECONDS: u32 = 40;
/// The time until a watch is restarted after its first failure. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// A watch that has not failed for this long is not slowed down by earlier failures.
const RESET_AFTER: Duration = Duration::from_mins(2);
/// The number of silence limits after which a watch counts as stuck.
const MAX_WAIT: u32 = 4;

/// How often watches receive responses from the API server, and how soon they give up a connection.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// How long one watch request lasts, in seconds.
    pub watch_seconds: u32,
    /// How long a connection may be silent, in seconds.
    pub silence_seconds: u32,
}

impl Default for WatchTiming {
    fn default() -> Self {
        Self { watch_seconds: WATCH_SECONDS, silence_seconds: SILENCE_SECONDS }
    }
}

impl WatchTiming {
    /// Returns how long a connection may be silent.
    pub fn silence(self) -> Duration {
        Duration::from_secs(self.silence_seconds.into())
    }

    /// Returns how long a watch may be without a response from the API server before it counts as stuck: 190 s by
    /// default.
    ///
    /// A healthy watch receives a response each `watch_seconds`. A connection that died just after such a response is
    /// given up `silence_seconds` later. Then there is time for some more attempts, each of which is given up equally
    /// soon and followed by a pause. The network may therefore be gone for two minutes without a restart of the
    /// controller.
    pub fn limit(self) -> Duration {
        Duration::from_secs(self.watch_seconds.into()) + self.silence() * MAX_WAIT
    }

    /// Returns the configuration of a watch. It enables bookmarks, and lists from etcd instead of a cache that may be
    /// outdated, because decisions depend on what a list does *not* contain.
    pub fn config(self, labels: Option<&str>) -> watcher::Config {
        let config = watcher::Config::default().timeout(self.watch_seconds).page_size(PAGE);
        match labels {
            Some(labels) => config.labels(labels),
            None => config,
        }
    }
}

/// Returns the pauses after failures. A pause is at most as long as a watch request, plus jitter of up to the same
/// length, so that watches that failed together do not all come back together.
pub(crate) fn pauses(config: &watcher::Config) -> impl Backoff + use<> {
    let longest = Duration::from_secs(config.timeout.unwrap_or(WATCH_SECONDS).into());
    let builder = ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(longest.max(FIRST_PAUSE))
        .without_max_times()
        .with_jitter();
    WatchBackoff { builder, next: builder.build(), last: None }
}

struct WatchBackoff {
    builder: ExponentialBuilder,
    next: ExponentialBackoff,
    last: Option<Instant>,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.is_some_and(|last| last.elapsed() > RESET_AFTER) {
            self.next = self.builder.build();
        }
        self.last = Some(Instant::now());
        self.next.next()
    }
}

impl Backoff for WatchBackoff {
    /// Does nothing. kube calls this after each event, also after the one that announces a list. A list that is
    /// rejected would otherwise be retried each second, for ever.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a watch that is only rejected, such as one of a kind that is not served, would count as stuck between
    /// two attempts.
    #[test]
    fn a_watch_is_begun_again_for_ever_and_well_within_the_limit() {
        let timing = WatchTiming::default();
        let pauses: Vec<Duration> = pauses(&timing.config(None)).take(30).collect();
        assert_eq!(pauses.len(), 30);
        assert!(pauses[0] < FIRST_PAUSE * 3, "{pauses:?}");
        let longest = *pauses.iter().max().unwrap();
        assert!(longest >= Duration::from_secs(30) && longest + timing.silence() < timing.limit(), "{longest:?}");
        assert!(longest + timing.silence() < RESET_AFTER, "failures in a row would be forgiven: {longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_forgives_failures() {
        let mut pauses = pauses(&WatchTiming::default().config(None));
        for _ in 0..10 {
            pauses.next();
            pauses.reset();
        }
        assert!(pauses.next().unwrap() >= Duration::from_secs(30));
        tokio::time::advance(RESET_AFTER + Duration::from_secs(1)).await;
        assert!(pauses.next().unwrap() < FIRST_PAUSE * 3);
    }

    #[test]
    fn the_limit_outlasts_two_minutes_without_a_network() {
        assert_eq!(WatchTiming::default().limit(), Duration::from_secs(190));
    }
}
