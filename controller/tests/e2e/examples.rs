//! The example plugins on a real node, installed as their READMEs say. The demo has installed the controller and shown
//! the ingress plugin before.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    TestContext, condition,
    real::{OPERATOR, documents, operator, real_cluster},
    with_temp_ns, within,
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
/// Long, because a Python process starts slowly on a busy machine.
const PLUGIN_READY: std::time::Duration = std::time::Duration::from_mins(3);

fn kubectl(arguments: &[&str], stdin: &str) {
    let mut command = Command::new("kubectl");
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "kubectl {arguments:?}");
}

/// Returns the manifests of an example, in the order of its README.
fn manifests(example: &str) -> String {
    let all = ["rbac", "deployment", "plugin"].iter().flat_map(|name| {
        documents(&fs::read_to_string(format!("{EXAMPLES}/{example}/manifests/{name}.yaml")).unwrap())
    });
    all.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n")
}

/// Installs an example and waits until its plugin is ready; its code or hook, if it has one, is a ConfigMap.
async fn install(context: &TestContext, example: &str, plugin: &str, code: Option<(&str, &str)>) {
    if let Some((map, file)) = code {
        let text = fs::read_to_string(format!("{EXAMPLES}/{example}/{file}")).unwrap();
        let metadata = json!({"name": map, "namespace": OPERATOR});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {file: text}});
        kubectl(&["apply", "-f", "-"], &map.to_string());
    }
    kubectl(&["apply", "-n", OPERATOR, "-f", "-"], &manifests(example));
    let operator = operator(context);
    within(PLUGIN_READY, &format!("the plugin {plugin}"), async || {
        let found = operator.expect("DaskOperatorPlugin", plugin).await;
        if condition(&found, "Ready").0 == "True" { Ok(()) } else { Err(found["status"].to_string()) }
    })
    .await;
}

/// Deletes the plugin resource of an example, while the rights to delete its children still exist.
fn unregister(example: &str) {
    let plugin = format!("{EXAMPLES}/{example}/manifests/plugin.yaml");
    kubectl(&["delete", "-f", &plugin], "");
}

fn uninstall(example: &str) {
    kubectl(&["delete", "-n", OPERATOR, "--ignore-not-found", "-f", "-"], &manifests(example));
}

fn owner(object: &Value) -> String {
    let owner = &object["metadata"]["ownerReferences"][0];
    format!("{}/{}", owner["kind"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default())
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn the_python_example_gives_notebooks_the_addresses_of_a_cluster() {
    with_temp_ns(|context| async move {
        install(&context, "python", "links", Some(("links-plugin", "plugin.py"))).await;
        context.create(&real_cluster("demo", 0)).await;
        let links = context.appears("ConfigMap", "demo-links").await;
        let address = format!("tcp://demo-scheduler.{}:8786", context.namespace);
        assert_eq!(links["data"]["DASK_SCHEDULER_ADDRESS"], json!(address));
        assert_eq!(owner(&links), "DaskCluster/demo");
        unregister("python");
        context.goes("ConfigMap", "demo-links").await;
        uninstall("python");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn the_networkpolicy_example_guards_scheduler_and_workers() {
    with_temp_ns(|context| async move {
        install(&context, "networkpolicy", "networkpolicy", None).await;
        context.create(&real_cluster("demo", 0)).await;
        for part in ["scheduler", "workers"] {
            let policy = context.appears("NetworkPolicy", &format!("demo-scheduler-networkpolicy-{part}")).await;
            assert_eq!(owner(&policy), "DaskCluster/demo");
            assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["dask.org/cluster-name"], "demo");
        }
        uninstall("networkpolicy");
    })
    .await;
}

/// The definitions of Istio and cert-manager validate the children; neither of them runs here.
#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn the_istio_example_gives_gateway_route_and_certificate() {
    let crds = tempfile::tempdir().unwrap();
    let script = PathBuf::from(EXAMPLES).join("istio/crds.sh");
    assert!(Command::new(script).arg(crds.path()).status().unwrap().success());
    kubectl(&["apply", "--server-side", "-f", crds.path().to_str().unwrap()], "");
    with_temp_ns(|context| async move {
        install(&context, "istio", "istio", None).await;
        context.create(&real_cluster("demo", 0)).await;
        let host = format!("demo.{}.dask.example.org", context.namespace);
        let operator = operator(&context);
        for kind in
            ["gateways.networking.istio.io", "virtualservices.networking.istio.io", "certificates.cert-manager.io"]
        {
            let found = within(PLUGIN_READY, kind, async || {
                let arguments = ["get", kind, "-n", &context.namespace, "-o", "json"];
                let output = Command::new("kubectl").args(arguments).output().unwrap();
                let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                list["items"]
                    .as_array()
                    .and_then(|items| items.first().cloned())
                    .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
            })
            .await;
            assert_eq!(owner(&found), "DaskCluster/demo", "{kind}");
            assert!(found["spec"].to_string().contains(&host), "{found}");
        }
        // Refusals of the API server would be reported here.
        within(PLUGIN_READY, "the counts of subjects", async || {
            let status = operator.expect("DaskOperatorPlugin", "istio").await["status"].take();
            let subjects = &status["subjects"];
            if subjects["matched"] == 1 && subjects["failing"] == 0 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        uninstall("istio");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_hook_of_a_decorator_controller_runs_unchanged() {
    with_temp_ns(|context| async move {
        install(&context, "decorator", "decorator", Some(("decorator-hook", "hook.py"))).await;
        let mut cluster = real_cluster("demo", 0);
        cluster["metadata"]["annotations"] = json!({"example.org/host": "demo.example.org"});
        context.create(&cluster).await;
        let ingress = context.appears("Ingress", "demo-scheduler").await;
        assert_eq!(ingress["spec"]["rules"][0]["host"], "demo.example.org");
        // The hook finalizes before the cluster is deleted.
        let with_finalizer = |cluster: &Value| cluster["metadata"]["finalizers"].is_array();
        context.until("DaskCluster", "demo", with_finalizer).await;
        kubectl(&["delete", "daskcluster", "demo", "-n", &context.namespace, "--timeout", "5m"], "");
        context.goes("Ingress", "demo-scheduler").await;
        uninstall("decorator");
    })
    .await;
}
