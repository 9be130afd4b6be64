//! Plugins that misbehave, each in its own way and all at the same time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PartialObjectMeta},
};
use serde_json::{Value, json};

use crate::support::{
    TestContext, condition, eventually,
    faulty_plugin::{FaultyPlugin, ReceivedCall},
    message,
    misbehaviour::{self, Expected, GOOD, Misbehaviour, TOO_LARGE, TOO_LATE, VICTIM},
    name, owned_by,
    plugin::TestPlugin,
    poll, uid, version, with_temp_ns,
};

const PLUGIN: &str = "plugin.kubernetes.dask.org/plugin";
const KEY: &str = "plugin.kubernetes.dask.org/key";
/// The limit of the controller's memory: many times the 2 MiB of a single response, and far below 10 GB.
const MOST_MEMORY: u64 = 300 << 20;
const MOST_LOG: usize = 1 << 20;
/// How soon each misbehaviour must be reported.
const REPORTED_WITHIN: Duration = Duration::from_mins(2);
/// The pause between two reads of all plugins.
const PAUSE: Duration = Duration::from_millis(500);
/// The calls about one subject: a change or two of the subject, and one of its owner.
const CALLS: usize = 4;

struct Case {
    misbehaviour: Misbehaviour,
    plugin: FaultyPlugin,
}

