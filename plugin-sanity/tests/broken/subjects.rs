//! The requests that result from the arguments.

use std::sync::{Arc, Mutex};

use dask_plugin_sanity::{args::Args, report::Report, run};
use dask_plugin_server::{
    Answer, Plugin, PluginError,
    protocol::{Child, Discovery, PluginRequest, StatusInDigest, digest_of},
    router,
};
use serde_json::json;

use crate::{listen, mk_args, plugins::Good};

/// Records its requests.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Vec<PluginRequest>>>);

impl Plugin for Recording {
    fn discovery(&self) -> Discovery {
        Discovery::new("recording", "1.0.0")
    }

    async fn sync(&self, request: &PluginRequest) -> Result<Answer, PluginError> {
        self.0.lock().unwrap().push(request.clone());
        Ok(Answer::none())
    }
}

async fn requests_of(args: Args) -> Vec<PluginRequest> {
    let plugin = Recording::default();
    let endpoint = listen(router(plugin.clone())).await;
    let report = run(&Args { endpoint, only: vec!["answers".to_owned()], timeout: 10, ..args }).await.unwrap();
    assert!(report.passed(), "{}", report.text());
    let requests = plugin.0.lock().unwrap();
    for request in requests.iter() {
        assert_eq!(request.uid, digest_of(request, StatusInDigest::Ignored).unwrap());
    }
    requests.clone()
}

fn kinds_of(requests: &[PluginRequest]) -> Vec<String> {
    requests.iter().map(|request| format!("{} of {}", request.subject.kind(), request.owner.kind)).collect()
}

#[tokio::test]
async fn by_default_the_subject_is_the_service_of_the_scheduler() {
    let requests = requests_of(Args::default()).await;
    assert_eq!(kinds_of(&requests), ["Service of DaskCluster"]);
    assert_eq!(requests[0].controller.capabilities, ["Conditions", "Warnings", "ResyncAfter"]);
}

#[tokio::test]
async fn the_manifest_of_the_plugin_has_its_name_its_settings_and_its_subjects() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("plugin.yaml");
    let manifest = "
apiVersion: v1
kind: ServiceAccount
---
kind: DaskOperatorPlugin
metadata: {name: mine, namespace: plugins}
spec:
  subjects: [{kind: Deployment, component: worker}, {kind: DaskJob}]
  settings: {a: 1}
";
    std::fs::write(&plugin, manifest).unwrap();
    let requests = requests_of(Args { plugin: Some(plugin.clone()), ..Args::default() }).await;
    assert_eq!(kinds_of(&requests), ["Deployment of DaskWorkerGroup", "DaskJob of DaskJob"]);
    let sent = &requests[0].plugin;
    assert_eq!((sent.name.as_str(), sent.namespace.as_str(), &sent.settings), ("mine", "plugins", &json!({"a": 1})));

    let settings = dir.path().join("settings.yaml");
    std::fs::write(&settings, "b: 2").unwrap();
    let requests = requests_of(Args { plugin: Some(plugin), settings: Some(settings), ..Args::default() }).await;
    assert_eq!(requests[0].plugin.settings, json!({"b": 2}));
}

#[tokio::test]
async fn requests_and_manifests_are_read_from_several_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let golden = include_str!("../../../plugin-protocol/tests/golden/sync_request.json");
    let requests = file("requests.jsonl", &format!("{golden}\n{golden}"));
    let subject = file("pod.yaml", "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n");
    let cluster = "apiVersion: kubernetes.dask.org/v1\nkind: DaskCluster\nmetadata: {name: c, namespace: b}\n";
    let cluster = file("cluster.yaml", cluster);
    let args = Args {
        requests: vec![requests, subject.clone(), cluster.clone()],
        owner: Some(cluster.clone()),
        ..Args::default()
    };
    let expected =
        ["Service of DaskCluster", "Service of DaskCluster", "Pod of DaskCluster", "DaskCluster of DaskCluster"];
    assert_eq!(kinds_of(&requests_of(args).await), expected);

    // A Dask resource owns itself. Other objects need an owner.
    assert_eq!(
        kinds_of(&requests_of(Args { requests: vec![cluster], ..Args::default() }).await),
        ["DaskCluster of DaskCluster"]
    );
    let nothing = file("nothing.jsonl", "\n");
    let text = file("text.yaml", "hello");
    let finalize = file("finalize.json", &golden.replace(r#""hook": "Sync""#, r#""hook": "Finalize""#));
    for (file, sentence) in [
        (subject, "set --owner to the Dask resource that owns this subject"),
        (nothing, "it contains no requests"),
        (text, "it contains neither requests nor manifests"),
        (
            finalize,
            "remove the requests that are not for the hook Sync; requests for Finalize are derived from the others",
        ),
    ] {
        let args = Args { endpoint: "http://127.0.0.1:1".to_owned(), requests: vec![file], ..Args::default() };
        let error = run(&args).await.unwrap_err().to_string();
        assert!(error.ends_with(sentence), "{error}");
    }
}

async fn kinds(args: Args) -> Report {
    let only = vec!["allowed-kinds".to_owned()];
    let endpoint = listen(router(Good)).await;
    run(&Args { endpoint, only, timeout: 10, ..args }).await.unwrap()
}

#[tokio::test]
async fn kinds_can_be_allowed_by_arguments() {
    let allow =
        |kinds: &[&str]| Args { allow: kinds.iter().map(|kind| (*kind).to_owned()).collect(), ..Args::default() };
    assert_eq!(kinds(allow(&[])).await.skipped(), ["allowed-kinds"]);
    assert!(kinds(allow(&["v1/ConfigMap"])).await.skipped().is_empty());
    assert_eq!(kinds(allow(&["networking.k8s.io/v1/Ingress"])).await.failed(), ["allowed-kinds"]);
    let args = Args { endpoint: "http://127.0.0.1:1".to_owned(), ..allow(&["ConfigMap"]) };
    assert!(run(&args).await.unwrap_err().to_string().starts_with("use apiVersion/Kind for --allow"));
}

struct SecretPlugin;

impl Plugin for SecretPlugin {
    fn discovery(&self) -> Discovery {
        Discovery::new("secret", "1.0.0")
    }

    async fn sync(&self, _: &PluginRequest) -> Result<Answer, PluginError> {
        Ok(Child::new("secret", json!({"apiVersion": "v1", "kind": "Secret"})).into())
    }
}

#[tokio::test]
async fn a_secret_needs_allow_sensitive() {
    let dir = tempfile::tempdir().unwrap();
    for (rule, failed) in [
        ("{apiVersion: v1, kind: Secret}", vec!["allowed-kinds"]),
        ("{apiVersion: v1, kind: Secret, allowSensitive: true}", vec![]),
    ] {
        let args = mk_args(listen(router(SecretPlugin)).await, &dir);
        let manifest = format!("kind: DaskOperatorPlugin\nspec: {{children: [{rule}]}}");
        std::fs::write(args.plugin.as_ref().unwrap(), manifest).unwrap();
        let report = run(&args).await.unwrap();
        assert_eq!(report.failed(), failed, "{}", report.text());
    }
}
