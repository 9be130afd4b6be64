//! Tests of `dask-operator render` with a plugin and a Dask resource.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use plugin_server_kit::{
    Answer, Plugin, PluginError,
    protocol::{Child, Discovery, PluginRequest},
    router,
    serve::{Listener, serve},
};

const PLUGIN: &str = "
apiVersion: kubernetes.dask.org/v1alpha1
kind: DaskOperatorPlugin
metadata: {name: web}
spec:
  endpoint: {service: {name: web}}
  subjects: [{kind: Service, component: scheduler}]
  children:
  - {apiVersion: networking.k8s.io/v1, kind: Ingress}
  - {apiVersion: v1, kind: ConfigMap}
";

const CLUSTER: &str = "
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: demo, namespace: team-a}
spec:
  worker:
    replicas: 2
    spec: {containers: [{name: worker, image: dask}]}
  scheduler:
    spec: {containers: [{name: scheduler, image: dask}]}
    service:
      selector: {dask.org/cluster-name: demo, dask.org/component: scheduler}
      ports: [{name: tcp-comm, port: 8786}, {name: http-dashboard, port: 8787}]
";

/// The output of a run, and whether nothing was refused.
#[derive(Debug)]
struct Printed {
    out: String,
    err: String,
    clean: bool,
}

/// The files of a test, and the arguments that refer to them.
struct Case {
    dir: TempDir,
    args: RenderArgs,
}

impl Case {
    fn new(plugin: &str, manifests: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let args = RenderArgs {
            plugin: file("plugin.yaml", plugin),
            files: vec![file("manifests.yaml", manifests)],
            endpoint: None,
            answer: None,
            requests: false,
            namespace: "default".to_owned(),
            operator_namespace: "dask-operator".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
        };
        Self { dir, args }
    }

    /// Uses this answer for every subject.
    fn answered(mut self, response: &Value) -> Self {
        let review =
            json!({"apiVersion": "plugin.kubernetes.dask.org/v1alpha1", "kind": "PluginReview", "response": response});
        let path = self.dir.path().join("answer.json");
        fs::write(&path, review.to_string()).unwrap();
        self.args.answer = Some(path);
        self
    }

    fn with_children(self, children: &Value) -> Self {
        self.answered(&json!({"uid": "any", "status": "Success", "children": children}))
    }

    async fn run(&self) -> Result<Printed, Error> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let clean = render(&self.args, &mut out, &mut err).await?;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok(Printed { out: text(out), err: text(err), clean })
    }

    async fn printed(&self) -> Printed {
        self.run().await.unwrap()
    }
}

fn config_map(key: &str, name: &str) -> Value {
    json!({"key": key, "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}})
}

fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[tokio::test]
async fn a_cluster_alone_is_enough_and_its_child_is_printed_as_it_would_be_applied() {
    let manifest = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {
        "namespace": "kube-system", "finalizers": ["a/b"], "labels": {"team": "a"},
    }, "spec": {"rules": []}});
    let case = Case::new(PLUGIN, CLUSTER).with_children(&json!([{"key": "main", "manifest": manifest}]));
    let printed = case.printed().await;
    assert!(printed.clean, "{}", printed.err);
    assert!(printed.out.contains("# Service team-a/demo-scheduler, child main\n"), "{}", printed.out);
    let [child] = yaml(&printed.out).try_into().unwrap();
    assert_eq!(child["metadata"]["name"], "demo-scheduler-web-main");
    assert_eq!(child["metadata"]["namespace"], "team-a");
    assert_eq!(child["metadata"]["finalizers"], Value::Null);
    assert_eq!(child["metadata"]["labels"]["plugin.kubernetes.dask.org/plugin"], "web");
    assert_eq!(child["metadata"]["labels"]["team"], "a");
    assert_eq!(child["metadata"]["ownerReferences"][0]["name"], "demo");
    assert_eq!(child["spec"], json!({"rules": []}));
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_does_not_stop_the_others() {
    let children = json!([
        config_map("good", "fine"),
        config_map("Bad Key", "b"),
        {"key": "role", "manifest": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}},
        {"key": "secret", "manifest": {"apiVersion": "v1", "kind": "Secret"}},
    ]);
    let printed = Case::new(PLUGIN, CLUSTER).with_children(&children).printed().await;
    assert!(!printed.clean);
    assert_eq!(yaml(&printed.out).len(), 1);
    let refused: Vec<&str> = printed.err.lines().collect();
    assert_eq!(refused.len(), 3, "{}", printed.err);
    for reason in ["InvalidKey", "KindDenied", "KindNotAllowed"] {
        assert!(printed.err.contains(&format!("refused: {reason}: ")), "{reason}: {}", printed.err);
    }
}

