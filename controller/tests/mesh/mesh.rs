//! What the tests share: the namespace with the gateway, its address, its certificate authority, and Dask clusters in it.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    process::{Command, Stdio},
};

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::{
    https::{self, Reply},
    support::{TestContext, condition, eventually, real::operator, real::real_cluster},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

/// The namespace of the gateway and of all Dask clusters: a Certificate writes the Secret next to the Dask cluster, and the
/// gateway reads it from its own namespace.
pub(crate) const TEAM: &str = "team";
/// The certificate authority in the namespace `cert-manager`.
const AUTHORITY: &str = "demo-ca";

/// Locked for reading by most tests, and for writing by a test that measures time.
static TURN: RwLock<()> = RwLock::const_new(());

/// The gateway, and how to get through it.
pub(crate) struct Mesh {
    pub(crate) team: TestContext,
    pub(crate) gateway: IpAddr,
    /// The certificate of the authority, as PEM.
    pub(crate) authority: String,
    /// Keeps tests that measure time from running at the same time.
    _turn: Box<dyn Send>,
}

impl Mesh {
    pub(crate) async fn new() -> Self {
        Self::find(Box::new(TURN.read().await)).await
    }

    /// Does the same as [`Self::new`] while no other test runs.
    pub(crate) async fn alone() -> Self {
        Self::find(Box::new(TURN.write().await)).await
    }

    async fn find(turn: Box<dyn Send>) -> Self {
        let client = Client::try_default().await.expect("there is a cluster: see `make mesh`");
        let team = TestContext::of(client.clone(), TEAM);
        let service = team.expect("Service", "istio-ingressgateway").await;
        let gateway = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().parse().unwrap();
        let secret = TestContext::of(client, "cert-manager").expect("Secret", AUTHORITY).await;
        Self { team, gateway, authority: decoded(&secret["data"]["tls.crt"]), _turn: turn }
    }

    /// Creates a Dask cluster without workers. Returns its name, which no other test uses.
    pub(crate) async fn create_cluster(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{:04x}", fastrand::u16(..));
        let mut cluster = real_cluster(&name, 0);
        // The gateway must not lose a scheduler that is slow because the machine is busy.
        cluster["spec"]["scheduler"]["spec"]["containers"][0]["readinessProbe"]["failureThreshold"] = json!(60);
        self.team.create(&cluster).await;
        name
    }

    pub(crate) async fn get(&self, host: &str, path: &str) -> Result<Reply, String> {
        https::get(self.gateway, &self.authority, host, path).await
    }

    /// Waits until the dashboard of the cluster can be read through the gateway.
    pub(crate) async fn dashboard(&self, cluster: &str) -> Reply {
        let host = host(cluster);
        eventually(&format!("https://{host}"), async || match self.get(&host, "/status").await? {
            reply if reply.status == 200 => Ok(reply),
            reply => Err(format!("it answers {}", reply.status)),
        })
        .await
    }
}

/// Returns the host that the example's pattern results in.
pub(crate) fn host(cluster: &str) -> String {
    format!("{cluster}.{TEAM}.dask.example.org")
}

/// Returns the name of the Gateway, the `VirtualService` and the Certificate of a cluster.
pub(crate) fn child(cluster: &str) -> String {
    format!("{cluster}-scheduler-istio")
}

/// Returns the name of the Secret of a cluster's certificate.
pub(crate) fn secret(cluster: &str) -> String {
    format!("{TEAM}.{cluster}-scheduler-istio-tls")
}

/// Decodes a value of a Secret.
fn decoded(value: &Value) -> String {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(value.clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}

/// Returns a patch that lets cert-manager issue a new certificate, as `cmctl renew` does.
pub(crate) fn renewal(certificate: &Value) -> Value {
    let mut conditions = certificate["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "Issuing");
    conditions.push(json!({
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": certificate["metadata"]["generation"],
    }));
    json!({"status": {"conditions": conditions}})
}

/// Returns a manifest of an example with some texts replaced.
pub(crate) fn manifest(path: &str, replacements: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(format!("{EXAMPLES}/{path}")).unwrap();
    replacements.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{path} has no {from}");
        text.replace(from, to)
    })
}

/// Applies manifests as the examples' instructions say.
pub(crate) fn apply(manifests: &str) {
    let mut command = Command::new("kubectl");
    let command = command.args(["apply", "-n", "dask-operator", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut kubectl = command.spawn().unwrap();
    kubectl.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    assert!(kubectl.wait().unwrap().success(), "kubectl apply");
}

/// Waits until the plugin is ready with its current spec.
pub(crate) async fn plugin_ready(mesh: &Mesh, plugin: &str) {
    let operator = operator(&mesh.team);
    operator
        .until("DaskOperatorPlugin", plugin, |found| {
            found["status"]["observedGeneration"] == found["metadata"]["generation"]
                && condition(found, "Ready").0 == "True"
        })
        .await;
}
