//! The defects and the checks that detect them.

use std::collections::BTreeSet;

use dask_plugin_sanity::{CHECKS, args::Args, run};

use crate::{CREDENTIALS, check, defects::Defect, listen, mk_args, plugins::broken};

const BAD_INPUT: &[&str] = &["invalid-json", "invalid-request", "hook-mismatch", "wrong-method", "deep-json"];

/// Defects with all checks that they fail. A defect should fail few checks, so that its cause is obvious.
const TABLE: [(Defect, &[&str]); 41] = [
    (Defect::NoVersion, &["discovery"]),
    (Defect::OtherProtocol, &["protocol-version"]),
    (Defect::NoSync, &["protocol-version"]),
    (Defect::HugeErrors, &["response-size", "unknown-path"]),
    (Defect::WrongUid, &["uid-echo"]),
    (Defect::NullChildren, &["children-present"]),
    (Defect::BadKey, &["child-keys"]),
    (Defect::SameKeys, &["child-keys"]),
    (Defect::TooMany, &["child-keys"]),
    (Defect::NoKind, &["manifests", "allowed-kinds"]),
    (Defect::BadName, &["manifests"]),
    (Defect::BooleanAnnotation, &["manifests"]),
    (Defect::LargeManifest, &["manifests"]),
    (Defect::DeepManifest, &["manifests"]),
    (Defect::SameObjects, &["manifests"]),
    (Defect::OtherKind, &["allowed-kinds"]),
    (Defect::DeniedKind, &["allowed-kinds"]),
    (Defect::Random, &["determinism", "concurrency", "repeated-uid", "hints-ignored", "dry-run"]),
    (Defect::OneAtATime, &["concurrency"]),
    (Defect::MixesUp, &["concurrency"]),
    (Defect::NoRepetition, &["repeated-uid"]),
    (Defect::ReadsAttempt, &["repeated-uid", "hints-ignored"]),
    (Defect::ReadsReason, &["hints-ignored"]),
    (Defect::NothingOnDryRun, &["dry-run"]),
    (Defect::Flips, &["settles"]),
    (Defect::KeepsAndFlips, &["dry-run", "settles"]),
    (Defect::StrictInput, &["unknown-fields"]),
    (Defect::FailsWith500, &["failure-is-200"]),
    (Defect::BadInputIs(200), BAD_INPUT),
    (Defect::BadInputIs(404), BAD_INPUT),
    (Defect::BadInputIs(500), BAD_INPUT),
    (Defect::AnyVersion, &["invalid-request"]),
    (Defect::AnyContentType, &["content-type"]),
    (Defect::NoCharset, &["content-type"]),
    (Defect::AnyPath, &["unknown-path"]),
    (Defect::AnyVersionOfPath, &["unknown-path"]),
    (Defect::PostedDiscovery, &["wrong-method"]),
    (Defect::ReadsAll, &["oversized-input"]),
    (Defect::HalfDiesOfDepth, &["alive-afterwards"]),
    (Defect::FinalizeNotListed, &["finalize-served"]),
    (Defect::FinalizeTwice, &["finalize-idempotent"]),
];

/// Defects after which nothing works, with the check that reports the cause.
const FATAL: [(Defect, &str); 10] = [
    (Defect::UnknownDiscoveryField, "discovery"),
    (Defect::Redirects, "no-redirect"),
    (Defect::Late, "timeout"),
    (Defect::GatewayLate, "timeout"),
    (Defect::Html, "answers"),
    (Defect::UnknownField, "answers"),
    (Defect::HugeAnswers, "response-size"),
    (Defect::DiesOfSize, "oversized-input"),
    (Defect::DiesOfDepth, "deep-json"),
    (Defect::FinalizeNotServed, "finalize-served"),
];

/// Defects that lead to a warning.
const HARMLESS: [(Defect, &str); 5] = [
    (Defect::OwnerReferences, "controller-fields"),
    (Defect::Status, "controller-fields"),
    (Defect::ForeignNamespace, "controller-fields"),
    (Defect::ReservedLabel, "controller-fields"),
    (Defect::IgnoresUnknownSettings, "unknown-settings"),
];

#[tokio::test]
async fn each_defect_fails_its_checks_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    for (defect, ids) in TABLE {
        let report = check(broken(defect), &dir).await;
        assert_eq!(report.failed(), ids, "{defect:?}: {}", report.text());
    }
}

#[tokio::test]
async fn a_defect_that_breaks_everything_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    for (defect, id) in FATAL {
        let args = Args { only: vec![id.to_owned()], timeout: 1, ..mk_args(listen(broken(defect)).await, &dir) };
        let report = run(&args).await.unwrap();
        assert_eq!(report.failed(), [id], "{defect:?}: {}", report.text());
    }
}

#[tokio::test]
async fn a_harmless_defect_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    for (defect, id) in HARMLESS {
        let report = check(broken(defect), &dir).await;
        assert!(report.passed(), "{defect:?}: {}", report.text());
        assert_eq!(report.warned(), [id], "{defect:?}: {}", report.text());
    }
}

#[test]
fn there_is_a_broken_plugin_for_each_check() {
    let named = TABLE.iter().flat_map(|(_, ids)| ids.iter().copied());
    let more = FATAL.iter().chain(&HARMLESS).map(|(_, id)| *id);
    let tested: BTreeSet<_> = named.chain(more).chain(CREDENTIALS).collect();
    let all: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(tested, all);
    assert_eq!(all.len(), CHECKS.len(), "a name occurs twice");
}