#[tokio::test]
async fn a_name_that_somebody_else_holds_is_a_conflict_unless_it_is_handed_over() {
    let foreign = |annotations: &str| {
        format!(
            "{CLUSTER}\n---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: taken, namespace: team-a{annotations}}}}}"
        )
    };
    let children = || json!([config_map("a", "taken")]);
    let printed = Case::new(PLUGIN, &foreign("")).with_children(&children()).printed().await;
    assert!(!printed.clean && printed.err.contains("refused: Conflict: ConfigMap taken exists"), "{}", printed.err);
    let handed = foreign(", annotations: {plugin.kubernetes.dask.org/adopt: web}");
    let printed = Case::new(PLUGIN, &handed).with_children(&children()).printed().await;
    assert!(printed.clean, "{}", printed.err);
}

/// The Service and the Deployment of a scheduler have the same name.
#[tokio::test]
async fn subjects_of_one_name_get_children_of_different_names() {
    let two = PLUGIN.replace("[{kind: Service,", "[{kind: Deployment, component: scheduler}, {kind: Service,");
    let unnamed = json!([{"key": "a", "manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}]);
    let printed = Case::new(&two, CLUSTER).with_children(&unnamed).printed().await;
    assert!(printed.clean, "{}", printed.err);
    let children = yaml(&printed.out);
    let names: Vec<&str> = children.iter().filter_map(|child| child["metadata"]["name"].as_str()).collect();
    assert!(names.len() == 2 && names[0] == "demo-scheduler-web-a", "{names:?}");
    assert!(names[1].starts_with("demo-scheduler-web-a-"), "{names:?}");
    let standing = format!("{CLUSTER}\n{}", printed.out);
    let again = Case::new(&two, &standing).with_children(&unnamed).printed().await;
    assert_eq!((again.out, again.clean), (printed.out, true), "{}", again.err);
}

#[tokio::test]
async fn a_service_that_the_controller_would_not_make_is_no_subject() {
    let forged = format!(
        "{CLUSTER}\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: mine, namespace: team-a, labels: \
         {{dask.org/component: scheduler, dask.org/cluster-name: demo}}}}}}"
    );
    let printed = Case::new(PLUGIN, &forged).with_children(&json!([config_map("a", "a")])).printed().await;
    let expected = "Service team-a/mine: its name or owner is not that of an object of DaskCluster team-a/demo";
    assert!(!printed.clean && printed.err.contains(expected), "{}", printed.err);
}

/// The output of one run is the input of the next one.
#[tokio::test]
async fn children_that_stand_are_shown_to_the_plugin_and_pruned_if_it_drops_them() {
    let applied = Case::new(PLUGIN, CLUSTER).with_children(&json!([config_map("old", "old"), config_map("a", "a")]));
    let standing = format!("{CLUSTER}\n{}", applied.printed().await.out);
    let mut next = Case::new(PLUGIN, &standing).with_children(&json!([config_map("a", "a")]));
    let printed = next.printed().await;
    assert!(printed.clean && printed.err.contains("prunes ConfigMap old"), "{}", printed.err);
    next.args.requests = true;
    let request: Value = serde_json::from_str(&next.printed().await.out).unwrap();
    let observed = request["request"]["observed"]["children"].as_object().unwrap();
    assert_eq!(observed.keys().collect::<Vec<_>>(), ["a", "old"]);
}

#[tokio::test]
async fn files_that_are_no_subjects_are_reported() {
    let plugin = PLUGIN.replace("kind: Service, component: scheduler", "kind: DaskJob");
    let printed = Case::new(&plugin, CLUSTER).with_children(&json!([])).printed().await;
    assert!(!printed.clean && printed.out.is_empty());
    assert!(
        printed.err.contains("no subject matches: the plugin asks about DaskJob, and there is DaskCluster team-a/demo"),
        "{}",
        printed.err
    );
}

#[tokio::test]
async fn selectors_and_conditions_decide_as_in_the_cluster() {
    let table = [
        ("match: {objectSelector: {matchLabels: {dask.org/component: scheduler}}}", 1),
        ("match: {objectSelector: {matchLabels: {team: b}}}", 0),
        ("match: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team-a}}}", 1),
        ("match: {namespaceSelector: {matchLabels: {stage: prod}}}", 0),
        ("match: {conditions: [{name: big, expression: 'owner.spec.worker.replicas > 1'}]}", 1),
        ("match: {conditions: [{name: big, expression: 'owner.spec.worker.replicas > 2'}]}", 0),
    ];
    for (rule, expected) in table {
        let mut case = Case::new(&format!("{PLUGIN}  {rule}\n"), CLUSTER);
        case.args.requests = true;
        let printed = case.printed().await;
        assert_eq!(printed.out.lines().count(), expected, "{rule}");
        let excluded = "no subject matches: spec.match of the plugin resource excludes Service team-a/demo-scheduler\n";
        assert_eq!(printed.err, if expected == 0 { excluded } else { "" }, "{rule}");
    }
}

#[tokio::test]
async fn all_that_the_controller_makes_can_be_asked_about() {
    let job = "
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata: {name: report, namespace: team-a}
spec:
  job: {spec: {containers: [{name: job, image: dask}]}}
  cluster:
    spec:
      worker: {replicas: 1, spec: {containers: [{name: worker, image: dask}]}}
      scheduler: {spec: {containers: [{name: scheduler, image: dask}]}, service: {ports: [{name: tcp-comm, port: 8786}]}}
";
    let table = [
        ("kind: DaskJob", "DaskJob"),
        ("kind: DaskCluster", "DaskCluster"),
        ("kind: DaskWorkerGroup", "DaskWorkerGroup"),
        ("kind: Deployment, component: worker", "DaskWorkerGroup"),
        ("kind: Pod, component: scheduler", "DaskCluster"),
        ("kind: Pod, component: job-runner", "DaskJob"),
    ];
    for (rule, owner) in table {
        let mut case = Case::new(&PLUGIN.replace("kind: Service, component: scheduler", rule), job);
        case.args.requests = true;
        let printed = case.printed().await;
        let request: Value = serde_json::from_str(&printed.out).unwrap_or_else(|_| panic!("{rule}: {}", printed.err));
        assert_eq!(request["request"]["owner"]["kind"], owner, "{rule}");
        assert_eq!(request["request"]["dryRun"], true);
    }
}

#[tokio::test]
async fn the_plugins_own_no_is_shown_and_a_broken_answer_is_an_error() {
    let no = json!({"uid": "any", "status": "Failure", "reason": "NoDomain", "message": "set a domain"});
    let printed = Case::new(PLUGIN, CLUSTER).answered(&no).printed().await;
    assert!(!printed.clean && printed.err.contains("the plugin refuses: NoDomain: set a domain"), "{}", printed.err);
    let without = json!({"uid": "any", "status": "Success"});
    let printed = Case::new(PLUGIN, CLUSTER).answered(&without).printed().await;
    assert!(
        !printed.clean && printed.err.contains("ProtocolError: the response has the status Success and no children"),
        "{}",
        printed.err
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_in_one_sentence() {
    let table = [
        (Case::new("kind: ConfigMap\napiVersion: v1", CLUSTER), "plugin.yaml: it must hold one DaskOperatorPlugin"),
        (Case::new(PLUGIN, "a: b"), "manifests.yaml: a document has no apiVersion and kind"),
        (Case::new(&PLUGIN.replace("kind: ConfigMap", "kind: Secret"), CLUSTER), "not accepted: Sensitive: "),
    ];
    for (case, expected) in table {
        let error = case.with_children(&json!([])).run().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let broken = CLUSTER.replace("name: demo,", "name: Demo,");
    let printed = Case::new(PLUGIN, &broken).with_children(&json!([])).printed().await;
    assert!(printed.err.contains("DaskCluster team-a/Demo: InvalidName: "), "{}", printed.err);
}

struct Echo;

impl Plugin for Echo {
    fn discovery(&self) -> Discovery {
        Discovery::new("echo", "1.0.0")
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"of": request.owner.name()}});
        Ok(Child::new("echo", map).into())
    }
}

#[tokio::test]
async fn a_running_plugin_is_asked_over_its_socket_and_by_http() {
    let mut case = Case::new(PLUGIN, CLUSTER);
    let socket = case.dir.path().join("echo.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    for listener in [Listener::unix(&socket).unwrap(), Listener::tcp(tcp).unwrap()] {
        tokio::spawn(serve(listener, router(Echo), std::future::pending()));
    }
    for endpoint in [format!("unix:{}", socket.display()), format!("http://127.0.0.1:{port}")] {
        case.args.endpoint = Some(endpoint.clone());
        let printed = case.printed().await;
        assert!(printed.clean, "{endpoint}: {}", printed.err);
        assert_eq!(yaml(&printed.out)[0]["data"], json!({"of": "demo"}));
    }
    for (endpoint, expected) in [
        ("http://example.org", "--endpoint must begin with"),
        ("http://127.0.0.1:1", "the plugin's discovery: failed to connect"),
    ] {
        case.args.endpoint = Some(endpoint.to_owned());
        let error = case.run().await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
