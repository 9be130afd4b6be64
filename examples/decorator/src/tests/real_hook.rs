//! Calls of `hook.py`, a hook in the style of Metacontroller's examples.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use dask_plugin_server::protocol::EventReason;
use dask_plugin_server::testing::scheduler_service;

use super::*;

/// The running hook, which ends with the test.
struct RealHook {
    process: Child,
    url: String,
}

impl RealHook {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/hook.py");
        let mut process = Command::new("python3")
            .args([script, "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}/sync", port.trim());
        Self { process, url }
    }

    fn plugin(&self) -> TestPlugin {
        plugin_from(&[("HOOK_URL", &self.url), ("FINALIZE_URL", &self.url)])
    }
}

impl Drop for RealHook {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn annotated_service() -> Value {
    let mut service = scheduler_service("demo", "team-a");
    service["metadata"]["annotations"] = json!({"example.org/host": "demo.example.org"});
    service
}

/// Returns the settings in the manifest, which users copy.
fn settings() -> Value {
    from_yaml(include_str!("../../manifests/plugin.yaml"))["spec"]["settings"].clone()
}

#[tokio::test]
async fn the_attachments_of_a_real_hook_become_children() {
    let hook = RealHook::start();
    let request = RequestBuilder::sync().settings(settings()).subject(annotated_service());
    let first = hook.plugin().sync(request.clone()).await;
    assert_eq!(first.status, ResponseStatus::Success, "{}", first.message);
    let [child] = first.children.unwrap().try_into().unwrap();
    assert_eq!(child.key, "ingress-demo-scheduler");
    assert_eq!(child.manifest["spec"]["rules"][0]["host"], "demo.example.org");
    assert_eq!(first.resync_after_seconds, 3);
    let warning = "the hook sets labels of the Service demo-scheduler, \
                   which is left as it is: plugins write children only";
    assert_eq!(first.warnings, [warning]);

    let again = hook.plugin().sync(request.observed(&child.key, child.manifest.clone())).await;
    assert_eq!(again.children, Some(vec![child]));
    assert_eq!(again.resync_after_seconds, 0, "the hook finds its attachment by kind and name");
}

#[tokio::test]
async fn a_real_hook_without_attachments_deletes_its_children() {
    let hook = RealHook::start();
    let response = hook.plugin().sync(RequestBuilder::sync().settings(settings())).await;
    assert_eq!((response.children, response.warnings), (Some(vec![]), vec![]));
}

/// The controller deletes children after the hook has finalized. The hook must not wait for their deletion.
#[tokio::test]
async fn a_real_hook_that_waits_for_the_deletion_of_its_attachments_finalizes() {
    let hook = RealHook::start();
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "demo-scheduler", "namespace": "team-a"},
    });
    let request = RequestBuilder::finalize()
        .settings(settings())
        .subject(annotated_service())
        .reason(EventReason::Deleting)
        .observed("ingress-demo-scheduler", ingress);
    let response = hook.plugin().finalize(request).await;
    assert!(response.finalized, "{}", response.message);
}
