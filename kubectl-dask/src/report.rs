//! `report`: a support bundle without secret values.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use dask_operator_api::{DaskAutoscaler, DaskCluster, DaskJob, DaskOperatorPlugin, DaskWorkerGroup, meta};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service},
};
use kube::{api::LogParams, core::ApiResource};
use serde_json::Value;

use crate::{
    access::Connection,
    args::Report,
    bundle::{self, File},
    error::{Error, explain},
    explain, fetch,
    fetch::{Scope, list},
    json::{list as values, name, text},
    output,
    progress::Progress,
    redact::redact,
    snapshot::Gap,
    why,
};

const README: &str = "\
A support bundle of dask-operator, written by `kubectl dask report`.

why.txt              what `kubectl dask why` says about each cluster
objects/KIND/NAME    Dask resources, pods, Deployments, ReplicaSets, Services, volume claims, quotas, Events, and the
                     Secrets that pods name
logs/POD             the last lines of the logs, if --logs was given
not-seen.txt         what could not be read, and why

Blanked: the data of Secrets, the values of environment variables, the settings of plugins, arguments that look like
passwords or tokens, and annotations that repeat a whole object. NOT blanked: names, labels, other annotations, images,
other arguments, messages of conditions and Events, and logs. Look through it before you hand it on.
";
const LOG_LINES: i64 = 2000;

pub(crate) async fn run(connection: &Connection, wanted: &Report) -> Result<(), Error> {
    let progress = Progress::start("reading objects");
    let mut gaps = Vec::new();
    let objects = objects(connection, wanted.cluster.as_deref(), &mut gaps).await;
    if let Some(cluster) = wanted.cluster.as_deref()
        && objects.is_empty()
    {
        return Err(fetch::missing(connection, cluster));
    }
    let mut files = vec![File { path: "README.txt".to_owned(), content: README.to_owned() }];
    let clusters = objects.iter().filter(|object| text(object, "/kind") == "DaskCluster");
    let mut causes = Vec::new();
    for cluster in clusters {
        let seen = fetch::snapshot(connection, name(cluster)).await;
        causes.push(format!("{}: {}\n", seen.name, explain::text(&why::diagnose(&seen))));
    }
    files.push(File { path: "why.txt".to_owned(), content: causes.join("\n") });
    if wanted.logs {
        files.extend(logs(connection, &objects, &mut gaps).await);
    }
    files.extend(objects.into_iter().map(file));
    files.push(File { path: "not-seen.txt".to_owned(), content: not_seen(&gaps) });
    let what = wanted.cluster.as_deref().unwrap_or(&connection.namespace);
    let path = wanted.file.clone().unwrap_or_else(|| default_path(what, Timestamp::now()));
    bundle::write(&path, &files)?;
    drop(progress);
    output::gaps(&gaps);
    output::line(&said(&path, files.len()))
}

/// Returns what is printed about a bundle.
pub(crate) fn said(path: &Path, files: usize) -> String {
    format!("{} has {files} files; README.txt says what is in them, and what was blanked", path.display())
}

/// Returns the path of a bundle about a cluster or a namespace.
pub(crate) fn default_path(what: &str, now: Timestamp) -> PathBuf {
    PathBuf::from(format!("dask-report-{what}-{}.tar.gz", now.strftime("%Y%m%d-%H%M%S")))
}

fn not_seen(gaps: &[Gap]) -> String {
    gaps.iter().map(|gap| format!("{}: {}\n", gap.resource, gap.why)).collect::<Vec<_>>().concat()
}

fn file(mut object: Value) -> File {
    redact(&mut object);
    let content = serde_json::to_string_pretty(&object).unwrap_or_default();
    File { path: format!("objects/{}/{}.json", text(&object, "/kind"), name(&object)), content }
}

/// Returns the kinds of the bundle.
fn kinds() -> Vec<ApiResource> {
    vec![
        fetch::resource::<DaskCluster>(),
        fetch::resource::<DaskWorkerGroup>(),
        fetch::resource::<DaskAutoscaler>(),
        fetch::resource::<DaskJob>(),
        fetch::resource::<Pod>(),
        fetch::resource::<Deployment>(),
        fetch::resource::<ReplicaSet>(),
        fetch::resource::<Service>(),
        fetch::resource::<PersistentVolumeClaim>(),
        fetch::resource::<ResourceQuota>(),
        fetch::resource::<Event>(),
        fetch::resource::<DaskOperatorPlugin>(),
    ]
}

async fn objects(connection: &Connection, cluster: Option<&str>, gaps: &mut Vec<Gap>) -> Vec<Value> {
    let mut objects = Vec::new();
    for kind in kinds() {
        match list(connection, &kind, Scope::default()).await {
            Ok(found) => objects.extend(found),
            Err(gap) => gaps.push(gap),
        }
    }
    if let Some(cluster) = cluster {
        if !objects.iter().any(|object| text(object, "/kind").starts_with("Dask") && name(object) == cluster) {
            return Vec::new();
        }
        objects.retain(|object| belongs(object, cluster));
    }
    let secrets = secrets(&objects);
    if !secrets.is_empty() {
        match list(connection, &fetch::resource::<Secret>(), Scope::default()).await {
            Ok(found) => objects.extend(found.into_iter().filter(|secret| secrets.contains(name(secret)))),
            Err(gap) => gaps.push(gap),
        }
    }
    objects
}

/// Returns whether an object concerns a cluster. Quotas, volume claims and plugins concern all.
fn belongs(object: &Value, cluster: &str) -> bool {
    let is_part = |name: &str| name.strip_prefix(cluster).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    match text(object, "/kind") {
        "ResourceQuota" | "PersistentVolumeClaim" | "DaskOperatorPlugin" => true,
        "DaskWorkerGroup" | "DaskAutoscaler" => text(object, "/spec/cluster") == cluster,
        "DaskCluster" | "DaskJob" => name(object) == cluster,
        "Event" => is_part(text(object, "/involvedObject/name")),
        _ => crate::json::label(object, meta::CLUSTER_NAME) == cluster,
    }
}

/// Returns the names of the Secrets that pods name.
fn secrets(objects: &[Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let pods = objects.iter().filter(|object| text(object, "/kind") == "Pod");
    for pod in pods {
        names.extend(values(pod, "/spec/volumes").iter().map(|volume| text(volume, "/secret/secretName").to_owned()));
        for container in values(pod, "/spec/containers") {
            names.extend(
                values(container, "/env").iter().map(|env| text(env, "/valueFrom/secretKeyRef/name").to_owned()),
            );
            names.extend(values(container, "/envFrom").iter().map(|env| text(env, "/secretRef/name").to_owned()));
        }
    }
    names.remove("");
    names
}

async fn logs(connection: &Connection, objects: &[Value], gaps: &mut Vec<Gap>) -> Vec<File> {
    let api = connection.api::<Pod>();
    let mut files = Vec::new();
    for pod in objects.iter().filter(|object| text(object, "/kind") == "Pod") {
        for container in values(pod, "/spec/containers").iter().map(|container| text(container, "/name")) {
            let params = LogParams {
                container: Some(container.to_owned()),
                tail_lines: Some(LOG_LINES),
                ..LogParams::default()
            };
            let place = format!("{}/{container}", name(pod));
            match api.logs(name(pod), &params).await {
                Ok(content) => files.push(File { path: format!("logs/{place}.log"), content }),
                Err(error) => gaps.push(Gap {
                    resource: "pods/log".to_owned(),
                    why: explain(&format!("get the log of {place}"), &error),
                }),
            }
        }
    }
    files
}
