//! Checks that the commands that are advised run as they are printed.

use std::collections::BTreeSet;

use clap::Parser as _;
use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{
    diagnose, plugins,
    tests::{cases, snapshot},
};
use crate::{args::CommandLine, snapshot::Snapshot};

/// Returns the commands in a text. Each ends with the text, or before `)` or `;`.
fn commands(text: &str) -> Vec<&str> {
    let begin = text.match_indices("kubectl ").map(|(at, _)| at);
    begin.map(|at| text[at..].split([')', ';']).next().unwrap()).collect()
}

/// Returns the words of a command, as a shell reads them.
fn words(command: &str) -> Vec<String> {
    let mut parts = command.split('\'');
    let mut words: Vec<String> = Vec::new();
    while let Some(plain) = parts.next() {
        words.extend(plain.split_whitespace().map(str::to_owned));
        words.extend(parts.next().map(str::to_owned));
    }
    words
}

/// Returns the names by which kubectl knows a kind.
fn names<K: CustomResourceExt>() -> Vec<String> {
    let names = K::crd().spec.names;
    [vec![names.plural], names.singular.into_iter().collect(), names.short_names.unwrap_or_default()].concat()
}

/// Returns the names of the kinds that commands are advised for.
fn kinds() -> BTreeSet<String> {
    let others = ["deployment", "deployments", "quota", "pvc", "service", "serviceaccount"];
    let dask = [
        names::<DaskCluster>(),
        names::<DaskWorkerGroup>(),
        names::<DaskJob>(),
        names::<DaskAutoscaler>(),
        names::<DaskOperatorPlugin>(),
    ];
    others.map(str::to_owned).into_iter().chain(dask.concat()).collect()
}

/// Returns why kubectl would refuse this command, if it would.
fn refusal(kinds: &BTreeSet<String>, words: &[String]) -> Option<String> {
    if words[1] == "dask" {
        let line = std::iter::once("kubectl-dask").chain(words[2..].iter().map(String::as_str));
        let parsed = CommandLine::try_parse_from(line);
        return match parsed {
            Ok(line) if line.access.context.is_none() => Some("it may ask another API server".to_owned()),
            Ok(line) if line.access.namespace.is_none() => Some("it names no namespace".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
    }
    let [_, context, value, rest @ ..] = words else { return Some("it is too short".to_owned()) };
    if (context.as_str(), value.as_str()) != ("--context", "prod") {
        return Some("it may ask another API server".to_owned());
    }
    let (namespaced, rest) = match rest {
        [flag, namespace, rest @ ..] if flag == "-n" => (namespace != "prod", rest),
        rest => (rest.iter().any(|word| word == "-A"), rest),
    };
    if !namespaced {
        return Some("it names no namespace".to_owned());
    }
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match *rest.as_slice() {
        ["logs", "-l", selector, "--prefix"] => (!selector.contains('=')).then(|| selector.to_owned()),
        ["logs", target] | ["logs", target, "-c", _, "--previous"] => {
            (target.is_empty() || target.to_uppercase() == target).then(|| "which pod?".to_owned())
        }
        ["get", kind, .., "-A"] | ["describe" | "edit" | "delete" | "create", kind, _] => {
            (!kinds.contains(kind)).then(|| format!("{kind} is no kind"))
        }
        ["patch", kind, _, "--type", "merge", "-p", patch] => {
            let is_json = serde_json::from_str::<Value>(patch).is_ok();
            (!kinds.contains(kind) || !is_json).then(|| format!("{kind} {patch}"))
        }
        _ => Some("no such command is known".to_owned()),
    }
}

#[test]
fn each_command_that_is_advised_runs_as_printed() {
    let kinds = kinds();
    let (mut advised, mut wrong) = (0, Vec::new());
    for case in cases() {
        let mut whole = snapshot(&case);
        " --context prod".clone_into(&mut whole.options);
        let mut without_pods = snapshot(&case);
        without_pods.options.clone_from(&whole.options);
        without_pods.pods.clear();
        without_pods.plugins.clear();
        for action in [diagnose(&whole).action, diagnose(&without_pods).action] {
            for command in commands(&action) {
                advised += 1;
                wrong.extend(refusal(&kinds, &words(command)).map(|why| format!("{command}\n   {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(advised >= 20, "only {advised} commands were advised");
}

#[test]
fn a_plugin_is_looked_for_in_its_own_namespace() {
    let plugin = |namespace: &str| json!({"metadata": {"name": "links", "namespace": namespace}});
    let cluster =
        json!({"kind": "DaskCluster", "status": {"plugins": [{"name": "links", "synced": false, "message": "no"}]}});
    let action = |plugins: Vec<Value>| {
        let namespace = "ns".to_owned();
        let seen = Snapshot { namespace, cluster: Some(cluster.clone()), plugins, ..Snapshot::default() };
        plugins::of(&seen).unwrap().action
    };
    let expected = "have its owner see kubectl -n operators describe daskoperatorplugin links";
    assert_eq!(action(vec![plugin("operators")]), expected);
    let own = "have its owner see kubectl -n ns describe daskoperatorplugin links";
    assert_eq!(action(vec![plugin("other"), plugin("ns")]), own);
    assert_eq!(action(vec![]), "have its owner find it: kubectl get daskoperatorplugins -A");
}
