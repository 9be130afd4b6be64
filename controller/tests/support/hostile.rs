//! Objects that the API server accepts and that would stop a controller which trusts them.

use http::Request;
use serde_json::{Value, json};

use super::{TestContext, cluster};

/// A value in the hostile objects that must not appear in the log.
pub(crate) const SECRET: &str = "correct-horse-battery";
const DASK: &str = "apis/kubernetes.dask.org/v1";
/// Objects that are made of small maps: as trees they take 50 MB each. The API server needs seconds and far more memory
/// than we do for each, so that more of them would only measure it.
const LARGE: usize = 1;

/// A hostile object as text, and the reason for which it cannot be read; none if it is read all the same.
pub(crate) struct Hostile {
    /// Group and version, as in paths of the API.
    api: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    text: String,
    pub(crate) reason: Option<&'static str>,
}

/// JSON that is nested `levels` deep.
pub(crate) fn nested(levels: usize) -> String {
    format!("{}\"{SECRET}\"{}", "[".repeat(levels), "]".repeat(levels))
}

fn small_maps(count: usize) -> String {
    format!("[{}]", vec![r#"{"a":0}"#; count].join(","))
}

/// An object of a Dask kind, with `value` in the place of the text HERE.
fn hostile(mut manifest: Value, name: &str, (value, reason): (&str, &'static str)) -> Hostile {
    let (kind, plural) = match manifest["kind"].as_str() {
        Some("DaskCluster") => ("DaskCluster", "daskclusters"),
        Some("DaskWorkerGroup") => ("DaskWorkerGroup", "daskworkergroups"),
        _ => ("DaskJob", "daskjobs"),
    };
    manifest["apiVersion"] = json!("kubernetes.dask.org/v1");
    manifest["metadata"] = json!({"name": name});
    let text = manifest.to_string().replace("\"HERE\"", value);
    Hostile { api: DASK, plural, kind, name: name.to_owned(), text, reason: Some(reason) }
}

/// Returns a pod that counts as a worker, with these annotations and this environment.
fn hostile_pod(name: &str, annotations: &Value, env: &Value, reason: Option<&'static str>) -> Hostile {
    let labels =
        json!({"dask.org/component": "worker", "dask.org/cluster-name": "nope", "dask.org/workergroup-name": "nope"});
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "a", "image": "a", "env": env}]},
    });
    Hostile { api: "api/v1", plural: "pods", kind: "Pod", name: name.to_owned(), text: manifest.to_string(), reason }
}

/// Returns a slice of as many endpoints as the API server takes, with many addresses each.
fn hostile_slice() -> Hostile {
    let addresses =
        |endpoint: usize| (0..60).map(move |address| format!("10.{}.{}.{address}", endpoint / 250, endpoint % 250));
    let endpoints: Vec<Value> =
        (0..1_000).map(|endpoint| json!({"addresses": addresses(endpoint).collect::<Vec<_>>()})).collect();
    let manifest = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "many", "labels": {"kubernetes.io/service-name": "nope"}},
        "addressType": "IPv4",
        "ports": [],
        "endpoints": endpoints,
    });
    Hostile {
        api: "apis/discovery.k8s.io/v1",
        plural: "endpointslices",
        kind: "EndpointSlice",
        name: "many".to_owned(),
        text: manifest.to_string(),
        reason: Some("TooManyValues"),
    }
}

/// Returns hostile objects of Kubernetes' own kinds.
fn of_kubernetes() -> Vec<Hostile> {
    let variable = |number: usize| json!({"name": format!("A{number}"), "value": "b"});
    let many: Vec<Value> = (0..11_000).map(variable).collect();
    let none = json!({});
    let long = json!([{"name": "A", "value": SECRET.repeat(60_000)}]);
    vec![
        hostile_pod("annotated", &json!({"a": SECRET.repeat(12_000)}), &json!([]), None),
        hostile_pod("long", &none, &long, Some("TooLarge")),
        hostile_pod("many", &none, &json!(many), Some("TooManyValues")),
        hostile_slice(),
    ]
}

/// Makes the operator's Lease and the status of a pod unreadable: the API server takes a time and shows it with a year
/// of five digits.
pub(crate) async fn set_odd_times(context: &TestContext) {
    const ODD: &str = "9999-12-31T23:59:59.000000-12:00";
    context.merge("Lease", "dask-operator", json!({"spec": {"renewTime": ODD}})).await;
    let started = json!({"startTime": "9999-12-31T23:59:59-12:00"});
    context.merge_status("Pod", "annotated", json!({"status": started})).await;
}

/// A cluster whose worker pod has `value` in a field that Kubernetes does not know.
fn hostile_cluster(name: &str, value: &str, reason: &'static str) -> Hostile {
    let mut manifest = cluster(name, 1);
    manifest["spec"]["worker"]["spec"]["x"] = json!("HERE");
    hostile(manifest, name, (value, reason))
}

