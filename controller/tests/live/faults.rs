//! Any single call to the API server may fail, in any way, and the end is the same. The scenario is played
//! once without a failure; then once for each call that the controller made and each way to fail.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    time::Duration,
};

use dask_operator::preflight::{self, Questions, Served};
use futures::{FutureExt as _, StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, name,
    proxy::{Call, Fault, FaultProxy, Target},
    uid, with_temp_ns, within,
};

/// How soon after the scenario the state must be the same.
const LIMIT: Duration = Duration::from_mins(1);
/// When the controller makes no calls for so long, it has nothing more to try again.
const QUIET: Duration = Duration::from_millis(1500);
/// How often a scenario is played without a failure, to know which calls are certain to come.
const PLAIN: usize = 3;
/// Scenarios that are played at the same time: most of their time they wait. With many more, the API server takes
/// longer to give Services their addresses than controllers wait for an answer.
const PARALLEL: usize = 8;
/// The call by which the controller asks what it may do.
const STARTUP_CHECK: &str = "create selfsubjectaccessreviews";
/// The kind whose watch goes wrong in every way.
const WATCHED: &str = "daskclusters";
/// The kinds that the controller writes.
const KINDS: [&str; 7] =
    ["DaskAutoscaler", "DaskCluster", "DaskJob", "DaskWorkerGroup", "Deployment", "Secret", "Service"];

// --- What must be the same ---

/// All that the controller is answerable for, by kind and name, without what differs from run to run.
type State = BTreeMap<String, Value>;

async fn state(context: &TestContext) -> State {
    let mut objects = Vec::new();
    for kind in KINDS {
        objects.extend(context.list(kind, "").await.into_iter().map(|object| (kind, object)));
    }
    let words = random_words(context, &objects);
    let normal = |(kind, object): &(&str, Value)| {
        let mut text = normalised(kind, object).to_string();
        for (random, word) in &words {
            text = text.replace(random, word);
        }
        let normal: Value = serde_json::from_str(&text).unwrap();
        (format!("{kind} {}", name(&normal)), normal)
    };
    objects.iter().map(normal).collect()
}

/// What is random, and what stands for it. Of a worker's id the count is kept: it is not random.
fn random_words(context: &TestContext, objects: &[(&str, Value)]) -> Vec<(String, String)> {
    let uids = objects.iter().map(|(kind, object)| (uid(object).to_owned(), format!("uid of {kind} {}", name(object))));
    let ids = objects.iter().filter_map(|(_, object)| object["metadata"]["labels"]["dask.org/worker-id"].as_str());
    let ids = ids.map(|id| (id.to_owned(), format!("id-{}", &id[5..])));
    uids.chain([(context.namespace.clone(), "namespace".to_owned())]).chain(ids).collect()
}

fn normalised(kind: &str, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    let mut spec = object["spec"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove("deployment.kubernetes.io/revision");
        // It follows from the scheduler's address, in which the namespace is; `updatedReplicas` tells if it is right.
        annotations.remove("operator.dask.org/template");
    }
    if let (Some(spec), "Service") = (spec.as_object_mut(), kind) {
        spec.retain(|field, _| !field.starts_with("clusterIP"));
    }
    json!({
        "metadata": {
            "name": metadata["name"],
            "labels": metadata["labels"],
            "annotations": annotations,
            "ownerReferences": metadata["ownerReferences"],
            "finalizers": metadata["finalizers"],
            "beingDeleted": metadata["deletionTimestamp"].is_string(),
        },
        "spec": spec,
        // The status of other kinds is not the controller's.
        "status": if kind.starts_with("Dask") { without_times(&object["status"]) } else { Value::Null },
    })
}

fn without_times(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        // When Kubernetes says that no node has room is not the controller's.
        if condition["reason"] == "Unschedulable" {
            condition["reason"] = json!("Starting");
        }
        condition.as_object_mut().unwrap().retain(|field, _| ["type", "status", "reason"].contains(&field.as_str()));
    }
    if let Some(status) = status.as_object_mut() {
        status.retain(|field, _| !field.ends_with("Time"));
    }
    status
}

