//! A controller that is killed at any moment, calls to the API server that fail, and plugins that hang: in the end,
//! exactly the children that plugins want exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    time::Duration,
};

use fastrand::Rng;
use futures::{FutureExt as _, future::join_all};
use plugin_server_kit::protocol::{Child, PluginRequest};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually,
    fault_runs::{QUICK_TO_GIVE_UP, assert_each_survives, message_of},
    many_runs, name, owned_by,
    plugin::{Reply, TestPlugin, config},
    proxy::{Call, Fault, FaultProxy, Target},
    uid, version, with_controller, with_temp_ns, with_unlocked_temp_ns, within,
};

/// Selects the children of all plugins.
const OURS: &str = "plugin.kubernetes.dask.org/plugin";
const SUBJECT_UID: &str = "plugin.kubernetes.dask.org/subject-uid";
const KEY: &str = "plugin.kubernetes.dask.org/key";

// --- Crashes ---

const CLUSTERS: usize = 20;
const CRASHES: u64 = 15;
/// How soon after the last crash the children must be right: a child whose name was taken is retried after 10 seconds.
const REPAIR: Duration = Duration::from_secs(90);

/// Returns the children of `cluster` in `round` by key: name (`None` for the default) and value. Each round adds some,
/// renames one, changes one and drops some; `stays` is always the same.
fn wanted(cluster: &str, round: u64) -> BTreeMap<&'static str, (Option<String>, String)> {
    let mut random = Rng::with_seed(cluster.bytes().fold(round, |seed, byte| seed * 31 + u64::from(byte)));
    let mut children = BTreeMap::from([
        ("stays", (None, "always".to_owned())),
        ("changes", (None, round.to_string())),
        ("moves", (Some(format!("{cluster}-moves-{}", round % 3)), "moved".to_owned())),
    ]);
    for key in ["a", "b", "c"] {
        if random.bool() {
            children.insert(key, (None, key.to_owned()));
        }
    }
    children
}

fn answer(request: &PluginRequest) -> Reply {
    let round = request.plugin.settings["round"].as_u64().unwrap();
    let child = |(key, (name, value)): (&str, (Option<String>, String))| -> Child {
        let mut child = config(key, &value);
        if let Some(name) = name {
            child.manifest["metadata"] = json!({"name": name});
        }
        child
    };
    Reply::Children(wanted(request.owner.name(), round).into_iter().map(child).collect())
}

/// What a child must be: value, owner, subject and key, by name.
type Children = BTreeMap<String, Value>;

async fn children_wanted(context: &TestContext, round: u64) -> Children {
    let mut children = Children::new();
    for owner in context.list("DaskCluster", "").await {
        let subject = context.get("Service", &format!("{}-scheduler", name(&owner))).await;
        for (key, (chosen, value)) in wanted(name(&owner), round) {
            let usual = || format!("{}-scheduler-echo-{key}", name(&owner));
            let state = json!({
                "value": value,
                "owner": owned_by(&owner, false),
                "subject": subject.as_ref().map(uid),
                "key": key,
            });
            children.insert(chosen.unwrap_or_else(usual), state);
        }
    }
    children
}

async fn children_found(context: &TestContext) -> Children {
    let state = |child: &Value| {
        let (metadata, labels) = (&child["metadata"], &child["metadata"]["labels"]);
        let owner = &metadata["ownerReferences"];
        json!({"value": child["data"]["value"], "owner": owner, "subject": labels[SUBJECT_UID], "key": labels[KEY]})
    };
    context.list("ConfigMap", OURS).await.iter().map(|child| (name(child).to_owned(), state(child))).collect()
}

/// Waits until there are exactly the children of `round`.
async fn until_children_are_right(context: &TestContext, round: u64) {
    within(REPAIR, "exactly the children that are wanted", async || {
        let (wanted, found) = (children_wanted(context, round).await, children_found(context).await);
        let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
        let wrong = names.into_iter().filter(|name| wanted.get(*name) != found.get(*name));
        let wrong: Vec<String> =
            wrong.map(|name| format!("{name} is {:?} and not {:?}", found.get(name), wanted.get(name))).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    })
    .await;
}

