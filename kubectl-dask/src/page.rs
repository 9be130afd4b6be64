//! Compares the listings of the book's page on this program with what the program prints, so that they cannot become
//! stale.

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{args::CommandLine, dashboard, explain, get, plugins, report, scale, snapshot::Snapshot, top, why};

const PAGE: &str = include_str!("../../docs/src/kubectl-dask.md");
const NO_ROOM: &str = "0/3 nodes are available: 3 Insufficient memory.";

/// Returns the lines below a command of the page.
fn shown(command: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("\n$ {command}\n")).unwrap_or_else(|| panic!("no {command} on the page"));
    let output = rest.lines().take_while(|line| !line.starts_with("$ ") && !line.starts_with("```"));
    output.collect::<Vec<_>>().join("\n")
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn cluster() -> Value {
    let plugin = json!({"name": "ingress", "synced": true, "children": 1});
    json!({
        "kind": "DaskCluster",
        "metadata": {"name": "demo", "namespace": "team-a", "creationTimestamp": "2026-12-01T03:00:00Z"},
        "status": {
            "phase": "Running", "observedGeneration": 1, "plugins": [plugin],
            "conditions": [{"type": "SchedulerReady", "status": "True", "reason": "Ready", "message": ""}],
        },
    })
}

fn group(replicas: u32, conditions: &Value) -> Value {
    json!({
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "demo-default", "namespace": "team-a"},
        "spec": {"cluster": "demo", "worker": {"replicas": replicas}},
        "status": {"readyReplicas": 2, "connectedReplicas": 2, "conditions": conditions},
    })
}

/// Returns a snapshot of a scheduler whose image cannot be pulled.
fn without_image() -> Snapshot {
    let waiting =
        json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"dask:2026.77\": not found"});
    let status = json!({"name": "scheduler", "image": "dask:2026.77", "state": {"waiting": waiting}});
    let unready = json!({"type": "SchedulerReady", "status": "False", "reason": "ImagePullFailed", "message": ""});
    let pod = json!({
        "metadata": {"name": "demo-scheduler-a", "labels": {"dask.org/component": "scheduler"}},
        "status": {"containerStatuses": [status]},
    });
    let mut cluster = cluster();
    cluster["status"]["conditions"] = json!([unready]);
    Snapshot { cluster: Some(cluster), pods: vec![pod], ..well() }
}

fn well() -> Snapshot {
    let (namespace, name) = ("team-a".to_owned(), "demo".to_owned());
    Snapshot { namespace, name, cluster: Some(cluster()), groups: vec![group(2, &json!([]))], ..Snapshot::default() }
}

#[test]
fn the_page_shows_what_get_and_plugins_print() {
    let no_room = json!([{"type": "Available", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}]);
    let mut busy = cluster();
    let reported =
        json!({"type": "WorkersAvailable", "status": "False", "reason": "Unschedulable", "message": NO_ROOM});
    busy["status"]["conditions"] = json!([reported]);
    let printed = get::printed(&[busy], &[group(3, &no_room)], at("2026-12-01T03:12:00Z"));
    assert_eq!(shown("kubectl dask get"), printed);

    let plugin = json!({
        "metadata": {"name": "ingress", "namespace": "dask-operator"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "discovered": {"version": "0.1.0"},
            "subjects": {"matched": 4, "failing": 0},
        },
    });
    assert_eq!(shown("kubectl dask plugins -A"), plugins::printed(&[plugin]));
    assert_eq!(shown("kubectl dask plugins demo"), plugins::printed_of(&cluster()));
}

#[test]
fn the_page_shows_what_why_prints() {
    let finding = why::diagnose(&without_image());
    assert_eq!(shown("kubectl dask why demo"), explain::text(&finding));
    let well = well();
    let finding = why::diagnose(&well);
    let printed = serde_json::to_string_pretty(&explain::explanation(&well, &finding)).unwrap();
    assert_eq!(shown("kubectl dask why demo --output json"), printed);
}

#[test]
fn the_page_shows_what_the_other_commands_print() {
    let workers = [
        ("demo-default-worker-3f2a100000", "tcp://10.0.0.7:40331"),
        ("demo-default-worker-3f2a100001", "tcp://10.0.0.8:37285"),
    ];
    assert_eq!(shown("kubectl dask top demo"), top::printed(&workers, 16, 117));
    assert_eq!(shown("kubectl dask scale demo 5"), scale::said("demo-default", 5));
    let path = report::default_path("demo", at("2026-12-01T03:15:00Z"));
    assert_eq!(shown("kubectl dask report demo"), report::said(&path, 24));
    let url = dashboard::url(dashboard::USUAL, "");
    assert_eq!(shown("kubectl dask dashboard demo --no-browser"), format!("{url}\n{}", dashboard::FORWARDING));
    let version = format!("kubectl-dask {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(shown("kubectl dask --version"), version);
}

#[test]
fn each_command_of_the_page_is_one_of_the_program() {
    let lines = PAGE.lines().filter_map(|line| line.strip_prefix("$ kubectl dask "));
    let commands: Vec<&str> = lines.filter(|line| *line != "--version").collect();
    for command in &commands {
        let words = std::iter::once("kubectl-dask").chain(command.split_whitespace());
        CommandLine::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    assert!(commands.len() >= 10, "{commands:?}");
}
