//! Several controllers of which one leads: on a clean end, after a crash, without a network, and in a burst of work.
//! Run them with `make live`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all};
use kube::{
    ResourceExt as _,
    runtime::{
        watcher,
        watcher::{Config, Event},
    },
};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::support::{
    Controller, TestContext, cluster, eventually, name, owned_by,
    plugin::{Reply, TestPlugin, config},
    proxy::{Fault, FaultProxy, Target},
    stays, uid, with_temp_ns, within,
};

const LEASE: Duration = Duration::from_secs(3);
/// An election by a Lease that holds so long.
const ELECTED: [&str; 3] = ["--leader-election", "--lease-seconds", "3"];
const LEASE_NAME: &str = "dask-operator";
/// How soon after a clean end another leads.
const HAND_OVER: Duration = Duration::from_secs(2);
const LOST: Option<i32> = Some(6);
const PLUGIN: &str = "plugin.kubernetes.dask.org/plugin";
const SUBJECT_UID: &str = "plugin.kubernetes.dask.org/subject-uid";

/// Waits until it leads; how long that took.
async fn until_leading(controller: &Controller) -> Duration {
    let begin = Instant::now();
    let leads = async || if controller.leads().await { Ok(()) } else { Err("it does not".to_owned()) };
    eventually("the controller to lead", leads).await;
    begin.elapsed()
}

/// One that leads, and one that is ready to.
async fn leader_and_standby(context: &TestContext) -> (Controller, Controller) {
    let leader = context.start_controller_with(&ELECTED).await;
    until_leading(&leader).await;
    let standby = context.start_controller_with(&ELECTED).await;
    // One that has not seen the Lease yet may take it when it goes.
    eventually("the standby to see who leads", async || {
        let sees = context.controller_log().contains("another process leads");
        if sees { Ok(()) } else { Err("it did not say so".to_owned()) }
    })
    .await;
    (leader, standby)
}

async fn lease(context: &TestContext) -> Value {
    context.expect("Lease", LEASE_NAME).await["spec"].clone()
}

async fn set_holder(context: &TestContext, holder: &str) {
    context.merge("Lease", LEASE_NAME, json!({"spec": {"holderIdentity": holder}})).await;
}

/// A plugin whose calls never end.
async fn hanging_plugin(context: &TestContext) -> TestPlugin {
    let mut plugin = TestPlugin::new(context, "echo");
    plugin.answer(Reply::Hang);
    let mut manifest = plugin.manifest();
    manifest["spec"]["timeoutSeconds"] = json!(30);
    plugin.install_as(&manifest).await;
    plugin
}

