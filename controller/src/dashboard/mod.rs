//! Finds out where schedulers and workers serve their dashboard, which is also their HTTP API and their metrics: from
//! their command lines and the ports of container and Service. Pure.
//!
//! What differs from Dask's defaults is written into annotations, from which Prometheus reads it: path and port of a
//! monitor are the same for all clusters.

mod command_line;
mod shell;
#[cfg(test)]
mod tests;
mod variables;

use dask_operator_api::{
    DaskCluster, JsonObject,
    meta::{DASHBOARD_PORT, DASHBOARD_PREFIX, Map},
};
use kube::ResourceExt as _;
use serde_json::Value;

use command_line::{Found, Program, found, option};

/// The name that Dask's clients expect of the port.
const PORT_NAME: &str = "http-dashboard";
/// Where a scheduler listens by default. A worker chooses a free port.
const DEFAULT_PORT: u16 = 8787;
/// The longest prefix that is used.
const MAX_PREFIX: usize = 200;

/// What a command line says about the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Dashboard {
    /// What all paths begin with: empty, or with a slash at the beginning and none at the end.
    prefix: String,
    /// Where it listens, if that is known.
    port: Option<u16>,
    /// The names of this port in the container.
    port_names: Vec<String>,
}

/// Returns the annotations of the Service of `cluster` about its dashboard. There are none for Dask's defaults.
pub(crate) fn of_service(cluster: &DaskCluster) -> Map {
    let scheduler = &cluster.spec.scheduler;
    let mut dashboard = dashboard(&scheduler.spec, Program::Scheduler);
    // Users may know what the command line does not say.
    let given = cluster.annotations().get(DASHBOARD_PREFIX).and_then(|prefix| cleaned(prefix));
    dashboard.prefix = given.unwrap_or(dashboard.prefix);
    dashboard.port = dashboard.port.or(Some(DEFAULT_PORT));
    let mut annotations = Map::new();
    if !dashboard.prefix.is_empty() {
        annotations.insert(DASHBOARD_PREFIX.to_owned(), dashboard.prefix.clone());
    }
    annotations.extend(dashboard.service_port(&scheduler.service).map(|name| (DASHBOARD_PORT.to_owned(), name)));
    annotations
}

/// Returns the annotations of the pods of workers about their dashboards. There are none for the usual port. The prefix
/// is none of a worker's: its option has no effect in any version of Dask.
pub(crate) fn of_worker(spec: &JsonObject) -> Map {
    let names = dashboard(spec, Program::Worker).port_names;
    let name = names.first().filter(|_| names.iter().all(|name| name != PORT_NAME));
    name.map(|name| (DASHBOARD_PORT.to_owned(), name.clone())).into_iter().collect()
}

/// Returns `prefix` as Dask uses it: without slashes at its ends, and with one before it. `None` if it has characters
/// that cannot be in one, such as those of a variable that is unknown.
pub(crate) fn cleaned(prefix: &str) -> Option<String> {
    let inner = prefix.trim_matches('/');
    let is_valid = |next: char| next.is_ascii_alphanumeric() || "-._~:@=,/".contains(next);
    let climbs = inner.split('/').any(|segment| segment == "." || segment == "..");
    if inner.len() > MAX_PREFIX || climbs || !inner.chars().all(is_valid) {
        return None;
    }
    Some(if inner.is_empty() { String::new() } else { format!("/{inner}") })
}

/// Returns what the pod says: the container that runs the program, or else the first one.
fn dashboard(spec: &JsonObject, program: Program) -> Dashboard {
    let containers = spec.field("containers");
    let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    let commands: Vec<_> = containers.iter().map(|container| (container, found(container, program))).collect();
    let runs = commands.iter().find(|(_, found)| matches!(found, Some(Found::Program(_))));
    match runs.or_else(|| commands.first()) {
        Some((container, Some(Found::Program(words) | Found::Other(words)))) => {
            Dashboard::of(container, words, program)
        }
        Some((container, None)) => Dashboard::of(container, &[], program),
        None => Dashboard::default(),
    }
}

impl Dashboard {
    /// `--no-dashboard` is ignored: Dask serves API and metrics nevertheless.
    fn of(container: &Value, words: &[String], program: Program) -> Self {
        let prefix = option(words, "--dashboard-prefix").and_then(cleaned).unwrap_or_default();
        let default = Some(DEFAULT_PORT).filter(|_| program == Program::Scheduler);
        let port = option(words, "--dashboard-address").map_or(default, port_of);
        let is_it = |declared: &&Value| port.is_some_and(|port| declared["containerPort"] == port);
        let declared = container["ports"].as_array().into_iter().flatten().filter(is_it);
        let port_names = declared.filter_map(|declared| declared["name"].as_str().map(str::to_owned)).collect();
        Self { prefix, port, port_names }
    }

    /// Returns the name of the Service's port for the dashboard, if it is not the usual one. A usual name that is given
    /// to another port, such as that of a proxy, is not used if the dashboard has a port too.
    fn service_port(&self, service: &JsonObject) -> Option<String> {
        let ports = service.field("ports");
        let leads_here = |port: &&Value| {
            let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
            let number = target.as_u64().and_then(|number| u16::try_from(number).ok());
            let named = target.as_str().is_some_and(|target| self.port_names.iter().any(|name| name == target));
            named || (number.is_some() && number == self.port)
        };
        let names: Vec<_> =
            ports.as_array()?.iter().filter(leads_here).filter_map(|port| port["name"].as_str()).collect();
        let usual = names.contains(&PORT_NAME);
        // The port of the RPC cannot be the dashboard's, whatever it leads to.
        names.into_iter().find(|name| !usual && *name != "tcp-comm").map(str::to_owned)
    }
}

/// Returns the port of an address like `8787`, `:8787` or `0.0.0.0:8787`, the first one of several. `None` if Dask chooses
/// the port.
fn port_of(address: &str) -> Option<u16> {
    let first = address.split(',').next()?.trim();
    first.rsplit(':').next()?.parse().ok().filter(|port| *port != 0)
}
