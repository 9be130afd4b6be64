//! `DaskJobs` whose runners run on a node. Run all of it with `make e2e`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    TestContext, eventually, name,
    real::{create_account, image, logs, real_cluster},
    with_temp_ns, within,
};

/// Scheduler, worker and runner have to start on a busy machine, the runner perhaps twice.
const JOB: Duration = Duration::from_mins(5);
const COMPUTES: &str = "
from distributed import Client
with Client(timeout=120) as client:
    assert client.submit(sum, range(10)).result(timeout=120) == 45
";
/// Fails on its first run only.
const FAILS_ONCE: &str = "
import sys, kr8s
from kr8s.objects import ConfigMap
namespace = open('/var/run/secrets/kubernetes.io/serviceaccount/namespace').read()
been_here = ConfigMap({'metadata': {'name': 'been-here', 'namespace': namespace}, 'data': {}})
try:
    been_here.create()
except kr8s.ServerError as error:
    assert error.response.status_code == 409, error
else:
    sys.exit('the first time')
";

fn job(name: &str, program: &str) -> Value {
    let container = json!({"name": "job", "image": image("dask"), "command": ["python", "-c", program]});
    json!({
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            "cluster": {"spec": real_cluster(name, 1)["spec"]},
        },
    })
}

/// Waits until the job ends with this status, and its cluster is gone.
async fn ends(context: &TestContext, job: &str, status: &str) -> Value {
    let ended = within(JOB, &format!("DaskJob {job} to be {status}"), async || {
        let found = context.expect("DaskJob", job).await;
        match found["status"]["jobStatus"].as_str().unwrap_or_default() {
            ended @ ("Successful" | "Failed") => {
                let said = logs(context, &format!("{job}-runner"), 20).await;
                assert_eq!(ended, status, "the runner said: {said}");
                Ok(found)
            }
            other => Err(format!("it is {other}")),
        }
    })
    .await;
    let times = ["startTime", "endTime"].map(|field| ended["status"][field].as_str().unwrap_or_default());
    assert!(!times[0].is_empty() && times[0] <= times[1], "{times:?}");
    assert_eq!(ended["status"]["clusterName"], job);

    context.goes("DaskCluster", job).await;
    eventually("the cluster's objects to go", async || {
        let mut left = Vec::new();
        for kind in ["DaskWorkerGroup", "Deployment", "Service"] {
            left.extend(context.list(kind, "").await);
        }
        let left: Vec<&str> = left.iter().map(name).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("there are {left:?}")) }
    })
    .await;
    ended
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_job_that_computes_is_successful_and_its_cluster_goes() {
    with_temp_ns(|context| async move {
        context.create(&job("good", COMPUTES)).await;
        ends(&context, "good", "Successful").await;
        // The runner stays because of its log. Its container ends a moment before its phase says so.
        context.until("Pod", "good-runner", |runner| runner["status"]["phase"] == "Succeeded").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_job_that_fails_says_so_and_its_cluster_goes() {
    with_temp_ns(|context| async move {
        context.create(&job("bad", "raise SystemExit(3)")).await;
        ends(&context, "bad", "Failed").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn a_job_with_a_backoff_limit_tries_again() {
    with_temp_ns(|context| async move {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]);
        create_account(&context, "runner", rules).await;
        let mut job = job("again", &format!("{FAILS_ONCE}{COMPUTES}"));
        job["spec"]["backoffLimit"] = json!(1);
        job["spec"]["job"]["spec"]["serviceAccountName"] = json!("runner");
        context.create(&job).await;
        ends(&context, "again", "Successful").await;
        context.expect("ConfigMap", "been-here").await;
    })
    .await;
}
