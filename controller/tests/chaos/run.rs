//! One run: a cluster comes in calm, then the storm comes and all that the script says; when it is over, all must be as
//! it was asked for, and in the end nothing be left.

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
    controller_process::{Keeper, log_of},
    faulty_plugins::Sinners,
    foreign::Foreign,
    hostile::{self, Hostile},
    invariants::{Scene, Wanted, Watchman},
    kubelet_restart::Revival,
    made::Made,
    proxy::Proxy,
    scenario::{BUSY, Script, Step},
    support::{
        TestContext,
        kubelet::by_name,
        name,
        test_cluster::{GROUP, World},
        uid, within,
    },
};

/// Longer than the longest pause after failures in a row.
const CALM: Duration = Duration::from_mins(3);
const EXTRA: &str = "extra";
const BRIEF: &str = "brief";

/// What all runs have in common.
pub(crate) struct Stage {
    /// Outlasts restarts of the API server.
    pub(crate) client: Client,
    /// Does not, so that the controller sees them.
    pub(crate) plain: Client,
    /// The testbed whose API server can be restarted.
    pub(crate) testbed: Option<PathBuf>,
}

/// What came of a run.
pub(crate) struct Played {
    pub(crate) seed: u64,
    pub(crate) result: Result<(), String>,
    /// How often each thing went wrong.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// From the end of the storm until all was as it should be.
    pub(crate) recovery: Duration,
    /// What happened when, and what the controllers said.
    pub(crate) story: String,
}

/// A run under way.
struct Run<'a> {
    stage: &'a Stage,
    scene: Scene,
    world: World,
    proxy: Arc<Proxy>,
    clock: Clock,
    keeper: Keeper,
    sinners: Sinners,
    _revival: Revival,
    began: Instant,
    story: &'a mut Vec<String>,
    faults: &'a mut BTreeMap<&'static str, usize>,
}

/// Plays what `seed` decides, in a namespace of its own.
pub(crate) async fn play(stage: &Stage, seed: u64) -> Played {
    let (mut story, mut faults, mut recovery) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    let context = TestContext::of(stage.client.clone(), &format!("chaos-{seed}-{:06x}", fastrand::u32(..1 << 24)));
    let script = Script::of(seed);
    let acting = async {
        let mut run = Run::begin(stage, &context, (seed, &script), (&mut story, &mut faults)).await;
        let result = run.go_through(&script, &mut recovery).await;
        run.account();
        result
    };
    let result = AssertUnwindSafe(acting).catch_unwind().await.unwrap_or_else(|panic| Err(words_of(&*panic)));
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    // If it is there, it goes; nobody waits for that.
    let _gone = namespaces.delete(&context.namespace, &DeleteParams::default()).await;
    let log = std::fs::read_to_string(log_of(&context)).unwrap_or_default();
    let result = result.and_then(|()| if log.contains("panicked at") { Err("it panicked".to_owned()) } else { Ok(()) });
    let story = format!("{script:#?}\n\n{}\n\n{log}", story.join("\n"));
    Played { seed, result, faults, recovery, story }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
}

