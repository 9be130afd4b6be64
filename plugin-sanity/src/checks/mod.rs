//! The rules of the protocol, one check each.

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

use crate::{Finding, Lab};

pub use list::CHECKS;

/// `Err` unless all is well.
pub(crate) type Checked = Result<(), Finding>;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, which does not change from version to version.
    pub id: &'static str,
    /// What it asks of a plugin, in one sentence.
    pub rule: &'static str,
    /// What the author of a plugin that breaks it should do.
    pub fix: &'static str,
    pub(crate) run: for<'a> fn(&'a Lab) -> BoxFuture<'a, Checked>,
}