/// The objects in which two states differ.
fn difference(expected: &State, found: &State) -> Option<String> {
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let differs = |name: &&String| expected.get(*name) != found.get(*name);
    let show = |state: &State, name: &String| state.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
    let lines: Vec<String> = names
        .into_iter()
        .filter(differs)
        .map(|name| format!("{name}\n  is        {}\n  should be {}", show(found, name), show(expected, name)))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

// --- Playing a scenario ---

/// What a user does, and how to tell that the controller has done all that follows.
struct Scenario<Act> {
    act: Act,
    is_settled: fn(&State) -> bool,
    /// Which calls are to fail, and how.
    fails: fn(&Target) -> bool,
}

/// Every call in every way, for what all objects go through.
fn any(_: &Target) -> bool {
    true
}

/// Calls that change something, where another scenario has shown the reading ones, the checks at the start, and how else
/// calls fail.
fn writes(target: &Target) -> bool {
    let call = &target.call;
    let is_write = ["create", "patch", "apply", "delete"].contains(&call.split_once(' ').unwrap().0);
    is_write && call != STARTUP_CHECK && (is_typical(&target.fault) || Fault::OF_CREATES.contains(&target.fault))
}

/// The same, and what is read about an object that is in the way.
fn writes_and_looks(target: &Target) -> bool {
    writes(target) || target.call.starts_with("get ")
}

/// What came of playing a scenario.
struct Played {
    state: State,
    calls: BTreeMap<Call, usize>,
    has_failed: bool,
}

impl<Act: AsyncFn(&TestContext)> Scenario<Act> {
    /// Plays it in a namespace of its own until `check` is content with the state.
    async fn play(&self, target: Option<Target>, check: impl Fn(&State) -> Result<(), String>) -> Played {
        let played = RefCell::new(None);
        with_temp_ns(async |context| {
            let proxy = FaultProxy::start(context.client.clone(), target).await;
            let _controller = context.start_controller_through(&proxy).await;
            (self.act)(&context).await;
            let state = within(LIMIT, "the controller to be done", async || {
                let quiet = proxy.quiet_for();
                if quiet < QUIET {
                    return Err(format!("it made a call {quiet:?} ago"));
                }
                let state = state(&context).await;
                check(&state).map(|()| state)
            })
            .await;
            played.replace(Some(Played { state, calls: proxy.calls(), has_failed: proxy.has_failed() }));
        })
        .await;
        played.take().unwrap()
    }

    /// What is wrong with the end if `target` fails.
    async fn judge(&self, target: Target, plain: &[Played]) -> Option<String> {
        let check = |state: &State| difference(&plain[0].state, state).map_or(Ok(()), Err);
        let run = AssertUnwindSafe(self.play(Some(target.clone()), check)).catch_unwind().await;
        // How often a call is made depends on what the watches deliver together.
        let is_creation = target.call.starts_with("create ") && target.call != "create events";
        let is_certain =
            is_creation && target.nth == 1 && plain.iter().all(|played| played.calls.contains_key(&target.call));
        match run {
            Err(panic) => Some(format!("{target:?}: {}", words_of(panic.as_ref()))),
            Ok(played) if is_certain && !played.has_failed => Some(format!("{target:?} never came")),
            Ok(_) => None,
        }
    }

    /// Lets every call fail in every way, each in a run of its own.
    async fn survives_every_failure(self) {
        let is_settled = |state: &State| if (self.is_settled)(state) { Ok(()) } else { Err(format!("{state:?}")) };
        let plain = join_all((0..PLAIN).map(|_| self.play(None, is_settled))).await;
        for other in &plain[1..] {
            assert_eq!(difference(&plain[0].state, &other.state), None, "there is no failure needed for other ends");
        }
        let mut targets = targets(&plain);
        targets.retain(self.fails);
        let count = targets.len();
        let runs = targets.into_iter().map(|target| self.judge(target, &plain));
        let runs = stream::iter(runs).buffer_unordered(PARALLEL);
        let wrong: Vec<String> = runs.filter_map(async |wrong| wrong).collect().await;
        assert!(wrong.is_empty(), "{} of {count} runs went wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Every occurrence of every call, with all that may happen to it; first those that take long.
fn targets(plain: &[Played]) -> Vec<Target> {
    let mut counts = BTreeMap::<&Call, usize>::new();
    for (call, &count) in plain.iter().flat_map(|played| &played.calls) {
        let most = counts.entry(call).or_default();
        *most = count.max(*most);
    }
    let checks = startup_checks();
    // The checks at the start are one call many times, and one of them shows what happens.
    let is_shown = move |(call, nth): &(&Call, usize)| *call != STARTUP_CHECK || *nth == 1 || *nth > checks;
    let occurrences = counts.into_iter().flat_map(|(call, count)| (1..=count).map(move |nth| (call, nth)));
    let occurrences = occurrences.filter(is_shown);
    let mut targets: Vec<Target> = occurrences
        .flat_map(|(call, nth)| {
            let faults = faults_of(call).into_iter().filter(move |fault| nth == 1 || is_typical(fault));
            faults.map(move |fault| Target { call: call.clone(), nth, fault })
        })
        .collect();
    targets.sort_by_key(|target| target.fault != Fault::Hang);
    targets
}

/// How many rights the controller asks for when it starts.
fn startup_checks() -> usize {
    let namespace = "live".to_owned();
    let questions = Questions {
        namespaces: vec![namespace.clone()],
        operator_namespace: namespace,
        service_account: "dask-operator".to_owned(),
        tenants: false,
        events: true,
    };
    preflight::wanted(&questions, &Served::Unknown).len()
}

/// What happens to later calls of a sort too: one that did not arrive, and one whose answer did not.
fn is_typical(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(500, _) | Fault::LostAnswer)
}

fn faults_of(call: &Call) -> Vec<Fault> {
    match call.split_once(' ').unwrap() {
        // All kinds are watched by the same code, and one of them shows all that may happen to it.
        ("watch" | "list", kind) if kind != WATCHED => vec![Fault::Refused(500, "InternalError")],
        ("watch", _) => Fault::OF_WATCHES.to_vec(),
        ("get" | "list", _) => Fault::OF_ANY.to_vec(),
        ("create", _) => [Fault::OF_ANY.as_slice(), &Fault::OF_WRITES, &Fault::OF_CREATES].concat(),
        _ => [Fault::OF_ANY.as_slice(), &Fault::OF_WRITES].concat(),
    }
}

// --- The scenarios ---

fn replicas(state: &State, object: &str) -> Option<u64> {
    state.get(object)?["status"]["replicas"].as_u64()
}

async fn has_workers(context: &TestContext, group: &str, count: usize) {
    context
        .until("DaskWorkerGroup", group, |group| {
            group["status"]["replicas"] == count && condition(group, "Scaled").0 == "True"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_made_and_scaled_up_survives_the_failure_of_any_call() {
    let scenario = Scenario {
        act: async |context: &TestContext| {
            context.create(&cluster("demo", 2)).await;
            context.running("demo").await;
            has_workers(context, "demo-default", 2).await;
            context.merge("DaskWorkerGroup", "demo-default", json!({"spec": {"worker": {"replicas": 4}}})).await;
            has_workers(context, "demo-default", 4).await;
        },
        is_settled: |state| {
            replicas(state, "DaskCluster demo") == Some(4) && replicas(state, "DaskWorkerGroup demo-default") == Some(4)
        },
        fails: any,
    };
    scenario.survives_every_failure().await;
}

/// The name of a component is taken, and free later: this is told by Events, and the object that is in the way
/// is read.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_whose_name_is_taken_and_freed_survives_the_failure_of_any_call() {
    let scenario = Scenario {
        act: async |context: &TestContext| {
            let labels = json!({"dask.org/cluster-name": "demo", "dask.org/component": "scheduler"});
            let metadata = json!({"name": "demo-scheduler", "labels": labels});
            let spec = json!({"ports": [{"port": 80}]});
            let foreign = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
            context.create(&foreign).await;
            context.create(&cluster("demo", 1)).await;
            let is_told = |cluster: &Value| condition(cluster, "ComponentsCreated").1 == "NameTaken";
            context.until("DaskCluster", "demo", is_told).await;
            context.delete("Service", "demo-scheduler").await;
            context.running("demo").await;
            has_workers(context, "demo-default", 1).await;
        },
        is_settled: |state| replicas(state, "DaskCluster demo") == Some(1),
        fails: writes_and_looks,
    };
    scenario.survives_every_failure().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_scaled_to_nothing_survives_the_failure_of_any_write() {
    let scenario = Scenario {
        act: async |context: &TestContext| {
            context.create(&cluster("demo", 2)).await;
            context.running("demo").await;
            has_workers(context, "demo-default", 2).await;
            context.merge("DaskCluster", "demo", json!({"spec": {"worker": {"replicas": 0}}})).await;
            has_workers(context, "demo-default", 0).await;
        },
        is_settled: |state| replicas(state, "DaskCluster demo") == Some(0),
        fails: writes,
    };
    scenario.survives_every_failure().await;
}

/// The runner of `job` has ended well, as its kubelet would say.
async fn play_runner(context: &TestContext, job: &str) {
    let runner = format!("{job}-runner");
    context.appears("Pod", &runner).await;
    let ended = json!({"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"});
    let container = json!({
        "name": "job", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": ended},
    });
    let status = json!({"status": {"phase": "Succeeded", "containerStatuses": [container]}});
    context.merge_status("Pod", &runner, status).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_job_survives_the_failure_of_any_write() {
    let scenario = Scenario {
        act: async |context: &TestContext| {
            let job = json!({
                "apiVersion": "kubernetes.dask.org/v1",
                "kind": "DaskJob",
                "metadata": {"name": "demo"},
                "spec": {
                    "job": {"spec": {"restartPolicy": "Never", "containers": [{"name": "job", "image": "a"}]}},
                    "cluster": {"spec": cluster("demo", 1)["spec"]},
                },
            });
            context.create(&job).await;
            context.until("DaskJob", "demo", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
            play_runner(context, "demo").await;
        },
        is_settled: |state| state.len() == 1 && state.values().all(|job| job["status"]["jobStatus"] == "Successful"),
        fails: writes,
    };
    scenario.survives_every_failure().await;
}

// --- The network ---

/// How long after a silent loss of all connections the controller may be blind.
const BLIND: Duration = Duration::from_secs(90);

/// A firewall that forgets connections sends no reset: what is open stays open and says nothing for ever.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_made_while_the_network_drops_all_packets_comes_up_after_it() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        let _controller = context.start_controller_through(&proxy).await;
        context.create(&cluster("first", 1)).await;
        context.running("first").await;
        proxy.go_dark();
        context.create(&cluster("second", 1)).await;
        proxy.restore();
        within(BLIND, "the second cluster to be running", async || {
            let second = context.expect("DaskCluster", "second").await;
            if second["status"]["phase"] == "Running" { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
    })
    .await;
}
