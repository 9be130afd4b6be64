//! The rules of the protocol, with one check for each.

mod answers;
mod credentials;
mod discovery;
mod finalize;
mod input;
mod list;
mod manifests;
mod settings;
mod stability;

use futures::future::BoxFuture;

use crate::{Finding, Session};

pub use list::CHECKS;

/// The result of a check: `Err` if it did not pass.
pub(crate) type Outcome = Result<(), Finding>;

/// A rule of the protocol and its check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of the check, which is stable across versions.
    pub id: &'static str,
    /// The rule in one sentence.
    pub rule: &'static str,
    /// How to fix a plugin that violates the rule.
    pub fix: &'static str,
    pub(crate) run: for<'a> fn(&'a Session) -> BoxFuture<'a, Outcome>,
}
