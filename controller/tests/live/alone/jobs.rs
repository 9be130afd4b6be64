//! Jobs whose controller is killed at any moment.

use serde_json::json;

use crate::{
    job::{CLUSTER, JOB, POD, ago, container, exited, job_of, never_restarted, running},
    support::{TestContext, alone_with_temp_ns, eventually, uid},
};

/// How far a job is when the controller is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Cluster,
    Runner,
    Created,
    Running,
    Counted,
    Replaced,
    Ended,
}

const MOMENTS: [Moment; 7] = [
    Moment::Cluster,
    Moment::Runner,
    Moment::Created,
    Moment::Running,
    Moment::Counted,
    Moment::Replaced,
    Moment::Ended,
];

impl Moment {
    async fn reached(self, context: &TestContext, name: &str) -> bool {
        let job = context.expect(JOB, name).await;
        let status = &job["status"];
        match self {
            Self::Cluster => context.get(CLUSTER, name).await.is_some(),
            Self::Runner => context.get(POD, &format!("{name}-runner")).await.is_some(),
            Self::Created => status["jobStatus"] == "ClusterCreated",
            Self::Running => status["jobStatus"] == "Running",
            Self::Counted => status["failedRunners"] == 1,
            Self::Replaced => status["failedRunners"] == 1 && status["jobRunnerPodName"].is_string(),
            Self::Ended => status["jobStatus"] == "Successful",
        }
    }
}

/// Advances the runner by one step: the first runner of each job fails, its successor succeeds.
async fn advance_runner(context: &TestContext, job: &str) {
    let Some(pod) = context.get(POD, &format!("{job}-runner")).await else {
        return;
    };
    let status = context.expect(JOB, job).await["status"].clone();
    let is_first = pod["metadata"]["annotations"].is_null();
    let (start, end) = (ago(9), ago(1));
    let (phase, state) = match (pod["status"]["phase"].as_str(), is_first) {
        (Some("Pending"), _) => ("Running", running(&start)),
        (Some("Running"), true) if status["jobStatus"] == "Running" => ("Failed", exited(1, &start, &end)),
        (Some("Running"), false) => ("Succeeded", exited(0, &start, &end)),
        _ => return,
    };
    let containers = [container("job", &state, 0)];
    let patch = json!({"metadata": {"uid": uid(&pod)}, "status": {"phase": phase, "containerStatuses": containers}});
    // The runner may have been replaced in between.
    let _ = context.try_merge_status(POD, &format!("{job}-runner"), patch).await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_controller_that_is_killed_at_any_moment_counts_nothing_twice_and_forgets_nothing() {
    alone_with_temp_ns(|context| async move {
        for (round, moment) in MOMENTS.into_iter().enumerate() {
            let name = format!("j{round}");
            let controller = context.spawn_controller();
            let manifest = job_of(&name, |spec| {
                never_restarted(spec);
                spec["backoffLimit"] = json!(1);
            });
            context.create(&manifest).await;
            eventually(&format!("{moment:?}"), async || {
                advance_runner(&context, &name).await;
                // No longer pause: the moments are short.
                let reached = moment.reached(&context, &name).await;
                if reached { Ok(()) } else { Err("it did not come".to_owned()) }
            })
            .await;
            controller.kill().await;
        }
        let _controller = context.start_controller().await;
        for round in 0..MOMENTS.len() {
            let name = format!("j{round}");
            let status = eventually(&format!("the end of {name}"), async || {
                advance_runner(&context, &name).await;
                let status = context.expect(JOB, &name).await["status"].clone();
                if status["endTime"].is_string() { Ok(status) } else { Err(status.to_string()) }
            })
            .await;
            assert_eq!(status["jobStatus"], "Successful", "{name}: {status}");
            assert_eq!(status["failedRunners"], 1, "{name}: {status}");
            context.goes(CLUSTER, &name).await;
        }
        assert_eq!(context.count(POD, "dask.org/component=job-runner").await, MOMENTS.len());
    })
    .await;
}
