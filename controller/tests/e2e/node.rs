//! The installed chart on a real node with real Dask. The demo has installed the controller and the ingress
//! plugin before.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

use crate::support::{
    TestContext, condition, eventually, message, name,
    real::{CHART, OF_CONTROLLER, OPERATOR, helm, image, operator, pods_ready, real_cluster},
    with_temp_ns,
};

async fn scale(context: &TestContext, deployment: &str, replicas: u32) {
    context.merge("Deployment", deployment, json!({"spec": {"replicas": replicas}})).await;
}

async fn plugin_is(context: &TestContext, plugin: &str, ready: &str) -> Value {
    context.until("DaskOperatorPlugin", plugin, |plugin| condition(plugin, "Ready").0 == ready).await
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_plugin_that_is_away_delays_no_cluster_and_catches_up_when_it_is_back() {
    with_temp_ns(|context| async move {
        let operator = operator(&context);
        plugin_is(&operator, "ingress", "True").await;
        scale(&operator, "ingress-plugin", 0).await;
        let away = plugin_is(&operator, "ingress", "False").await;
        assert_eq!(condition(&away, "Discovered").1, "Unreachable");
        assert!(message(&away, "Ready").contains("the plugin"), "{}", message(&away, "Ready"));

        context.create(&real_cluster("alone", 1)).await;
        context.running("alone").await;
        pods_ready(&context, "alone", 1).await;
        assert!(context.list("Ingress", "").await.is_empty());

        scale(&operator, "ingress-plugin", 1).await;
        plugin_is(&operator, "ingress", "True").await;
        let ingress = context.appears("Ingress", "alone-scheduler-ingress-ingress").await;
        let host = format!("alone.{}.dask.example.org", context.namespace);
        assert_eq!(ingress["spec"]["rules"][0]["host"], json!(host));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn killing_the_plugins_pod_leaves_children_alone_and_it_is_ready_again_by_itself() {
    with_temp_ns(|context| async move {
        let operator = operator(&context);
        context.create(&real_cluster("steady", 1)).await;
        let before = context.appears("Ingress", "steady-scheduler-ingress-ingress").await;
        kill_pods(&operator, "app.kubernetes.io/name=ingress-plugin").await;
        plugin_is(&operator, "ingress", "True").await;
        let after = context.expect("Ingress", "steady-scheduler-ingress-ingress").await;
        assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
        context.running("steady").await;
    })
    .await;
}

/// Returns the pods that are not being deleted: those that an upgrade replaces exist for a while.
async fn staying_pods(context: &TestContext, selector: &str) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let list = pods.list(&ListParams::default().labels(selector)).await.unwrap();
    list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

/// Deletes a pod without grace period, as a node that fails does.
async fn kill_pods(context: &TestContext, selector: &str) {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let killed = staying_pods(context, selector).await;
    assert!(!killed.is_empty(), "no pod has {selector}");
    for pod in killed {
        let params = DeleteParams::default().grace_period(0);
        pods.delete(pod.metadata.name.as_deref().unwrap(), &params).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn killing_the_controllers_pod_during_creation_changes_nothing_in_the_end() {
    with_temp_ns(|context| async move {
        let operator = operator(&context);
        let names: Vec<String> = (0..4).map(|index| format!("killed-{index}")).collect();
        for name in &names {
            context.create(&real_cluster(name, 2)).await;
        }
        kill_pods(&operator, OF_CONTROLLER).await;
        for name in &names {
            context.running(name).await;
            pods_ready(&context, name, 2).await;
        }
        let deployments = context.list("Deployment", "").await;
        let unique: BTreeSet<&str> = deployments.iter().map(name).collect();
        assert_eq!((deployments.len(), unique.len()), (12, 12));
        eventually("an Ingress for each cluster", async || match context.count("Ingress", "").await {
            4 => Ok(()),
            other => Err(format!("there are {other}")),
        })
        .await;
    })
    .await;
}

/// Only a real node shows whether a sidecar inherits the controller's identity, and whether the controller may open the
/// socket.
#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_plugin_works_as_a_sidecar_over_a_socket_and_has_no_token() {
    with_temp_ns(|context| async move {
        let operator = operator(&context);
        let sidecar = json!([{
            "name": "sidecar",
            "image": image("ingress-plugin"),
            "env": [{"name": "PLUGIN_SOCKET", "value": "/run/dask-operator/plugins/sidecar.sock"}],
        }]);
        let set = format!("plugins.sidecars={sidecar}");
        helm(&["upgrade", OPERATOR, CHART, "--reuse-values", "--set-json", &set]);
        let plugin = json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "sidecar"},
            "spec": {
                "endpoint": {"socket": "sidecar.sock"},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}],
                "settings": {"hostPattern": "{name}.sidecar.example.org"},
            },
        });
        operator.apply(&plugin).await;
        plugin_is(&operator, "sidecar", "True").await;
        context.create(&real_cluster("beside", 1)).await;
        let ingress = context.appears("Ingress", "beside-scheduler-sidecar-ingress").await;
        assert_eq!(ingress["spec"]["rules"][0]["host"], "beside.sidecar.example.org");

        let pod = staying_pods(&operator, OF_CONTROLLER).await.remove(0);
        let containers = pod.spec.unwrap().containers;
        let sidecar = containers.iter().find(|container| container.name == "sidecar").unwrap();
        let mounts = sidecar.volume_mounts.iter().flatten();
        let mounts: Vec<_> = mounts.map(|mount| (mount.mount_path.as_str(), mount.sub_path.as_deref())).collect();
        assert_eq!(mounts, [("/run/dask-operator/plugins", Some("sidecar"))]);

        operator.delete("DaskOperatorPlugin", "sidecar").await;
        context.goes("Ingress", "beside-scheduler-sidecar-ingress").await;
        helm(&["upgrade", OPERATOR, CHART, "--reuse-values", "--set-json", "plugins.sidecars=[]"]);
    })
    .await;
}
