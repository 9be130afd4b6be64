//! The program `kubectl-dask` and a scheduler that runs.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::support::{
    TestContext, controller,
    kubectl_dask::{kubectl_dask, start_kubectl_dask},
    name,
    real::{PODS_READY, pods_ready, real_cluster},
    with_temp_ns, within,
};

/// Returns the address that the dashboard is forwarded to.
async fn forwarded(dashboard: &mut Child) -> SocketAddr {
    let stdout = dashboard.stdout.take().unwrap();
    let url = BufReader::new(stdout).lines().next_line().await.unwrap().unwrap();
    let port = url.strip_prefix("http://localhost:").and_then(|rest| rest.split_once('/')).unwrap().0;
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()))
}

/// Waits until the dashboard serves the scheduler's counts.
async fn serves(dashboard: SocketAddr) {
    within(PODS_READY, "the dashboard", async || match controller::get(dashboard, "/json/counts.json").await {
        Ok(response) if response.contains("desired_workers") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn scheduler_pod(context: &TestContext) -> String {
    let pods = context.list("Pod", "dask.org/cluster-name=reached,dask.org/component=scheduler").await;
    name(&pods[0]).to_owned()
}

#[tokio::test]
#[ignore = "needs a node: make e2e"]
async fn users_reach_the_dashboard_the_logs_and_the_counts_of_a_scheduler_also_after_its_pod_is_replaced() {
    with_temp_ns(|context| async move {
        context.create(&real_cluster("reached", 1)).await;
        pods_ready(&context, "reached", 1).await;

        within(PODS_READY, "the worker to be counted", async || {
            let top = kubectl_dask(&context, &["top", "reached", "--output", "json"]).await;
            let counted = top.code == 0 && top.json()["workers"].as_array().is_some_and(|workers| workers.len() == 1);
            if counted { Ok(()) } else { Err(format!("{top:?}")) }
        })
        .await;
        let top = kubectl_dask(&context, &["top", "reached"]).await;
        assert!(top.first_line().starts_with("workers   1 connected") && top.stdout.contains("tasks "), "{top:?}");
        let log = kubectl_dask(&context, &["logs", "reached", "--scheduler"]).await;
        assert!(log.stdout.contains("distributed.scheduler"), "{log:?}");
        let worker = top.stdout.lines().last().unwrap().split_whitespace().next().unwrap().to_owned();
        let log = kubectl_dask(&context, &["logs", "reached", "--worker", &worker, "--tail", "50"]).await;
        assert!(log.code == 0 && log.stdout.contains("distributed"), "{log:?}");

        let mut dashboard = start_kubectl_dask(&context, &["dashboard", "reached", "--no-browser", "--port", "0"]);
        let address = forwarded(&mut dashboard).await;
        serves(address).await;
        context.delete("Pod", &scheduler_pod(&context).await).await;
        pods_ready(&context, "reached", 1).await;
        serves(address).await;
        assert!(dashboard.try_wait().unwrap().is_none(), "the forwarding goes on");
    })
    .await;
}
