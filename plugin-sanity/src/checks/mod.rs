//! The rules of the protocol, one check each.

mod answers;
mod credentials;
mod discovery;
mod finalize;
mod input;

use futures::future::BoxFuture;

use crate::{Finding, Lab};

/// `Err` unless all is well.
pub(crate) type Checked = Result<(), Finding>;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, which does not change from version to version.
    pub id: &'static str,
    /// What it asks of a plugin, in one sentence.
    pub rule: &'static str,
    pub(crate) run: for<'a> fn(&'a Lab) -> BoxFuture<'a, Checked>,
}

macro_rules! check {
    ($id:literal, $rule:literal, $run:path) => {
        Check { id: $id, rule: $rule, run: |lab| Box::pin($run(lab)) }
    };
}

/// All checks, in the order in which they run.
pub const CHECKS: [Check; 26] = [
    check!("discovery", "GET /v1alpha1/discovery tells name, version and hooks", discovery::is_valid),
    check!(
        "protocol-version",
        "the discovery lists the protocol version v1alpha1 and the hook Sync",
        discovery::is_ours
    ),
    check!("answers", "each request is answered with 200 and a review", answers::are_reviews),
    check!("uid-echo", "an answer repeats the uid of its request", answers::repeat_the_uid),
    check!(
        "children-present",
        "a Success has the list children, empty if there are to be none",
        answers::have_children
    ),
    check!("child-keys", "keys of children are valid, and each is there once", answers::have_good_keys),
    check!(
        "manifests",
        "manifests have apiVersion and kind, and are not too large or too deep",
        answers::have_manifests
    ),
    check!("allowed-kinds", "children are of kinds that the plugin may have", answers::keep_to_kinds),
    check!("determinism", "the same request has the same answer each time", answers::are_the_same),
    check!(
        "concurrency",
        "requests that are sent at once are answered as those that are sent in turn",
        answers::stand_a_crowd
    ),
    check!(
        "repeated-uid",
        "a request that is sent again as another attempt is answered again",
        answers::are_given_again
    ),
    check!("hints-ignored", "the answer does not depend on event, attempt or dryRun", answers::ignore_hints),
    check!("settles", "with its own children in place the plugin wants the same children again", answers::settle),
    check!("unknown-fields", "fields of a newer controller are ignored", input::unknown_fields),
    check!("invalid-json", "a body that is not JSON is refused with 4xx", input::invalid_json),
    check!("invalid-request", "JSON that is no request is refused with 4xx", input::invalid_request),
    check!("content-type", "a body that is not declared as JSON is refused with 4xx", input::content_type),
    check!("hook-mismatch", "a request at the path of another hook is refused with 4xx", input::hook_mismatch),
    check!("unknown-path", "a path that does not exist is answered with 404", input::unknown_path),
    check!("wrong-method", "a GET of a hook is answered with 4xx", input::wrong_method),
    check!("oversized-input", "a request of more than 4 MiB is refused, and the plugin goes on", input::oversized),
    check!("deep-json", "JSON that is 10,000 deep is refused, and the plugin goes on", input::deep_json),
    check!("missing-credentials", "a caller that shows nothing is refused", credentials::missing),
    check!("forged-credentials", "a caller that shows something false is refused", credentials::forged),
    check!(
        "finalize-served",
        "the hook Finalize is served if the discovery lists it, and only then",
        finalize::is_served_if_listed
    ),
    check!("finalize-idempotent", "what is finalized stays so", finalize::is_idempotent),
];