// --- Clean ends ---

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_leader_that_is_asked_to_end_hands_over_at_once() {
    with_temp_ns(async |context| {
        let (mut leader, standby) = leader_and_standby(&context).await;
        assert!(!standby.leads().await, "it is ready and does not lead");
        let before = lease(&context).await;
        assert_eq!((&before["leaseTransitions"], &before["leaseDurationSeconds"]), (&json!(0), &json!(3)));

        let begin = Instant::now();
        leader.terminate().await;
        until_leading(&standby).await;
        assert!(begin.elapsed() < HAND_OVER, "it took {:?}", begin.elapsed());
        assert_eq!(leader.ended().await.code(), Some(0));

        let after = lease(&context).await;
        assert_eq!(after["leaseTransitions"], 1);
        assert_ne!(after["holderIdentity"], before["holderIdentity"]);
        context.create(&cluster("demo", 1)).await;
        context.settled("demo", 1).await;
        assert_eq!(standby.stop().await.code(), Some(0));
        assert_eq!(lease(&context).await["holderIdentity"], "", "nobody holds it when all have ended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_call_to_a_plugin_that_is_under_way_at_the_end_is_finished_with_all_that_follows() {
    with_temp_ns(async |context| {
        let controller = context.start_controller_with(&ELECTED).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.install().await;
        let slow = Duration::from_secs(2);
        plugin.respond_with(move |_| {
            // The kit runs calls on threads of their own as far as there are some.
            tokio::task::block_in_place(|| std::thread::sleep(slow));
            Reply::Children(vec![config("config", "first")])
        });
        context.create(&cluster("demo", 0)).await;
        let is_called = async || if plugin.in_flight().0 > 0 { Ok(()) } else { Err("it is not".to_owned()) };
        eventually("the plugin to be called", is_called).await;
        assert_eq!(controller.stop().await.code(), Some(0));
        let child = context.get("ConfigMap", "demo-scheduler-echo-config").await;
        assert!(child.is_some(), "the answer came after SIGTERM, and was acted on");
        assert_eq!(lease(&context).await["holderIdentity"], "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_hangs_delays_the_end_for_less_than_kubernetes_waits() {
    with_temp_ns(async |context| {
        let (mut leader, standby) = leader_and_standby(&context).await;
        context.create(&cluster("demo", 0)).await;
        let plugin = hanging_plugin(&context).await;
        let hangs = async || if plugin.in_flight().0 == 1 { Ok(()) } else { Err("it is not".to_owned()) };
        eventually("the plugin to be called", hangs).await;
        let begin = Instant::now();
        leader.terminate().await;
        stays(2 * LEASE, async || {
            let leads = leader.leads().await && !standby.leads().await;
            if leads { Ok(()) } else { Err("the Lease was not kept while a call was under way".to_owned()) }
        })
        .await;
        assert_eq!(leader.ended().await.code(), Some(0));
        assert!(begin.elapsed() < Duration::from_secs(25), "it took {:?}", begin.elapsed());
        let since = until_leading(&standby).await;
        assert!(since < HAND_OVER, "the Lease was released, and yet it took {since:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn the_second_signal_ends_the_process_at_once() {
    with_temp_ns(async |context| {
        let mut controller = context.start_controller_with(&ELECTED).await;
        context.create(&cluster("demo", 0)).await;
        let plugin = hanging_plugin(&context).await;
        let hangs = async || if plugin.in_flight().0 == 1 { Ok(()) } else { Err("it is not".to_owned()) };
        eventually("the plugin to be called", hangs).await;
        controller.terminate().await;
        let told = async || {
            if context.controller_log().contains("shutting down") { Ok(()) } else { Err("it is not".to_owned()) }
        };
        eventually("the first signal to be noticed", told).await;
        let begin = Instant::now();
        controller.terminate().await;
        assert_eq!(controller.ended().await.code(), Some(0));
        assert!(begin.elapsed() < HAND_OVER, "it took {:?}", begin.elapsed());
    })
    .await;
}

// --- Other ends ---

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_leader_that_is_killed_is_replaced_when_its_lease_has_run_out() {
    with_temp_ns(async |context| {
        let (leader, standby) = leader_and_standby(&context).await;
        context.create(&cluster("demo", 1)).await;
        context.settled("demo", 1).await;
        leader.kill().await;
        let since = until_leading(&standby).await;
        // It has renewed at most a third of the Lease before.
        assert!(since > LEASE / 2, "a Lease that held was taken after {since:?}");
        assert!(since < 3 * LEASE, "it took {since:?}");
        context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 2}}})).await;
        context.settled("demo", 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_leader_that_cannot_reach_the_api_server_ends_before_another_leads() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        let mut leader = context.start_controller_through_with(&proxy, &ELECTED).await;
        until_leading(&leader).await;
        let standby = context.start_controller_with(&ELECTED).await;
        let holder = lease(&context).await["holderIdentity"].clone();

        proxy.blackhole();
        let begin = Instant::now();
        assert_eq!(leader.ended().await.code(), LOST);
        assert!(begin.elapsed() < LEASE, "it took {:?}", begin.elapsed());
        assert!(!standby.leads().await);
        assert_eq!(lease(&context).await["holderIdentity"], holder, "nobody has taken it yet");
        assert!(context.controller_log().contains("lost the leadership"));
        until_leading(&standby).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_lease_that_somebody_takes_ends_the_leader_and_is_respected() {
    with_temp_ns(async |context| {
        let (mut leader, standby) = leader_and_standby(&context).await;
        set_holder(&context, "somebody").await;
        let begin = Instant::now();
        assert_eq!(leader.ended().await.code(), LOST);
        assert!(begin.elapsed() < LEASE / 3, "it took {:?}", begin.elapsed());
        let since = until_leading(&standby).await;
        assert!(since > LEASE / 2, "what somebody holds was taken after {since:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_lease_that_somebody_deletes_is_made_again_by_its_holder() {
    with_temp_ns(async |context| {
        let (leader, standby) = leader_and_standby(&context).await;
        let before = context.expect("Lease", LEASE_NAME).await;
        context.delete("Lease", LEASE_NAME).await;
        let is_new = |lease: &Value| uid(lease) != uid(&before);
        let after = context.until("Lease", LEASE_NAME, is_new).await;
        for field in ["holderIdentity", "acquireTime", "leaseTransitions"] {
            assert_eq!(after["spec"][field], before["spec"][field], "{field}");
        }
        assert!(leader.leads().await && !standby.leads().await);
    })
    .await;
}

/// The API server takes a time whose year has five digits in UTC, and no client reads it.
async fn make_unreadable(context: &TestContext) {
    let spec = json!({"renewTime": "9999-12-31T23:59:59.000000-12:00"});
    context.merge("Lease", LEASE_NAME, json!({"spec": spec})).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_lease_that_cannot_be_read_is_replaced_by_its_holder_or_else_when_it_has_run_out() {
    with_temp_ns(async |context| {
        let (leader, standby) = leader_and_standby(&context).await;
        let before = lease(&context).await;
        make_unreadable(&context).await;
        let is_mended = |lease: &Value| lease["spec"]["renewTime"].as_str().unwrap().starts_with("20");
        let after = context.until("Lease", LEASE_NAME, is_mended).await;
        for field in ["holderIdentity", "acquireTime", "leaseTransitions"] {
            assert_eq!(after["spec"][field], before[field], "{field}");
        }
        assert!(leader.leads().await && !standby.leads().await);
        assert!(context.controller_log().contains("the Lease cannot be read and will be replaced"));

        leader.kill().await;
        make_unreadable(&context).await;
        let since = until_leading(&standby).await;
        assert!(since > LEASE / 2, "what somebody may hold was taken after {since:?}");
        assert_eq!(lease(&context).await["leaseTransitions"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_controller_without_the_right_to_use_leases_says_so_once_and_works() {
    with_temp_ns(async |context| {
        let fault = Fault::Refused(403, "Forbidden");
        let target = Target { call: "get leases".to_owned(), nth: 1, fault };
        let proxy = FaultProxy::start(context.client.clone(), Some(target)).await;
        let controller = context.start_controller_through_with(&proxy, &ELECTED).await;
        until_leading(&controller).await;
        context.create(&cluster("demo", 1)).await;
        context.settled("demo", 1).await;
        assert_eq!(context.get("Lease", LEASE_NAME).await, None);
        assert_eq!(controller.stop().await.code(), Some(0));
        assert_eq!(context.controller_log().matches("WARN").count(), 1, "{}", context.controller_log());
        assert!(context.controller_log().contains("no right to use Leases"));
    })
    .await;
}

// --- Standbys ---

/// The leader does all of it: a cluster, a plugin's children, an end.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_standby_watches_and_does_nothing_else() {
    with_temp_ns(async |context| {
        let leader = context.start_controller_with(&ELECTED).await;
        until_leading(&leader).await;
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        let standby = context.start_controller_through_with(&proxy, &ELECTED).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.install().await;
        context.create(&cluster("demo", 2)).await;
        context.settled("demo", 2).await;
        plugin.until_counts(1, 1, 0).await;
        context.delete("DaskOperatorPlugin", "echo").await;
        context.goes("ConfigMap", "demo-scheduler-echo-config").await;
        // Longer than anything that is done in periods takes to come round.
        let only_looks = async || {
            let calls = proxy.calls();
            // What it may do is asked at the start.
            let at_start = |call: &str| call.starts_with("get /apis/") || call == "create selfsubjectaccessreviews";
            let looks = |call: &str| call.starts_with("list ") || call.starts_with("watch ") || call == "get leases";
            let others: Vec<_> = calls.keys().filter(|call| !looks(call) && !at_start(call)).collect();
            if others.is_empty() { Ok(()) } else { Err(format!("{others:?}")) }
        };
        stays(LEASE, only_looks).await;
        assert!(!standby.leads().await);
    })
    .await;
}

/// The leader is killed, and what the plugin left behind is not forgotten.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_that_is_deleted_while_nobody_leads_takes_its_children_along() {
    with_temp_ns(async |context| {
        let (leader, standby) = leader_and_standby(&context).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.install().await;
        context.create(&cluster("demo", 0)).await;
        context.appears("ConfigMap", "demo-scheduler-echo-config").await;
        leader.kill().await;
        context.delete("DaskOperatorPlugin", "echo").await;
        until_leading(&standby).await;
        context.goes("ConfigMap", "demo-scheduler-echo-config").await;
    })
    .await;
}

// --- Ten kills in a burst ---

const KILLS: usize = 10;
/// Made while somebody leads, and while nobody does, around each kill.
const BATCH: [usize; 2] = [3, 2];
const CLUSTERS: usize = KILLS * (BATCH[0] + BATCH[1]);
const WORKERS: usize = 3;
const REPAIR: Duration = Duration::from_mins(2);

/// All objects that there ever were of the kinds that controllers make.
#[derive(Clone, Default)]
struct Chronicle(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    uids: BTreeMap<String, BTreeSet<String>>,
    deleted: Vec<String>,
}

/// Ends what writes a chronicle.
struct Writers(Vec<AbortHandle>);

impl Drop for Writers {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Chronicle {
    fn begin(context: &TestContext) -> (Self, Writers) {
        let chronicle = Self::default();
        let kinds = [("Deployment", ""), ("Service", ""), ("DaskWorkerGroup", ""), ("ConfigMap", PLUGIN)];
        let write = |(kind, labels): (&'static str, &str)| {
            let (told, api) = (Arc::clone(&chronicle.0), context.api(kind));
            let events = watcher(api, Config::default().labels(labels));
            let write = events.for_each(move |event| {
                let mut told = told.lock().unwrap();
                match event.unwrap() {
                    Event::Apply(object) | Event::InitApply(object) => {
                        let name = format!("{kind} {}", object.name_any());
                        told.uids.entry(name).or_default().insert(object.uid().unwrap());
                    }
                    Event::Delete(object) => told.deleted.push(format!("{kind} {}", object.name_any())),
                    Event::Init | Event::InitDone => {}
                }
                std::future::ready(())
            });
            tokio::spawn(write).abort_handle()
        };
        let writers = kinds.map(write).into();
        (chronicle, Writers(writers))
    }

    /// Objects of these kinds that were made, by kind; none of them may have been made twice, or deleted.
    fn made(&self) -> BTreeMap<String, usize> {
        let told = self.0.lock().unwrap();
        assert!(told.deleted.is_empty(), "made without result: {:?}", told.deleted);
        let twice: Vec<_> = told.uids.iter().filter(|(_, uids)| uids.len() > 1).collect();
        assert!(twice.is_empty(), "made twice: {twice:?}");
        let mut made = BTreeMap::new();
        for name in told.uids.keys() {
            *made.entry(name.split(' ').next().unwrap().to_owned()).or_default() += 1;
        }
        made
    }
}

/// What a child has to be: owner and subject, by name.
async fn children_wanted(context: &TestContext) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    let services = context.list("Service", "").await;
    for owner in context.list("DaskCluster", "").await {
        let service = format!("{}-scheduler", name(&owner));
        let subject = services.iter().find(|found| name(found) == service).map(uid);
        for key in ["a", "b"] {
            let child = json!({"owner": owned_by(&owner, false), "subject": subject});
            wanted.insert(format!("{service}-echo-{key}"), child);
        }
    }
    wanted
}

async fn children_found(context: &TestContext) -> BTreeMap<String, Value> {
    let child = |child: &Value| {
        let metadata = &child["metadata"];
        json!({"owner": metadata["ownerReferences"], "subject": metadata["labels"][SUBJECT_UID]})
    };
    context.list("ConfigMap", PLUGIN).await.iter().map(|found| (name(found).to_owned(), child(found))).collect()
}

/// How many there are of what.
async fn counts(context: &TestContext) -> [usize; 5] {
    [
        context.count("Deployment", "dask.org/component=scheduler").await,
        context.count("Service", "").await,
        context.count("DaskWorkerGroup", "").await,
        context.count("Deployment", "dask.org/component=worker").await,
        context.count("ConfigMap", PLUGIN).await,
    ]
}

/// Waits until every cluster is running with all its workers and children, and no more than those are there.
async fn until_complete(context: &TestContext) {
    within(REPAIR, "all clusters", async || {
        let clusters = context.list("DaskCluster", "").await;
        let is_complete =
            |cluster: &&Value| cluster["status"]["phase"] == "Running" && cluster["status"]["replicas"] == WORKERS;
        let complete = clusters.iter().filter(is_complete).count();
        let (wanted, found) = (children_wanted(context).await, children_found(context).await);
        let counts = counts(context).await;
        let right = counts == [CLUSTERS, CLUSTERS, CLUSTERS, CLUSTERS * WORKERS, CLUSTERS * 2];
        if complete == CLUSTERS && right && wanted == found {
            return Ok(());
        }
        Err(format!("{complete} clusters are complete, {counts:?} is there, and {} children", found.len()))
    })
    .await;
}

/// Nothing that a Dask resource does not control is among them, and nothing of one that is gone.
async fn assert_owned(context: &TestContext) {
    let mut living = BTreeSet::new();
    for kind in ["DaskCluster", "DaskWorkerGroup"] {
        living.extend(context.list(kind, "").await.iter().map(|owner| uid(owner).to_owned()));
    }
    for kind in ["Deployment", "Service", "DaskWorkerGroup", "ConfigMap"] {
        let labels = if kind == "ConfigMap" { PLUGIN } else { "" };
        for object in context.list(kind, labels).await {
            let owner = object["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
            assert!(living.contains(owner), "{kind} {} is an orphan", name(&object));
        }
    }
}

/// Which one leads; fails if two do.
async fn leader_among(controllers: &[Controller]) -> usize {
    within(REPAIR, "one controller to lead", async || {
        let leads = join_all(controllers.iter().map(Controller::leads)).await;
        let leaders: Vec<usize> = (0..leads.len()).filter(|index| leads[*index]).collect();
        assert!(leaders.len() < 2, "{leaders:?} lead at the same time");
        leaders.first().copied().ok_or_else(|| "nobody does".to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn nothing_is_lost_doubled_or_created_twice_when_the_leader_is_killed_ten_times_in_a_burst() {
    let seed = fastrand::u64(..);
    eprintln!("seed: {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    with_temp_ns(async |context| {
        let (chronicle, _writers) = Chronicle::begin(&context);
        let mut controllers: Vec<Controller> = (0..3).map(|_| context.spawn_controller_with(&ELECTED)).collect();
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(|_| Reply::Children(vec![config("a", "1"), config("b", "1")]));
        plugin.install().await;
        let mut made = 0;
        for _ in 0..KILLS {
            restart_ended(&context, &mut controllers);
            let leader = leader_among(&controllers).await;
            plugin.forget_calls();
            made += create(&context, made, BATCH[0]).await;
            // At the first call some objects stand, and others do not yet.
            plugin.until_called("a call", |calls| !calls.is_empty()).await;
            tokio::time::sleep(Duration::from_millis(random.u64(..300))).await;
            controllers.remove(leader).kill().await;
            made += create(&context, made, BATCH[1]).await;
            controllers.push(context.spawn_controller_with(&ELECTED));
        }
        restart_ended(&context, &mut controllers);
        assert_eq!(made, CLUSTERS);
        until_complete(&context).await;
        assert_owned(&context).await;
        let living = u32::try_from(CLUSTERS).unwrap();
        plugin.until_counts(living, living, 0).await;
        let expected = [
            ("ConfigMap", 2 * CLUSTERS),
            ("DaskWorkerGroup", CLUSTERS),
            ("Deployment", CLUSTERS * (1 + WORKERS)),
            ("Service", CLUSTERS),
        ];
        let expected = BTreeMap::from(expected.map(|(kind, count)| (kind.to_owned(), count)));
        eventually("the chronicle to be complete", async || {
            let made = chronicle.made();
            if made == expected { Ok(()) } else { Err(format!("{made:?} were made")) }
        })
        .await;
        let transitions = lease(&context).await["leaseTransitions"].as_u64().unwrap();
        assert!(transitions >= KILLS as u64, "each kill was followed by a new leader, and there were {transitions}");
    })
    .await;
}

/// Starts those again, as Kubernetes does, that lost the Lease while the API server was too busy to renew it.
fn restart_ended(context: &TestContext, controllers: &mut [Controller]) {
    for controller in controllers.iter_mut().filter_map(|controller| controller.has_ended().then_some(controller)) {
        *controller = context.spawn_controller_with(&ELECTED);
    }
}

async fn create(context: &TestContext, from: usize, count: usize) -> usize {
    let names: Vec<String> = (from..from + count).map(|number| format!("c{number}")).collect();
    join_all(names.iter().map(async |name| context.create(&cluster(name, WORKERS)).await)).await;
    count
}