impl<'a> Run<'a> {
    /// All that is there before the storm.
    async fn begin(
        stage: &'a Stage,
        context: &TestContext,
        (seed, script): (u64, &Script),
        (story, faults): (&'a mut Vec<String>, &'a mut BTreeMap<&'static str, usize>),
    ) -> Self {
        let _the_api_server_stays = api_server::AT_REST.read().await;
        context.create_namespace().await;
        let foreign = Arc::new(Foreign::plant(context).await);
        let world = World::around(context, by_name, script.room).await;
        world.scheduler.set(|state| state.idle_since = None);
        let proxy = Arc::new(Proxy::start(stage.plain.clone(), script.weather).await);
        let clock = Clock::new(context);
        let keeper = Keeper::start(context, &proxy, &clock, seed).await;
        let scene = Scene {
            context: context.clone(),
            scheduler: Arc::clone(&world.scheduler),
            foreign,
            hostile: Hostile::arrive(context).await,
            made: Arc::new(Made::begin(context)),
            wanted: Arc::default(),
            room: script.room,
        };
        scene.wanted.lock().unwrap().clusters.insert("demo".to_owned());
        scene.wanted.lock().unwrap().group(GROUP, script.workers);
        context.apply(&world.manifest(script.workers)).await;
        within(CALM, "the cluster", async || scene.settled().await).await;
        let sinners = Sinners::install(context, &script.sins).await;
        let revival = Revival::begin(context.clone(), Arc::clone(&scene.scheduler));
        let run = Self {
            stage,
            scene,
            world,
            proxy,
            clock,
            keeper,
            sinners,
            _revival: revival,
            began: Instant::now(),
            story,
            faults,
        };
        run.occupy().await;
        run
    }

    /// Gives some workers something to do.
    async fn occupy(&self) {
        let (mut busy, connected) = (Vec::new(), self.world.scheduler.workers());
        // There may not be room for all.
        let works = |worker: &&Value| !self.is_foreign(worker) && connected.iter().any(|known| known == name(worker));
        for worker in self.world.deployments(GROUP).await.iter().filter(works).take(BUSY) {
            self.world.scheduler.load(name(worker), 3);
            let address = self.world.address(name(worker));
            busy.push((name(worker).to_owned(), uid(worker).to_owned(), address));
        }
        self.scene.wanted.lock().unwrap().busy = busy;
    }

    fn is_foreign(&self, deployment: &Value) -> bool {
        self.scene.foreign.is_of("Deployment", name(deployment))
    }

    async fn go_through(&mut self, script: &Script, recovery: &mut Duration) -> Result<(), String> {
        let watchman = Watchman::begin(self.scene.clone());
        self.proxy.set_storm(true);
        for (pause, step) in &script.steps {
            tokio::time::sleep(*pause).await;
            self.tell(&format!("{step:?}"));
            self.carry_out(*step).await;
            watchman.violation()?;
        }
        self.proxy.set_storm(false);
        self.tell("calm");
        let calm = Instant::now();
        self.recover(&watchman).await?;
        *recovery = calm.elapsed();
        self.tell("all is as it should be");
        self.sinners.have_lost_nothing(&self.scene.context).await?;
        watchman.violation()?;
        drop(watchman);
        self.end().await
    }

    async fn recover(&mut self, watchman: &Watchman) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            watchman.violation()?;
            match self.scene.settled().await {
                Ok(()) if self.sinners.are_quiet(&self.proxy) => return Ok(()),
                Err(why) if begin.elapsed() > CALM => return Err(why),
                Ok(()) if begin.elapsed() > CALM => return Err("it writes for ever".to_owned()),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// All clusters are deleted.
    async fn end(&self) -> Result<(), String> {
        self.scene.hostile.leave().await;
        self.scene
            .context
            .api("DaskCluster")
            .delete_collection(&DeleteParams::background(), &ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let begin = Instant::now();
        while let Err(why) = self.scene.gone().await {
            if begin.elapsed() > CALM {
                return Err(why);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn tell(&mut self, what: &str) {
        self.story.push(format!("{:8.3} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn account(&mut self) {
        *self.faults = self.proxy.faults();
        self.faults.extend(self.scene.hostile.counts());
        self.faults.insert("kill", self.keeper.kills());
    }

    fn want(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.scene.wanted.lock().unwrap());
    }
}

impl Run<'_> {
    async fn carry_out(&mut self, step: Step) {
        match step {
            Step::Scale(workers) => self.scale(GROUP, workers).await,
            Step::Extra(workers) => self.extra(workers).await,
            Step::NoExtra => self.no_extra().await,
            Step::Brief(workers) => self.brief(workers).await,
            Step::NoBrief => self.no_brief().await,
            Step::LoseWorker => self.lose_worker().await,
            Step::LoseService => self.delete("Service", "demo-scheduler").await,
            Step::Kill => self.keeper.kill(),
            Step::Dark(time) => self.proxy.go_dark(time).await,
            Step::Clock(seconds) => self.clock.set(seconds),
            Step::Sin => self.sinners.begin().await,
            Step::RestartApiServer => {
                if let Some(testbed) = &self.stage.testbed {
                    api_server::restart(testbed).await;
                }
            }
            Step::Hostile(place) => self.scene.hostile.act(place).await,
        }
    }

    async fn scale(&self, group: &str, workers: usize) {
        self.want(|wanted| wanted.group(group, workers));
        let spec = json!({"spec": {"worker": {"replicas": workers}}});
        self.scene.context.merge("DaskWorkerGroup", group, spec).await;
    }

    async fn extra(&self, workers: usize) {
        self.want(|wanted| wanted.group(EXTRA, workers));
        self.scene.context.apply(&self.world.group(EXTRA, workers)).await;
    }

    async fn no_extra(&self) {
        self.want(|wanted| {
            wanted.groups.remove(EXTRA);
        });
        self.delete("DaskWorkerGroup", EXTRA).await;
    }

    async fn brief(&self, workers: usize) {
        let group = format!("{BRIEF}-default");
        if self.is_wanted(BRIEF) {
            // A group has its number of workers from the cluster when it is made; later it is scaled by itself.
            if self.is_of_the_present_brief(&group).await {
                self.scale(&group, workers).await;
            }
            return;
        }
        self.want(|wanted| {
            wanted.clusters.insert(BRIEF.to_owned());
            wanted.group(&group, workers);
        });
        let mut manifest: Value =
            serde_json::from_str(&self.world.manifest(workers).to_string().replace("demo", BRIEF)).unwrap();
        manifest["metadata"]["name"] = json!(BRIEF);
        self.scene.context.apply(&manifest).await;
    }

    /// The group of a namesake may not have been collected yet.
    async fn is_of_the_present_brief(&self, group: &str) -> bool {
        let context = &self.scene.context;
        let (Some(cluster), Some(group)) =
            (context.get("DaskCluster", BRIEF).await, context.get("DaskWorkerGroup", group).await)
        else {
            return false;
        };
        group["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]
    }

    async fn no_brief(&self) {
        self.want(|wanted| {
            wanted.clusters.remove(BRIEF);
            wanted.groups.remove(&format!("{BRIEF}-default"));
        });
        self.delete("DaskCluster", BRIEF).await;
    }

    fn is_wanted(&self, cluster: &str) -> bool {
        self.scene.wanted.lock().unwrap().clusters.contains(cluster)
    }

    async fn lose_worker(&self) {
        let busy = self.scene.wanted.lock().unwrap().busy.clone();
        let is_busy = |worker: &Value| busy.iter().any(|(busy, ..)| busy == name(worker));
        let workers = self.world.deployments(GROUP).await;
        let is_ours = |worker: &&Value| !self.is_foreign(worker) && !hostile::is_of(name(worker));
        if let Some(worker) = workers.iter().find(|worker| is_ours(worker) && !is_busy(worker)) {
            self.want(|wanted| wanted.lose(GROUP));
            self.delete("Deployment", name(worker)).await;
        }
    }

    /// It may be gone already.
    async fn delete(&self, kind: &str, name: &str) {
        let _gone = self.scene.context.api(kind).delete(name, &DeleteParams::background()).await;
    }
}
