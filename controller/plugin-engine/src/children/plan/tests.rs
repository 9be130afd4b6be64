//! Tests of the plan: which children are applied, pruned or in conflict.

use dask_operator_api::testing::mk_resource;
use serde_json::{Value, json};

use super::*;
use crate::{
    children::{origin::Origin, screen::screen},
    model::{child_kind::ChildKind, labels::SUBJECT_LABEL},
};
use plugin_protocol::Child;

const CLAIM: Ownership<'_> = Ownership { plugin: "ingress", subject_uid: "subject-uid", owner_uid: "owner-uid" };

/// Returns an Ingress of the plugin `ingress`. Only screening creates approved children.
fn ingress(key: &str, name: &str) -> Approved {
    let kinds = [ChildKind { resource: ingress_resource(), namespaced: true, allow_sensitive: false, recreate: false }];
    let origin = Origin {
        plugin: CLAIM.plugin,
        subject_kind: "Service",
        subject_name: "demo-scheduler",
        subject_uid: CLAIM.subject_uid,
        namespace: "ns",
        owner: owner(CLAIM.owner_uid),
        kinds: &kinds,
        known: &[],
    };
    let manifest = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}});
    screen(vec![Child::new(key, manifest)], &origin).approved.remove(0)
}

fn ingress_resource() -> ApiResource {
    mk_resource("networking.k8s.io/v1", "Ingress")
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "name": "demo", "uid": uid, "controller": true})
}

/// Returns the object that exists under the name `web` after the plugin wrote it.
fn ours() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "web",
            "namespace": "ns",
            "uid": "web-uid",
            "labels": {
                "plugin.kubernetes.dask.org/plugin": "ingress",
                "plugin.kubernetes.dask.org/subject-uid": "subject-uid",
                "plugin.kubernetes.dask.org/key": "web",
            },
            "ownerReferences": [owner("owner-uid")],
        },
    })
}

fn wanted(child: Approved, live: Option<Value>) -> WantedChild {
    WantedChild { child, live: live.map(|object| serde_json::from_value(object).unwrap()) }
}

fn ours_but(pointer: &str, value: Value) -> Value {
    let mut object = ours();
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

fn known(name: &str) -> ChildRef {
    ChildRef { resource: ingress_resource(), name: name.to_owned(), uid: format!("{name}-uid"), key: name.to_owned() }
}

fn applying(child: Approved) -> Plan {
    Plan { apply: vec![child], ..Plan::default() }
}

fn plan_over(object: Value) -> Plan {
    plan(vec![wanted(ingress("web", "web"), Some(object))], vec![], CLAIM)
}

#[test]
fn a_missing_child_is_created() {
    let plan = plan(vec![wanted(ingress("web", "web"), None)], vec![], CLAIM);
    assert_eq!(plan, applying(ingress("web", "web")));
}

#[test]
fn a_child_of_the_same_plugin_and_subject_is_updated() {
    assert_eq!(plan_over(ours()), applying(ingress("web", "web")));
}

/// Each of these objects belongs to another client. Writing it would take it away from that client, and because of our
/// owner reference the garbage collector would later delete it.
#[test]
fn an_object_that_is_not_the_plugins_is_a_conflict() {
    let unowned = "Ingress web exists and does not belong to the plugin; to let the plugin adopt it, annotate it \
                   plugin.kubernetes.dask.org/adopt=ingress";
    let held = "Ingress web belongs to another subject";
    let mut no_owner = ours();
    no_owner["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let mut not_controlled = ours();
    not_controlled["metadata"]["ownerReferences"][0]["controller"] = json!(false);
    let labels = |plugin, subject| json!({PLUGIN_LABEL: plugin, SUBJECT_LABEL: subject});
    let table = [
        (
            "foreign",
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}}),
            unowned,
        ),
        ("our owner, no labels", ours_but("/metadata/labels", json!({})), unowned),
        (
            "another plugin's",
            ours_but("/metadata/labels", labels("dns", "subject-uid")),
            "Ingress web belongs to the plugin dns",
        ),
        ("another subject's", ours_but("/metadata/labels", labels("ingress", "other")), held),
        ("an older namesake's", ours_but("/metadata/ownerReferences", json!([owner("older-uid")])), held),
        ("our labels copied, no owner", no_owner, held),
        ("our labels copied, owner does not control", not_controlled, held),
    ];
    for (what, object, message) in table {
        let conflict = Conflict { key: "web".to_owned(), message: message.to_owned() };
        assert_eq!(plan_over(object), Plan { conflicts: vec![conflict], ..Plan::default() }, "{what}");
    }
}

