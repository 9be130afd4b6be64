//! Property tests with arbitrary answers of plugins: nothing panics, and no child is approved that the plugin must not
//! write.

use std::{collections::BTreeSet, time::Duration};

use dask_operator_api::testing::mk_resource;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    children::{
        origin::Origin,
        screen::{Approved, Screened, screen},
    },
    client::response::{RawResponse, interpret, parse_discovery},
    model::child_kind::ChildKind,
};
use plugin_protocol::{Child, ResponseStatus, limits};

const UID: &str = "sha256:0000";
/// Names of fields that have a meaning somewhere. Random names would hardly ever match them.
const FIELDS: [&str; 28] = [
    "",
    "a",
    "adopt",
    "annotations",
    "apiVersion",
    "app.kubernetes.io/managed-by",
    "children",
    "creationTimestamp",
    "dask.org/cluster-name",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "key",
    "kind",
    "labels",
    "managedFields",
    "manifest",
    "metadata",
    "name",
    "namespace",
    "ownerReferences",
    "plugin.kubernetes.dask.org/adopt",
    "plugin.kubernetes.dask.org/plugin",
    "resourceVersion",
    "selfLink",
    "spec",
    "status",
    "uid",
];
/// Like [`FIELDS`], for texts.
const TEXTS: [&str; 20] = [
    "",
    "..",
    "../secrets/a",
    "A",
    "ClusterIssuer",
    "ConfigMap",
    "Failure",
    "Pending",
    "PluginReview",
    "RoleBinding",
    "Secret",
    "Success",
    "a",
    "a%2fb",
    "b.c",
    "kube-system",
    "plugin.kubernetes.dask.org/v1alpha1",
    "rbac.authorization.k8s.io/v1",
    UID,
    "v1",
];
/// Fields of the metadata that answers must not set.
const RESERVED: [&str; 8] = [
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(TEXTS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![9 => select(FIELDS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((field(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn fields(of: Value) -> Map<String, Value> {
    if let Value::Object(fields) = of { fields } else { Map::new() }
}

/// Returns a manifest that is likely to be approved; `value()` alone hardly ever is.
fn manifest() -> impl Strategy<Value = Value> {
    let kinds = [("v1", "ConfigMap"), ("v1", "ConfigMap"), ("v1", "Secret"), ("cert-manager.io/v1", "ClusterIssuer")];
    let name = option::of(prop_oneof![Just("b.c".to_owned()), "[a-z]{1,3}", text()]);
    let maps = vec((field(), text()), 0..4);
    (select(kinds.to_vec()), value(), value(), name, maps).prop_map(|((version, kind), rest, metadata, name, map)| {
        let (mut manifest, mut metadata) = (fields(rest), fields(metadata));
        let map: Map<String, Value> = map.into_iter().map(|(key, text)| (key, text.into())).collect();
        metadata.insert("labels".to_owned(), map.clone().into());
        metadata.insert("annotations".to_owned(), map.into());
        match name {
            Some(name) => metadata.insert("name".to_owned(), name.into()),
            None => metadata.remove("name"),
        };
        manifest.extend(fields(json!({"apiVersion": version, "kind": kind, "metadata": metadata})));
        manifest.into()
    })
}

fn children() -> impl Strategy<Value = Vec<Child>> {
    let key = prop_oneof![6 => "[a-z]{1,2}", 1 => text()];
    let manifest = prop_oneof![3 => manifest(), 1 => value()];
    vec((key, manifest).prop_map(|(key, manifest)| Child::new(key, manifest)), 0..70)
}

/// Returns a review with a valid envelope. Its response is valid only by chance.
fn review() -> impl Strategy<Value = Value> {
    let status = select(vec!["Success", "Failure", "Pending"]);
    (status, option::of(vec(value(), 0..4)), option::weighted(0.2, (field(), value())), any::<bool>()).prop_map(
        |(status, children, other, right)| {
            let uid = if right { UID } else { "sha256:1" };
            let mut response = fields(json!({"uid": uid, "status": status}));
            if let Some(children) = children {
                let children = children.into_iter().map(|manifest| json!({"key": "a", "manifest": manifest}));
                response.insert("children".to_owned(), children.collect());
            }
            response.extend(other);
            json!({"apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview", "response": response})
        },
    )
}

fn raw() -> impl Strategy<Value = RawResponse> {
    let body = prop_oneof![
        6 => review().prop_map(|review| review.to_string().into_bytes()),
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..200),
    ];
    let code = prop_oneof![6 => Just(200), 1 => 100..600_u16];
    let retry_after = option::of(prop_oneof![any::<String>(), any::<u64>().prop_map(|seconds| seconds.to_string())]);
    (code, retry_after, body).prop_map(|(code, retry_after, body)| RawResponse {
        code,
        retry_after,
        at: jiff::Timestamp::UNIX_EPOCH,
        body,
    })
}

fn kinds() -> Vec<ChildKind> {
    let kind = |api_version, name, namespaced| ChildKind {
        resource: mk_resource(api_version, name),
        namespaced,
        allow_sensitive: false,
        recreate: false,
    };
    vec![
        kind("v1", "ConfigMap", true),
        // These are on the list by mistake, and must not be approved.
        kind("v1", "Secret", true),
        kind("cert-manager.io/v1", "ClusterIssuer", false),
        kind("rbac.authorization.k8s.io/v1", "RoleBinding", true),
    ]
}

fn check(child: &Approved, owner: &Value) -> Result<(), TestCaseError> {
    let manifest = child.manifest();
    let metadata = manifest["metadata"].as_object().unwrap();
    prop_assert_eq!((&manifest["apiVersion"], &manifest["kind"]), (&json!("v1"), &json!("ConfigMap")));
    prop_assert_eq!(manifest.get("status"), None);
    prop_assert_eq!(&metadata["namespace"], "ns");
    prop_assert_eq!(&metadata["name"], child.name());
    let is_path_safe = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    prop_assert!(!child.name().is_empty() && child.name().bytes().all(is_path_safe), "{}", child.name());
    prop_assert!(!child.name().contains(".."), "{}", child.name());
    prop_assert_eq!(&metadata["ownerReferences"], &json!([owner]));
    for reserved in RESERVED {
        prop_assert!(!metadata.contains_key(reserved), "{reserved}");
    }
    let mut labels = metadata["labels"].as_object().unwrap().clone();
    let ours = [
        ("app.kubernetes.io/managed-by", "dask-operator"),
        ("plugin.kubernetes.dask.org/plugin", "mine"),
        ("plugin.kubernetes.dask.org/subject-uid", "subject-uid"),
        ("plugin.kubernetes.dask.org/key", child.key().as_str()),
    ];
    for (label, value) in ours {
        prop_assert_eq!(labels.remove(label), Some(json!(value)));
    }
    let foreign = labels.keys().chain(metadata["annotations"].as_object().unwrap().keys());
    prop_assert_eq!(foreign.filter(|key| key.contains("dask.org/")).collect::<Vec<_>>(), Vec::<&String>::new());
    Ok(())
}

proptest! {
    #[test]
    fn what_is_approved_is_always_the_plugins_own(children in children()) {
        let (kinds, count) = (kinds(), children.len());
        let owner = json!({"kind": "DaskCluster", "name": "demo", "uid": "cluster-uid", "controller": true});
        let origin = Origin {
            plugin: "mine",
            subject_kind: "Service",
            subject_name: "demo-scheduler",
            subject_uid: "subject-uid",
            namespace: "ns",
            owner: owner.clone(),
            kinds: &kinds,
            known: &[],
        };
        let Screened { approved, rejected } = screen(children, &origin);
        prop_assert_eq!(approved.len() + rejected.len(), count);
        prop_assert!(approved.len() <= limits::MAX_CHILDREN);
        for child in &approved {
            check(child, &owner)?;
        }
        let keys: BTreeSet<_> = approved.iter().map(Approved::key).collect();
        let names: BTreeSet<_> = approved.iter().map(Approved::name).collect();
        prop_assert_eq!((keys.len(), names.len()), (approved.len(), approved.len()));
    }

    #[test]
    fn any_response_is_either_valid_or_an_error(raw in raw(), failures in any::<usize>()) {
        drop(parse_discovery(&raw));
        match interpret(&raw, UID) {
            Ok(answer) => {
                prop_assert_eq!(raw.code, 200);
                prop_assert!(answer.status != ResponseStatus::Success || answer.children.is_some());
            }
            Err(error) => {
                let patient = |pause: Duration| {
                    (Duration::from_millis(100)..=Duration::from_mins(10)).contains(&pause)
                };
                prop_assert!(error.retry(failures).is_none_or(patient), "{:?}", error.retry(failures));
                prop_assert!(error.to_string().len() < limits::MAX_MESSAGE_BYTES + 100, "{error}");
            }
        }
    }
}
