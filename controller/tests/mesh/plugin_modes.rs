//! The Istio plugin as a sidecar of the controller and as a Deployment, as its instructions say.

use serde_json::json;

use crate::{
    mesh::{Mesh, apply, child, manifest, plugin_ready},
    support::{real::operator, uid},
};

/// What the test environment changes in the registration of the plugin.
const SETTINGS: [(&str, &str); 2] =
    [("letsencrypt", "demo-ca"), ("  settings:\n", "  settings:\n    exposeScheduler: true\n")];

#[tokio::test]
#[ignore = "needs a mesh: make mesh"]
async fn the_plugin_works_as_a_sidecar_and_as_a_deployment_and_children_stay_when_it_moves() {
    let mesh = Mesh::new().await;
    let operator = operator(&mesh.team);
    apply(&manifest("istio/manifests/sidecar/plugin.yaml", &SETTINGS));
    plugin_ready(&mesh, "istio").await;
    // Only the sidecar can answer now.
    operator.merge("Deployment", "istio-plugin", json!({"spec": {"replicas": 0}})).await;
    operator.until("Deployment", "istio-plugin", |found| found["status"]["replicas"].as_u64().unwrap_or(0) == 0).await;
    let beside = mesh.create_cluster("beside").await;
    mesh.dashboard(&beside).await;
    let gateway = mesh.team.expect("Gateway", &child(&beside)).await;

    operator.merge("Deployment", "istio-plugin", json!({"spec": {"replicas": 1}})).await;
    apply(&manifest("istio/manifests/plugin.yaml", &SETTINGS));
    plugin_ready(&mesh, "istio").await;
    let apart = mesh.create_cluster("apart").await;
    mesh.dashboard(&apart).await;
    assert_eq!(uid(&mesh.team.expect("Gateway", &child(&beside)).await), uid(&gateway));
    for cluster in [beside, apart] {
        mesh.team.delete("DaskCluster", &cluster).await;
    }
}
