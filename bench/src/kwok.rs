//! Nodes on which pods run without running: kwok says so for them.

use std::{fs::File, path::Path, process::Stdio};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{Error, lab::until};

const NODES: usize = 10;
const LABEL: &str = "bench-operator";

/// Nodes for ten thousand pods, until it is dropped.
pub(crate) struct Kwok {
    client: Client,
    _process: Child,
}

impl Kwok {
    /// Starts `program` for the cluster of `kubeconfig`, and waits until its nodes are ready.
    pub(crate) async fn start(
        program: &Path,
        (kubeconfig, client): (&Path, &Client),
        dir: &Path,
    ) -> Result<Self, Error> {
        let log = File::create(dir.join("kwok.log"))?;
        let process = Command::new(program)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            // What it says of nodes and pods; `testbed/kwok.sh` puts it beside the program.
            .arg("--config")
            .arg(program.with_file_name("stages.yaml"))
            .args(["--manage-all-nodes=false", &format!("--manage-nodes-with-label-selector={LABEL}=kwok")])
            .args(["--cidr=10.128.0.1/12", "--node-ip=10.127.0.1"])
            // Else Kubernetes holds the nodes for lost after a minute, and all of their pods for not ready.
            .arg("--node-lease-duration-seconds=40")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let kwok = Self { client: client.clone(), _process: process };
        kwok.make_nodes().await?;
        Ok(kwok)
    }

    async fn make_nodes(&self) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for number in 0..NODES {
            let name = format!("kwok-{number}");
            let room = json!({"cpu": "1000", "memory": "10Ti", "pods": "1000"});
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {LABEL: "kwok"}},
                "status": {"allocatable": room, "capacity": room},
            });
            nodes.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&node)).await?;
            nodes.patch_status(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&node)).await?;
        }
        until("kwok's nodes", async || {
            let ready = nodes.list(&selected()).await?.items.into_iter().filter(is_ready).count();
            Ok(ready == NODES)
        })
        .await
    }

    /// Removes the nodes again.
    pub(crate) async fn end(self) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete_collection(&DeleteParams::default(), &selected()).await?;
        until("kwok's nodes to go", async || Ok(nodes.list(&selected()).await?.items.is_empty())).await
    }
}

fn selected() -> ListParams {
    ListParams::default().labels(LABEL)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