/// Claims that were checked, with what violates each.
#[derive(Default)]
struct Claims(Vec<(&'static str, Vec<String>)>);

impl Claims {
    fn check(&mut self, claim: &'static str, violations: impl IntoIterator<Item = String>) {
        self.0.push((claim, violations.into_iter().collect()));
    }

    fn holds(&mut self, claim: &'static str, holds: bool, found: impl std::fmt::Display) {
        self.check(claim, (!holds).then(|| found.to_string()));
    }

    fn assert_all(self) {
        let violated: Vec<_> = self.0.into_iter().filter(|(_, violations)| !violations.is_empty()).collect();
        assert!(violated.is_empty(), "{violated:#?}");
    }
}

/// What exists before the plugins begin to misbehave.
struct Before {
    victim: Value,
    demo: Value,
    service: Value,
    good: TestPlugin,
    cases: Vec<Case>,
    children: BTreeMap<String, (String, Value)>,
}

/// One test for all claims, because only the plugins together show whether one affects another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make live"]
async fn plugins_that_misbehave_harm_nothing_but_themselves() {
    with_temp_ns(async |context| {
        let controller = context.start_controller().await;
        let before = install(&context).await;
        let (cases, good) = (&before.cases, &before.good);
        let begin = Instant::now();
        join_all(cases.iter().map(|case| case.plugin.begin())).await;
        context.nudge("demo").await;
        let later = context.create_settled("later", 1).await;
        let mut claims = Claims::default();
        let (expected, found) = (components(&context, "demo").await, components(&context, "later").await);
        claims.holds("a new cluster gets all its components", found == expected, format!("{found:?}"));
        good.until_counts(2, 2, 0).await;

        claims.check("each misbehaviour is reported", until_all(&context, cases, Case::is_reported_by).await);
        let plugins = plugins(&context).await;
        let verbose = cases.iter().filter_map(|case| case.verbosity(&plugins[case.misbehaviour.name]));
        claims.check("no misbehaviour fills the status", verbose);
        claims.check("soon nothing is written any more", changes_of_steady_state(&context, cases).await);
        let seconds = usize::try_from(begin.elapsed().as_secs()).expect("it fits");
        let impatient = cases.iter().flat_map(|case| case.impatience(seconds));
        claims.check("no plugin is called in a loop or at another path", impatient);
        let calls = good.calls_about("demo-scheduler").len();
        claims.holds("the good plugin is called no more often", calls <= 1 + CALLS, calls);
        nothing_is_lost(&context, &before, &mut claims).await;
        claims.check("no child is misplaced", misplaced(&context, cases, &[before.demo.clone(), later]).await);
        good.until_ready("True", "Ready").await;
        let memory = controller.peak_memory();
        claims.holds("the controller's memory is bounded", memory < MOST_MEMORY, format!("{} MiB", memory >> 20));
        let log = context.controller_log().len();
        claims.holds("the controller's log is bounded", log < MOST_LOG, format!("{} KiB", log >> 10));
        claims.assert_all();
    })
    .await;
}

/// Installs a victim, a cluster, a good plugin and all faulty ones, and waits until each plugin has its child.
async fn install(context: &TestContext) -> Before {
    let victim = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": VICTIM}, "data": {"a": "1"}});
    let victim = context.create(&victim).await;
    let demo = context.create_settled("demo", 1).await;
    let service = context.expect("Service", "demo-scheduler").await;
    let good = TestPlugin::installed(context, GOOD).await;
    let cases = join_all(misbehaviour::all().into_iter().map(async |misbehaviour| {
        let plugin = FaultyPlugin::install(context, misbehaviour.name, misbehaviour.mode).await;
        Case { misbehaviour, plugin }
    }))
    .await;
    let unwell = until_all(context, &cases, |_, plugin| counts(plugin) == [1, 1, 0]).await;
    assert_eq!(unwell, Vec::<String>::new());
    let children = children(context).await;
    assert_eq!(children.len(), cases.len() + 1);
    Before { victim, demo, service, good, cases, children }
}

async fn nothing_is_lost(context: &TestContext, before: &Before, claims: &mut Claims) {
    let after = children(context).await;
    let lost = before.children.iter().filter(|(child, content)| after.get(*child) != Some(*content));
    claims.check("no child is lost", lost.map(|(child, _)| format!("{child} is {:?}", after.get(child))));
    let victim = context.expect("ConfigMap", VICTIM).await;
    claims.holds("an object without owner is not changed", victim == before.victim, victim);
    let service = context.expect("Service", "demo-scheduler").await;
    claims.holds("the scheduler's Service is not changed", service["spec"] == before.service["spec"], service);
}

impl Case {
    /// Returns whether the plugin fills its status with what it sends.
    fn verbosity(&self, plugin: &Value) -> Option<String> {
        let fits = failures(plugin).iter().all(|failure| text(failure).len() <= 512);
        let is_short = fits && plugin["status"].to_string().len() < 10_000;
        (!is_short).then(|| format!("{} fills its status", self.misbehaviour.name))
    }

    fn is_reported_by(&self, plugin: &Value) -> bool {
        self.shows(plugin, self.misbehaviour.expected)
    }

    fn shows(&self, plugin: &Value, expected: Expected) -> bool {
        match expected {
            Expected::Flooded => self.shows(plugin, TOO_LARGE) || self.shows(plugin, TOO_LATE),
            Expected::Failing(reason, word) => {
                let shows = |failure: &Value| failure["reason"] == reason && text(failure).contains(word);
                failures(plugin).iter().any(shows)
            }
            Expected::NotReady(reason, word) => {
                let conditions = ["Ready", "Discovered"].map(|type_| condition(plugin, type_));
                conditions == [("False", reason); 2] && message(plugin, "Ready").contains(word)
            }
            Expected::Synced => counts(plugin) == [2, 2, 0] && self.plugin.calls().iter().any(ReceivedCall::is_review),
            Expected::Waiting => counts(plugin) == [2, 0, 0],
        }
    }

    /// Returns the calls at other paths, and the subjects that the plugin was asked about too often.
    fn impatience(&self, seconds: usize) -> Vec<String> {
        let name = self.misbehaviour.name;
        let mut subjects: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for call in self.plugin.calls() {
            if !(call.is_review() || call.path.starts_with("/v1alpha1/discovery?")) {
                wrong.push(format!("{name} was called at {}", call.path));
            }
            subjects.entry(call.subject().to_owned()).or_default().push(call.reason());
        }
        let most = match self.misbehaviour.expected {
            _ if ["resync-1", "busy-zero"].contains(&name) => seconds + CALLS,
            Expected::Failing("Unreachable" | "ServerError" | "Busy", _) | Expected::Flooded | Expected::Waiting => {
                3 * CALLS + seconds / 4
            }
            // Discovery is tried again after 2, 4, 8, 16 and then 30 seconds.
            Expected::NotReady(..) => CALLS + 1 + seconds / 15,
            // A busy machine may take too long for a large answer, and then the plugin is called again after a backoff.
            _ => CALLS + seconds / 15,
        };
        if subjects.values().any(|reasons| reasons.len() > most) {
            wrong.push(format!("{name} was called about {subjects:?} in {seconds} s"));
        }
        wrong
    }
}

/// Waits until `holds` for each plugin. Returns those for which it does not, with their status. Lists all plugins at once:
/// to get each of them would keep the API server from answering the controller.
async fn until_all(context: &TestContext, cases: &[Case], holds: impl Fn(&Case, &Value) -> bool) -> Vec<String> {
    let mut waiting = Vec::new();
    let _all_hold_or_are_returned = poll(REPORTED_WITHIN, PAUSE, async || {
        let plugins = plugins(context).await;
        let others = cases.iter().filter(|case| !holds(case, &plugins[case.misbehaviour.name]));
        waiting = others
            .map(|case| format!("{}: {}", case.misbehaviour.name, plugins[case.misbehaviour.name]["status"]))
            .collect();
        if waiting.is_empty() { Ok(()) } else { Err(String::new()) }
    })
    .await;
    waiting
}

async fn plugins(context: &TestContext) -> BTreeMap<String, Value> {
    let plugins = context.list("DaskOperatorPlugin", "").await;
    plugins.into_iter().map(|plugin| (name(&plugin).to_owned(), plugin)).collect()
}

/// Returns what is written although all plugins keep misbehaving in the same way: soon nothing must be.
async fn changes_of_steady_state(context: &TestContext, cases: &[Case]) -> Vec<String> {
    const TRIES: usize = 4;
    let mut changes = Vec::new();
    for _ in 0..TRIES {
        changes = changes_of_some_seconds(context, cases).await;
        if changes.is_empty() {
            break;
        }
    }
    changes
}

async fn changes_of_some_seconds(context: &TestContext, cases: &[Case]) -> Vec<String> {
    const ROUNDS: usize = 8;
    let ticking = cases.iter().find(|case| case.misbehaviour.name == "resync-1").expect("the table has it");
    let written = async || {
        let (plugins, maps) = (context.list("DaskOperatorPlugin", "").await, context.list("ConfigMap", "").await);
        let clusters = context.list("DaskCluster", "").await;
        let state =
            |object: &Value| (version(object).to_owned(), object["status"].to_string(), object["data"].to_string());
        let all = [plugins, maps, clusters].concat();
        all.iter().map(|object| (name(object).to_owned(), state(object))).collect::<BTreeMap<_, _>>()
    };
    let (before, asked) = (written().await, ticking.plugin.calls().len());
    eventually("more rounds", async || match ticking.plugin.calls().len() - asked {
        ROUNDS.. => Ok(()),
        calls => Err(format!("there were {calls} calls")),
    })
    .await;
    let after = written().await;
    let changed = after.iter().filter(|(name, state)| before.get(*name) != Some(state));
    changed.map(|(name, state)| format!("{name} is written again: {:?} → {state:?}", before.get(name))).collect()
}

/// Returns the child that each plugin had before it misbehaved, by name, with uid and content.
async fn children(context: &TestContext) -> BTreeMap<String, (String, Value)> {
    let children = context.list("ConfigMap", &format!("{PLUGIN},{KEY}=config")).await;
    let demos = children.iter().filter(|child| name(child).starts_with("demo-"));
    demos.map(|child| (name(child).to_owned(), (uid(child).to_owned(), child["data"].clone()))).collect()
}

/// Returns the kinds and components of a cluster.
async fn components(context: &TestContext, cluster: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["DaskWorkerGroup", "Deployment", "Service"] {
        let objects = context.list(kind, &format!("dask.org/cluster-name={cluster}")).await;
        found.extend(
            objects.iter().map(|object| format!("{kind} {}", object["metadata"]["labels"]["dask.org/component"])),
        );
    }
    found.sort();
    assert_eq!(found.len(), 4, "{found:?}");
    found
}

/// Returns children in the wrong namespace, of a forbidden kind, or without their owner.
async fn misplaced(context: &TestContext, cases: &[Case], clusters: &[Value]) -> Vec<String> {
    let owners: Vec<Value> = clusters.iter().map(|cluster| owned_by(cluster, false)).collect();
    let mut wrong = Vec::new();
    for child in context.list("ConfigMap", PLUGIN).await {
        let metadata = &child["metadata"];
        if !owners.contains(&metadata["ownerReferences"]) || metadata.get("finalizers").is_some() {
            wrong.push(child.to_string());
        }
    }
    for kind in ["Secret", "RoleBinding", "Role"] {
        wrong.extend(context.list(kind, PLUGIN).await.iter().map(|object| format!("{kind} {}", name(object))));
    }
    for moved in ["moved-demo-scheduler", "moved-later-scheduler"] {
        if context.get("ConfigMap", moved).await.is_none() {
            wrong.push(format!("{moved} is not there"));
        }
    }
    let everywhere: Api<ConfigMap> = Api::all(context.client.clone());
    let maps = everywhere.list_metadata(&ListParams::default().labels(PLUGIN)).await.expect("they can be listed").items;
    // Other tests have plugins and children, too.
    let is_ours = |map: &PartialObjectMeta<ConfigMap>| {
        let plugin = map.labels().get(PLUGIN).map_or("", String::as_str);
        plugin == GOOD || cases.iter().any(|case| case.misbehaviour.name == plugin)
    };
    let elsewhere = maps.iter().filter(|map| map.metadata.namespace.as_ref() != Some(&context.namespace));
    let elsewhere = elsewhere.filter(|map| is_ours(map));
    wrong.extend(elsewhere.map(|map| format!("{:?}", map.metadata)));
    wrong
}

/// Returns the counts of matched, synced and failing subjects.
fn counts(plugin: &Value) -> [i64; 3] {
    ["matched", "synced", "failing"].map(|count| plugin["status"]["subjects"][count].as_i64().unwrap_or(-1))
}

fn failures(plugin: &Value) -> &[Value] {
    plugin["status"]["failures"].as_array().map_or(&[], Vec::as_slice)
}

fn text(failure: &Value) -> &str {
    failure["message"].as_str().unwrap_or_default()
}
