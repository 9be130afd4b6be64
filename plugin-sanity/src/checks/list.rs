use super::{Check, answers, credentials, discovery, finalize, input, manifests, settings, stability};

macro_rules! check {
    ($id:literal, $rule:literal, $fix:literal, $run:path) => {
        Check { id: $id, rule: $rule, fix: $fix, run: |lab| Box::pin($run(lab)) }
    };
}

/// All checks, in the order in which they run.
///
/// Finalize is last: to ask for children afterwards would make the plugin take hold again of what it has released.
pub const CHECKS: [Check; 35] = [
    check!(
        "discovery",
        "GET /v1alpha1/discovery tells name, version and hooks",
        "answer with a PluginDiscovery as the protocol's schema describes it",
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
        "no call is answered with a redirect",
        "serve the paths themselves, without a slash at the end, below the base path",
        answers::are_not_elsewhere
    ),
    check!(
        "timeout",
        "each request is answered in time",
        "do slow work in the background and answer Pending meanwhile; or raise spec.timeoutSeconds",
        answers::are_in_time
    ),
    check!(
        "answers",
        "each request is answered with 200 and a review",
        "answer with a PluginReview as the protocol's schema describes it",
        answers::are_reviews
    ),
    check!(
        "response-size",
        "answers and errors have at most 2 MiB",
        "leave out what need not be in children or messages",
        answers::are_not_too_large
    ),
    check!(
        "uid-echo",
        "an answer repeats the uid of its request",
        "copy request.uid to response.uid",
        answers::repeat_the_uid
    ),
    check!(
        "children-present",
        "a Success has the list children, empty if there are to be none",
        "answer with children: [] to have none, and with status Pending if you cannot say",
        answers::have_children
    ),
    check!(
        "child-keys",
        "keys of children are valid, and each is there once",
        "name each child's role in a word such as ingress; a key is no place for the subject's name",
        manifests::have_good_keys
    ),
    check!(
        "manifests",
        "manifests have types, names that are DNS names, and are not too large or too deep",
        "correct the manifest; the controller would refuse the child, or the whole answer",
        manifests::are_good
    ),
    check!(
        "allowed-kinds",
        "children are of kinds that the plugin may have",
        "add the kind to spec.children of the plugin's manifest, unless it is one that no plugin may have",
        manifests::keep_to_kinds
    ),
    check!(
        "controller-fields",
        "children leave to the controller what it sets itself",
        "leave the field out: the controller removes it, so it has no effect",
        manifests::leave_fields_to_the_controller
    ),
    check!(
        "determinism",
        "the same request has the same answer each time",
        "leave out times, random names and counters, and sort what comes from maps and sets",
        stability::are_the_same
    ),
    check!(
        "concurrency",
        "requests that are sent at once are answered as those that are sent in turn",
        "share nothing between requests that they change",
        stability::stand_a_crowd
    ),
    check!(
        "repeated-uid",
        "a request that is sent again as another attempt is answered again",
        "answer a uid that you know as you did before; it is not a duplicate to drop",
        stability::are_given_again
    ),
    check!(
        "hints-ignored",
        "the answer does not depend on the event",
        "answer from subject, owner and settings alone: an event may be missed, or come twice",
        stability::ignore_hints
    ),
    check!(
        "dry-run",
        "the answer to a dry run is the answer",
        "answer as if dryRun were false, and leave out what changes something outside of the cluster",
        stability::show_the_truth
    ),
    check!(
        "settles",
        "with its own children in place the plugin wants the same children again",
        "answer with all children each time, also with those that are observed already",
        stability::settle
    ),
    check!(
        "unknown-fields",
        "fields of a newer controller are ignored",
        "read requests without refusing fields and event reasons that you do not know",
        input::unknown_fields
    ),
    check!(
        "failure-is-200",
        "settings that cannot be used are answered with 200",
        "answer with status Failure and a message for the user; other codes are for broken calls",
        settings::are_answered
    ),
    check!(
        "unknown-settings",
        "settings with a name that means nothing are a Failure",
        "refuse names that you do not know: else nobody notices a typing error",
        settings::are_refused_if_unknown
    ),
    check!("invalid-json", "a body that is not JSON is refused with 4xx", "answer with 422", input::invalid_json),
    check!(
        "invalid-request",
        "JSON that is no request is refused with 4xx",
        "answer with 422 where a field is absent or has the wrong type",
        input::invalid_request
    ),
    check!(
        "content-type",
        "a body that is not declared as JSON is refused with 415",
        "answer with 415 unless the content type is application/json, with or without a charset",
        input::content_type
    ),
    check!(
        "hook-mismatch",
        "a request at the path of another hook is refused with 422",
        "compare request.hook with the hook of the path, and answer with 422",
        input::hook_mismatch
    ),
    check!(
        "unknown-path",
        "a path that does not exist is answered with 404",
        "answer with 404, also for hooks and versions that you do not know",
        input::unknown_path
    ),
    check!(
        "wrong-method",
        "a GET of a hook and a POST of the discovery are answered with 405",
        "serve hooks by POST and the discovery by GET, each alone",
        input::wrong_method
    ),
    check!(
        "oversized-input",
        "a request of more than 4 MiB is refused with 413 or by hanging up, and the plugin goes on",
        "limit bodies to 4 MiB where they are read",
        input::oversized
    ),
    check!(
        "deep-json",
        "JSON that is 10,000 deep is refused, and the plugin goes on",
        "use a JSON parser that limits depth, or catch what it throws",
        input::deep_json
    ),
    check!(
        "missing-credentials",
        "a caller that shows nothing is refused",
        "refuse the handshake, or answer 401, for the discovery too",
        credentials::missing
    ),
    check!(
        "forged-credentials",
        "a caller that shows something false is refused",
        "verify who signed, over which body, and when",
        credentials::forged
    ),
    check!(
        "credentials-kept",
        "who shows the right credentials is let in again after others were refused",
        "keep no state between calls about who was refused",
        credentials::kept
    ),
    check!(
        "alive-afterwards",
        "after all this the plugin answers as at first",
        "look into the plugin's log for what ended it, or what it remembers from call to call",
        stability::live_on
    ),
    check!(
        "finalize-served",
        "the hook Finalize is served if the discovery lists it, and only then",
        "list Finalize in hooks and serve /v1alpha1/finalize, or do neither",
        finalize::is_served_if_listed
    ),
    check!(
        "finalize-idempotent",
        "what is finalized stays so",
        "answer finalized: true also if there is nothing left to release",
        finalize::is_idempotent
    ),
];
