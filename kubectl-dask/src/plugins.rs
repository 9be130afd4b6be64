//! `plugins`: the plugins, or what each of them did for one cluster.

use dask_operator_api::{DaskOperatorPlugin, DaskWorkerGroup};
use serde::Serialize;
use serde_json::Value;

use crate::{
    access::Connection,
    args::Format,
    error::Error,
    fetch::{self, Scope},
    json::{condition, conditions, list, name, number, text},
    output,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin {
    namespace: String,
    name: String,
    ready: String,
    version: String,
    matched: i64,
    failing: i64,
    first_failure: String,
}

#[derive(Serialize)]
struct Outcome {
    object: String,
    plugin: String,
    synced: bool,
    children: i64,
    message: String,
}

pub(crate) async fn run(
    connection: &Connection,
    cluster: Option<&str>,
    all: bool,
    format: Format,
) -> Result<(), Error> {
    match cluster {
        Some(cluster) => of_cluster(connection, cluster, format).await,
        None => all_plugins(connection, all, format).await,
    }
}

async fn all_plugins(connection: &Connection, all_namespaces: bool, format: Format) -> Result<(), Error> {
    let scope = Scope { all_namespaces, labels: "" };
    let found = fetch::list(connection, &fetch::resource::<DaskOperatorPlugin>(), scope).await;
    let plugins: Vec<Plugin> = found.map_err(|gap| Error::Refused(gap.why))?.iter().map(describe).collect();
    if format == Format::Json {
        return output::json(&plugins);
    }
    if plugins.is_empty() {
        eprintln!("there are no plugins here; -A lists those of all namespaces");
        return Ok(());
    }
    output::line(&table(plugins))
}

fn table(plugins: Vec<Plugin>) -> String {
    let row = |plugin: Plugin| {
        let (matched, failing) = (plugin.matched.to_string(), plugin.failing.to_string());
        [plugin.namespace, plugin.name, plugin.ready, plugin.version, matched, failing, plugin.first_failure]
    };
    let rows: Vec<[String; 7]> = plugins.into_iter().map(row).collect();
    output::render(["NAMESPACE", "NAME", "READY", "VERSION", "MATCHED", "FAILING", "FIRST FAILURE"], &rows)
}

fn describe(plugin: &Value) -> Plugin {
    let failed = conditions(plugin).find(|condition| condition.is_false() && condition.type_ != "Stalled");
    let failure = list(plugin, "/status/failures").first();
    let first_failure = failed
        .map(|failed| format!("{}: {}", failed.reason, failed.message))
        .or_else(|| failure.map(|failure| format!("{}: {}", text(failure, "/reason"), text(failure, "/message"))));
    Plugin {
        namespace: text(plugin, "/metadata/namespace").to_owned(),
        name: name(plugin).to_owned(),
        ready: condition(plugin, "Ready").map_or("Unknown", |ready| ready.status).to_owned(),
        version: text(plugin, "/status/discovered/version").to_owned(),
        matched: number(plugin, "/status/subjects/matched").unwrap_or_default(),
        failing: number(plugin, "/status/subjects/failing").unwrap_or_default(),
        first_failure: first_failure.unwrap_or_default(),
    }
}

async fn of_cluster(connection: &Connection, cluster: &str, format: Format) -> Result<(), Error> {
    let found = fetch::cluster(connection, cluster).await?;
    let groups = fetch::list(connection, &fetch::resource::<DaskWorkerGroup>(), Scope::default()).await;
    let groups = groups.unwrap_or_else(|gap| {
        output::gaps(&[gap]);
        Vec::new()
    });
    let own = groups.iter().filter(|group| text(group, "/spec/cluster") == cluster);
    let outcomes: Vec<Outcome> = std::iter::once(&found).chain(own).flat_map(outcomes).collect();
    if format == Format::Json {
        return output::json(&outcomes);
    }
    if outcomes.is_empty() {
        eprintln!("no plugin is called about DaskCluster {cluster}");
        return Ok(());
    }
    output::line(&table_of(outcomes))
}

fn table_of(outcomes: Vec<Outcome>) -> String {
    let row = |outcome: Outcome| {
        let synced = if outcome.synced { "yes" } else { "no" }.to_owned();
        [outcome.object, outcome.plugin, synced, outcome.children.to_string(), outcome.message]
    };
    let rows: Vec<[String; 5]> = outcomes.into_iter().map(row).collect();
    output::render(["OBJECT", "PLUGIN", "SYNCED", "CHILDREN", "MESSAGE"], &rows)
}

fn outcomes(object: &Value) -> impl Iterator<Item = Outcome> {
    list(object, "/status/plugins").iter().map(|entry| Outcome {
        object: format!("{}/{}", text(object, "/kind").to_lowercase(), name(object)),
        plugin: text(entry, "/name").to_owned(),
        synced: entry["synced"] == true,
        children: number(entry, "/children").unwrap_or_default(),
        message: text(entry, "/message").to_owned(),
    })
}

/// Returns what is printed about all plugins.
#[cfg(test)]
pub(crate) fn printed(plugins: &[Value]) -> String {
    table(plugins.iter().map(describe).collect())
}

/// Returns what is printed about the plugins of one object.
#[cfg(test)]
pub(crate) fn printed_of(object: &Value) -> String {
    table_of(outcomes(object).collect())
}
