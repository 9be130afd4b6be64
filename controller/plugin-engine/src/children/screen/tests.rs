//! Tests of the screening of children: which ones are rejected, and how metadata is rendered.

use dask_operator_api::testing::mk_resource;

use super::*;
use crate::children::child_ref::ChildRef;

/// Returns the allow-list of the tests. It contains Role and `ClusterIssuer` to show that being on it is not enough.
fn kinds() -> Vec<ChildKind> {
    let kind = |api_version, name| ChildKind {
        resource: mk_resource(api_version, name),
        namespaced: name != "ClusterIssuer",
        allow_sensitive: name == "Job",
        recreate: false,
    };
    vec![
        kind("v1", "ConfigMap"),
        kind("v1", "Secret"),
        kind("batch/v1", "Job"),
        kind("cert-manager.io/v1", "ClusterIssuer"),
        kind("networking.internal.example.org/v1", "Ingress"),
        kind("networking.k8s.io/v1", "Ingress"),
        kind("networking.k8s.io/v1", "NetworkPolicy"),
        kind("rbac.authorization.k8s.io/v1", "Role"),
    ]
}

fn owner() -> Value {
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "name": "demo",
        "uid": "cluster-uid",
        "controller": true,
        "blockOwnerDeletion": false,
    })
}

fn origin(kinds: &[ChildKind]) -> Origin<'_> {
    Origin {
        plugin: "ingress",
        subject_kind: "Service",
        subject_name: "demo-scheduler",
        subject_uid: "subject-uid",
        namespace: "ns",
        owner: owner(),
        kinds,
        known: &[],
    }
}

fn screened(children: Vec<Child>) -> Screened {
    screen(children, &origin(&kinds()))
}

/// Returns the rejection of the only child.
fn refused(key: &str, manifest: Value) -> Rejected {
    let Screened { approved, mut rejected } = screened(vec![Child::new(key, manifest)]);
    assert_eq!(approved, []);
    assert_eq!(rejected.len(), 1);
    rejected.remove(0)
}

fn approved(manifest: Value) -> Approved {
    let Screened { mut approved, rejected } = screened(vec![Child::new("web", manifest)]);
    assert_eq!(rejected, []);
    approved.remove(0)
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

/// Returns `config_map` with a compact JSON form of `bytes` bytes.
fn config_map_of(bytes: usize) -> Value {
    let mut manifest = config_map("large");
    manifest["data"] = json!({"a": ""});
    let padding = bytes - manifest.to_string().len();
    manifest["data"]["a"] = json!("x".repeat(padding));
    manifest
}

fn names(approved: &[Approved]) -> Vec<&str> {
    approved.iter().map(Approved::name).collect()
}

fn reasons(rejected: &[Rejected]) -> Vec<(&str, &str)> {
    rejected.iter().map(|rejected| (rejected.key.as_str(), rejected.reason)).collect()
}

#[test]
fn only_the_metadata_is_rendered_by_the_controller() {
    let manifest = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "dashboard",
            "labels": {"team": "a", "app.kubernetes.io/name": "dask"},
            "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/"},
        },
        "spec": {"rules": [{"host": "demo.example.org", "http": {"paths": [{"backend": {"port": 8787}}]}}]},
        "futureField": {"kept": [1, null, true]},
    });
    let child = approved(manifest);
    assert_eq!((child.key().as_str(), child.name()), ("web", "dashboard"));
    assert_eq!(child.resource(), &mk_resource("networking.k8s.io/v1", "Ingress"));
    let expected = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": "dashboard",
            "namespace": "ns",
            "labels": {
                "team": "a",
                "app.kubernetes.io/name": "dask",
                "app.kubernetes.io/managed-by": "dask-operator",
                "plugin.kubernetes.dask.org/plugin": "ingress",
                "plugin.kubernetes.dask.org/subject-uid": "subject-uid",
                "plugin.kubernetes.dask.org/key": "web",
            },
            "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/"},
            "ownerReferences": [owner()],
        },
        "spec": {"rules": [{"host": "demo.example.org", "http": {"paths": [{"backend": {"port": 8787}}]}}]},
        "futureField": {"kept": [1, null, true]},
    });
    assert_eq!(child.manifest(), &expected);
}

