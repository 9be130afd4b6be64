//! Plugins that misbehave, all at once and each in its own way. Run them with `make live`.

mod support;

use std::{collections::BTreeMap, time::Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use support::{
    TestContext, by_name, cluster, condition, eventually, message, name, owned_by,
    plugin::TestPlugin,
    sinner::Sinner,
    sins::{self, GOOD, Seen, Sin, VICTIM},
    uid, version, with_temp_ns,
};

const PLUGIN: &str = "plugin.kubernetes.dask.org/plugin";
const KEY: &str = "plugin.kubernetes.dask.org/key";
/// What all that goes on at once may take: many times the 2 MiB of a single answer, and far below 10 GB.
const MOST_MEMORY: u64 = 400 << 20;
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
        let mut good = TestPlugin::new(&context, GOOD);
        good.install().await;
        let cases = join_all(sins::all().into_iter().map(async |sin| {
            let sinner = Sinner::install(&context, sin.name, sin.way).await;
            Case { sin, sinner }
        }))
        .await;
        join_all(cases.iter().map(|case| case.sinner.until(|plugin| counts(plugin) == [1, 1, 0]))).await;
        let before = children(&context).await;
        assert_eq!(before.len(), cases.len() + 1);

        let begin = Instant::now();
        join_all(cases.iter().map(|case| case.sinner.begin())).await;
        context.annotate("DaskCluster", "demo", "example.com/nudge", "1").await;
        context.create(&cluster("later", 1)).await;
        context.settled("later", 1).await;
        eprintln!("the later cluster is settled after {:?}", begin.elapsed());
        assert_eq!(components(&context, "later").await, components(&context, "demo").await);
        good.until_counts(2, 2, 0).await;

        join_all(cases.iter().map(|case| case.until_seen())).await;
        eprintln!("all is seen after {:?}", begin.elapsed());
        stays_as_it_is(&context, &cases).await;
        let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
        for case in &cases {
            case.called_with_patience(seconds);
        }
        let after = children(&context).await;
        for (child, content) in &before {
            assert_eq!(after.get(child), Some(content), "{child}");
        }
        let later = context.expect("DaskCluster", "later").await;
        nothing_foreign_is_written(&context, &[demo, later], &victim).await;
        eprintln!("peak memory: {} MiB after {:?}", controller.peak_memory() >> 20, begin.elapsed());
        assert!(controller.peak_memory() < MOST_MEMORY, "{} MiB", controller.peak_memory() >> 20);
    })
    .await;
}

impl Case {
    /// Waits until the status of the plugin tells what it did.
    async fn until_seen(&self) {
        let Sin { name, seen, .. } = self.sin;
        let resource = self
            .sinner
            .until(|plugin| match seen {
                Seen::Failing(reason, word) => failures(plugin)
                    .iter()
                    .any(|failure| (reason.is_empty() || failure["reason"] == reason) && text(failure).contains(word)),
                Seen::NotReady(reason, word) => {
                    condition(plugin, "Ready") == ("False", reason)
                        && condition(plugin, "Discovered") == ("False", reason)
                        && message(plugin, "Ready").contains(word)
                }
                Seen::Synced => {
                    counts(plugin) == [2, 2, 0] && self.sinner.asked().iter().any(|asked| asked.is_review())
                }
                Seen::Waiting => counts(plugin) == [2, 0, 0],
            })
            .await;
        assert!(failures(&resource).iter().all(|failure| text(failure).len() <= 512), "{name}");
        assert!(resource["status"].to_string().len() < 20_000, "{name}");
    }

    /// No sin makes the controller call in a loop, and none leads it astray.
    fn called_with_patience(&self, seconds: usize) {
        let (calls, name) = (self.sinner.asked(), self.sin.name);
        let mut subjects: BTreeMap<&str, usize> = BTreeMap::new();
        for call in &calls {
            let known = call.is_review() || call.path.starts_with("/v1alpha1/discovery?");
            assert!(known, "{name}: {}", call.path);
            *subjects.entry(call.subject()).or_default() += 1;
        }
        let most = match self.sin.seen {
            _ if name == "resync-1" => seconds + QUESTIONS,
            Seen::Failing("Unreachable" | "ServerError" | "Busy", _) | Seen::Waiting => 3 * QUESTIONS + seconds / 4,
            _ => QUESTIONS,
        };
        eprintln!("{name}: {subjects:?}");
        assert!(subjects.values().all(|count| *count <= most), "{name} was asked {subjects:?} in {seconds} s");
    }
}

/// With all in their sinful ways, nothing is written any more but what somebody asks for again and again.
async fn stays_as_it_is(context: &TestContext, cases: &[Case]) {
    let ticking = cases.iter().find(|case| case.sin.name == "resync-1").unwrap();
    let written = async || {
        let (plugins, maps) = (context.list("DaskOperatorPlugin", "").await, context.list("ConfigMap", "").await);
        let clusters = context.list("DaskCluster", "").await;
        by_name(&[plugins, maps, clusters].concat(), version)
    };
    let (before, asked) = (written().await, ticking.sinner.asked().len());
    eventually("three more rounds", async || match ticking.sinner.asked().len() {
        calls if calls >= asked + 8 => Ok(()),
        calls => Err(format!("there were {} calls", calls - asked)),
    })
    .await;
    let after = written().await;
    let changed: Vec<_> = after.iter().filter(|(name, version)| before.get(*name) != Some(version)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// The child that each plugin had before it sinned, by name, with uid and content.
async fn children(context: &TestContext) -> BTreeMap<String, (String, Value)> {
    let children = context.list("ConfigMap", &format!("{PLUGIN},{KEY}=config")).await;
    let demos = children.iter().filter(|child| name(child).starts_with("demo-"));
    demos.map(|child| (name(child).to_owned(), (uid(child).to_owned(), child["data"].clone()))).collect()
}

/// The names of what a cluster consists of, as those of the cluster `demo`.
async fn components(context: &TestContext, cluster: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["DaskWorkerGroup", "Deployment", "Service"] {
        for object in context.list(kind, &format!("dask.org/cluster-name={cluster}")).await {
            let component = object["metadata"]["labels"]["dask.org/component"].clone();
            found.push(format!("{kind} {component}"));
        }
    }
    found.sort();
    found
}

/// Children are where they belong and those of clusters; the rest of the world is as it was.
async fn nothing_foreign_is_written(context: &TestContext, clusters: &[Value], victim: &Value) {
    assert_eq!(context.expect("ConfigMap", VICTIM).await, *victim);
    let owners: Vec<Value> = clusters.iter().map(|cluster| owned_by(cluster, false)).collect();
    for child in context.list("ConfigMap", PLUGIN).await {
        assert!(owners.contains(&child["metadata"]["ownerReferences"]), "{child}");
        assert_eq!(child["metadata"].get("finalizers"), None, "{child}");
    }
    for kind in ["Secret", "RoleBinding", "Role"] {
        assert_eq!(context.list(kind, PLUGIN).await, Vec::<Value>::new(), "{kind}");
    }
    for moved in ["moved-demo-scheduler", "moved-later-scheduler"] {
        context.expect("ConfigMap", moved).await;
    }
    let everywhere: Api<ConfigMap> = Api::all(context.client.clone());
    let maps = everywhere.list_metadata(&ListParams::default().labels(PLUGIN)).await.unwrap();
    for map in maps.items {
        assert_eq!(map.metadata.namespace.as_ref(), Some(&context.namespace), "{:?}", map.metadata.name);
    }
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
