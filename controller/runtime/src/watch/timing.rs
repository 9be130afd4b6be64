use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::{utils::Backoff, watcher};
use tokio::time::Instant;

/// How long one watch request lasts. The API server ends it then, so that whatever is silent for longer is dead.
pub const WATCH_SECONDS: u32 = 30;
/// Objects that a list brings at a time. Each may have 1.5 MiB, and takes several times its room until it is taken in;
/// several kinds are listed at once when the controller starts.
const PAGE: u32 = 25;
/// How long a connection may say nothing while an answer is awaited, where a call has no time-out of its own.
pub const SILENCE_SECONDS: u32 = 40;
/// After a failure a watch is begun again so much later, then twice as much, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
/// A watch that has not failed for so long is not slowed down by earlier failures.
const FORGIVEN: Duration = Duration::from_mins(2);
/// Times of silence until a watch counts as stuck.
const PATIENCE: u32 = 4;

/// How often watches hear of the API server, and how soon they give up a connection.
#[derive(Clone, Copy, Debug)]
pub struct WatchTiming {
    /// Seconds that one watch request lasts.
    pub watch_seconds: u32,
    /// Seconds that a connection may say nothing.
    pub silence_seconds: u32,
}

impl Default for WatchTiming {
    fn default() -> Self {
        Self { watch_seconds: WATCH_SECONDS, silence_seconds: SILENCE_SECONDS }
    }
}

impl WatchTiming {
    /// How long a connection may say nothing.
    pub fn silence(self) -> Duration {
        Duration::from_secs(self.silence_seconds.into())
    }

    /// When a watch that has not heard of the API server for so long counts as stuck: 190 s by default.
    ///
    /// One that is well is answered each `watch_seconds`. A connection that died just after such an answer is given
    /// up `silence_seconds` later; then there is time for some more tries, each of which is given up as soon and
    /// followed by a pause. The network may so be gone for two minutes and the controller need not be started again.
    pub fn limit(self) -> Duration {
        Duration::from_secs(self.watch_seconds.into()) + self.silence() * PATIENCE
    }

    /// Watches ask for changes in this way: bookmarks on, and lists from etcd rather than from a cache that
    /// may be old, since decisions rest on what is *not* in them.
    pub fn config(self, labels: Option<&str>) -> watcher::Config {
        let config = watcher::Config::default().timeout(self.watch_seconds).page_size(PAGE);
        match labels {
            Some(labels) => config.labels(labels),
            None => config,
        }
    }
}

/// The pauses between failures: at most as long as a watch request lasts, and up to as much again by chance, so that
/// watches which failed together do not all come back together.
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
        if self.last.is_some_and(|last| last.elapsed() > FORGIVEN) {
            self.next = self.builder.build();
        }
        self.last = Some(Instant::now());
        self.next.next()
    }
}

impl Backoff for WatchBackoff {
    /// kube asks for it after each event, and one of them says that a list begins: a list that is refused would be
    /// asked for each second, for ever.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a watch that is only refused, as of a kind that is not served, would count as stuck between two tries.
    #[test]
    fn a_watch_is_begun_again_for_ever_and_well_within_the_limit() {
        let pace = WatchTiming::default();
        let pauses: Vec<Duration> = pauses(&pace.config(None)).take(30).collect();
        assert_eq!(pauses.len(), 30);
        assert!(pauses[0] < FIRST_PAUSE * 3, "{pauses:?}");
        let longest = *pauses.iter().max().unwrap();
        assert!(longest >= Duration::from_secs(30) && longest + pace.silence() < pace.limit(), "{longest:?}");
        assert!(longest + pace.silence() < FORGIVEN, "failures in a row would be forgiven: {longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_forgives_failures() {
        let mut pauses = pauses(&WatchTiming::default().config(None));
        for _ in 0..10 {
            pauses.next();
            pauses.reset();
        }
        assert!(pauses.next().unwrap() >= Duration::from_secs(30));
        tokio::time::advance(FORGIVEN + Duration::from_secs(1)).await;
        assert!(pauses.next().unwrap() < FIRST_PAUSE * 3);
    }

    #[test]
    fn the_limit_outlasts_two_minutes_without_a_network() {
        assert_eq!(WatchTiming::default().limit(), Duration::from_secs(190));
    }
}
