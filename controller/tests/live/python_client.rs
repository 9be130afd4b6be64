//! What users of the unmodified Python client see when a cluster does not start. It runs on this machine, as released.
//! The end-to-end tests have what needs a node: a scheduler that crashes, and clusters that work.

use std::{path::PathBuf, process::Stdio, sync::Arc};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell};

use crate::support::{TestContext, cluster, condition, eventually, name, with_controller, with_temp_ns};

/// The time that the client waits for phase `Running`, in seconds. It is 60 unless users say otherwise.
const RESOURCE_TIMEOUT: u32 = 10;
/// A client that has not ended after this time waits without a limit.
const LIMIT: u32 = RESOURCE_TIMEOUT + 5;
const NOT_ACTIONED: &str = "Dask Cluster resource not actioned after 10 seconds, is the Dask Operator running?";

// --- The client ---

/// The end of a client, and what it showed.
#[derive(Debug, Deserialize)]
struct End {
    /// The type of the exception; empty if the client still waited.
    raised: String,
    message: String,
    seconds: f64,
    #[serde(skip)]
    shown: String,
}

impl End {
    /// Checks that the client raised this exception before any time-out.
    fn is_at_once(&self, raised: &str, words: &[&str]) {
        assert!(self.raised == raised && self.seconds < f64::from(RESOURCE_TIMEOUT), "{self:?}");
        assert!(words.iter().all(|words| self.message.contains(words)), "{self:?}");
    }

    /// Checks that the client showed this state of a component.
    fn shows(&self, component: &str, state: &str) {
        let mut lines = self.shown.lines().filter(|line| line.contains(component));
        assert!(lines.any(|line| line.contains(state)), "{}", self.shown);
    }
}

/// Returns the directory of the Python environment with dask-kubernetes.
async fn environment() -> &'static str {
    static DIRECTORY: OnceCell<String> = OnceCell::const_new();
    let install = || async {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testbed/upstream.sh");
        let output = Command::new(script).stderr(Stdio::inherit()).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    DIRECTORY.get_or_init(install).await
}

/// A user of the client in the namespace of a test.
struct User {
    context: TestContext,
    kubeconfig: Option<PathBuf>,
}

impl User {
    fn of(context: &TestContext) -> Self {
        Self { context: context.clone(), kubeconfig: None }
    }

    /// Returns a user with the token of a new ServiceAccount.
    async fn without_rights(context: &TestContext) -> Self {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}});
        context.create(&account).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &context.namespace);
        let (params, request) = (PostParams::default(), TokenRequest::default());
        let answer = accounts.create_token_request("nobody", &params, &request).await.unwrap();
        let own = std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
        let mut config: Value = serde_saphyr::from_str(&own).unwrap();
        config["users"][0]["user"] = json!({"token": answer.status.unwrap().token});
        let kubeconfig = context.folder().join("kubeconfig");
        // JSON is YAML.
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { context: context.clone(), kubeconfig: Some(kubeconfig) }
    }

    /// Creates a `KubeCluster` with these arguments.
    async fn creates(&self, arguments: Value) -> End {
        let mut all = json!({"namespace": self.context.namespace, "resource_timeout": RESOURCE_TIMEOUT});
        all.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let mut client = Command::new(format!("{}/bin/python", environment().await))
            .args(["-c", include_str!("python_client/mistake.py")])
            .envs(self.kubeconfig.as_ref().map(|path| ("KUBECONFIG", path)))
            // Without the settings of the account that runs the test.
            .env("DASK_CONFIG", self.context.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let request = json!({"arguments": all, "limit": LIMIT}).to_string();
        client.stdin.take().unwrap().write_all(request.as_bytes()).await.unwrap();
        let output = client.wait_with_output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (shown, end) = text.split_at(text.rfind("{\"raised\"").expect("the program prints the end"));
        End { shown: shown.to_owned(), ..serde_json::from_str(end).unwrap() }
    }

    /// Creates a `KubeCluster` that cannot start, and waits for the Event that says why.
    async fn creates_what_cannot_start(&self, arguments: Value, reason: &str, words: &str) {
        let end = self.gives_up(arguments, reason, words).await;
        end.shows("DaskCluster", "Error");
    }

    /// Creates a `KubeCluster` that does not become `Running`, and waits for the Event that says why.
    async fn gives_up(&self, arguments: Value, reason: &str, words: &str) -> End {
        let end = self.creates(arguments).await;
        assert_eq!((end.raised.as_str(), end.message.as_str()), ("TimeoutError", NOT_ACTIONED), "{reason}");
        eventually(&format!("an Event with {reason}"), async || {
            let events = self.context.list("Event", "").await;
            let found = events.iter().any(|event| {
                event["regarding"]["kind"] == "DaskCluster"
                    && event["reason"] == reason
                    && event["note"].as_str().is_some_and(|note| note.contains(words))
            });
            let notes: Vec<&Value> = events.iter().map(|event| &event["note"]).collect();
            if found { Ok(()) } else { Err(format!("there are {notes:?}")) }
        })
        .await;
        assert_eq!(self.context.count("DaskCluster", "").await, 0, "the client has deleted its cluster");
        end
    }
}