/// A plugin that could forge these would write into other namespaces, have other users' objects deleted, block
/// deletions, or claim another plugin's children.
#[test]
fn nothing_that_is_the_controllers_can_be_forged() {
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "forged",
            "namespace": "kube-system",
            "generateName": "forged-",
            "uid": "forged",
            "resourceVersion": "1",
            "generation": 7,
            "selfLink": "/forged",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 1,
            "managedFields": [{"manager": "forged"}],
            "finalizers": ["forged.example.org/never"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "forged", "controller": true}],
            "labels": {
                "app.kubernetes.io/managed-by": "Helm",
                "plugin.kubernetes.dask.org/plugin": "other",
                "plugin.kubernetes.dask.org/subject-uid": "other",
                "plugin.kubernetes.dask.org/key": "other",
            },
        },
        "status": {"forged": true},
    });
    let expected = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "forged",
            "namespace": "ns",
            "labels": {
                "app.kubernetes.io/managed-by": "dask-operator",
                "plugin.kubernetes.dask.org/plugin": "ingress",
                "plugin.kubernetes.dask.org/subject-uid": "subject-uid",
                "plugin.kubernetes.dask.org/key": "web",
            },
            "annotations": {},
            "ownerReferences": [owner()],
        },
    });
    assert_eq!(approved(manifest).manifest(), &expected);
}

/// With `dask.org/component=scheduler` on its own Service, a plugin would break every client, because clients expect
/// exactly one. With `adopt`, it could allow other plugins to take over its children.
#[test]
fn keys_below_dask_org_are_removed_and_others_stay() {
    let table = [
        ("dask.org/component", false),
        ("kubernetes.dask.org/aggregate-to-operator", false),
        ("plugin.kubernetes.dask.org/adopt", false),
        ("plugin.kubernetes.dask.org/anything", false),
        ("dask.org", true),
        ("notdask.org/a", true),
        ("dask.org.example.com/a", true),
        ("example.com/dask.org", true),
        ("plain", true),
    ];
    for (key, kept) in table {
        for place in ["labels", "annotations"] {
            let mut manifest = config_map("a");
            manifest["metadata"][place] = json!({key: "x"});
            let child = approved(manifest);
            assert_eq!(child.manifest()["metadata"][place].get(key).is_some(), kept, "{place} {key}");
        }
    }
}

#[test]
fn labels_and_annotations_that_are_no_maps_are_rejected() {
    for field in ["labels", "annotations"] {
        for wrong in [json!([]), json!("a=b"), json!(1)] {
            let mut manifest = config_map("a");
            manifest["metadata"][field] = wrong;
            let refused = refused("web", manifest);
            assert_eq!(refused.reason, "InvalidManifest");
            assert!(refused.message.contains(field), "{}", refused.message);
        }
        let mut manifest = config_map("a");
        manifest["metadata"][field] = json!(null);
        assert_eq!(approved(manifest).manifest(), approved(config_map("a")).manifest());
    }
}