fn hostile_group(name: &str, value: &str, reason: &'static str) -> Hostile {
    let worker = json!({"spec": {"containers": [{"name": "a"}], "x": "HERE"}});
    let manifest = json!({"kind": "DaskWorkerGroup", "spec": {"cluster": "nope", "worker": worker}});
    hostile(manifest, name, (value, reason))
}

fn hostile_job(name: &str, value: &str, reason: &'static str) -> Hostile {
    let job = json!({"spec": {"containers": [{"name": "a", "image": "a"}], "x": "HERE"}});
    let spec = json!({"job": job, "cluster": {"spec": cluster(name, 1)["spec"]}});
    hostile(json!({"kind": "DaskJob", "spec": spec}), name, (value, reason))
}

/// Returns a worker group that can be read and has a text of so many KiB.
pub(crate) fn large_group(name: &str, kibibytes: usize) -> Value {
    let worker = json!({"spec": {"containers": [{"name": "a"}], "x": "x".repeat(kibibytes << 10)}});
    json!({
        "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup", "metadata": {"name": name},
        "spec": {"cluster": "nope", "worker": worker},
    })
}

/// All hostile objects.
pub(crate) fn catalogue() -> Vec<Hostile> {
    let long = format!("\"{}\"", SECRET.repeat(60_000));
    let mut all = vec![
        hostile_cluster("deep", &nested(200), "TooDeep"),
        hostile_cluster("very-deep", &nested(9_000), "TooDeep"),
        hostile_group("deep", &nested(200), "TooDeep"),
        hostile_group("maps", &small_maps(60_000), "TooManyValues"),
        hostile_job("deep", &nested(200), "TooDeep"),
    ];
    all.extend((0..6).map(|number| hostile_cluster(&format!("long-{number}"), &long, "TooLarge")));
    all.extend(
        (0..LARGE).map(|number| hostile_cluster(&format!("maps-{number}"), &small_maps(60_000), "TooManyValues")),
    );
    all.extend(of_kubernetes());
    all
}

impl Hostile {
    /// Creates the object. It is sent as text: the test could not parse it either.
    pub(crate) async fn create(&self, context: &TestContext) {
        let path = format!("/{}/namespaces/{}/{}", self.api, context.namespace, self.plural);
        let request = Request::post(path).header("content-type", "application/json");
        let answer = context.client.request_text(request.body(self.text.clone().into_bytes()).unwrap()).await;
        if let Err(error) = answer {
            panic!("the API server does not take {} {}: {error}", self.kind, self.name);
        }
    }

    /// Changes an annotation, which the watch reports with the whole object.
    pub(crate) async fn touch(&self, context: &TestContext, value: usize) {
        let path = format!("/{}/namespaces/{}/{}/{}", self.api, context.namespace, self.plural, self.name);
        let change = json!({"metadata": {"annotations": {"touched": value.to_string()}}});
        let request = Request::patch(path).header("content-type", "application/merge-patch+json");
        context.client.request_text(request.body(change.to_string().into_bytes()).unwrap()).await.unwrap();
    }

    /// Deletes the object.
    pub(crate) async fn delete(&self, context: &TestContext) {
        let path = format!("/{}/namespaces/{}/{}/{}", self.api, context.namespace, self.plural, self.name);
        context.client.request_text(Request::delete(path).body(Vec::new()).unwrap()).await.unwrap();
    }

    /// Whether it is small enough for its condition to be written.
    pub(crate) fn has_condition(&self) -> bool {
        self.api == DASK && self.kind != "DaskJob" && self.text.len() < 100_000
    }

    /// Returns the object's condition `Accepted` as status and reason, without parsing the object as a whole.
    pub(crate) async fn accepted(&self, context: &TestContext) -> Option<(String, String)> {
        #[derive(serde::Deserialize)]
        struct Stored {
            #[serde(default)]
            status: Value,
        }
        let path = format!("/{}/namespaces/{}/{}/{}", self.api, context.namespace, self.plural, self.name);
        let text = context.client.request_text(Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
        let stored: Stored = serde_json::from_str(&text).unwrap();
        let conditions = stored.status["conditions"].as_array()?;
        let accepted = conditions.iter().find(|condition| condition["type"] == "Accepted")?;
        let text = |field: &str| accepted[field].as_str().map(str::to_owned);
        Some((text("status")?, text("reason")?))
    }
}

/// Creates a cluster that cannot be read, with kopf's finalizer and that of a plugin that does not exist, and deletes it.
pub(crate) async fn delete_unreadable(context: &TestContext) {
    let finalizers = json!(["kopf.zalando.org/KopfFinalizerMarker", "plugin.kubernetes.dask.org/gone"]);
    let mut object = hostile_cluster("held", &nested(200), "TooDeep");
    let named = json!({"name": "held"}).to_string();
    let held = json!({"name": "held", "finalizers": finalizers}).to_string();
    object.text = object.text.replace(&named, &held);
    object.create(context).await;
    let path = format!("/{DASK}/namespaces/{}/daskclusters/held", context.namespace);
    context.client.request_text(Request::delete(path).body(Vec::new()).unwrap()).await.unwrap();
}
