//! Objects of other owners that look like the controller's.

use serde_json::{Value, json};

use crate::{
    faulty_plugins::BLOCKED,
    support::{TestContext, eventually, misbehaviour::VICTIM, name, version},
};

/// The objects and the versions that they must keep.
pub(crate) struct Foreign(Vec<(String, String, String)>);

impl Foreign {
    /// Creates them, and waits until Kubernetes has nothing left to write about them.
    pub(crate) async fn create(context: &TestContext) -> Self {
        let victim = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": VICTIM}, "data": {"a": "1"}});
        let victim = context.apply(&victim).await;
        let mut created = Vec::new();
        for manifest in manifests(&victim) {
            let object = context.apply(&manifest).await;
            let kind = manifest["kind"].as_str().unwrap();
            if kind == "Deployment" {
                settled(context, name(&object)).await;
            }
            created.push((kind.to_owned(), name(&object).to_owned()));
        }
        created.push(("ConfigMap".to_owned(), VICTIM.to_owned()));
        let mut versions = Vec::new();
        for (kind, name) in created {
            let object = context.expect(&kind, &name).await;
            versions.push((kind, name, version(&object).to_owned()));
        }
        Self(versions)
    }

    /// Checks that they did not change.
    pub(crate) async fn check(&self, context: &TestContext) -> Result<(), String> {
        for (kind, name, version) in &self.0 {
            let found = context.get(kind, name).await.ok_or_else(|| format!("the foreign {kind} {name} is gone"))?;
            if found["metadata"]["resourceVersion"] != json!(version) {
                return Err(format!("the foreign {kind} {name} was changed: {found}"));
            }
        }
        Ok(())
    }

    pub(crate) fn is_of(&self, kind: &str, name: &str) -> bool {
        self.0.iter().any(|(other, created, _)| other == kind && created == name)
    }
}

/// Waits until the Deployment controller has written its final status.
async fn settled(context: &TestContext, name: &str) {
    eventually("the foreign Deployment to settle", async || {
        let object = context.expect("Deployment", name).await;
        let conditions = object["status"]["conditions"].as_array().map_or(0, Vec::len);
        let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        if observed && conditions >= 2 { Ok(()) } else { Err(object["status"].to_string()) }
    })
    .await;
}

fn manifests(victim: &Value) -> Vec<Value> {
    let owner = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": VICTIM, "uid": victim["metadata"]["uid"], "controller": true,
    }]);
    let worker = json!({
        "dask.org/cluster-name": "demo",
        "dask.org/component": "worker",
        "dask.org/workergroup-name": "demo-default",
    });
    let scheduler = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
    let child = json!({"plugin.kubernetes.dask.org/plugin": "other"});
    vec![
        deployment("demo-default-worker-0000000000", &worker, &json!([])),
        deployment("demo-default-worker-of-another", &worker, &owner),
        deployment("demo-scheduler-mine", &scheduler, &json!([])),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "demo-scheduler-mine", "labels": scheduler},
            "spec": {"ports": [{"name": "tcp-comm", "port": 8786}], "selector": scheduler},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "demo-scheduler-config", "labels": child},
            "data": {},
        }),
        // It has the name of the child that a plugin wants.
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": format!("demo-scheduler-{BLOCKED}-config")},
            "data": {"value": "foreign"},
        }),
    ]
}

fn deployment(name: &str, labels: &Value, owners: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
        },
    })
}