#[test]
fn a_manifest_without_metadata_gets_all_of_it() {
    let child = approved(json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    let mut expected = config_map("demo-scheduler-ingress-web");
    expected["metadata"]["labels"] = json!({});
    assert_eq!(child.manifest(), approved(expected).manifest());
    assert_eq!(child.name(), "demo-scheduler-ingress-web");
}

#[test]
fn each_manifest_that_may_not_be_written_is_refused_for_its_own_reason() {
    // Names become part of URLs: a name with a slash would write to another object.
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let table = [
        (json!("text"), "InvalidManifest"),
        (json!([config_map("a")]), "InvalidManifest"),
        (json!(null), "InvalidManifest"),
        (json!({"kind": "ConfigMap"}), "InvalidManifest"),
        (json!({"apiVersion": "v1"}), "InvalidManifest"),
        (json!({"apiVersion": "", "kind": "ConfigMap"}), "InvalidManifest"),
        (json!({"apiVersion": 1, "kind": "ConfigMap"}), "InvalidManifest"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": []}), "InvalidManifest"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": null}), "InvalidManifest"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ""}}), "InvalidManifest"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": null}}), "InvalidManifest"),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 7}}), "InvalidManifest"),
        (named("demo/status"), "InvalidManifest"),
        (named("../secrets/token"), "InvalidManifest"),
        (named("a?dryRun=All"), "InvalidManifest"),
        (named(".."), "InvalidManifest"),
        (named("with space"), "InvalidManifest"),
        (named("Upper"), "InvalidManifest"),
        (named("a-"), "InvalidManifest"),
        (named(&"a".repeat(254)), "InvalidManifest"),
        (json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}), "KindDenied"),
        (json!({"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}), "KindDenied"),
        (json!({"apiVersion": "v1", "kind": "ServiceAccount"}), "KindDenied"),
        (json!({"apiVersion": "v1", "kind": "Service"}), "KindNotAllowed"),
        (json!({"apiVersion": "v1", "kind": "List", "items": [config_map("a")]}), "KindNotAllowed"),
        (json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": [config_map("a")]}), "KindNotAllowed"),
        (json!({"apiVersion": "networking.k8s.io/v1", "kind": "ConfigMap"}), "KindNotAllowed"),
        (json!({"apiVersion": "networking.k8s.io/v1beta1", "kind": "Ingress"}), "KindNotAllowed"),
        (json!({"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer"}), "ClusterScoped"),
        (json!({"apiVersion": "v1", "kind": "Secret"}), "Sensitive"),
        (config_map_of(limits::MAX_CHILD_BYTES + 1), "TooLarge"),
    ];
    for (manifest, reason) in table {
        let start: String = manifest.to_string().chars().take(120).collect();
        let rejected = refused("web", manifest);
        assert_eq!((rejected.key.as_str(), rejected.reason), ("web", reason), "{start}");
    }
}

#[test]
fn a_sensitive_kind_is_written_where_the_rule_allows_it() {
    let child = approved(json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {}}));
    assert_eq!(child.resource(), &mk_resource("batch/v1", "Job"));
}

#[test]
fn a_manifest_of_exactly_the_largest_size_is_written() {
    assert_eq!(approved(config_map_of(limits::MAX_CHILD_BYTES)).name(), "large");
}

