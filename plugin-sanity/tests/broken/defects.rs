//! The defects of broken plugins.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::plugins::State;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Defect {
    NoVersion,
    UnknownDiscoveryField,
    OtherProtocol,
    NoSync,
    Redirects,
    Late,
    GatewayLate,
    Html,
    UnknownField,
    HugeAnswers,
    HugeErrors,
    WrongUid,
    NullChildren,
    BadKey,
    SameKeys,
    TooMany,
    NoKind,
    BadName,
    BooleanAnnotation,
    LargeManifest,
    DeepManifest,
    SameObjects,
    OtherKind,
    DeniedKind,
    OwnerReferences,
    Status,
    ForeignNamespace,
    ReservedLabel,
    Random,
    OneAtATime,
    MixesUp,
    NoRepetition,
    ReadsAttempt,
    ReadsReason,
    NothingOnDryRun,
    Flips,
    KeepsAndFlips,
    StrictInput,
    FailsWith500,
    IgnoresUnknownSettings,
    BadInputIs(u16),
    AnyVersion,
    AnyContentType,
    NoCharset,
    AnyPath,
    AnyVersionOfPath,
    PostedDiscovery,
    ReadsAll,
    DiesOfSize,
    DiesOfDepth,
    HalfDiesOfDepth,
    FinalizeNotServed,
    FinalizeNotListed,
    FinalizeTwice,
}

/// Adds the defect to a response.
pub(crate) fn spoil(defect: Defect, state: &State, sent: &Value, answer: &mut Value) {
    if answer["kind"] == "PluginDiscovery" {
        spoil_discovery(defect, answer);
    } else if sent["request"]["hook"] == "Finalize" {
        let calls = state.finalized.fetch_add(1, Ordering::SeqCst);
        if defect == Defect::FinalizeTwice && calls >= 2 {
            answer["response"]["finalized"] = json!(false);
        }
    } else {
        let response = &mut answer["response"];
        spoil_children(defect, &mut response["children"]);
        spoil_answer(defect, state, &sent["request"], response);
    }
}

fn spoil_discovery(defect: Defect, discovery: &mut Value) {
    match defect {
        Defect::NoVersion => discovery["version"] = json!(""),
        Defect::UnknownDiscoveryField => discovery["hook"] = json!("Sync"),
        Defect::OtherProtocol => discovery["protocolVersions"] = json!(["v9"]),
        Defect::NoSync => discovery["hooks"] = json!(["Finalize"]),
        Defect::FinalizeNotListed => discovery["hooks"] = json!(["Sync"]),
        _ => {}
    }
}

fn spoil_answer(defect: Defect, state: &State, request: &Value, response: &mut Value) {
    let has_children = request["observed"]["children"].as_object().is_some_and(|children| !children.is_empty());
    let is_dry = request["dryRun"] == true;
    let call = state.calls.fetch_add(1, Ordering::SeqCst);
    match defect {
        Defect::UnknownField => response["resyncAfter"] = json!(60),
        Defect::WrongUid => response["uid"] = json!("sha256:00"),
        Defect::NullChildren => response["children"] = json!(null),
        Defect::Random => response["warnings"] = json!([call.to_string()]),
        Defect::ReadsAttempt => response["warnings"] = json!([request["attempt"].to_string()]),
        Defect::ReadsReason => response["warnings"] = json!([request["event"]["reason"].to_string()]),
        Defect::NothingOnDryRun if is_dry => response["children"] = json!([]),
        Defect::Flips if has_children => response["children"] = json!([]),
        Defect::KeepsAndFlips if has_children || is_dry => response["children"] = json!([]),
        Defect::IgnoresUnknownSettings if response["status"] == "Failure" => {
            *response = json!({"uid": response["uid"], "status": "Success", "children": []});
        }
        _ => {}
    }
}

/// Changes the children of the conforming plugin: one child, or none in a Failure.
fn spoil_children(defect: Defect, children: &mut Value) {
    let Some(children) = children.as_array_mut() else { return };
    let Some(child) = children.first_mut() else { return };
    let manifest = &mut child["manifest"];
    match defect {
        Defect::NoKind => *manifest = json!({"data": {}}),
        Defect::BadName => manifest["metadata"]["name"] = json!("Greeting_1"),
        Defect::BooleanAnnotation => manifest["metadata"]["annotations"] = json!({"enabled": true}),
        Defect::LargeManifest => manifest["data"]["filler"] = json!("x".repeat(300_000)),
        Defect::DeepManifest => manifest["data"] = (0..60).fold(json!({}), |inner, _| json!({"a": inner})),
        Defect::OtherKind => manifest["kind"] = json!("Endpoints"),
        Defect::DeniedKind => manifest["kind"] = json!("ServiceAccount"),
        Defect::OwnerReferences => manifest["metadata"]["ownerReferences"] = json!([]),
        Defect::Status => manifest["status"] = json!({"ready": true}),
        Defect::ForeignNamespace => manifest["metadata"]["namespace"] = json!("kube-system"),
        Defect::ReservedLabel => manifest["metadata"]["labels"] = json!({"dask.org/cluster-name": "demo"}),
        Defect::BadKey => child["key"] = json!("Bad Key"),
        Defect::SameKeys => {
            let mut again = child.clone();
            again["manifest"]["metadata"]["name"] = json!("another");
            children.push(again);
        }
        Defect::SameObjects => {
            let mut again = child.clone();
            again["key"] = json!("again");
            children.push(again);
        }
        Defect::TooMany => {
            let named =
                |n: usize| json!({"key": format!("map-{n}"), "manifest": {"apiVersion": "v1", "kind": "ConfigMap"}});
            *children = (0..65).map(named).collect();
        }
        _ => {}
    }
}
