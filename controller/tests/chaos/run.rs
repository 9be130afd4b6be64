//! One run: a cluster is created without faults; then faults are injected while the steps of the scenario happen. After the
//! faults the state must be what users asked for, and nothing may be left after all clusters are deleted.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

use crate::{
    api_server,
    clock::Clock,
    controller_process::{ControllerProcess, log_of},
    created_workers::CreatedWorkers,
    faulty_plugins::FaultyPlugins,
    foreign::Foreign,
    hostile::{self, Hostile},
    invariants::{InvariantChecker, Observed, Wanted},
    kubelet_restart::KubeletRestart,
    proxy::Proxy,
    scenario::{BUSY, Scenario, Step},
    support::{
        TestContext,
        kubelet::by_name,
        name, poll,
        test_cluster::{GROUP, TestCluster},
        uid, within,
    },
};

/// Longer than the longest retry delay.
const RECOVERY_LIMIT: Duration = Duration::from_mins(3);
/// The pause between checks of the final state.
const PAUSE: Duration = Duration::from_millis(200);
const EXTRA: &str = "extra";
const SECOND: &str = "second";

/// What all runs share.
pub(crate) struct Environment {
    /// Survives restarts of the API server.
    pub(crate) client: Client,
    /// Does not survive them, so that the controller notices them.
    pub(crate) plain: Client,
    /// The testbed whose API server can be restarted.
    pub(crate) testbed: Option<PathBuf>,
}

/// The result of a run.
pub(crate) struct RunResult {
    pub(crate) seed: u64,
    pub(crate) result: Result<(), String>,
    /// How often each fault occurred.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// The time from the end of the faults until the state was right.
    pub(crate) recovery: Duration,
    /// The steps with their times, and the log of the controllers.
    pub(crate) timeline: String,
}

/// A run in progress.
struct Run<'a> {
    environment: &'a Environment,
    observed: Observed,
    test_cluster: TestCluster,
    proxy: Arc<Proxy>,
    clock: Clock,
    controller: ControllerProcess,
    plugins: FaultyPlugins,
    _kubelet_restart: KubeletRestart,
    began: Instant,
    timeline: &'a mut Vec<String>,
    faults: &'a mut BTreeMap<&'static str, usize>,
}

/// Runs the scenario of `seed` in a namespace of its own.
pub(crate) async fn run(environment: &Environment, seed: u64) -> RunResult {
    let (mut timeline, mut faults, mut recovery) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    let context =
        TestContext::of(environment.client.clone(), &format!("chaos-{seed}-{:06x}", fastrand::u32(..1 << 24)));
    let scenario = Scenario::of(seed);
    let running = async {
        let mut run = Run::begin(environment, &context, (seed, &scenario), (&mut timeline, &mut faults)).await;
        let result = run.carry_out_all(&scenario, &mut recovery).await;
        run.count_faults();
        result
    };
    let result = AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| Err(message_of(&*panic)));
    let namespaces: Api<Namespace> = Api::all(environment.client.clone());
    // It may not exist, and nothing waits for the deletion.
    let _gone = namespaces.delete(&context.namespace, &DeleteParams::default()).await;
    let log = std::fs::read_to_string(log_of(&context)).unwrap_or_default();
    let result = result.and_then(|()| if log.contains("panicked at") { Err("it panicked".to_owned()) } else { Ok(()) });
    let timeline = format!("{scenario:#?}\n\n{}\n\n{log}", timeline.join("\n"));
    RunResult { seed, result, faults, recovery, timeline }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().cloned();
    message.or_else(|| panic.downcast_ref::<&str>().map(|message| (*message).to_owned())).unwrap_or_default()
}

