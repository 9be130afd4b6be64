//! The list of all checks, with their rules and fixes.

use super::{Check, answers, credentials, discovery, finalize, input, manifests, settings, stability};

macro_rules! check {
    ($id:literal, $rule:literal, $fix:literal, $run:path) => {
        Check { id: $id, rule: $rule, fix: $fix, run: |session| Box::pin($run(session)) }
    };
}

/// All checks, in the order in which they run.
///
/// Finalize is last, because a later call of Sync would make the plugin acquire again what it has released.
pub const CHECKS: [Check; 35] = [
    check!(
        "discovery",
        "GET /v1alpha1/discovery returns the name, the version and the hooks",
        "return a PluginDiscovery that conforms to the schema of the protocol",
        discovery::is_valid
    ),
    check!(
        "protocol-version",
        "the discovery lists the protocol version v1alpha1 and the hook Sync",
        "set protocolVersions: [v1alpha1] and hooks: [Sync]",
        discovery::is_ours
    ),
    check!(
        "no-redirect",
        "no response is a redirect",
        "serve the exact paths below the base path, without a trailing slash",
        answers::are_not_elsewhere
    ),
    check!(
        "timeout",
        "each response arrives within the timeout",
        "do slow work in the background and return Pending in the meantime, or increase spec.timeoutSeconds",
        answers::are_in_time
    ),
    check!(
        "answers",
        "each response has the status 200 and a review",
        "return a PluginReview that conforms to the schema of the protocol",
        answers::are_reviews
    ),
    check!(
        "response-size",
        "responses and errors have at most 2 MiB",
        "remove unnecessary data from children and messages",
        answers::are_not_too_large
    ),
    check!(
        "uid-echo",
        "a response repeats the uid of its request",
        "copy request.uid to response.uid",
        answers::repeat_the_uid
    ),
    check!(
        "children-present",
        "a Success has a list of children, which may be empty",
        "return children: [] to have no children, and the status Pending if there is no result yet",
        answers::have_children
    ),
    check!(
        "child-keys",
        "the keys of children are valid and unique",
        "use a word for the role of the child, such as ingress, and not the name of the subject",
        manifests::have_valid_keys
    ),
    check!(
        "manifests",
        "manifests have types and DNS names, and are not too large or too deep",
        "correct the manifest; otherwise the controller refuses the child or the whole response",
        manifests::are_valid
    ),
    check!(
        "allowed-kinds",
        "children have kinds that the plugin may create",
        "add the kind to spec.children of the DaskOperatorPlugin, unless no plugin may create it",
        manifests::keep_to_kinds
    ),
    check!(
        "controller-fields",
        "children do not set fields that the controller sets",
        "remove the field, which has no effect because the controller removes it",
        manifests::leave_fields_to_the_controller
    ),
    check!(
        "determinism",
        "the same request always has the same response",
        "avoid times, random names and counters, and sort values from maps and sets",
        stability::are_the_same
    ),
    check!(
        "concurrency",
        "concurrent requests have the same responses as sequential requests",
        "do not share mutable state between requests",
        stability::are_concurrent
    ),
    check!(
        "repeated-uid",
        "a second attempt of a request has the same response",
        "return the same response for a known uid instead of dropping the request as a duplicate",
        stability::are_repeated
    ),
    check!(
        "hints-ignored",
        "the response does not depend on the event",
        "use only the subject, the owner and the settings, because events may be missed or repeated",
        stability::ignore_hints
    ),
    check!(
        "dry-run",
        "a dry run has the same response as a regular request",
        "return the same response, but do not change anything outside of the cluster",
        stability::equal_dry_runs
    ),
    check!(
        "settles",
        "the children stay the same when they are observed",
        "always return all children, including those that exist already",
        stability::settle
    ),
    check!(
        "unknown-fields",
        "unknown fields of a newer controller are ignored",
        "accept unknown fields and unknown reasons of events",
        input::unknown_fields
    ),
    check!(
        "failure-is-200",
        "responses to unusable settings have the status 200",
        "return the status Failure and a message for the user; other codes are for failed calls",
        settings::are_answered
    ),
    check!(
        "unknown-settings",
        "unknown settings lead to a Failure",
        "refuse unknown settings, so that the user notices a misspelt setting",
        settings::are_refused_if_unknown
    ),
    check!("invalid-json", "a body that is not JSON is refused with 4xx", "return 422", input::invalid_json),
    check!(
        "invalid-request",
        "JSON that is not a request is refused with 4xx",
        "return 422 if a field is missing or has the wrong type",
        input::invalid_request
    ),
    check!(
        "content-type",
        "a body whose content type is not JSON is refused with 415",
        "return 415 unless the content type is application/json, with or without a charset",
        input::content_type
    ),
    check!(
        "hook-mismatch",
        "a request at the path of another hook is refused with 422",
        "compare request.hook with the hook of the path, and return 422",
        input::hook_mismatch
    ),
    check!(
        "unknown-path",
        "the response for an unknown path has the status 404",
        "return 404, also for unknown hooks and versions",
        input::unknown_path
    ),
    check!(
        "wrong-method",
        "a GET of a hook and a POST of the discovery are refused with 405",
        "serve hooks only by POST, and the discovery only by GET",
        input::wrong_method
    ),
    check!(
        "oversized-input",
        "a request of more than 4 MiB is refused with 413 or a closed connection, and the plugin continues",
        "limit bodies to 4 MiB when reading them",
        input::oversized
    ),
    check!(
        "deep-json",
        "JSON with a depth of 10,000 is refused, and the plugin continues",
        "use a JSON parser with a depth limit, or handle its exception",
        input::deep_json
    ),
    check!(
        "missing-credentials",
        "a caller without credentials is refused",
        "refuse the handshake or return 401, also for the discovery",
        credentials::missing
    ),
    check!(
        "forged-credentials",
        "a caller with forged credentials is refused",
        "verify the key, the body and the time of the signature",
        credentials::forged
    ),
    check!(
        "credentials-kept",
        "a caller with valid credentials is accepted after others were refused",
        "do not keep state about refused callers",
        credentials::kept
    ),
    check!(
        "alive-afterwards",
        "after all other checks the plugin still responds",
        "see the log of the plugin for the cause; check the state that it keeps between calls",
        stability::survive
    ),
    check!(
        "finalize-served",
        "the hook Finalize is served if and only if the discovery lists it",
        "list Finalize in hooks and serve /v1alpha1/finalize, or do neither",
        finalize::is_served_if_listed
    ),
    check!(
        "finalize-idempotent",
        "a repeated Finalize succeeds",
        "return finalized: true also if there is nothing left to release",
        finalize::is_idempotent
    ),
];
