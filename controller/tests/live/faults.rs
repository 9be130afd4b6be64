//! Any single call to the API server may fail in any way, and the final state is the same. Each scenario runs a few
//! times without a failure, and then once for each call of the controller and each way to fail.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    time::Duration,
};

use dask_operator::preflight::{self, Questions, Served};
use futures::{FutureExt as _, future::join_all};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition,
    fake_cluster::finish_runner,
    fault_runs::{QUICK_TO_GIVE_UP, assert_each_survives, message_of},
    job, many_runs, name,
    proxy::{Call, Fault, FaultProxy, Target},
    uid, with_temp_ns, with_unlocked_temp_ns, within,
};

/// How soon after the scenario the state must be the same.
const LIMIT: Duration = Duration::from_mins(1);
/// Without a call for this time, the controller has nothing more to retry.
const QUIET: Duration = Duration::from_millis(1500);
/// How often a scenario runs without a failure, to know which calls are certain.
const BASELINES: usize = 3;
/// The call by which the controller checks its rights.
const STARTUP_CHECK: &str = "create selfsubjectaccessreviews";
/// The kind whose watch gets all faults.
const WATCHED: &str = "daskclusters";
/// The kinds that the controller writes.
const KINDS: [&str; 7] =
    ["DaskAutoscaler", "DaskCluster", "DaskJob", "DaskWorkerGroup", "Deployment", "Secret", "Service"];

// --- What must be the same ---

/// Everything that the controller is responsible for, by kind and name, without what differs between runs.
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

/// Returns random words and their replacements. The number in a worker's id is kept, because it is not random.
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
        // It follows from the scheduler's address, in which the namespace is; `updatedReplicas` shows whether it is right.
        annotations.remove("operator.dask.org/template");
        annotations.remove("operator.dask.org/template-meaning");
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
        "status": if kind.starts_with("Dask") { comparable(&object["status"]) } else { Value::Null },
    })
}

fn comparable(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        // The controller does not decide when Kubernetes says that no node has room.
        if condition["reason"] == "Unschedulable" {
            condition["reason"] = json!("Starting");
        }
        condition.as_object_mut().unwrap().retain(|field, _| ["type", "status", "reason"].contains(&field.as_str()));
    }
    if let Some(status) = status.as_object_mut() {
        // Messages name pods, whose names are random.
        status.retain(|field, _| !field.ends_with("Time") && field != "message");
    }
    status
}

/// Returns the objects in which two states differ.
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

// --- Running a scenario ---

/// What a user does, and how to recognise that the controller has done all that follows.
struct Scenario<Act> {
    act: Act,
    is_settled: fn(&State) -> bool,
    /// Selects the calls that fail, and their faults.
    fails: fn(&Target) -> bool,
}

/// Selects every call and every fault.
fn any(_: &Target) -> bool {
    true
}

/// Selects writes. Another scenario covers reads, the checks at the start, and the other faults.
fn writes(target: &Target) -> bool {
    let call = &target.call;
    let is_write = ["create", "patch", "apply", "delete"].contains(&call.split_once(' ').unwrap().0);
    is_write && call != STARTUP_CHECK && (is_typical(&target.fault) || Fault::OF_CREATES.contains(&target.fault))
}

/// The same calls, and reads of an object that is in the way.
fn writes_and_looks(target: &Target) -> bool {
    writes(target) || target.call.starts_with("get ")
}

/// The result of a run.
struct RunResult {
    state: State,
    calls: BTreeMap<Call, usize>,
    has_failed: bool,
}

impl<Act: AsyncFn(&TestContext)> Scenario<Act> {
    /// Runs it in a namespace of its own until `check` accepts the state.
    async fn run(&self, target: Option<Target>, check: impl Fn(&State) -> Result<(), String>) -> RunResult {
        let result = RefCell::new(None);
        with_unlocked_temp_ns(async |context| {
            let proxy = FaultProxy::start(context.client.clone(), target).await;
            let _controller = context.start_controller_through_with(&proxy, &QUICK_TO_GIVE_UP).await;
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
            result.replace(Some(RunResult { state, calls: proxy.calls(), has_failed: proxy.has_failed() }));
        })
        .await;
        result.take().unwrap()
    }

