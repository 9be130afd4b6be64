//! Plugins that misbehave, all at once and each in its own way. Run them with `make live`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::support::{
    TestContext, cluster, condition, eventually,
    faulty_plugin::{Asked, Sinner},
    message,
    misbehaviour::{self, GOOD, Seen, Sin, TOO_LARGE, TOO_LATE, VICTIM},
    name, owned_by,
    plugin::TestPlugin,
    uid, version, with_temp_ns,
};

const PLUGIN: &str = "plugin.kubernetes.dask.org/plugin";
const KEY: &str = "plugin.kubernetes.dask.org/key";
/// What all that goes on at once may take: many times the 2 MiB of a single answer, and far below 10 GB.
const MOST_MEMORY: u64 = 300 << 20;
const MOST_LOG: usize = 1 << 20;
const TOLD_WITHIN: Duration = Duration::from_mins(2);
/// Between looks at all plugins.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions about one subject: a change or two of the subject, and one of its owner.
const QUESTIONS: usize = 4;

struct Case {
    sin: Sin,
    sinner: Sinner,
}

/// One test, since it is the company that shows whether one plugin's doings concern another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make live"]
async fn whatever_a_plugin_does_is_told_delays_nothing_deletes_nothing_and_takes_nothing() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        let victim = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": VICTIM}, "data": {"a": "1"}});
        let victim = context.create(&victim).await;
        let demo = context.create(&cluster("demo", 1)).await;
        context.settled("demo", 1).await;
        let service = context.expect("Service", "demo-scheduler").await;
        let mut good = TestPlugin::new(&context, GOOD);
        good.install().await;
        let cases = join_all(misbehaviour::all().into_iter().map(async |sin| {
            let sinner = Sinner::install(&context, sin.name, sin.way).await;
            Case { sin, sinner }
        }))
        .await;
        let unwell = until_all(&context, &cases, |_, plugin| counts(plugin) == [1, 1, 0]).await;
        assert_eq!(unwell, Vec::<String>::new());
        let before = children(&context).await;
        assert_eq!(before.len(), cases.len() + 1);

        let begin = Instant::now();
        join_all(cases.iter().map(|case| case.sinner.begin())).await;
        context.annotate("DaskCluster", "demo", "example.com/nudge", "1").await;
        context.create(&cluster("later", 1)).await;
        context.settled("later", 1).await;
        assert_eq!(components(&context, "later").await, components(&context, "demo").await);
        good.until_counts(2, 2, 0).await;

        let mut wrong = until_all(&context, &cases, Case::is_told_by).await;
        let plugins = plugins(&context).await;
        wrong.extend(cases.iter().filter_map(|case| case.verbosity(&plugins[case.sin.name])));
        wrong.extend(changes_of_steady_state(&context, &cases).await);
        let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
        wrong.extend(cases.iter().flat_map(|case| case.impatience(seconds)));
        let after = children(&context).await;
        let lost = before.iter().filter(|(child, content)| after.get(*child) != Some(*content));
        wrong.extend(lost.map(|(child, _)| format!("{child} is {:?}", after.get(child))));
        let later = context.expect("DaskCluster", "later").await;
        wrong.extend(misplaced(&context, &[demo, later]).await);
        if context.expect("ConfigMap", VICTIM).await != victim {
            wrong.push("the victim was changed".to_owned());
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(context.expect("Service", "demo-scheduler").await["spec"], service["spec"]);
        assert!(good.calls_about("demo-scheduler").len() <= 1 + QUESTIONS);
        good.until_ready("True", "Ready").await;
        assert!(controller.peak_memory() < MOST_MEMORY, "{} MiB", controller.peak_memory() >> 20);
        assert!(context.controller_log().len() < MOST_LOG, "{} KiB", context.controller_log().len() >> 10);
    })
    .await;
}

impl Case {
    /// No sin fills the status with what it says.
    fn verbosity(&self, plugin: &Value) -> Option<String> {
        let fits = failures(plugin).iter().all(|failure| text(failure).len() <= 512);
        let is_short = fits && plugin["status"].to_string().len() < 10_000;
        (!is_short).then(|| format!("{} fills its status", self.sin.name))
    }

    fn is_told_by(&self, plugin: &Value) -> bool {
        self.tells(plugin, self.sin.seen)
    }

    fn tells(&self, plugin: &Value, seen: Seen) -> bool {
        match seen {
            Seen::Flooded => self.tells(plugin, TOO_LARGE) || self.tells(plugin, TOO_LATE),
            Seen::Failing(reason, word) => {
                let tells = |failure: &Value| failure["reason"] == reason && text(failure).contains(word);
                failures(plugin).iter().any(tells)
            }
            Seen::NotReady(reason, word) => {
                let conditions = ["Ready", "Discovered"].map(|type_| condition(plugin, type_));
                conditions == [("False", reason); 2] && message(plugin, "Ready").contains(word)
            }
            Seen::Synced => counts(plugin) == [2, 2, 0] && self.sinner.asked().iter().any(Asked::is_review),
            Seen::Waiting => counts(plugin) == [2, 0, 0],
        }
    }

