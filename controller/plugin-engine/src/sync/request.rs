//! Builds requests; pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use json_measure::{Excess, Limits, Measure, measure_value};
use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::Value;

use crate::model::redact::{redacted, to_json};
use crate::{
    index::registration::Registration,
    model::subject::{self, SubjectKey},
};
use plugin_protocol::{
    ControllerInfo, DigestError, Event, EventReason, Hook, Owner, PluginInfo, PluginRequest, ReviewRequest,
    StatusInDigest, Subject, digest_of,
};

/// The maximum size of a subject, or of the Dask resource that owns it, in a request. By default etcd stores no larger
/// objects. As a tree they take 6.5 MiB.
const OBJECT: Limits = Limits { bytes: 1536 * 1024, nodes: 20_000, depth: 100 };
/// An object in a request, and its copy while the digest is computed.
const COPIES: usize = 2;

/// The optional fields of a response that the controller supports.
const CAPABILITIES: [&str; 3] = ["Conditions", "Warnings", "ResyncAfter"];

/// The error for a subject, or the Dask resource that owns it, that is too large to be sent to plugins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} is too large to be sent to plugins: {excess}")]
pub(crate) struct TooLarge {
    kind: &'static str,
    excess: Excess,
}

/// Everything that a request is built from, except the children.
pub(crate) struct Question<'a> {
    pub(crate) plugin: &'a Registration,
    pub(crate) key: &'a SubjectKey,
    pub(crate) object: &'a DynamicObject,
    pub(crate) owner_key: &'a SubjectKey,
    pub(crate) owner: &'a DynamicObject,
    pub(crate) reason: EventReason,
    pub(crate) now: Timestamp,
    /// Whether the response is only displayed and not applied.
    pub(crate) dry_run: bool,
}

impl Question<'_> {
    /// Returns the memory that a request without children takes while it is built. Nothing is copied before the size is
    /// known to be within the limits.
    pub(crate) fn bytes(&self) -> Result<usize, TooLarge> {
        let tree_bytes = |key: &SubjectKey, object| {
            let measure = size_of_object(object);
            let too_large = |excess| TooLarge { kind: subject::kind_name(key.kind), excess };
            measure.check(&OBJECT).map(|()| measure.tree_bytes()).map_err(too_large)
        };
        Ok((tree_bytes(self.key, self.object)? + tree_bytes(self.owner_key, self.owner)?) * COPIES)
    }

    /// Builds the request and its uid. `children` are the existing children, by key.
    pub(crate) fn request(
        &self,
        children: BTreeMap<String, Value>,
        attempt: u32,
    ) -> Result<ReviewRequest, DigestError> {
        let component = subject::component(self.key.kind, self.object);
        let hook = match self.reason {
            EventReason::Unmatched | EventReason::Deleting => Hook::Finalize,
            _ => Hook::Sync,
        };
        let time = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let event = Event::new(event_type(self.key, component), self.reason, time);
        let plugin = &self.plugin.key;
        let settings = self.plugin.spec.settings.value();
        let plugin = PluginInfo::new(&plugin.name, &plugin.namespace, self.plugin.generation, settings);
        let mut subject = Subject::new(to_json(self.object, &subject::api_resource(self.key.kind)));
        subject.component = component.map(str::to_owned);
        let owner = subject::api_resource(self.owner_key.kind);
        let owner = Owner::new(&owner.api_version, &owner.kind, to_json(self.owner, &owner));
        let controller = ControllerInfo::new(env!("CARGO_PKG_VERSION")).capabilities(CAPABILITIES);
        let mut request = PluginRequest::new(hook, event, plugin, subject, owner)
            .controller(controller)
            .observed(children.into_iter().map(|(key, object)| (key, redacted(object))).collect());
        request.attempt = attempt;
        request.dry_run = self.dry_run;
        request.uid = digest_of(&request, self.status_in_digest(component))?;
        Ok(ReviewRequest::new(request))
    }

    fn status_in_digest(&self, component: Option<&str>) -> StatusInDigest {
        let included = self.plugin.rules_for(self.key.kind, component).any(|rule| rule.on_status);
        if included { StatusInDigest::Included } else { StatusInDigest::Ignored }
    }
}

