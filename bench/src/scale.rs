//! One group from nothing to many workers and back to a few, while the controller is killed on the way.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    Error,
    fleet::Fleet,
    lab::{Kind, Lab, until},
    operator::Operator,
};

const GROUP: &str = "c0-default";

/// How far, and where the controller is killed: at so many percent of each way.
pub(crate) struct Course {
    pub(crate) most: usize,
    pub(crate) least: usize,
    pub(crate) kills_up: &'static [usize],
    pub(crate) kills_down: &'static [usize],
}

/// A large cluster of one user.
pub(crate) const LONG: Course = Course { most: 1000, least: 10, kills_up: &[15, 45, 75], kills_down: &[30, 70] };
/// To try it.
pub(crate) const SHORT: Course = Course { most: 40, least: 4, kills_up: &[30], kills_down: &[50] };

/// What came of it.
pub(crate) struct Scaled {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
    /// Workers that stood at the top and at the end.
    pub(crate) counts: [usize; 2],
    /// All workers that ever stood.
    pub(crate) ever: usize,
    pub(crate) kills: usize,
    pub(crate) cpu: Duration,
}

/// The controller, and what its predecessors cost.
struct Driver<'a> {
    lab: &'a Lab<'a>,
    operator: Option<Operator>,
    kills: usize,
    cpu: Duration,
}

/// Measures one course.
pub(crate) async fn measure(lab: &Lab<'_>, course: &Course) -> Result<Scaled, Error> {
    let fleet = Fleet::start(lab, &["c0".to_owned()]).await;
    let mut driver = Driver { lab, operator: Some(lab.start().await?), kills: 0, cpu: Duration::ZERO };
    lab.create(Kind::DaskCluster, &fleet.manifest("c0", 0)).await?;
    until("the scheduler", async || {
        let cluster = lab.get(Kind::DaskCluster, "c0").await?.unwrap_or_default();
        Ok(says(&cluster, "SchedulerReady") && settled(lab, 0).await?)
    })
    .await?;
    let begin = Instant::now();
    driver.scale(course.most).await?;
    for share in course.kills_up {
        driver.kill_when(&fleet, |standing| standing * 100 >= course.most * share).await?;
    }
    driver.settle(course.most).await?;
    let (up, top) = (begin.elapsed(), fleet.workers().standing.len());
    let begin = Instant::now();
    driver.scale(course.least).await?;
    let way = course.most - course.least;
    for share in course.kills_down {
        driver.kill_when(&fleet, |standing| (course.most - standing) * 100 >= way * share).await?;
    }
    driver.settle(course.least).await?;
    until("the last workers to go", async || Ok(fleet.workers().standing.len() <= course.least)).await?;
    let (down, workers) = (begin.elapsed(), fleet.workers());
    driver.account()?;
    let counts = [top, workers.standing.len()];
    Ok(Scaled { up, down, counts, ever: workers.ever.len(), kills: driver.kills, cpu: driver.cpu })
}

impl Driver<'_> {
    async fn scale(&self, workers: usize) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"worker": {"replicas": workers}}}));
        self.lab.api(Kind::DaskWorkerGroup).patch(GROUP, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Kills the controller as soon as so many workers stand, and starts another one.
    async fn kill_when(&mut self, fleet: &Fleet, reached: impl Fn(usize) -> bool) -> Result<(), Error> {
        until("workers to come or go", async || Ok(reached(fleet.workers().standing.len()))).await?;
        self.account()?;
        if let Some(operator) = self.operator.take() {
            operator.kill().await?;
        }
        self.kills += 1;
        self.operator = Some(self.lab.start().await?);
        Ok(())
    }

    fn account(&mut self) -> Result<(), Error> {
        if let Some(operator) = &self.operator {
            self.cpu += operator.cpu()?;
        }
        Ok(())
    }

    async fn settle(&self, workers: usize) -> Result<(), Error> {
        until(&format!("{workers} workers"), async || settled(self.lab, workers).await).await
    }
}

/// Whether the group says that it has exactly so many workers.
async fn settled(lab: &Lab<'_>, workers: usize) -> Result<bool, Error> {
    let group = lab.get(Kind::DaskWorkerGroup, GROUP).await?.unwrap_or_default();
    let current = group["status"]["observedGeneration"] == group["metadata"]["generation"];
    Ok(current && group["status"]["replicas"] == workers && says(&group, "Scaled"))
}

fn says(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let is_true = |entry: &Value| entry["type"] == condition && entry["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is_true))
}

/// Prints what came of a course.
pub(crate) fn report(course: &Course, scaled: &Scaled) -> Value {
    let Course { most, least, .. } = course;
    let (up, down, cpu) = (scaled.up.as_secs_f64(), scaled.down.as_secs_f64(), scaled.cpu.as_secs_f64());
    let [top, end] = scaled.counts;
    println!("\none group 0 -> {most} -> {least} workers, the controller killed {} times on the way", scaled.kills);
    println!(
        "{:>8} {:>8} {:>12} {:>12} {:>16} {:>8}",
        "up/s", "down/s", "at the top", "in the end", "ever made", "cpu/s"
    );
    println!("{up:>8.1} {down:>8.1} {top:>12} {end:>12} {:>16} {cpu:>8.2}", scaled.ever);
    json!({
        "most": most, "least": least, "kills": scaled.kills, "upSeconds": up, "downSeconds": down,
        "atTheTop": top, "inTheEnd": end, "everMade": scaled.ever, "cpuSeconds": cpu,
    })
}