#[test]
fn a_foreign_object_that_is_being_deleted_is_waited_for() {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "deletionTimestamp": "2026-11-23T09:00:00Z"},
    });
    let message = "Ingress web exists and is being deleted".to_owned();
    let conflicts = vec![Conflict { key: "web".to_owned(), message }];
    assert_eq!(plan_over(object), Plan { conflicts, ..Plan::default() });
}

#[test]
fn an_object_is_adopted_only_by_the_plugin_that_its_annotation_names() {
    let foreign = |adopt: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "annotations": {"plugin.kubernetes.dask.org/adopt": adopt}},
        })
    };
    assert_eq!(plan_over(foreign("ingress")), applying(ingress("web", "web")));
    for adopt in ["dns", "", "true", "ingress-2"] {
        let plan = plan_over(foreign(adopt));
        assert_eq!((plan.apply.len(), plan.conflicts.len()), (0, 1), "{adopt}");
    }
}

/// The annotation stays after the adoption.
#[test]
fn an_adopted_object_is_not_handed_on_to_another_subject() {
    let mut adopted = ours_but("/metadata/labels", json!({PLUGIN_LABEL: "ingress", SUBJECT_LABEL: "other"}));
    adopted["metadata"]["annotations"] = json!({ADOPT_ANNOTATION: "ingress"});
    assert_eq!(plan_over(adopted).conflicts.len(), 1);
}

/// If `spec.children` has two versions of one kind, each object appears twice.
#[test]
fn a_child_is_not_pruned_under_another_version_of_its_kind() {
    let mut other_version = known("web");
    other_version.resource = mk_resource("networking.k8s.io/v1beta1", "Ingress");
    let plan = plan(vec![wanted(ingress("web", "web"), None)], vec![other_version], CLAIM);
    assert!(plan.prune.is_empty());
}

#[test]
fn a_conflict_does_not_stop_the_other_children() {
    let foreign = json!({"metadata": {"name": "a"}});
    let children = vec![wanted(ingress("a", "a"), Some(foreign)), wanted(ingress("b", "b"), None)];
    let plan = plan(children, vec![], CLAIM);
    assert_eq!(plan.apply, [ingress("b", "b")]);
    assert_eq!(plan.conflicts.iter().map(|conflict| conflict.key.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn only_what_is_no_longer_wanted_is_pruned() {
    let children = vec![wanted(ingress("web", "web"), Some(ours())), wanted(ingress("new", "new"), None)];
    let plan = plan(children, vec![known("web"), known("gone"), known("also-gone")], CLAIM);
    assert_eq!(plan.apply, [ingress("web", "web"), ingress("new", "new")]);
    assert_eq!(plan.prune, [known("gone"), known("also-gone")]);
}

#[test]
fn an_empty_response_prunes_everything() {
    let plan = plan(vec![], vec![known("a"), known("b")], CLAIM);
    assert_eq!(plan, Plan { prune: vec![known("a"), known("b")], ..Plan::default() });
}

/// The object under this name is no longer ours, although the watch does not know it yet.
#[test]
fn a_child_in_conflict_is_not_pruned() {
    let plan = plan(
        vec![wanted(ingress("web", "web"), Some(json!({"metadata": {"name": "web"}})))],
        vec![known("web")],
        CLAIM,
    );
    assert_eq!((plan.apply.len(), plan.prune.len(), plan.conflicts.len()), (0, 0, 1));
}

#[test]
fn a_child_that_gets_another_name_under_the_same_key_replaces_the_old_object() {
    let plan = plan(vec![wanted(ingress("web", "renamed"), None)], vec![known("web")], CLAIM);
    assert_eq!(plan, Plan { prune: vec![known("web")], ..applying(ingress("web", "renamed")) });
}

/// The object is the same, so deleting it would delete what was just written.
#[test]
fn a_child_that_gets_another_key_under_the_same_name_is_kept() {
    let plan = plan(vec![wanted(ingress("other-key", "web"), Some(ours()))], vec![known("web")], CLAIM);
    assert_eq!(plan, applying(ingress("other-key", "web")));
}

#[test]
fn a_child_of_another_kind_under_the_same_name_does_not_keep_the_old_one() {
    let old = ChildRef { resource: mk_resource("v1", "ConfigMap"), ..known("web") };
    let plan = plan(vec![wanted(ingress("web", "web"), None)], vec![old.clone()], CLAIM);
    assert_eq!(plan.prune, [old]);
}
