//! The ingress plugin with a real ingress controller: Istio's support for Ingresses.

use serde_json::json;

use crate::{
    https::get_without_tls,
    mesh::{Mesh, TEAM, apply, manifest, plugin_ready},
    support::eventually,
};

#[tokio::test]
#[ignore = "needs a mesh: make mesh"]
async fn an_ingress_has_an_address_that_answers_for_its_host() {
    let mesh = Mesh::new().await;
    for file in ["rbac", "deployment"] {
        apply(&manifest(&format!("ingress/manifests/{file}.yaml"), &[]));
    }
    let host = "hostPattern: \"{name}.{namespace}.ingress.example.org\"\n    ingressClassName: istio";
    apply(&manifest(
        "ingress/manifests/plugin.yaml",
        &[("hostPattern: \"{name}.{namespace}.dask.example.org\"", host)],
    ));
    plugin_ready(&mesh, "ingress").await;
    let cluster = mesh.create_cluster("plain").await;
    let has_address = json!([{"ip": mesh.gateway}]);
    let ingress = format!("{cluster}-scheduler-ingress-ingress");
    mesh.team.until("Ingress", &ingress, |found| found["status"]["loadBalancer"]["ingress"] == has_address).await;

    let host = format!("{cluster}.{TEAM}.ingress.example.org");
    let page =
        eventually(&format!("http://{host}"), async || match get_without_tls(mesh.gateway, &host, "/status").await? {
            (200, text) => Ok(text),
            (status, _) => Err(format!("it answers {status}")),
        })
        .await;
    assert!(page.contains("<title>Dask Diagnostic UI</title>"), "{page}");
    let (status, _) = get_without_tls(mesh.gateway, "other.example.org", "/status").await.unwrap();
    assert_eq!(status, 404, "a host of no Ingress");
    mesh.team.delete("DaskCluster", &cluster).await;
}
