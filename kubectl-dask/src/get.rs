//! `get`: clusters with their groups, and the first thing that is wrong with each.

use dask_operator_api::{DaskCluster, DaskWorkerGroup};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    access::Connection,
    args::Format,
    error::Error,
    fetch::{self, Scope, list},
    json::{age, conditions, name, number, text, time},
    output,
    progress::Progress,
    snapshot::Gap,
};

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    desired: i64,
    ready: i64,
    connected: Option<i64>,
    first_failure: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cluster {
    namespace: String,
    name: String,
    phase: String,
    desired: i64,
    ready: i64,
    connected: Option<i64>,
    age: String,
    first_failure: Option<String>,
    groups: Vec<Group>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    clusters: Vec<Cluster>,
    not_seen: Vec<Gap>,
}

pub(crate) async fn run(
    connection: &Connection,
    only: Option<&str>,
    all_namespaces: bool,
    format: Format,
) -> Result<(), Error> {
    let scope = Scope { all_namespaces, labels: "" };
    let progress = Progress::start("listing clusters");
    let clusters =
        list(connection, &fetch::resource::<DaskCluster>(), scope).await.map_err(|gap| Error::Refused(gap.why))?;
    let mut not_seen = Vec::new();
    let groups = list(connection, &fetch::resource::<DaskWorkerGroup>(), scope).await.unwrap_or_else(|gap| {
        not_seen.push(gap);
        Vec::new()
    });
    drop(progress);
    let wanted = clusters.iter().filter(|cluster| only.is_none_or(|only| name(cluster) == only));
    let clusters: Vec<Cluster> = wanted.map(|cluster| describe(cluster, &groups, Timestamp::now())).collect();
    if let Some(only) = only.filter(|_| clusters.is_empty()) {
        return Err(fetch::missing(connection, only));
    }
    output::gaps(&not_seen);
    match format {
        Format::Json => output::json(&Listing { clusters, not_seen }),
        Format::Table if clusters.is_empty() => {
            eprintln!("there are no DaskClusters here");
            Ok(())
        }
        Format::Table => output::line(&table(&clusters)),
    }
}

fn table(clusters: &[Cluster]) -> String {
    let text = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let failure = |failure: &Option<String>| failure.clone().unwrap_or_default();
    let rows: Vec<[String; 8]> = clusters
        .iter()
        .flat_map(|cluster| {
            let own = [
                cluster.namespace.clone(),
                cluster.name.clone(),
                cluster.phase.clone(),
                cluster.desired.to_string(),
                cluster.ready.to_string(),
                text(cluster.connected),
                cluster.age.clone(),
                failure(&cluster.first_failure),
            ];
            let groups = cluster.groups.iter().map(move |group| {
                let (desired, ready) = (group.desired.to_string(), group.ready.to_string());
                let name = format!("  {}", group.name);
                let empty = String::new;
                [empty(), name, empty(), desired, ready, text(group.connected), empty(), failure(&group.first_failure)]
            });
            std::iter::once(own).chain(groups)
        })
        .collect();
    output::render(["NAMESPACE", "NAME", "PHASE", "DESIRED", "READY", "CONNECTED", "AGE", "FIRST FAILURE"], &rows)
}

fn describe(cluster: &Value, groups: &[Value], now: Timestamp) -> Cluster {
    let namespace = text(cluster, "/metadata/namespace");
    let is_own = |group: &&Value| {
        text(group, "/metadata/namespace") == namespace && text(group, "/spec/cluster") == name(cluster)
    };
    let groups: Vec<Group> = groups.iter().filter(is_own).map(describe_group).collect();
    let connected: Option<Vec<i64>> = groups.iter().map(|group| group.connected).collect();
    let phase = text(cluster, "/status/phase");
    Cluster {
        namespace: namespace.to_owned(),
        name: name(cluster).to_owned(),
        phase: if phase.is_empty() { "Unseen" } else { phase }.to_owned(),
        desired: groups.iter().map(|group| group.desired).sum(),
        ready: groups.iter().map(|group| group.ready).sum(),
        connected: connected.map(|connected| connected.iter().sum()),
        age: age(time(cluster, "/metadata/creationTimestamp"), now),
        first_failure: first_failure(cluster),
        groups,
    }
}

fn describe_group(group: &Value) -> Group {
    Group {
        name: name(group).to_owned(),
        desired: number(group, "/spec/worker/replicas").unwrap_or(1).max(0),
        ready: number(group, "/status/readyReplicas").unwrap_or_default(),
        connected: number(group, "/status/connectedReplicas"),
        first_failure: first_failure(group),
    }
}

/// Returns the first condition that is not as it should be. What is in progress counts only if nothing failed.
fn first_failure(object: &Value) -> Option<String> {
    let bad = || conditions(object).filter(|condition| condition.is_false() && condition.type_ != "Stalled");
    let first = bad().find(|condition| !condition.may_pass()).or_else(|| bad().next())?;
    Some(format!("{}: {}", first.reason, first.message.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Returns what is printed about these objects.
#[cfg(test)]
pub(crate) fn printed(clusters: &[Value], groups: &[Value], now: Timestamp) -> String {
    let clusters: Vec<Cluster> = clusters.iter().map(|cluster| describe(cluster, groups, now)).collect();
    table(&clusters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_counts_all_its_groups_and_no_others() {
        let cluster = json!({"metadata": {"name": "demo", "namespace": "a"}, "status": {"phase": "Running", "conditions": [
            {"type": "WorkersAvailable", "status": "False", "reason": "Starting", "message": "not all"},
            {"type": "PluginsSynced", "status": "False", "reason": "NotSynced", "message": "ingress:\n no"},
            {"type": "Stalled", "status": "False", "reason": "NotStalled", "message": ""},
        ]}});
        let group = |name: &str, namespace: &str, cluster: &str| {
            json!({
                "metadata": {"name": name, "namespace": namespace}, "spec": {"cluster": cluster, "worker": {"replicas": 3}},
                "status": {"readyReplicas": 2, "connectedReplicas": 1},
            })
        };
        let groups =
            [group("x", "a", "demo"), group("y", "a", "demo"), group("z", "a", "other"), group("x", "b", "demo")];
        let found = describe(&cluster, &groups, Timestamp::UNIX_EPOCH);
        assert_eq!((found.desired, found.ready, found.connected), (6, 4, Some(2)));
        assert_eq!(found.groups.len(), 2);
        assert_eq!(found.first_failure.as_deref(), Some("NotSynced: ingress: no"));
    }
}