impl<'a> Run<'a> {
    /// Creates everything that exists before the faults begin.
    async fn begin(
        environment: &'a Environment,
        context: &TestContext,
        (seed, scenario): (u64, &Scenario),
        (timeline, faults): (&'a mut Vec<String>, &'a mut BTreeMap<&'static str, usize>),
    ) -> Self {
        let _no_restart = api_server::RESTART.read().await;
        context.create_namespace().await;
        let foreign = Arc::new(Foreign::create(context).await);
        let test_cluster = TestCluster::around(context, by_name, scenario.room).await;
        test_cluster.scheduler.set(|state| state.idle_since = None);
        let proxy = Arc::new(Proxy::start(environment.plain.clone(), scenario.faults).await);
        let clock = Clock::new(context);
        let controller = ControllerProcess::start(context, &proxy, &clock, seed).await;
        let observed = Observed {
            context: context.clone(),
            scheduler: Arc::clone(&test_cluster.scheduler),
            foreign,
            hostile: Hostile::start(context).await,
            created: Arc::new(CreatedWorkers::begin(context)),
            wanted: Arc::default(),
            room: scenario.room,
        };
        observed.wanted.lock().unwrap().clusters.insert("demo".to_owned());
        observed.wanted.lock().unwrap().group(GROUP, scenario.workers);
        context.apply(&test_cluster.manifest(scenario.workers)).await;
        within(RECOVERY_LIMIT, "the cluster", async || observed.settled().await).await;
        let plugins = FaultyPlugins::install(context, &scenario.misbehaviours).await;
        let kubelet_restart = KubeletRestart::begin(context.clone(), Arc::clone(&observed.scheduler));
        let run = Self {
            environment,
            observed,
            test_cluster,
            proxy,
            clock,
            controller,
            plugins,
            _kubelet_restart: kubelet_restart,
            began: Instant::now(),
            timeline,
            faults,
        };
        run.occupy().await;
        run
    }

    /// Gives tasks to some workers.
    async fn occupy(&self) {
        let (mut busy, connected) = (Vec::new(), self.test_cluster.scheduler.workers());
        // There may not be room for all.
        let works = |worker: &&Value| !self.is_foreign(worker) && connected.iter().any(|known| known == name(worker));
        for worker in self.test_cluster.deployments(GROUP).await.iter().filter(works).take(BUSY) {
            self.test_cluster.scheduler.load(name(worker), 3);
            let address = self.test_cluster.address(name(worker));
            busy.push((name(worker).to_owned(), uid(worker).to_owned(), address));
        }
        self.observed.wanted.lock().unwrap().busy = busy;
    }

    fn is_foreign(&self, deployment: &Value) -> bool {
        self.observed.foreign.is_of("Deployment", name(deployment))
    }

    async fn carry_out_all(&mut self, scenario: &Scenario, recovery: &mut Duration) -> Result<(), String> {
        let checker = InvariantChecker::begin(self.observed.clone());
        self.proxy.set_faults_active(true);
        for (pause, step) in &scenario.steps {
            tokio::time::sleep(*pause).await;
            self.record(&format!("{step:?}"));
            self.execute(*step).await;
            checker.violation()?;
        }
        self.proxy.set_faults_active(false);
        self.record("faults end");
        let faults_end = Instant::now();
        self.recover(&checker).await?;
        *recovery = faults_end.elapsed();
        self.record("recovered");
        self.plugins.have_lost_nothing(&self.observed.context).await?;
        checker.violation()?;
        drop(checker);
        self.end().await
    }

    async fn recover(&mut self, checker: &InvariantChecker) -> Result<(), String> {
        poll(RECOVERY_LIMIT, PAUSE, async || {
            // A violation ends the wait: it is an error in the result of the poll.
            if let Err(violation) = checker.violation() {
                return Ok(Err(violation));
            }
            self.observed.settled().await?;
            if self.plugins.are_quiet(&self.proxy) { Ok(Ok(())) } else { Err("it does not stop writing".to_owned()) }
        })
        .await?
    }

    /// Deletes all clusters and waits until nothing is left.
    async fn end(&self) -> Result<(), String> {
        self.observed.hostile.delete_all().await;
        self.observed
            .context
            .api("DaskCluster")
            .delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        poll(RECOVERY_LIMIT, PAUSE, async || self.observed.gone().await).await
    }

    fn record(&mut self, what: &str) {
        self.timeline.push(format!("{:8.3} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn count_faults(&mut self) {
        *self.faults = self.proxy.faults();
        self.faults.extend(self.observed.hostile.counts());
        self.faults.insert("kill", self.controller.kills());
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.observed.wanted.lock().unwrap());
    }
}

impl Run<'_> {
    async fn execute(&mut self, step: Step) {
        match step {
            Step::Scale(workers) => self.scale(GROUP, workers).await,
            Step::Extra(workers) => self.extra(workers).await,
            Step::NoExtra => self.no_extra().await,
            Step::SecondCluster(workers) => self.second_cluster(workers).await,
            Step::NoSecondCluster => self.no_second_cluster().await,
            Step::LoseWorker => self.lose_worker().await,
            Step::LoseService => self.delete("Service", "demo-scheduler").await,
            Step::Kill => self.controller.kill(),
            Step::Blackhole(time) => self.proxy.blackhole(time).await,
            Step::Clock(seconds) => self.clock.set(seconds),
            Step::Misbehave => self.plugins.begin().await,
            Step::RestartApiServer => {
                if let Some(testbed) = &self.environment.testbed {
                    api_server::restart(testbed).await;
                }
            }
            Step::Hostile(index) => self.observed.hostile.attack(index).await,
        }
    }

    async fn scale(&self, group: &str, workers: usize) {
        self.want(|wanted| wanted.group(group, workers));
        let spec = json!({"spec": {"worker": {"replicas": workers}}});
        self.observed.context.merge("DaskWorkerGroup", group, spec).await;
    }

    async fn extra(&self, workers: usize) {
        self.want(|wanted| wanted.group(EXTRA, workers));
        self.observed.context.apply(&self.test_cluster.group(EXTRA, workers)).await;
    }

    async fn no_extra(&self) {
        self.want(|wanted| {
            wanted.groups.remove(EXTRA);
        });
        self.delete("DaskWorkerGroup", EXTRA).await;
    }

    async fn second_cluster(&self, workers: usize) {
        let group = format!("{SECOND}-default");
        if self.is_wanted(SECOND) {
            // A group gets its size from the cluster only when it is created; later the group itself is scaled.
            if self.is_of_current_second_cluster(&group).await {
                self.scale(&group, workers).await;
            }
            return;
        }
        self.want(|wanted| {
            wanted.clusters.insert(SECOND.to_owned());
            wanted.group(&group, workers);
        });
        let mut manifest: Value =
            serde_json::from_str(&self.test_cluster.manifest(workers).to_string().replace("demo", SECOND)).unwrap();
        manifest["metadata"]["name"] = json!(SECOND);
        self.observed.context.apply(&manifest).await;
    }

    /// Returns whether the group belongs to the cluster that exists now: that of an earlier one of this name may not have been
    /// garbage collected yet.
    async fn is_of_current_second_cluster(&self, group: &str) -> bool {
        let context = &self.observed.context;
        let (Some(cluster), Some(group)) =
            (context.get("DaskCluster", SECOND).await, context.get("DaskWorkerGroup", group).await)
        else {
            return false;
        };
        group["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]
    }

    async fn no_second_cluster(&self) {
        self.want(|wanted| {
            wanted.clusters.remove(SECOND);
            wanted.groups.remove(&format!("{SECOND}-default"));
        });
        self.delete("DaskCluster", SECOND).await;
    }

    fn is_wanted(&self, cluster: &str) -> bool {
        self.observed.wanted.lock().unwrap().clusters.contains(cluster)
    }

    async fn lose_worker(&self) {
        let busy = self.observed.wanted.lock().unwrap().busy.clone();
        let is_busy = |worker: &Value| busy.iter().any(|(busy, ..)| busy == name(worker));
        let workers = self.test_cluster.deployments(GROUP).await;
        let is_ours = |worker: &&Value| !self.is_foreign(worker) && !hostile::is_of(name(worker));
        if let Some(worker) = workers.iter().find(|worker| is_ours(worker) && !is_busy(worker)) {
            self.want(|wanted| wanted.lose(GROUP));
            self.delete("Deployment", name(worker)).await;
        }
    }

    /// Deletes an object, which may be gone already.
    async fn delete(&self, kind: &str, name: &str) {
        let _gone = self.observed.context.api(kind).delete(name, &DeleteParams::background()).await;
    }
}
