//! Decides whether a plugin that cannot be reached is interrupted for a moment, as during a roll-out, or not ready. Has no
//! side effects.

use std::time::{Duration, Instant};

use super::status::Findings;

/// How long a plugin that was ready may be unreachable before it counts as not ready.
const GRACE: Duration = Duration::from_secs(8);
/// The first and the longest pause between attempts meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The reasons of failed discoveries that a roll-out may cause. All others are answers of the plugin.
const PASSING: [&str; 3] = ["Unreachable", "Busy", "ServerError"];

/// What was known about a plugin before an attempt to discover it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// It was not ready, or nothing was known.
    NotReady,
    Ready,
    /// It was ready, and has been unreachable since this time.
    Interrupted(Instant),
}

/// Returns since when the plugin has been interrupted, if its readiness has to be kept for now.
pub(crate) fn since(before: Before, found: &Findings, now: Instant) -> Option<Instant> {
    let passing = matches!(&found.discovered, Some(Err(refusal)) if PASSING.contains(&refusal.reason));
    if !passing || found.refusal.is_some() || !matches!(found.authorized, Some(Ok(()))) {
        return None;
    }
    let since = match before {
        Before::NotReady => return None,
        Before::Ready => now,
        Before::Interrupted(since) => since,
    };
    (now.saturating_duration_since(since) < GRACE).then_some(since)
}

/// Returns the pause before the next attempt. `failures` attempts have failed, the last one at `at`. The final attempt is at
/// the end of the grace.
pub(crate) fn pause(since: Instant, at: Instant, failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    let backoff = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    backoff.min((since + GRACE).saturating_duration_since(at))
}

#[cfg(test)]
mod tests {
    use operator_runtime::rejection::Rejection;

    use super::*;

    fn found(reason: &'static str) -> Findings {
        let discovered = Some(Err(Rejection::new(reason, "the reason")));
        Findings { authorized: Some(Ok(())), discovered, ..Findings::default() }
    }

    #[test]
    fn only_a_plugin_that_was_ready_is_interrupted_and_only_for_a_while() {
        let start = Instant::now();
        let (within, over) = (start + GRACE / 2, start + GRACE);
        let table = [
            (Before::NotReady, "Unreachable", start, None),
            (Before::Ready, "Unreachable", start, Some(start)),
            (Before::Ready, "Busy", start, Some(start)),
            (Before::Ready, "ServerError", start, Some(start)),
            (Before::Ready, "VersionMismatch", start, None),
            (Before::Ready, "AuthFailed", start, None),
            (Before::Interrupted(start), "Unreachable", within, Some(start)),
            (Before::Interrupted(start), "NotServed", within, None),
            (Before::Interrupted(start), "Unreachable", over, None),
        ];
        for (before, reason, now, expected) in table {
            assert_eq!(since(before, &found(reason), now), expected, "{before:?} {reason}");
        }
    }

    /// Missing rights and an invalid resource are no interruption of the plugin.
    #[test]
    fn what_the_controller_itself_refuses_is_reported_at_once() {
        let now = Instant::now();
        let forbidden = Some(Err(Rejection::new("Forbidden", "the reason")));
        let forbidden = Findings { authorized: forbidden, ..found("Unreachable") };
        assert_eq!(since(Before::Ready, &forbidden, now), None);
        let refusal = Some(Rejection::new("InvalidEndpoint", "the reason"));
        assert_eq!(since(Before::Ready, &Findings { refusal, ..found("Unreachable") }, now), None);
    }

    #[test]
    fn several_attempts_are_made_and_the_last_one_is_at_the_end_of_the_grace() {
        let (start, mut at) = (Instant::now(), Instant::now());
        let (mut pauses, mut failures) = (Vec::new(), 1);
        at = at.max(start);
        while at < start + GRACE {
            let pause = pause(start, at, failures);
            pauses.push(pause.as_millis() / 100 * 100);
            at += pause;
            failures += 1;
        }
        assert_eq!(pauses.len(), 5, "{pauses:?}");
        assert_eq!(pauses[..4], [500, 1000, 2000, 4000]);
        assert_eq!(at, start + GRACE);
    }
}
