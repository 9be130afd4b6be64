//! The program `kubectl-dask` on broken clusters. Those that need a node are in its own table of states.

use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually,
    fake_cluster::{cluster_of, mark_scheduler_ready},
    job,
    kubectl_dask::kubectl_dask,
    kubelet::create_cordoned_node,
    name,
    real::create_account,
    scheduler::FakeScheduler,
    test_cluster::{GROUP, with_workers},
    with_controller, with_temp_ns,
};

const SECRET: &str = "hunter2";

/// Waits until the first line of `why` begins like this, and checks the exit code.
async fn why(context: &TestContext, cluster: &str, expected: &str, code: i32) {
    eventually(&format!("why {cluster}"), async || {
        let said = kubectl_dask(context, &["why", cluster]).await;
        let fits = said.first_line().starts_with(expected) && said.code == code;
        if fits { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
}

/// Returns a cluster whose spec is changed.
fn broken(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = cluster(name, 1);
    change(&mut manifest["spec"]);
    manifest
}

async fn quota(context: &TestContext, name: &str, hard: Value) {
    let manifest =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
    context.create(&manifest).await;
    context.until("ResourceQuota", name, |quota| quota["status"]["hard"].is_object()).await;
}

/// Reports the state of the container of the scheduler's pod, as its kubelet would.
async fn container_is(context: &TestContext, cluster: &str, state: Value) {
    let selector = format!("dask.org/component=scheduler,dask.org/cluster-name={cluster}");
    let pod = eventually("the scheduler's pod", async || {
        context.list("Pod", &selector).await.pop().ok_or_else(|| "there is none".to_owned())
    })
    .await;
    let scheduled = json!({"type": "PodScheduled", "status": "True"});
    let mut container =
        json!({"name": "scheduler", "image": "dask:nosuch", "imageID": "", "ready": false, "restartCount": 4});
    container.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
    let status = json!({"phase": "Pending", "conditions": [scheduled], "containerStatuses": [container]});
    context.merge_status("Pod", name(&pod), json!({"status": status})).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn why_names_the_cause_of_a_cluster_that_is_refused() {
    with_controller(|context| async move {
        context.create(&cluster("dotted.name", 1)).await;
        why(&context, "dotted.name", "the name of the cluster is not valid: ", 1).await;

        context
            .create(&broken("account", |spec| spec["scheduler"]["spec"]["serviceAccountName"] = json!("robot")))
            .await;
        why(&context, "account", "ServiceAccount robot does not exist, and the scheduler names it", 1).await;

        let without_image = |spec: &mut Value| spec["scheduler"]["spec"]["containers"][0]["image"] = json!("");
        context.create(&broken("imageless", without_image)).await;
        why(&context, "imageless", "the spec of the cluster is not valid: ", 1).await;

        let foreign = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken-scheduler"},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
        });
        context.create(&foreign).await;
        context.create(&cluster("taken", 0)).await;
        why(&context, "taken", "a name that the cluster's scheduler, Service or worker group needs is taken", 1).await;

        quota(&context, "none", json!({"count/deployments.apps": "0"})).await;
        context.create(&cluster("quota", 1)).await;
        why(&context, "quota", "ResourceQuota none leaves no room for the cluster", 1).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn why_names_the_cause_of_a_scheduler_that_does_not_run() {
    with_controller(|context| async move {
        create_cordoned_node(&context).await;
        context.create(&cluster("nodes", 1)).await;
        why(&context, "nodes", "all nodes are cordoned, for the scheduler", 1).await;

        for name in ["image", "crash", "memory", "config"] {
            context.create(&cluster(name, 0)).await;
        }
        let waiting =
            json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"dask:nosuch\": not found"});
        container_is(&context, "image", json!({"state": {"waiting": waiting}})).await;
        why(&context, "image", "the image dask:nosuch of the scheduler cannot be pulled: ", 1).await;

        let ended = |code: i32, reason: &str| {
            json!({
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": code, "reason": reason}},
            })
        };
        container_is(&context, "crash", ended(2, "Error")).await;
        why(&context, "crash", "the scheduler ends again and again with exit code 2, 4 restarts so far", 1).await;
        container_is(&context, "memory", ended(137, "OOMKilled")).await;
        why(&context, "memory", "the scheduler was killed because it used more memory than its limit", 1).await;
        let missing = json!({"reason": "CreateContainerConfigError", "message": "secret \"database\" not found"});
        container_is(&context, "config", json!({"state": {"waiting": missing}})).await;
        why(&context, "config", "Secret database does not exist, and the scheduler uses it", 1).await;

        let selects = |spec: &mut Value| spec["scheduler"]["service"]["selector"]["app"] = json!("other");
        context.create(&broken("selector", selects)).await;
        why(&context, "selector", "the scheduler's Service does not select the scheduler's pod", 1).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn why_names_the_cause_of_a_cluster_that_nobody_looks_after_of_its_workers_and_of_its_deletion() {
    with_temp_ns(|context| async move {
        let mut held = cluster("held", 0);
        held["metadata"]["finalizers"] = json!(["example.com/backup"]);
        context.create(&held).await;
        context.delete("DaskCluster", "held").await;
        why(&context, "held", "the deletion of the cluster waits for the finalizer example.com/backup", 1).await;
        context.merge("DaskCluster", "held", json!({"metadata": {"finalizers": null}})).await;

        context.create(&cluster("alone", 1)).await;
        why(&context, "alone", "the cluster was created a moment ago", 0).await;
        why(&context, "alone", "no operator has looked at the cluster", 1).await;

        let _controller = context.start_controller().await;
        create_cordoned_node(&context).await;
        let scheduler = FakeScheduler::start().await;
        context.create(&cluster_of(&scheduler, 1)).await;
        mark_scheduler_ready(&context, "demo").await;
        why(&context, "demo", "all nodes are cordoned, for worker demo-default-worker-", 1).await;

        quota(&context, "pods", json!({"pods": "0"})).await;
        let mut failing = job("failing");
        failing["spec"]["cluster"]["spec"]["worker"]["replicas"] = json!(0);
        context.create(&failing).await;
        why(&context, "failing", "ResourceQuota pods leaves no room for ", 1).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_works_is_listed_counted_scaled_and_asked() {
    with_workers(2, |test_cluster| async move {
        let context = &test_cluster.context;
        why(context, "demo", "nothing is wrong: the scheduler is ready, and 2 of 2 workers are connected", 0).await;
        let listed = kubectl_dask(context, &["get", "--output", "json"]).await.json();
        let demo = &listed["clusters"][0];
        let counts = ["desired", "ready", "connected"].map(|field| demo[field].as_u64().unwrap());
        assert_eq!((demo["name"].as_str(), counts), (Some("demo"), [2, 2, 2]), "{listed}");
        assert_eq!((&demo["groups"][0]["name"], &demo["phase"]), (&json!(GROUP), &json!("Running")));
        let table = kubectl_dask(context, &["get"]).await;
        assert!(table.first_line().starts_with("NAMESPACE"), "{table:?}");

        let scaled = kubectl_dask(context, &["scale", "demo", "3"]).await;
        assert_eq!((scaled.code, scaled.first_line()), (0, "worker group demo-default is scaled to 3 workers"));
        test_cluster.has_workers(GROUP, 3).await;
        let missing = kubectl_dask(context, &["scale", "demo", "3", "--group", "other"]).await;
        assert!(missing.code == 3 && missing.stderr.contains("there is no worker group other"), "{missing:?}");
        let usage = kubectl_dask(context, &["scale", "demo"]).await;
        assert_eq!(usage.code, 2, "{usage:?}");
        let nothing = kubectl_dask(context, &["why", "other"]).await;
        assert!(nothing.code == 3 && nothing.stderr.contains("there is no DaskCluster other"), "{nothing:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_report_has_no_secret_values_and_says_what_is_in_it() {
    with_controller(|context| async move {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"password": SECRET},
        });
        context.apply(&secret).await;
        let env = json!([
            {"name": "PASSWORD", "value": SECRET},
            {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}},
        ]);
        let mut manifest = broken("demo", |spec| spec["scheduler"]["spec"]["containers"][0]["env"] = env);
        let copy = json!({"kubectl.kubernetes.io/last-applied-configuration": manifest.to_string()});
        manifest["metadata"]["annotations"] = copy;
        context.create(&manifest).await;
        context.settled("demo", 1).await;

        let to = context.folder().join("bundle");
        let said = kubectl_dask(&context, &["report", "demo", "--file", to.to_str().unwrap()]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let read = |path: &str| std::fs::read_to_string(to.join(path)).unwrap();
        assert!(read("README.txt").contains("Blanked"));
        assert!(read("why.txt").starts_with("demo: "), "{}", read("why.txt"));
        assert!(read("objects/DaskCluster/demo.json").contains("(blanked)"));
        assert!(read("objects/Secret/database.json").contains("password"));
        let found = std::process::Command::new("grep").arg("-r").arg(SECRET).arg(&to).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
        let encoded = std::process::Command::new("grep").args(["-r", "aHVudGVyMg"]).arg(&to).output().unwrap();
        assert!(encoded.stdout.is_empty(), "{}", String::from_utf8_lossy(&encoded.stdout));

        let archive = context.folder().join("bundle.tar.gz");
        let said = kubectl_dask(&context, &["report", "--file", archive.to_str().unwrap()]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let listed = std::process::Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout);
        assert!(listed.contains("bundle/objects/DaskCluster/demo.json"), "{listed}");
        let demo = context.expect("DaskCluster", "demo").await;
        assert_eq!(condition(&demo, "Accepted").0, "True");
    })
    .await;
}

/// Returns the kubeconfig of a ServiceAccount with these rights in the namespace, which the administrator impersonates.
async fn kubeconfig_of(context: &TestContext, rules: Value) -> String {
    create_account(context, "reader", rules).await;
    let text = std::fs::read_to_string(std::env::var("KUBECONFIG").unwrap()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"]["as"] = json!(format!("system:serviceaccount:{}:reader", context.namespace));
    let path = context.folder().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_user_who_lacks_rights_sees_the_rest_and_is_told_which_rights_are_missing() {
    with_controller(|context| async move {
        context.create(&cluster("demo", 0)).await;
        context.settled("demo", 0).await;
        let rules = json!([
            {"apiGroups": ["kubernetes.dask.org"], "resources": ["daskclusters"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        ]);
        let kubeconfig = kubeconfig_of(&context, rules).await;
        let said = eventually("the rights", async || {
            let said = kubectl_dask(&context, &["--kubeconfig", &kubeconfig, "why", "demo"]).await;
            if said.code == 1 { Ok(said) } else { Err(format!("{said:?}")) }
        })
        .await;
        assert!(said.first_line().starts_with("all nodes are cordoned, for the scheduler"), "{said:?}");
        let missing = format!("you lack the right to list events in namespace {}", context.namespace);
        assert!(said.stderr.contains(&missing), "{said:?}");
        let listed = kubectl_dask(&context, &["--kubeconfig", &kubeconfig, "get"]).await;
        assert!(listed.code == 0 && listed.stdout.contains("demo"), "{listed:?}");
        assert!(listed.stderr.contains("you lack the right to list daskworkergroups"), "{listed:?}");
        let scaled = kubectl_dask(&context, &["--kubeconfig", &kubeconfig, "scale", "demo", "1"]).await;
        assert!(
            scaled.code == 3 && scaled.stderr.contains("lack the right to patch daskworkergroups/scale"),
            "{scaled:?}"
        );
    })
    .await;
}
