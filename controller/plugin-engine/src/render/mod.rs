//! `dask-operator render`: shows the result of a plugin's answers without a cluster, with the code that the controller
//! runs.
//!
//! ```text
//! files ──read──> Manifests ──world──> subjects and their owners, and what else is there
//!       subject ──match──> request ──call──> answer ──judge──> children to apply, refused, to prune
//! ```
//!
//! Values that an API server would provide are made up: uids are derived from names, and plurals from kinds. A kind is
//! namespaced unless its `CustomResourceDefinition` is among the files and specifies another scope.

mod call;
mod dry_run_state;
mod judge;
mod kinds;
mod manifests;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use dask_operator_api::{DaskCluster, DaskJob, DaskWorkerGroup};
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;
use serde_json::Value;

use self::{
    call::Source,
    dry_run_state::{DryRunState, Subject},
    judge::{Given, Judged},
    manifests::Manifests,
};
use super::{
    client::response::CallError,
    index::registration::Registration,
    model::{labels::KEY_LABEL, rejected_child::Rejected},
    resource,
    sync::request::Question,
};
use plugin_protocol::{EventReason, ReviewRequest};

/// The options of a run.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// The file with the DaskOperatorPlugin.
    pub plugin: PathBuf,
    /// The files with manifests; `-` is the standard input.
    pub files: Vec<PathBuf>,
    /// The endpoint of the plugin: `http://127.0.0.1:PORT` or `unix:PATH`.
    pub endpoint: Option<String>,
    /// The file with the response for every subject, instead of calls.
    pub answer: Option<PathBuf>,
    /// Whether only the requests are printed.
    pub requests: bool,
    /// The namespace of manifests that specify none.
    pub namespace: String,
    /// The namespace of the operator.
    pub operator_namespace: String,
    /// The DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
}

/// Builds the manifests that the reconcilers create for Dask resources. The engine does not depend on the reconcilers.
pub trait DaskManifests {
    /// Returns the manifests for a DaskJob in a Kubernetes cluster with this DNS domain.
    fn of_job(&self, job: &DaskJob, cluster_domain: &str) -> Result<Vec<Value>, Rejection>;
    /// Returns the manifests for a DaskCluster.
    fn of_cluster(&self, cluster: &DaskCluster) -> Result<Vec<Value>, Rejection>;
    /// Returns the manifests for a DaskWorkerGroup of `cluster`, if that is known.
    fn of_group(
        &self,
        group: &DaskWorkerGroup,
        cluster: Option<Arc<DaskCluster>>,
        cluster_domain: &str,
    ) -> Result<Vec<Value>, Rejection>;
}

/// Why rendering failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file does not contain valid manifests.
    #[error("{}: {cause}", path.display())]
    Manifest {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
    /// The plugin resource did not pass validation.
    #[error("the DaskOperatorPlugin is not accepted: {}: {}", .0.reason, .0.message)]
    NotAccepted(Rejection),
    /// The endpoint is not on this machine.
    #[error("--endpoint {0}")]
    Endpoint(String),
    /// The plugin's discovery failed.
    #[error("the plugin's discovery: {0}")]
    Discovery(String),
    /// A request could not be built.
    #[error(transparent)]
    Digest(#[from] plugin_protocol::DigestError),
    /// The output is closed.
    #[error("failed to write: {0}")]
    Io(#[from] io::Error),
}

/// Writes children to `out` as one YAML stream and rejections to `err`, one per line. Returns whether nothing was
/// rejected.
///
/// # Errors
/// Fails if nothing can be rendered. The message is one sentence.
pub async fn render(
    args: &RenderOptions,
    made: &impl DaskManifests,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let plugin = manifests::read_plugin(&args.plugin, &args.operator_namespace)?;
    let manifests = Manifests::read(&args.files, &args.namespace)?;
    let kinds = kinds::resolve(&plugin.spec.children, &manifests.definitions);
    let registration =
        resource::without_cluster(&plugin, kinds, &args.operator_namespace).map_err(Error::NotAccepted)?;
    let dry_run_state = DryRunState::of(manifests, made, &args.cluster_domain);
    let matched = dry_run_state.matched(&registration);
    for problem in dry_run_state.problems.iter().chain(&matched.problems) {
        writeln!(err, "{problem}")?;
    }
    let mut clean = dry_run_state.problems.is_empty() && matched.problems.is_empty();
    if matched.subjects.is_empty() {
        writeln!(err, "no subject matches: {}", dry_run_state.summary(&registration, &matched))?;
        return Ok(false);
    }
    if args.requests {
        for subject in &matched.subjects {
            let review = request(&registration, &dry_run_state, subject)?;
            writeln!(out, "{}", serde_json::to_string(&review).map_err(io::Error::from)?)?;
        }
        return Ok(clean);
    }
    let source = Source::open(args).await?;
    let mut given = Given::default();
    for subject in &matched.subjects {
        let review = request(&registration, &dry_run_state, subject)?;
        let answer = source.answer(&review).await;
        clean &= print(subject, judge::judge(&registration, &dry_run_state, &mut given, subject, answer), out, err)?;
    }
    Ok(clean)
}

/// Returns the request that the controller would send about `subject`.
fn request(
    registration: &Registration,
    dry_run_state: &DryRunState,
    subject: &Subject<'_>,
) -> Result<ReviewRequest, Error> {
    let question = Question {
        plugin: registration,
        key: subject.key,
        object: subject.object,
        owner_key: &subject.owner_key,
        owner: subject.owner,
        reason: EventReason::Created,
        now: Timestamp::now(),
        dry_run: true,
    };
    let children = dry_run_state.children(registration, subject).into_iter().filter_map(|child| {
        let key = child.object.labels().get(KEY_LABEL)?.clone();
        Some((key, serde_json::to_value(child.object).ok()?))
    });
    Ok(question.request(children.collect(), 1)?)
}

fn print(
    subject: &Subject<'_>,
    judged: Result<Judged, CallError>,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, Error> {
    let key = subject.key;
    let judged = match judged {
        Ok(judged) => judged,
        Err(error) => {
            writeln!(err, "{key}: {}: {error}", error.reason())?;
            return Ok(false);
        }
    };
    for (child, manifest) in &judged.apply {
        let text = serde_saphyr::to_string(manifest).map_err(io::Error::other)?;
        writeln!(out, "---\n# {key}, child {child}\n{}", text.trim_end())?;
    }
    for child in &judged.prune {
        writeln!(err, "{key}: prunes {} {}, which the plugin no longer returns", child.resource.kind, child.name)?;
    }
    for warning in &judged.warnings {
        writeln!(err, "{key}: warning: {warning}")?;
    }
    for Rejected { key: child, reason, message } in &judged.refused {
        writeln!(err, "{key}, child {child}: refused: {reason}: {message}")?;
    }
    if let Some(outcome) = &judged.outcome {
        writeln!(err, "{key}: {outcome}")?;
    }
    if judged.apply.is_empty() && judged.refused.is_empty() && judged.outcome.is_none() {
        writeln!(err, "{key}: the plugin returns no children")?;
    }
    Ok(judged.refused.is_empty() && judged.outcome.is_none())
}

/// Returns the name of an object for messages.
fn describe(object: &kube::api::DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
