//! Scales one worker group up from zero to many workers and down to a few, while the controller is killed repeatedly.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    Error,
    cluster::{BenchNamespace, Kind},
    operator::Operator,
    schedulers::Schedulers,
    wait::wait_until,
};

const GROUP: &str = "c0-default";

/// How far to scale, and when to kill the controller.
pub(crate) struct ScaleProfile {
    pub(crate) maximum: usize,
    pub(crate) minimum: usize,
    /// Percentages of the way up at which the controller is killed.
    pub(crate) kills_up: &'static [usize],
    /// The same of the way down.
    pub(crate) kills_down: &'static [usize],
}

/// A large cluster of one user.
pub(crate) const LARGE: ScaleProfile =
    ScaleProfile { maximum: 1000, minimum: 10, kills_up: &[15, 45, 75], kills_down: &[30, 70] };
/// For `--quick`.
pub(crate) const SMALL: ScaleProfile = ScaleProfile { maximum: 40, minimum: 4, kills_up: &[30], kills_down: &[50] };

/// The result of scaling up and down.
pub(crate) struct ScaleResult {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
    /// Workers after scaling up.
    pub(crate) workers_up: usize,
    /// Workers after scaling down.
    pub(crate) workers_down: usize,
    /// Workers that were created in all.
    pub(crate) created: usize,
    pub(crate) kills: usize,
    pub(crate) cpu: Duration,
}

/// The running controller, with the CPU time of all that ran.
struct ScaleRun<'a> {
    namespace: &'a BenchNamespace<'a>,
    operator: Option<Operator>,
    kills: usize,
    cpu: Duration,
}

/// Measures one profile.
pub(crate) async fn measure(namespace: &BenchNamespace<'_>, profile: &ScaleProfile) -> Result<ScaleResult, Error> {
    let schedulers = Schedulers::start(namespace, &["c0".to_owned()]).await;
    let mut run = ScaleRun { namespace, operator: Some(namespace.start().await?), kills: 0, cpu: Duration::ZERO };
    namespace.create(Kind::DaskCluster, &schedulers.manifest("c0", 0)).await?;
    wait_until("the scheduler", async || {
        let cluster = namespace.get(Kind::DaskCluster, "c0").await?.unwrap_or_default();
        Ok(is_true(&cluster, "SchedulerReady") && settled(namespace, 0).await?)
    })
    .await?;
    let start = Instant::now();
    run.scale(profile.maximum).await?;
    for share in profile.kills_up {
        run.kill_when(&schedulers, |existing| existing * 100 >= profile.maximum * share).await?;
    }
    run.wait_until_settled(profile.maximum).await?;
    let (up, workers_up) = (start.elapsed(), schedulers.workers().existing.len());
    let start = Instant::now();
    run.scale(profile.minimum).await?;
    let removed = profile.maximum - profile.minimum;
    for share in profile.kills_down {
        run.kill_when(&schedulers, |existing| (profile.maximum - existing) * 100 >= removed * share).await?;
    }
    run.wait_until_settled(profile.minimum).await?;
    wait_until("workers to be deleted", async || Ok(schedulers.workers().existing.len() <= profile.minimum)).await?;
    let (down, workers) = (start.elapsed(), schedulers.workers());
    run.add_cpu()?;
    let (workers_down, created) = (workers.existing.len(), workers.created.len());
    Ok(ScaleResult { up, down, workers_up, workers_down, created, kills: run.kills, cpu: run.cpu })
}

impl ScaleRun<'_> {
    /// Sets the replicas of the worker group.
    async fn scale(&self, workers: usize) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"worker": {"replicas": workers}}}));
        self.namespace.api(Kind::DaskWorkerGroup).patch(GROUP, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Kills the controller as soon as `reached` holds for the number of workers, and starts another one.
    async fn kill_when(&mut self, schedulers: &Schedulers, reached: impl Fn(usize) -> bool) -> Result<(), Error> {
        wait_until("the number of workers to change", async || Ok(reached(schedulers.workers().existing.len())))
            .await?;
        self.add_cpu()?;
        if let Some(operator) = self.operator.take() {
            operator.kill().await?;
        }
        self.kills += 1;
        self.operator = Some(self.namespace.start().await?);
        Ok(())
    }

    /// Adds the CPU time of the running controller.
    fn add_cpu(&mut self) -> Result<(), Error> {
        if let Some(operator) = &self.operator {
            self.cpu += operator.cpu()?;
        }
        Ok(())
    }

    async fn wait_until_settled(&self, workers: usize) -> Result<(), Error> {
        wait_until(&format!("{workers} workers"), async || settled(self.namespace, workers).await).await
    }
}

/// Returns whether the status of the group reports exactly this number of workers.
async fn settled(namespace: &BenchNamespace<'_>, workers: usize) -> Result<bool, Error> {
    let group = namespace.get(Kind::DaskWorkerGroup, GROUP).await?.unwrap_or_default();
    let current = group["status"]["observedGeneration"] == group["metadata"]["generation"];
    Ok(current && group["status"]["replicas"] == workers && is_true(&group, "Scaled"))
}

/// Returns whether a condition of `object` is true.
fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let holds = |entry: &Value| entry["type"] == condition && entry["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(holds))
}

/// Prints the result of a profile.
pub(crate) fn report(profile: &ScaleProfile, scaled: &ScaleResult) -> Value {
    let ScaleProfile { maximum, minimum, .. } = profile;
    let (up, down, cpu) = (scaled.up.as_secs_f64(), scaled.down.as_secs_f64(), scaled.cpu.as_secs_f64());
    let ScaleResult { workers_up, workers_down, created, kills, .. } = scaled;
    println!("\none worker group 0 -> {maximum} -> {minimum} workers, the controller killed {kills} times meanwhile");
    println!(
        "{:>8} {:>8} {:>16} {:>18} {:>16} {:>8}",
        "up/s", "down/s", "workers after up", "workers after down", "workers created", "cpu/s"
    );
    println!("{up:>8.1} {down:>8.1} {workers_up:>16} {workers_down:>18} {created:>16} {cpu:>8.2}");
    json!({
        "maximum": maximum, "minimum": minimum, "kills": kills, "upSeconds": up, "downSeconds": down,
        "workersUp": workers_up, "workersDown": workers_down, "workersCreated": created, "cpuSeconds": cpu,
    })
}
