//! What the plugin answers to requests that are in order.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use plugin_protocol::{ChildKey, PluginResponse, ResponseStatus, limits};
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{Finding, about, failed},
};

/// How often a question is repeated.
const REPETITIONS: usize = 5;
/// How many questions are asked at once.
const CROWD: usize = 16;
/// How many rounds a plugin may take until its children stay the same.
const ROUNDS: usize = 3;

/// Groups and core kinds that no plugin may write: the controller's own list.
const DENIED_GROUPS: [&str; 6] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "certificates.k8s.io",
    "dask.org",
    "rbac.authorization.k8s.io",
];
const DENIED_CORE_KINDS: [&str; 3] = ["Namespace", "Node", "ServiceAccount"];

pub(super) async fn are_reviews(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        lab.ask(review, &about(review)).await?;
    }
    Ok(())
}

pub(super) async fn repeat_the_uid(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let (what, answer) = (about(review), lab.ask(review, &about(review)).await?);
        if review["request"]["uid"] != json!(answer.uid) {
            return Err(failed(what, format!("the uid {}", review["request"]["uid"]), format!("{:?}", answer.uid)));
        }
    }
    Ok(())
}

pub(super) async fn have_children(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let answer = lab.ask(review, &about(review)).await?;
        if answer.status == ResponseStatus::Success && answer.children.is_none() {
            return Err(failed(about(review), "children: [] or more", "a Success without children, or with null"));
        }
    }
    Ok(())
}

pub(super) async fn have_good_keys(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let children = lab.ask(review, &about(review)).await?.children.unwrap_or_default();
        let complain = |expected: &str, got: String| Err(failed(about(review), expected, got));
        if children.len() > limits::MAX_CHILDREN {
            return complain("at most 64 children", children.len().to_string());
        }
        let mut seen = BTreeSet::new();
        for child in &children {
            if let Err(error) = ChildKey::new(&child.key) {
                return complain("keys of a-z, 0-9 and inner dashes, 40 at most", error.to_string());
            }
            if !seen.insert(&child.key) {
                return complain("each key once", format!("{} twice", child.key));
            }
        }
    }
    Ok(())
}

pub(super) async fn have_manifests(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        for child in lab.ask(review, &about(review)).await?.children.unwrap_or_default() {
            let complain =
                |expected: &str, got: String| Err(failed(about(review), expected, format!("{}: {got}", child.key)));
            let (api_version, kind) = types(&child.manifest);
            if api_version.is_empty() || kind.is_empty() {
                return complain("apiVersion and kind in each manifest", child.manifest.to_string());
            }
            let size = child.manifest.to_string().len();
            if size > limits::MAX_CHILD_BYTES {
                return complain("manifests of at most 256 KiB", format!("{size} bytes"));
            }
            if depth(&child.manifest) > limits::MAX_JSON_DEPTH {
                return complain("manifests that are at most 64 deep", depth(&child.manifest).to_string());
            }
        }
    }
    Ok(())
}

pub(super) async fn keep_to_kinds(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        for child in lab.ask(review, &about(review)).await?.children.unwrap_or_default() {
            let (api_version, kind) = types(&child.manifest);
            let got = format!("{}: {api_version} {kind}", child.key);
            if is_denied(api_version, kind) {
                return Err(failed(about(review), "no kind that decides over rights, admission or Dask itself", got));
            }
            let is_allowed = |(version, name): &(String, String)| version == api_version && name == kind;
            if lab.allowed.as_ref().is_some_and(|allowed| !allowed.iter().any(is_allowed)) {
                return Err(failed(about(review), "kinds that are in spec.children of the plugin", got));
            }
        }
    }
    if lab.allowed.is_some() {
        Ok(())
    } else {
        Err(Finding::Skipped(
            "give --plugin, whose spec.children tells the kinds; none was one that is always denied".to_owned(),
        ))
    }
}

pub(super) async fn are_the_same(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let first = lab.ask(review, &about(review)).await?;
        for _ in 1..REPETITIONS {
            same(&first, &lab.ask(review, &about(review)).await?, &format!("{} again", about(review)))?;
        }
    }
    Ok(())
}

pub(super) async fn stand_a_crowd(lab: &Lab) -> Checked {
    let Some(review) = lab.reviews.first() else { return Ok(()) };
    let first = lab.ask(review, &about(review)).await?;
    let what = format!("{}, {CROWD} times at once", about(review));
    let crowd = try_join_all((0..CROWD).map(|_| lab.ask(review, &what))).await?;
    crowd.iter().try_for_each(|answer| same(&first, answer, &what))
}

pub(super) async fn are_given_again(lab: &Lab) -> Checked {
    changed(lab, "as another attempt", |request| request["attempt"] = json!(2)).await
}

pub(super) async fn ignore_hints(lab: &Lab) -> Checked {
    changed(lab, "with event.reason Resync at another time", |request| {
        request["event"]["reason"] = json!("Resync");
        request["event"]["time"] = json!("2031-01-01T00:00:00Z");
    })
    .await?;
    changed(lab, "with dryRun", |request| request["dryRun"] = json!(true)).await
}

/// A change of what is no part of the question changes nothing.
async fn changed(lab: &Lab, how: &str, change: impl Fn(&mut Value)) -> Checked {
    for review in &lab.reviews {
        let first = lab.ask(review, &about(review)).await?;
        let mut other = review.clone();
        change(&mut other["request"]);
        let what = format!("{} {how}", about(review));
        same(&first, &lab.ask(&other, &what).await?, &what)?;
    }
    Ok(())
}

pub(super) async fn settle(lab: &Lab) -> Checked {
    for review in &lab.reviews {
        let mut answer = lab.ask(review, &about(review)).await?;
        let what = format!("{} with the children of its answer in place", about(review));
        let mut rounds = 0;
        loop {
            let mut next = review.clone();
            next["request"]["observed"]["children"] = observed(&answer);
            let again = lab.ask(&next, &what).await?;
            if again.children == answer.children {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS {
                let got = format!("{} after {}", short(&again), short(&answer));
                return Err(failed(what, "the same children again, within three rounds", got));
            }
            answer = again;
        }
    }
    Ok(())
}

fn observed(answer: &PluginResponse) -> Value {
    let children = answer.children.iter().flatten();
    Value::Object(children.map(|child| (child.key.clone(), json!({"object": child.manifest}))).collect())
}

fn same(first: &PluginResponse, again: &PluginResponse, sent: &str) -> Checked {
    if first == again {
        return Ok(());
    }
    Err(failed(sent, format!("the same answer as before: {}", short(first)), short(again)))
}

fn short(answer: &PluginResponse) -> String {
    limits::cut_message(&json!(answer).to_string()).to_owned()
}

fn types(manifest: &Value) -> (&str, &str) {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

fn is_denied(api_version: &str, kind: &str) -> bool {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let below = |parent: &str| group == parent || group.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    DENIED_GROUPS.iter().any(|parent| below(parent)) || (group.is_empty() && DENIED_CORE_KINDS.contains(&kind))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
