//! Simulated nodes: kwok reports their pods as running without starting containers.

use std::{fs::File, path::Path, process::Stdio};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{Error, cluster::BenchCluster, wait::wait_until};

const NODES: usize = 10;
const LABEL: &str = "bench-operator";

/// A running kwok with nodes for ten thousand pods. It is killed when dropped.
pub(crate) struct Kwok {
    client: Client,
    _process: Child,
}

impl Kwok {
    /// Starts `program` for `cluster`. Waits until its nodes are ready.
    pub(crate) async fn start(program: &Path, cluster: &BenchCluster) -> Result<Self, Error> {
        let log = File::create(cluster.dir.path().join("kwok.log"))?;
        let process = Command::new(program)
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            // The stages of simulated nodes and pods. `testbed/kwok.sh` puts them beside the program.
            .arg("--config")
            .arg(program.with_file_name("stages.yaml"))
            .args(["--manage-all-nodes=false", &format!("--manage-nodes-with-label-selector={LABEL}=kwok")])
            .args(["--cidr=10.128.0.1/12", "--node-ip=10.127.0.1"])
            // Without Leases, Kubernetes marks the nodes and all their pods as not ready after a minute.
            .arg("--node-lease-duration-seconds=40")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let kwok = Self { client: cluster.client.clone(), _process: process };
        kwok.create_nodes().await?;
        Ok(kwok)
    }

    async fn create_nodes(&self) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for number in 0..NODES {
            let name = format!("kwok-{number}");
            let capacity = json!({"cpu": "1000", "memory": "10Ti", "pods": "1000"});
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {LABEL: "kwok"}},
                "status": {"allocatable": capacity, "capacity": capacity},
            });
            nodes.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&node)).await?;
            nodes.patch_status(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&node)).await?;
        }
        wait_until("kwok's nodes to be ready", async || {
            let ready = nodes.list(&kwok_nodes()).await?.items.into_iter().filter(is_ready).count();
            Ok(ready == NODES)
        })
        .await
    }

    /// Deletes the nodes and stops kwok.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete_collection(&DeleteParams::default(), &kwok_nodes()).await?;
        wait_until("kwok's nodes to be deleted", async || Ok(nodes.list(&kwok_nodes()).await?.items.is_empty())).await
    }
}

fn kwok_nodes() -> ListParams {
    ListParams::default().labels(LABEL)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
