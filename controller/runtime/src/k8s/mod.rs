//! Calls to the API server: every call has a timeout, every write has a field manager, every delete has a uid
//! precondition, and every error has a class.

mod access;
mod apply;
mod create;
mod delete;
mod error;
mod labels;
mod manifest;
mod old_definition;
mod owner;
mod patch;
mod response;
mod status;
mod warnings;

pub use access::may;
pub use apply::{AppliedNew, Force, apply, apply_new, dry_apply};
pub use create::{CreatedObject, Creation, annotate, create};
pub use delete::{delete, delete_foreground};
pub use error::{Class, Error};
pub use labels::lost_labels;
pub use old_definition::OldDefinitions;
pub use owner::is_controlled_by;
pub use patch::{json_patch, json_patch_warned, merge, set_owners};
pub(crate) use status::apply_status;
pub use warnings::{Warned, Warnings};

use std::time::Duration;

/// The field manager of everything that the controller writes on its own behalf.
pub const FIELD_MANAGER: &str = "dask-operator";

/// How long one call may take. kube has no read timeout of its own, because watches never end.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Awaits `call` for at most [`CALL_TIMEOUT`]. `verb` and `object` describe the call in errors.
pub fn timed<T>(
    verb: &'static str,
    object: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> impl Future<Output = Result<T, Error>> {
    timed_within(CALL_TIMEOUT, verb, object, call)
}

/// Like [`timed`], with another limit.
pub(crate) async fn timed_within<T>(
    limit: Duration,
    verb: &'static str,
    object: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|source| Error::new(verb, object, source)),
        Err(_) => Err(Error::timeout(verb, object, limit)),
    }
}