#[test]
fn refusals_say_what_to_change() {
    let table = [
        ("Web", config_map("a"), r#"child key "Web" does not match [a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"#),
        ("web", json!({"kind": "ConfigMap"}), "web: apiVersion and kind are required"),
        ("web", json!({"apiVersion": "v1", "kind": "Node"}), "web: no plugin may write v1 Node"),
        (
            "web",
            json!({"apiVersion": "v1", "kind": "Service"}),
            "web: v1 Service is not in spec.children of the plugin",
        ),
        (
            "web",
            json!({"apiVersion": "v1", "kind": "Secret"}),
            "web: v1 Secret needs allowSensitive in spec.children of the plugin",
        ),
    ];
    for (key, manifest, message) in table {
        assert_eq!(refused(key, manifest).message, message);
    }
}

/// Messages end up in statuses and Events, whose size is limited.
#[test]
fn what_the_plugin_wrote_is_cut_in_messages() {
    let endless = "x".repeat(100_000);
    let rejected = refused(&endless, config_map("a"));
    assert_eq!((rejected.key.len(), rejected.reason), (limits::MAX_MESSAGE_BYTES, "InvalidKey"));
    assert!(rejected.message.len() < 1000);
    let rejected = refused("web", json!({"apiVersion": "v1", "kind": endless}));
    assert!(rejected.message.len() < 1000);
}

#[test]
fn keys_outside_of_the_pattern_are_refused() {
    for key in ["", "Upper", "under_score", "dotted.key", "slash/key", "ü", "-", "-a", "a-", &"a".repeat(41)] {
        assert_eq!(refused(key, config_map("a")).reason, "InvalidKey", "{key}");
    }
    let longest = "a".repeat(40);
    assert_eq!(reasons(&screened(vec![Child::new(longest, config_map("a"))]).rejected), []);
}

#[test]
fn a_refused_child_does_not_stop_those_around_it() {
    let Screened { approved, rejected } = screened(vec![
        Child::new("Bad Key", config_map("a")),
        Child::new("b", config_map("b")),
        Child::new("c", json!({"apiVersion": "v1", "kind": "Secret"})),
        Child::new("d", config_map("d")),
        Child::new("e", json!(null)),
    ]);
    assert_eq!(names(&approved), ["b", "d"]);
    assert_eq!(reasons(&rejected), [("Bad Key", "InvalidKey"), ("c", "Sensitive"), ("e", "InvalidManifest")]);
}

#[test]
fn of_two_children_with_one_key_the_first_is_written() {
    let Screened { approved, rejected } =
        screened(vec![Child::new("web", config_map("a")), Child::new("web", config_map("b"))]);
    assert_eq!(names(&approved), ["a"]);
    assert_eq!(reasons(&rejected), [("web", "DuplicateKey")]);
}

/// Two manifests for one object would overwrite each other on every pass.
#[test]
fn of_two_children_that_are_one_object_the_first_is_written() {
    let unnamed = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let Screened { approved, rejected } = screened(vec![
        Child::new("a", config_map("same")),
        Child::new("b", config_map("same")),
        Child::new("c", unnamed),
        Child::new("d", config_map("demo-scheduler-ingress-c")),
    ]);
    assert_eq!(names(&approved), ["same", "demo-scheduler-ingress-c"]);
    assert_eq!(reasons(&rejected), [("b", "DuplicateName"), ("d", "DuplicateName")]);
}

#[test]
fn objects_of_different_kinds_and_groups_may_share_a_name() {
    let same = |key, api_version, kind| {
        Child::new(key, json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "same"}}))
    };
    let Screened { approved, rejected } = screened(vec![
        same("a", "networking.k8s.io/v1", "Ingress"),
        same("b", "networking.k8s.io/v1", "NetworkPolicy"),
        same("c", "networking.internal.example.org/v1", "Ingress"),
    ]);
    assert_eq!((names(&approved), rejected), (vec!["same"; 3], vec![]));
}

#[test]
fn children_beyond_the_64th_are_refused() {
    let child = |index| Child::new(format!("key-{index}"), config_map(&format!("name-{index}")));
    let Screened { approved, rejected } = screened((0..66).map(child).collect());
    assert_eq!((approved.len(), approved[63].name()), (64, "name-63"));
    assert_eq!(reasons(&rejected), [("key-64", "TooManyChildren"), ("key-65", "TooManyChildren")]);
}

#[test]
fn a_child_with_its_second_default_name_is_not_created_again_under_the_first() {
    let kinds = kinds();
    let unnamed = || vec![Child::new("web", json!({"apiVersion": "v1", "kind": "ConfigMap"}))];
    let first = screen(unnamed(), &origin(&kinds)).approved;
    assert_eq!(names(&first), ["demo-scheduler-ingress-web"]);
    let second = first[0].with_second_name().unwrap();
    let known = [ChildRef {
        resource: second.resource().clone(),
        name: second.name().to_owned(),
        uid: "u".to_owned(),
        key: "web".to_owned(),
    }];
    let children = screen(unnamed(), &Origin { known: &known, ..origin(&kinds) }).approved;
    assert_eq!(children[0].name(), second.name());
    assert_eq!(children[0].manifest()["metadata"]["name"], second.name());
    assert_eq!(children[0].with_second_name(), None);
}