/// Measures the content of an object, and those parts of the metadata that may have many entries.
fn size_of_object(object: &DynamicObject) -> Measure {
    let mut measure = measure_value(&object.data);
    let pairs = object.labels().iter().chain(object.annotations());
    let finalizers = object.finalizers().iter().map(String::len);
    let owners = object.owner_references().iter().map(|owner| owner.name.len() + owner.kind.len() + owner.uid.len());
    // An owner reference has up to six fields, each with a name.
    measure.nodes += 2 * pairs.clone().count() + finalizers.len() + 13 * owners.len();
    let pairs = pairs.map(|(key, value)| key.len() + value.len());
    measure.bytes += pairs.chain(finalizers).chain(owners).sum::<usize>();
    measure
}

/// Returns the memory that children take while a request with them is built.
pub(crate) fn bytes_of_children<'a>(children: impl Iterator<Item = &'a DynamicObject>) -> usize {
    children.map(|child| size_of_object(child).tree_bytes() * (COPIES + 1)).sum()
}

fn event_type(key: &SubjectKey, component: Option<&str>) -> String {
    let kind = subject::kind_name(key.kind).to_lowercase();
    match component {
        Some(component) => format!("org.dask.kubernetes.{kind}.{component}"),
        None => format!("org.dask.kubernetes.{kind}"),
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::SubjectKind;

    use serde_json::json;

    use super::*;
    use crate::{model::key::PluginKey, selector::matcher::Matcher};

    fn plugin(on_status: bool) -> Registration {
        let spec = json!({
            "endpoint": {"socket": "ingress.sock"},
            "subjects": [
                {"kind": "Service", "component": "scheduler", "onStatus": on_status},
                {"kind": "Pod", "component": "worker", "onStatus": true},
            ],
            "children": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}],
            "settings": {"domain": "dask.example.org"},
        });
        Registration {
            key: PluginKey { namespace: "dask-operator".to_owned(), name: "ingress".to_owned() },
            uid: "plugin-uid".to_owned(),
            generation: 3,
            spec: serde_json::from_value(spec).unwrap(),
            identity: "ingress".to_owned(),
            kinds: Vec::new(),
            matcher: Matcher::default(),
            scope: None,
        }
    }

    /// Returns a Service as a list contains it: without apiVersion and kind.
    fn service() -> Value {
        json!({
            "metadata": {
                "name": "demo-scheduler",
                "namespace": "team-a",
                "uid": "service-uid",
                "resourceVersion": "812",
                "labels": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
                "annotations": {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"ports": [{"name": "tcp-comm", "port": 8786}]},
            "status": {"loadBalancer": {}},
        })
    }

    fn cluster() -> Value {
        json!({
            "metadata": {
                "name": "demo",
                "namespace": "team-a",
                "uid": "cluster-uid",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "managedFields": [{"manager": "dask"}],
            },
            "spec": {"idleTimeout": 0},
        })
    }

    fn child() -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "resourceVersion": "9", "managedFields": [{"manager": "dask-operator/ingress"}]},
            "spec": {"rules": []},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
        })
    }

    /// The input of a request, which tests modify.
    struct Given {
        on_status: bool,
        kind: SubjectKind,
        reason: EventReason,
        second: i64,
        object: Value,
        owner: Value,
        children: Vec<(&'static str, Value)>,
        attempt: u32,
    }

    impl Given {
        fn service() -> Self {
            Self {
                on_status: false,
                kind: SubjectKind::Service,
                reason: EventReason::Created,
                second: 1_795_424_400,
                object: service(),
                owner: cluster(),
                children: vec![("web", child())],
                attempt: 1,
            }
        }

        fn request(self) -> ReviewRequest {
            let object: DynamicObject = serde_json::from_value(self.object).unwrap();
            let owner: DynamicObject = serde_json::from_value(self.owner).unwrap();
            let question = Question {
                plugin: &plugin(self.on_status),
                key: &SubjectKey::of(self.kind, &object),
                object: &object,
                owner_key: &SubjectKey::of(SubjectKind::DaskCluster, &owner),
                owner: &owner,
                reason: self.reason,
                now: Timestamp::new(self.second, 999_999_999).unwrap(),
                dry_run: false,
            };
            let children = self.children.into_iter().map(|(key, child)| (key.to_owned(), child)).collect();
            question.request(children, self.attempt).unwrap()
        }
    }

    /// As a tree the object has 88 times its bytes, and each request needs copies of it.
    #[test]
    fn an_object_that_is_too_large_is_refused_by_its_kind_before_it_is_copied() {
        let bytes = |object: Value, owner: Value| {
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let owner: DynamicObject = serde_json::from_value(owner).unwrap();
            Question {
                plugin: &plugin(false),
                key: &SubjectKey::of(SubjectKind::Service, &object),
                object: &object,
                owner_key: &SubjectKey::of(SubjectKind::DaskCluster, &owner),
                owner: &owner,
                reason: EventReason::Created,
                now: Timestamp::UNIX_EPOCH,
                dry_run: false,
            }
            .bytes()
        };
        let usual = bytes(service(), cluster()).unwrap();
        assert!((10_000..100_000).contains(&usual), "{usual}");
        let mut bomb = cluster();
        bomb["spec"]["worker"] = json!(vec![json!({"a": 0}); 10_000]);
        let error = bytes(service(), bomb).unwrap_err().to_string();
        assert!(error.starts_with("the DaskCluster is too large to be sent to plugins: it has 300"), "{error}");
        let mut finalizers = service();
        finalizers["metadata"]["finalizers"] = json!(vec!["example.org/x"; 25_000]);
        let error = bytes(finalizers, cluster()).unwrap_err().to_string();
        assert!(error.starts_with("the Service is too large"), "{error}");
    }

    type Edit = fn(&mut Given);

    /// Returns the uid of the request about the Service after `edit`.
    fn uid(edit: impl FnOnce(&mut Given)) -> String {
        let mut given = Given::service();
        edit(&mut given);
        given.request().request.uid
    }

    /// Returns [`service`] as it is sent.
    fn redacted_service() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "demo-scheduler",
                "namespace": "team-a",
                "uid": "service-uid",
                "resourceVersion": "812",
                "labels": {"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"},
                "annotations": {"team": "a"},
            },
            "spec": {"ports": [{"name": "tcp-comm", "port": 8786}]},
            "status": {"loadBalancer": {}},
        })
    }

    #[test]
    fn a_request_about_a_service_has_the_documented_fields() {
        let request = serde_json::to_value(Given::service().request()).unwrap();
        let uid = request["request"]["uid"].clone();
        let expected = json!({
            "apiVersion": "plugin.kubernetes.dask.org/v1alpha1",
            "kind": "PluginReview",
            "request": {
                "uid": uid,
                "hook": "Sync",
                "attempt": 1,
                "dryRun": false,
                "event": {
                    "type": "org.dask.kubernetes.service.scheduler",
                    "reason": "Created",
                    "time": "2026-11-23T09:00:00Z",
                },
                "plugin": {
                    "name": "ingress",
                    "namespace": "dask-operator",
                    "generation": 3,
                    "settings": {"domain": "dask.example.org"},
                },
                "controller": {"version": env!("CARGO_PKG_VERSION"), "capabilities": ["Conditions", "Warnings", "ResyncAfter"]},
                "subject": {"component": "scheduler", "object": redacted_service()},
                "owner": {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskCluster",
                    "object": {
                        "apiVersion": "kubernetes.dask.org/v1",
                        "kind": "DaskCluster",
                        "metadata": {"name": "demo", "namespace": "team-a", "uid": "cluster-uid", "annotations": {}},
                        "spec": {"idleTimeout": 0},
                    },
                },
                "observed": {
                    "children": {
                        "web": {
                            "object": {
                                "apiVersion": "networking.k8s.io/v1",
                                "kind": "Ingress",
                                "metadata": {"name": "web", "resourceVersion": "9"},
                                "spec": {"rules": []},
                                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
                            },
                        },
                    },
                },
            },
        });
        assert_eq!(request, expected);
    }

    /// Plugins compare the uid with the digest that they compute themselves.
    #[test]
    fn the_uid_is_the_digest_of_the_request() {
        for (on_status, status) in [(false, StatusInDigest::Ignored), (true, StatusInDigest::Included)] {
            let request = Given { on_status, ..Given::service() }.request().request;
            assert_eq!(request.uid, digest_of(&request, status).unwrap());
            assert!(request.uid.starts_with("sha256:") && request.uid.len() == "sha256:".len() + 64, "{}", request.uid);
        }
    }

    #[test]
    fn the_event_type_names_kind_and_component() {
        let labelled = |component| json!({"metadata": {"name": "a", "labels": {"dask.org/component": component}}});
        let table = [
            (SubjectKind::Service, labelled("scheduler"), "org.dask.kubernetes.service.scheduler"),
            (SubjectKind::Deployment, labelled("worker"), "org.dask.kubernetes.deployment.worker"),
            (SubjectKind::Pod, labelled("job-runner"), "org.dask.kubernetes.pod.job-runner"),
            (SubjectKind::DaskCluster, labelled("scheduler"), "org.dask.kubernetes.daskcluster"),
            // This is the label of the default group. It is not a component that a rule can name.
            (SubjectKind::DaskWorkerGroup, labelled("workergroup"), "org.dask.kubernetes.daskworkergroup"),
            (SubjectKind::DaskJob, labelled("x"), "org.dask.kubernetes.daskjob"),
            (SubjectKind::DaskAutoscaler, labelled("x"), "org.dask.kubernetes.daskautoscaler"),
        ];
        for (kind, object, expected) in table {
            let request = Given { kind, object, ..Given::service() }.request().request;
            assert_eq!(request.event.type_, expected);
            let component = expected.split('.').nth(4);
            assert_eq!(request.subject.component.as_deref(), component, "{expected}");
        }
    }

    /// Otherwise each retry, each heartbeat and each write by another client would cause a call.
    #[test]
    fn what_is_not_part_of_the_question_does_not_change_the_uid() {
        let same: [(&str, Edit); 9] = [
            ("attempt", |given| given.attempt = 7),
            ("reason", |given| given.reason = EventReason::Resync),
            ("time", |given| given.second += 60),
            ("resourceVersion", |given| given.object["metadata"]["resourceVersion"] = json!("813")),
            ("a plugin's finalizer", |given| {
                given.owner["metadata"]["finalizers"] = json!(["plugin.kubernetes.dask.org/ingress"]);
            }),
            ("managed fields", |given| given.object["metadata"]["managedFields"] = json!([])),
            ("status of the subject", |given| given.object["status"] = json!({"loadBalancer": {"ingress": []}})),
            ("status of the owner", |given| given.owner["status"] = json!({"phase": "Running"})),
            ("status of a child", |given| given.children[0].1["status"] = json!({})),
        ];
        for (what, edit) in same {
            assert_eq!(uid(edit), uid(|_| {}), "{what}");
        }
        assert_eq!(Given { attempt: 7, ..Given::service() }.request().request.attempt, 7);
    }

    #[test]
    fn what_is_part_of_the_question_changes_the_uid() {
        let different: [(&str, Edit); 9] = [
            ("spec", |given| given.object["spec"]["type"] = json!("LoadBalancer")),
            ("hook", |given| given.reason = EventReason::Deleting),
            ("another finalizer", |given| given.owner["metadata"]["finalizers"] = json!(["example.org/mine"])),
            ("label", |given| given.object["metadata"]["labels"]["team"] = json!("b")),
            ("annotation", |given| given.object["metadata"]["annotations"]["team"] = json!("b")),
            ("spec of the owner", |given| given.owner["spec"]["idleTimeout"] = json!(5)),
            ("a child's spec", |given| given.children[0].1["spec"]["rules"] = json!([{}])),
            ("a child's key", |given| given.children[0].0 = "other"),
            ("a child less", |given| given.children.clear()),
        ];
        for (what, edit) in different {
            assert_ne!(uid(edit), uid(|_| {}), "{what}");
        }
    }

    #[test]
    fn with_on_status_a_status_is_part_of_the_question() {
        let with_status = |status: Value| {
            uid(|given| {
                given.on_status = true;
                given.object["status"] = status;
            })
        };
        let address = || json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        assert_ne!(with_status(address()), with_status(json!({})));
        assert_eq!(with_status(address()), with_status(address()));
    }

    /// The rule for worker pods includes the status; no rule includes that of scheduler pods.
    #[test]
    fn on_status_counts_for_the_subjects_of_its_own_rule_only() {
        let pod = |component: &str, phase: &str| {
            let labels = json!({"dask.org/component": component});
            let object = json!({"metadata": {"name": "a", "labels": labels}, "status": {"phase": phase}});
            Given { kind: SubjectKind::Pod, object, ..Given::service() }.request().request.uid
        };
        assert_ne!(pod("worker", "Pending"), pod("worker", "Running"));
        assert_eq!(pod("scheduler", "Pending"), pod("scheduler", "Running"));
    }
}
