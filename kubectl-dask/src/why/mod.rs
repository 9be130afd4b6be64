//! Folds all that is known of a cluster into one cause and one thing to do. Pure.
//!
//! Each file looks at one part. The order of the rules is the order in which a user would fix things: what keeps others
//! from working comes first.

mod acceptance;
#[cfg(test)]
mod advice;
mod container;
mod deletion;
mod job;
mod operator;
mod plugins;
mod pods;
mod refusal;
mod scheduler;
mod scheduling;
#[cfg(test)]
mod tests;
mod volumes;
mod workers;
mod working;

use serde::Serialize;

use crate::snapshot::Snapshot;

/// How a cluster is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Health {
    /// Somebody has to act.
    Broken,
    /// It only needs time.
    Waiting,
    Works,
}

/// The cause, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) health: Health,
    /// A constant word for programs.
    pub(crate) kind: &'static str,
    /// One line.
    pub(crate) cause: String,
    /// One thing to do; empty if there is none.
    pub(crate) action: String,
}

impl Finding {
    pub(crate) fn broken(kind: &'static str, cause: impl Into<String>, action: impl Into<String>) -> Self {
        Self { health: Health::Broken, kind, cause: one_line(&cause.into()), action: action.into() }
    }

    pub(crate) fn waiting(kind: &'static str, cause: impl Into<String>) -> Self {
        Self { health: Health::Waiting, ..Self::broken(kind, cause, "wait") }
    }

    pub(crate) fn works(kind: &'static str, cause: impl Into<String>, action: impl Into<String>) -> Self {
        Self { health: Health::Works, ..Self::broken(kind, cause, action) }
    }
}

/// Messages of the API server may have several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Rule = fn(&Snapshot) -> Option<Finding>;

/// Rules that make all others meaningless.
const DECISIVE: &[Rule] = &[job::of, deletion::namespace, deletion::of, operator::none];
/// Of these, what is broken counts before what only needs time.
const RULES: &[Rule] = &[
    acceptance::of,
    acceptance::components,
    scheduler::of,
    plugins::holding,
    workers::of,
    plugins::of,
    operator::behind,
    scheduler::differs,
    scheduler::load_balancer,
    working::ignored_fields,
    working::other_failure,
    pods::killed,
    working::progress,
    working::autoscaler,
    working::idle,
];

/// Returns the one cause of what is wrong, or that nothing is.
pub(crate) fn diagnose(seen: &Snapshot) -> Finding {
    if let Some(found) = DECISIVE.iter().find_map(|rule| rule(seen)) {
        return found;
    }
    let found = RULES.iter().filter_map(|rule| rule(seen));
    found.min_by_key(|finding| finding.health).unwrap_or_else(|| working::well(seen))
}
