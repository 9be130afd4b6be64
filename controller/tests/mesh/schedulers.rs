//! A scheduler with TLS that is exposed at port 8786 of the gateway.

use serde_json::{Value, json};

use crate::{
    mesh::{Mesh, TEAM, host},
    support::{
        condition,
        real::{image, logs, real_cluster, succeeds},
    },
};

const TLS: [&str; 6] = ["--tls-ca-file", "/tls/ca.crt", "--tls-cert", "/tls/tls.crt", "--tls-key", "/tls/tls.key"];

const PROGRAM: &str = r#"
import sys
from distributed import Client, Security

security = Security(tls_ca_file="/tls/ca.crt", tls_client_cert="/tls/tls.crt", tls_client_key="/tls/tls.key",
                    require_encryption=True)
client = Client(f"tls://{sys.argv[1]}:8786", security=security, timeout=60)
client.wait_for_workers(1, timeout=60)
print("sum:", client.submit(sum, range(1000)).result())
"#;

/// Only the server name distinguishes the clusters behind port 8786: the connection is encrypted from end to end.
#[tokio::test]
#[ignore = "needs a mesh: make mesh"]
async fn a_client_computes_on_the_cluster_that_its_server_name_selects() {
    let mesh = Mesh::new().await;
    let (name, secret) = (format!("secure-{:04x}", fastrand::u16(..)), format!("tls-{:04x}", fastrand::u16(..)));
    mesh.team.create(&certificate(&secret, &name)).await;
    mesh.team.until("Certificate", &secret, |found| condition(found, "Ready").0 == "True").await;
    mesh.team.create(&secure_cluster(&name, &secret)).await;
    // The other cluster with TLS must not be reached.
    let other = format!("other-{name}");
    mesh.team.create(&secure_cluster(&other, &secret)).await;
    mesh.dashboard(&name).await;

    let service = mesh.team.expect("Service", "istio-ingressgateway").await;
    let client = format!("client-{name}");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": client},
        "spec": {
            "restartPolicy": "Never",
            "hostAliases": [{"ip": service["spec"]["clusterIP"], "hostnames": [host(&name)]}],
            "containers": [{
                "name": "client",
                "image": image("dask"),
                "command": ["python", "-c", PROGRAM, host(&name)],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
            }],
            "volumes": [{"name": "tls", "secret": {"secretName": secret}}],
        },
    });
    mesh.team.create(&pod).await;
    succeeds(&mesh.team, &client).await;
    assert_eq!(logs(&mesh.team, &client, 1).await.trim(), "sum: 499500");

    mesh.team.delete("Pod", &client).await;
    for cluster in [&name, &other] {
        mesh.team.delete("DaskCluster", cluster).await;
    }
    mesh.team.delete("Certificate", &secret).await;
}

/// Returns the certificate of scheduler, workers and client.
fn certificate(name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": {
            "secretName": name,
            "dnsNames": [host(cluster), format!("{cluster}-scheduler.{TEAM}")],
            "issuerRef": {"name": "demo-ca", "kind": "ClusterIssuer"},
            "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
        },
    })
}

/// Returns a cluster with a worker, all of whose connections use TLS.
fn secure_cluster(name: &str, secret: &str) -> Value {
    let mut cluster = real_cluster(name, 1);
    cluster["spec"]["scheduler"]["tls"] = json!({"secretName": secret});
    for component in ["scheduler", "worker"] {
        let pod = &mut cluster["spec"][component]["spec"];
        pod["volumes"] = json!([{"name": "tls", "secret": {"secretName": secret}}]);
        let container = &mut pod["containers"][0];
        container["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls"}]);
        let arguments = container["args"].as_array_mut().unwrap();
        arguments.extend(["--protocol", "tls"].iter().chain(&TLS).map(|argument| json!(argument)));
    }
    cluster
}