    /// Runs it while `target` fails. Returns what is wrong with the final state.
    async fn check(&self, target: Target, baseline: &[RunResult]) -> Option<String> {
        let check = |state: &State| difference(&baseline[0].state, state).map_or(Ok(()), Err);
        let run = AssertUnwindSafe(self.run(Some(target.clone()), check)).catch_unwind().await;
        // The number of calls depends on which events the watches deliver together.
        let is_creation = target.call.starts_with("create ") && target.call != "create events";
        let is_certain =
            is_creation && target.nth == 1 && baseline.iter().all(|run| run.calls.contains_key(&target.call));
        match run {
            Err(panic) => Some(format!("{target:?}: {}", message_of(panic.as_ref()))),
            Ok(run) if is_certain && !run.has_failed => Some(format!("{target:?} never came")),
            Ok(_) => None,
        }
    }

    /// Makes every call fail with every fault, each in a run of its own.
    async fn survives_every_failure(self) {
        let _lock = many_runs().await;
        let is_settled = |state: &State| if (self.is_settled)(state) { Ok(()) } else { Err(format!("{state:?}")) };
        let baseline = join_all((0..BASELINES).map(|_| self.run(None, is_settled))).await;
        for other in &baseline[1..] {
            assert_eq!(difference(&baseline[0].state, &other.state), None, "there is no failure needed for other ends");
        }
        let mut targets = targets(&baseline);
        targets.retain(self.fails);
        assert_each_survives(targets, async |target| self.check(target, &baseline).await).await;
    }
}

/// Returns every occurrence of every call with each of its faults.
fn targets(baseline: &[RunResult]) -> Vec<Target> {
    let mut counts = BTreeMap::<&Call, usize>::new();
    for (call, &count) in baseline.iter().flat_map(|run| &run.calls) {
        let most = counts.entry(call).or_default();
        *most = count.max(*most);
    }
    let checks = startup_checks();
    // The checks at the start are one call many times, of which one is enough.
    let is_shown = move |(call, nth): &(&Call, usize)| *call != STARTUP_CHECK || *nth == 1 || *nth > checks;
    let occurrences = counts.into_iter().flat_map(|(call, count)| (1..=count).map(move |nth| (call, nth)));
    let occurrences = occurrences.filter(is_shown);
    occurrences
        .flat_map(|(call, nth)| {
            let faults = faults_of(call).into_iter().filter(move |fault| nth == 1 || is_typical(fault));
            faults.map(move |fault| Target { call: call.clone(), nth, fault })
        })
        .collect()
}

/// Returns the number of rights that the controller checks when it starts.
fn startup_checks() -> usize {
    let namespace = "live".to_owned();
    let questions = Questions {
        namespaces: vec![namespace.clone()],
        operator_namespace: namespace,
        service_account: "dask-operator".to_owned(),
        tenants: false,
        events: true,
        claim: None,
    };
    preflight::wanted(&questions, &Served::Unknown).len()
}

/// Returns whether the fault is also injected into later calls of a kind: a call that did not arrive, and a lost response.
fn is_typical(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(500, _) | Fault::LostAnswer)
}

fn faults_of(call: &Call) -> Vec<Fault> {
    match call.split_once(' ').unwrap() {
        // The same code watches all kinds, so that one kind is enough for all faults.
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

/// The name of a component is taken at first. Events report this, and the controller reads the object that is in the way.
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_job_survives_the_failure_of_any_write() {
    let scenario = Scenario {
        act: async |context: &TestContext| {
            context.create(&job("demo")).await;
            context.until("DaskJob", "demo", |job| job["status"]["jobStatus"] == "ClusterCreated").await;
            finish_runner(context, "demo").await;
        },
        is_settled: |state| state.len() == 1 && state.values().all(|job| job["status"]["jobStatus"] == "Successful"),
        fails: writes,
    };
    scenario.survives_every_failure().await;
}

// --- The network ---

/// How soon after a silent loss of all connections the controller must observe changes again.
const BLIND: Duration = Duration::from_secs(90);

/// A firewall that forgets connections sends no reset: open connections stay open and never carry data again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_cluster_that_is_made_while_the_network_drops_all_packets_comes_up_after_it() {
    with_temp_ns(async |context| {
        let proxy = FaultProxy::start(context.client.clone(), None).await;
        let _controller = context.start_controller_through(&proxy).await;
        context.create(&cluster("first", 1)).await;
        context.running("first").await;
        proxy.blackhole();
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
