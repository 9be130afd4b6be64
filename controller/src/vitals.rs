//! Whether the controller gets on: what `/livez` looks at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::watch::Progress;

/// A reconcile pass that lasts for so long will never end: all that it awaits has a limit of seconds.
const LONGEST_PASS: Duration = Duration::from_mins(10);

/// All watches and all passes under way. Cloning shares the content.
#[derive(Clone, Default)]
pub struct Vitals(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    watches: Vec<Progress>,
    passes: HashMap<u64, (&'static str, Instant)>,
    last_pass: u64,
}

/// A pass that is under way for as long as this lives.
pub struct UnderWay {
    vitals: Vitals,
    pass: u64,
}

impl Vitals {
    /// From now on `watch` must hear of the API server.
    pub fn watch(&self, watch: Progress) {
        self.content().watches.push(watch);
    }

    /// All watches.
    pub fn watches(&self) -> Vec<Progress> {
        self.content().watches.clone()
    }

    /// A pass of the reconciler `name` begins.
    pub fn begin(&self, name: &'static str, now: Instant) -> UnderWay {
        let mut content = self.content();
        content.last_pass += 1;
        let pass = content.last_pass;
        content.passes.insert(pass, (name, now));
        UnderWay { vitals: self.clone(), pass }
    }

    /// What is wrong at `now`, where watches may hear nothing for as long as `silence`.
    pub fn ailing(&self, now: Instant, silence: Duration) -> Ailing {
        let content = self.content();
        let silent = content.watches.iter().filter(|watch| watch.silent_for(now) > silence);
        let is_stuck = |since: &Instant| now.saturating_duration_since(*since) > LONGEST_PASS;
        let stuck = content.passes.values().filter(|(_, since)| is_stuck(since));
        Ailing {
            silent: sorted(silent.map(|watch| watch.kind.clone())),
            stuck: sorted(stuck.map(|(name, _)| (*name).to_owned())),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.vitals.content().passes.remove(&self.pass);
    }
}

/// What keeps the controller from getting on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ailing {
    /// The kinds of whose watch nothing was heard for too long, by plural.
    pub silent: Vec<String>,
    /// The reconcilers with a pass that does not end.
    pub stuck: Vec<String>,
}

impl Ailing {
    /// Whether all is well.
    pub fn is_nothing(&self) -> bool {
        self.silent.is_empty() && self.stuck.is_empty()
    }
}

fn sorted(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(190);

    fn ailing(silent: &[&str], stuck: &[&str]) -> Ailing {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ailing { silent: owned(silent), stuck: owned(stuck) }
    }

    #[test]
    fn a_watch_that_hears_nothing_for_too_long_is_named() {
        let start = Instant::now();
        let vitals = Vitals::default();
        // The first part of `pods` began to listen earlier.
        vitals.watch(Progress::listening("pods", &[start, start + Duration::from_secs(100)]));
        vitals.watch(Progress::listening("services", &[start + Duration::from_mins(1)]));
        let table: [(u64, &[&str]); 5] =
            [(0, &[]), (190, &[]), (191, &["pods"]), (250, &["pods"]), (251, &["pods", "services"])];
        for (seconds, expected) in table {
            let found = vitals.ailing(start + Duration::from_secs(seconds), LIMIT);
            assert_eq!(found, ailing(expected, &[]), "{seconds}");
            assert_eq!(found.is_nothing(), expected.is_empty(), "{seconds}");
        }
    }

    #[test]
    fn a_pass_that_does_not_end_is_named_until_it_does() {
        let start = Instant::now();
        let vitals = Vitals::default();
        let at = |seconds| vitals.ailing(start + Duration::from_secs(seconds), LIMIT);
        let first = vitals.begin("DaskJob", start);
        let second = vitals.begin("DaskJob", start);
        let later = vitals.begin("DaskCluster", start + Duration::from_mins(1));
        for (seconds, expected) in [(600, vec![]), (601, vec!["DaskJob"]), (661, vec!["DaskCluster", "DaskJob"])] {
            assert_eq!(at(seconds), ailing(&[], &expected), "{seconds}");
        }
        drop(first);
        assert_eq!(at(601), ailing(&[], &["DaskJob"]), "there is another");
        drop((second, later));
        assert_eq!(at(10_000), Ailing::default());
    }
}