/// Returns the argument with a whole DaskCluster, after a change of its spec.
fn custom(change: impl FnOnce(&mut Value)) -> Value {
    let mut cluster = cluster("demo", 1);
    change(&mut cluster["spec"]);
    json!({"custom_cluster_spec": cluster})
}

fn quota(of: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {of: "0"}}})
}

async fn set_quota(context: &TestContext, of: &str) {
    context.create(&quota(of)).await;
    context.until("ResourceQuota", "none", |quota| quota["status"]["hard"][of] == "0").await;
}

// --- At once ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn what_the_python_client_itself_checks_is_refused_at_once() {
    with_temp_ns(async |context| {
        let user = User::of(&context);
        let end = user.creates(json!({"name": "Not.Valid"})).await;
        end.is_at_once("ValidationError", &["Not.Valid is invalid", "under 53 characters"]);
        let end = user.creates(json!({"name": "demo", "resources": {"limit": {"memory": "1Gi"}}})).await;
        end.is_at_once("ValueError", &["resources has unknown field 'limit'"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn what_the_api_server_refuses_is_raised_at_once_with_its_message() {
    with_temp_ns(async |context| {
        let user = User::of(&context);
        let end = user.creates(json!({"name": "demo", "n_workers": "three"})).await;
        end.is_at_once("ServerError", &["spec.worker.replicas", "must be of type integer"]);
        let end = user.creates(json!({"name": "demo", "n_workers": -1})).await;
        end.is_at_once("ServerError", &["spec.worker.replicas", "non-negative"]);
        let end = user.creates(custom(|spec| spec["scheduler"] = json!({}))).await;
        end.is_at_once("ServerError", &["spec.scheduler.spec", "Required value"]);
        let end = user.creates(json!({"name": "demo", "namespace": "there-is-none"})).await;
        end.is_at_once("ServerError", &["namespaces \"there-is-none\" not found"]);
        // The way to let a quota be seen at once: it counts clusters instead of pods.
        set_quota(&context, "count/daskclusters.kubernetes.dask.org").await;
        let end = user.creates(json!({"name": "demo"})).await;
        end.is_at_once("ServerError", &["exceeded quota: none"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_user_without_rights_sees_that_at_once() {
    with_temp_ns(async |context| {
        let user = User::without_rights(&context).await;
        let end = user.creates(json!({"name": "demo"})).await;
        end.is_at_once("ServerError", &["daskclusters.kubernetes.dask.org is forbidden", "cannot create resource"]);
    })
    .await;
}

// --- After `resource_timeout` ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn without_an_operator_the_python_client_gives_up_and_cleans_up() {
    with_temp_ns(async |context| {
        let end = User::of(&context).creates(json!({"name": "demo"})).await;
        assert_eq!((end.raised.as_str(), end.message.as_str()), ("TimeoutError", NOT_ACTIONED));
        end.shows("DaskCluster", " - ");
        assert_eq!(context.count("DaskCluster", "").await, 0);
    })
    .await;
}

/// Without phase `Error`, the client would wait without a limit for a pod that does not come.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_cannot_start_is_shown_as_error_and_an_event_says_why() {
    with_controller(async |context| {
        let user = User::of(&context);
        let invalid = custom(|spec| spec["scheduler"]["spec"]["containers"][0]["name"] = json!("Not_Valid"));
        user.creates_what_cannot_start(invalid, "Invalid", "Not_Valid").await;
        let account = custom(|spec| spec["scheduler"]["spec"]["serviceAccountName"] = json!("nobody"));
        user.creates_what_cannot_start(account, "ServiceAccountNotFound", "nobody").await;
        let selector = custom(|spec| spec["scheduler"]["service"]["selector"] = json!({"app": "dask"}));
        let end = user.gives_up(selector, "ServiceSelectsNothing", "the Service selects app").await;
        end.shows("DaskCluster", "Pending");

        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken-scheduler"},
            "spec": {"ports": [{"port": 8786}]}});
        context.create(&service).await;
        user.creates_what_cannot_start(json!({"name": "taken"}), "NameTaken", "taken-scheduler").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_policy_or_quota_denies_is_shown_as_error_and_an_event_says_why() {
    with_controller(async |context| {
        let user = User::of(&context);
        let enforced = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces: Api<Namespace> = Api::all(context.client.clone());
        namespaces.patch(&context.namespace, &PatchParams::default(), &Patch::Merge(&enforced)).await.unwrap();
        user.creates_what_cannot_start(json!({"name": "denied"}), "PodsRefused", "violates PodSecurity").await;

        set_quota(&context, "pods").await;
        let allowed = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
        namespaces.patch(&context.namespace, &PatchParams::default(), &Patch::Merge(&allowed)).await.unwrap();
        user.creates_what_cannot_start(json!({"name": "pods"}), "QuotaExceeded", "exceeded quota").await;

        context.delete("ResourceQuota", "none").await;
        context.goes("ResourceQuota", "none").await;
        set_quota(&context, "count/deployments.apps").await;
        user.creates_what_cannot_start(json!({"name": "deployments"}), "Forbidden", "exceeded quota").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_in_error_runs_when_its_quota_is_free() {
    with_controller(async |context| {
        set_quota(&context, "pods").await;
        context.create(&cluster("demo", 1)).await;
        let in_error = context.until("DaskCluster", "demo", |demo| demo["status"]["phase"] == "Error").await;
        context.until("DaskCluster", "demo", |demo| condition(demo, "SchedulerReady").1 == "QuotaExceeded").await;
        context.delete("ResourceQuota", "none").await;
        let running = context.running("demo").await;
        assert_eq!(running["metadata"]["generation"], in_error["metadata"]["generation"], "nobody has changed it");
    })
    .await;
}

// --- Without a limit ---

/// What may start later is awaited: a large image, or a node that an autoscaler adds.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_pod_that_does_not_run_yet_is_awaited_and_the_cluster_says_what_is_wrong() {
    with_controller(async |context| {
        let (user, context) = (Arc::new(User::of(&context)), context.clone());
        let client = tokio::spawn(async move { user.creates(json!({"name": "demo", "image": "typo"})).await });
        context.until("DaskCluster", "demo", |demo| condition(demo, "SchedulerReady").1 == "Unschedulable").await;
        let pods = context.list("Pod", "dask.org/component=scheduler").await;
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image: typo"});
        let container = json!({"name": "scheduler", "image": "typo", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": waiting}});
        let conditions = json!([{"type": "PodScheduled", "status": "True"}]);
        let status = json!({"status": {"conditions": conditions, "containerStatuses": [container]}});
        context.merge_status("Pod", name(&pods[0]), status).await;
        context.until("DaskCluster", "demo", |demo| condition(demo, "SchedulerReady").1 == "ImagePullFailed").await;
        let end = client.await.unwrap();
        assert_eq!(end.raised, "", "{end:?}");
        end.shows("DaskCluster", "Running");
        end.shows("Scheduler Pod", "Pending");
        end.shows("Waiting for", "scheduler pod");
    })
    .await;
}