/// Returns uid and version of the children that never change.
async fn staying(context: &TestContext) -> BTreeMap<String, (String, String)> {
    let children = context.list("ConfigMap", &format!("{KEY}=stays")).await;
    children.iter().map(|child| (name(child).to_owned(), (uid(child).to_owned(), version(child).to_owned()))).collect()
}

async fn set_round(context: &TestContext, round: u64) {
    context.merge("DaskOperatorPlugin", "echo", json!({"spec": {"settings": {"round": round}}})).await;
}

/// Deletes the last `count` clusters while no controller runs, and recreates every other one with its name.
async fn replace_clusters(context: &TestContext, count: usize) {
    for number in CLUSTERS - count..CLUSTERS {
        let cluster_name = format!("c{number}");
        context.delete("DaskCluster", &cluster_name).await;
        if number % 2 == 0 {
            context.goes("DaskCluster", &cluster_name).await;
            context.create(&cluster(&cluster_name, 0)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn no_child_is_lost_doubled_or_orphaned_by_a_controller_that_is_killed_again_and_again() {
    let seed = fastrand::u64(..);
    eprintln!("seed: {seed}");
    let mut random = Rng::with_seed(seed);
    with_temp_ns(async |context| {
        let mut controller = context.start_controller().await;
        join_all((0..CLUSTERS).map(async |number| context.create(&cluster(&format!("c{number}"), 0)).await)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.respond_with(answer);
        let mut manifest = plugin.manifest();
        manifest["spec"]["settings"] = json!({"round": 0});
        plugin.install_as(&manifest).await;
        until_children_are_right(&context, 0).await;
        let before = staying(&context).await;
        assert_eq!(before.len(), CLUSTERS);

        for round in 1..=CRASHES {
            plugin.forget_calls();
            set_round(&context, round).await;
            // Each round has this number of clusters.
            let moment = random.usize(1..=CLUSTERS - 4);
            plugin.until_called("so many calls", |calls| calls.len() >= moment).await;
            // Between the response and the last of its writes.
            tokio::time::sleep(Duration::from_millis(random.u64(..40))).await;
            controller.kill().await;
            if round == CRASHES / 2 {
                replace_clusters(&context, 4).await;
            }
            controller = context.spawn_controller();
        }
        until_children_are_right(&context, CRASHES).await;
        let living = u32::try_from(context.count("DaskCluster", "").await).unwrap();
        assert_eq!(living, 18);
        plugin.until_counts(living, living, 0).await;
        let after = staying(&context).await;
        for number in 0..CLUSTERS - 4 {
            let child = format!("c{number}-scheduler-echo-stays");
            assert_eq!(after[&child], before[&child], "{child} was never to change");
        }

        // Deleted clusters leave nothing behind.
        join_all(
            (0..CLUSTERS).step_by(2).map(async |number| context.delete("DaskCluster", &format!("c{number}")).await),
        )
        .await;
        until_children_are_right(&context, CRASHES).await;
        drop(controller);
    })
    .await;
}

// --- Calls that fail ---

/// How soon after the scenario the state must be the same.
const LIMIT: Duration = Duration::from_secs(50);
/// Without a call for this time, the controller has nothing more to retry at once.
const QUIET: Duration = Duration::from_millis(1500);
/// The faults of each call.
const FAULTS: [Fault; 6] = [
    Fault::Hang,
    Fault::Refused(500, "InternalError"),
    Fault::Refused(403, "Forbidden"),
    Fault::Refused(409, "Conflict"),
    Fault::Refused(429, "TooManyRequests"),
    Fault::LostAnswer,
];

/// Returns whether the call is made for plugins.
fn of_plugins(call: &Call) -> bool {
    let (_, object) = call.split_once(' ').unwrap();
    let kind = object.split('/').next().unwrap();
    ["configmaps", "daskoperatorplugins", "secrets", "selfsubjectaccessreviews", ""].contains(&kind)
}

/// Returns whether the call is about children.
fn of_children(call: &Call) -> bool {
    call.ends_with(" configmaps")
}

/// Returns value, owner's name and key of each child, by name.
async fn outcome(context: &TestContext) -> BTreeMap<String, Value> {
    let state = |child: &Value| {
        let owner = &child["metadata"]["ownerReferences"][0]["name"];
        json!({"value": child["data"]["value"], "owner": owner, "key": child["metadata"]["labels"][KEY]})
    };
    context.list("ConfigMap", OURS).await.iter().map(|child| (name(child).to_owned(), state(child))).collect()
}

/// Runs a first sync with two children, and then a change that keeps one, drops one and adds one.
async fn sync_and_prune(context: &TestContext, plugin: &mut TestPlugin) {
    plugin.answer(Reply::Children(vec![config("kept", "first"), config("dropped", "first")]));
    let mut manifest = plugin.manifest();
    manifest["spec"]["children"] = json!([{"apiVersion": "v1", "kind": "ConfigMap"}]);
    plugin.install_as(&manifest).await;
    plugin.until_counts(1, 1, 0).await;
    plugin.answer(Reply::Children(vec![config("kept", "second"), config("added", "second")]));
    context.nudge("demo").await;
}

/// The result of a run.
struct RunResult {
    calls: BTreeMap<Call, usize>,
    has_failed: bool,
}

/// Runs the first sync and a change of the answer, letting `target` fail, until the final state is right.
async fn run_sync_and_prune(target: Option<Target>) -> RunResult {
    let mut result = None;
    with_unlocked_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), target).await;
        let _controller = context.start_controller_through_with(&proxy, &QUICK_TO_GIVE_UP).await;
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        sync_and_prune(&context, &mut plugin).await;
        let second = |key: &str| json!({"value": "second", "owner": "demo", "key": key});
        let end = BTreeMap::from([
            ("demo-scheduler-echo-added".to_owned(), second("added")),
            ("demo-scheduler-echo-kept".to_owned(), second("kept")),
        ]);
        until_end(&context, &proxy, &end).await;
        plugin.until_counts(1, 1, 0).await;
        result = Some(RunResult { calls: proxy.calls(), has_failed: proxy.has_failed() });
    })
    .await;
    result.unwrap()
}

/// Runs the replacement of an orphan, letting `target` fail, until the final state is right.
async fn run_orphan(target: Option<Target>) -> RunResult {
    let mut result = None;
    with_unlocked_temp_ns(async |context| {
        let controller = context.start_controller().await;
        context.create_settled("demo", 0).await;
        let plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        controller.kill().await;
        context.delete("Service", "demo-scheduler").await;
        context.goes("Service", "demo-scheduler").await;
        let proxy = FaultProxy::start(context.client.clone(), target).await;
        let _controller = context.start_controller_through_with(&proxy, &QUICK_TO_GIVE_UP).await;
        let service = context.appears("Service", "demo-scheduler").await;
        within(LIMIT, "the new subject's child", async || {
            let child = context.get("ConfigMap", "demo-scheduler-echo-config").await;
            let subject = child.as_ref().map(|child| &child["metadata"]["labels"][SUBJECT_UID]);
            if subject.is_some_and(|subject| subject == uid(&service)) { Ok(()) } else { Err(format!("{child:?}")) }
        })
        .await;
        plugin.until_counts(1, 1, 0).await;
        result = Some(RunResult { calls: proxy.calls(), has_failed: proxy.has_failed() });
    })
    .await;
    result.unwrap()
}

async fn until_end(context: &TestContext, proxy: &FaultProxy, end: &BTreeMap<String, Value>) {
    within(LIMIT, "the end without a failure", async || {
        let found = outcome(context).await;
        if found != *end {
            return Err(format!("there is {found:?}"));
        }
        let quiet = proxy.quiet_for();
        if quiet > QUIET { Ok(()) } else { Err(format!("a call was made {quiet:?} ago")) }
    })
    .await;
}

/// Returns the first call of each kind with each fault. Later calls about children get the usual faults, too.
fn targets(calls: &BTreeMap<Call, usize>, fails: fn(&Call) -> bool) -> Vec<Target> {
    let occurrences = calls.iter().filter(|(call, _)| fails(call)).flat_map(|(call, &count)| {
        let last = if of_children(call) { count } else { 1 };
        (1..=last).map(move |nth| (call, nth))
    });
    let is_usual = |fault: &Fault| matches!(fault, Fault::Refused(500, _) | Fault::LostAnswer);
    let mut targets: Vec<Target> = occurrences
        .flat_map(|(call, nth)| {
            let faults = FAULTS.into_iter().filter(move |fault| nth == 1 || is_usual(fault));
            faults.map(move |fault| Target { call: call.clone(), nth, fault })
        })
        .collect();
    // A watch that hangs ends by itself.
    targets.retain(|target| !(target.call.starts_with("watch ") && target.fault == Fault::Hang));
    targets
}

async fn survives_every_failure<Run: Future<Output = RunResult>>(
    fails: fn(&Call) -> bool,
    run_scenario: fn(Option<Target>) -> Run,
) {
    let _lock = many_runs().await;
    let plain = run_scenario(None).await;
    let targets = targets(&plain.calls, fails);
    assert_each_survives(targets, async |target| {
        let run = AssertUnwindSafe(run_scenario(Some(target.clone()))).catch_unwind().await;
        match run {
            Err(panic) => Some(format!("{target:?}: {}", message_of(panic.as_ref()))),
            // A later call may be unnecessary when an earlier one observed more.
            Ok(result) if target.nth == 1 && !result.has_failed => Some(format!("{target:?} never came")),
            Ok(_) => None,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_first_sync_and_a_prune_survive_the_failure_of_any_call() {
    survives_every_failure(of_plugins, run_sync_and_prune).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_child_whose_subject_was_replaced_unseen_is_replaced_too_whatever_call_fails() {
    survives_every_failure(of_children, run_orphan).await;
}

// --- A plugin that hangs ---

/// The controller creates everything for a Dask resource while eight calls hang. They stay the same eight calls: nothing waited
/// for the end of one.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn clusters_are_made_scaled_and_removed_while_every_call_to_a_plugin_hangs() {
    with_controller(async |context| {
        let mut plugin = TestPlugin::new(&context, "echo");
        plugin.answer(Reply::Hang);
        let mut manifest = plugin.manifest();
        manifest["spec"]["timeoutSeconds"] = json!(30);
        manifest["spec"]["subjects"] =
            json!([{"kind": "DaskCluster"}, {"kind": "DaskWorkerGroup"}, {"kind": "Deployment"}]);
        plugin.install_as(&manifest).await;
        for number in 0..4 {
            context.create(&cluster(&format!("c{number}"), 0)).await;
        }
        let all_hang = async || match plugin.in_flight() {
            (8, 8) => Ok(()),
            other => Err(format!("now and at most: {other:?}")),
        };
        eventually("eight calls under way", all_hang).await;
        let hanging: Vec<String> = plugin.calls().into_iter().map(|call| call.request.uid).collect();

        context.create_settled("demo", 2).await;
        context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 0}}})).await;
        context
            .until("DaskWorkerGroup", "demo-default", |group| {
                group["status"]["replicas"] == 0 && condition(group, "Scaled").0 == "True"
            })
            .await;
        context.delete("DaskCluster", "demo").await;
        context.goes("Deployment", "demo-scheduler").await;

        let still: Vec<String> = plugin.calls().into_iter().map(|call| call.request.uid).collect();
        assert_eq!(still, hanging, "no call has ended, and no other one was begun");
        assert_eq!(plugin.in_flight(), (8, 8));
        assert!(context.list("ConfigMap", OURS).await.is_empty());
    })
    .await;
}