    /// No sin makes the controller call in a loop, and none leads it astray.
    fn impatience(&self, seconds: usize) -> Vec<String> {
        let name = self.sin.name;
        let mut subjects: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for call in self.sinner.asked() {
            if !(call.is_review() || call.path.starts_with("/v1alpha1/discovery?")) {
                wrong.push(format!("{name} was asked for {}", call.path));
            }
            subjects.entry(call.subject().to_owned()).or_default().push(call.reason());
        }
        let most = match self.sin.seen {
            _ if ["resync-1", "busy-zero"].contains(&name) => seconds + QUESTIONS,
            Seen::Failing("Unreachable" | "ServerError" | "Busy", _) | Seen::Flooded | Seen::Waiting => {
                3 * QUESTIONS + seconds / 4
            }
            // Discovery is tried again after 2, 4, 8, 16 and then 30 seconds.
            Seen::NotReady(..) => QUESTIONS + 1 + seconds / 15,
            _ => QUESTIONS,
        };
        if subjects.values().any(|reasons| reasons.len() > most) {
            wrong.push(format!("{name} was asked {subjects:?} in {seconds} s"));
        }
        wrong
    }
}

/// Waits until `holds` for each plugin; which are left in the end, and what their status is. One list tells of all:
/// asking for each of them would keep the API server from answering the controller.
async fn until_all(context: &TestContext, cases: &[Case], holds: impl Fn(&Case, &Value) -> bool) -> Vec<String> {
    let begin = Instant::now();
    loop {
        let plugins = plugins(context).await;
        let waiting = cases.iter().filter(|case| !holds(case, &plugins[case.sin.name]));
        let waiting: Vec<_> = waiting
            .map(|case| format!("{} is not told: {}", case.sin.name, plugins[case.sin.name]["status"]))
            .collect();
        if waiting.is_empty() || begin.elapsed() > TOLD_WITHIN {
            return waiting;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn plugins(context: &TestContext) -> BTreeMap<String, Value> {
    let plugins = context.list("DaskOperatorPlugin", "").await;
    plugins.into_iter().map(|plugin| (name(&plugin).to_owned(), plugin)).collect()
}

/// With all in their sinful ways, soon nothing is written any more. What is.
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
    let ticking = cases.iter().find(|case| case.sin.name == "resync-1").expect("there is such a sin");
    let written = async || {
        let (plugins, maps) = (context.list("DaskOperatorPlugin", "").await, context.list("ConfigMap", "").await);
        let clusters = context.list("DaskCluster", "").await;
        let state =
            |object: &Value| (version(object).to_owned(), object["status"].to_string(), object["data"].to_string());
        let all = [plugins, maps, clusters].concat();
        all.iter().map(|object| (name(object).to_owned(), state(object))).collect::<BTreeMap<_, _>>()
    };
    let (before, asked) = (written().await, ticking.sinner.asked().len());
    eventually("more rounds", async || match ticking.sinner.asked().len() - asked {
        ROUNDS.. => Ok(()),
        calls => Err(format!("there were {calls} calls")),
    })
    .await;
    let after = written().await;
    let changed = after.iter().filter(|(name, state)| before.get(*name) != Some(state));
    changed.map(|(name, state)| format!("{name} is written again: {:?} → {state:?}", before.get(name))).collect()
}

/// The child that each plugin had before it sinned, by name, with uid and content.
async fn children(context: &TestContext) -> BTreeMap<String, (String, Value)> {
    let children = context.list("ConfigMap", &format!("{PLUGIN},{KEY}=config")).await;
    let demos = children.iter().filter(|child| name(child).starts_with("demo-"));
    demos.map(|child| (name(child).to_owned(), (uid(child).to_owned(), child["data"].clone()))).collect()
}

/// What a cluster consists of.
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

/// Children that are not where they belong, or nobody's.
async fn misplaced(context: &TestContext, clusters: &[Value]) -> Vec<String> {
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
    let elsewhere = maps.iter().filter(|map| map.metadata.namespace.as_ref() != Some(&context.namespace));
    wrong.extend(elsewhere.map(|map| format!("{:?}", map.metadata)));
    wrong
}

/// Matched, synced, failing.
fn counts(plugin: &Value) -> [i64; 3] {
    ["matched", "synced", "failing"].map(|count| plugin["status"]["subjects"][count].as_i64().unwrap_or(-1))
}

fn failures(plugin: &Value) -> &[Value] {
    plugin["status"]["failures"].as_array().map_or(&[], Vec::as_slice)
}

fn text(failure: &Value) -> &str {
    failure["message"].as_str().unwrap_or_default()
}
