//! The DaskOperatorPlugin reconciler: accepts, authorises, discovers and registers plugins, and reports the result in
//! their status.

mod conclusion;
pub(crate) mod context;
mod credentials;
pub(crate) mod deleted_plugins;
mod endpoint;
mod endpoint_change;
pub(crate) mod endpoint_slices;
pub(crate) mod finalizer_controller;
mod inquiries;
mod inquiry;
mod inquiry_result;
mod interruption;
mod observe;
mod probes;
mod reasons;
mod register;
mod route;
pub(crate) mod socket_watch;
pub(crate) mod sockets;
mod status;
pub(crate) mod strays;
pub(crate) mod sweep;
pub(crate) mod teardown;
pub(crate) mod trigger;
mod validate;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt as _;
use plugin_protocol::EventReason;

pub use self::status::CONDITIONS;
use self::{
    context::PluginContext,
    probes::{Probe, Recalled},
    status::Findings,
    validate::Tenancy,
};
pub(crate) use self::{inquiries::Inquiries, probes::Probes};
use super::{
    children::prune_guard::ALLOW_ANNOTATION,
    client::Base,
    config::{CertificateLifetimes, Settings, TokenSubject, Urls},
    index::{registration::Registration, registry::Command},
    model::{
        child_kind::ChildKind,
        key::{PluginKey, key_of},
        writer::{self, Writer},
    },
};
use dask_operator_api::DaskOperatorPlugin;
use operator_runtime::{k8s, reconciler::Action, rejection::Rejection, scope::Scope};

/// When a plugin is reconciled again while an inquiry is running. The end of the inquiry triggers a pass anyway.
const INQUIRY_PERIOD: Duration = Duration::from_mins(1);
/// The shortest requeue delay; without a delay the reconciler would spin.
const MIN_REQUEUE: Duration = Duration::from_millis(100);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Observe(k8s::Error),
    #[error(transparent)]
    Status(k8s::Error),
}

impl Error {
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) | Self::Status(error) => error.category(),
        }
    }
}

/// Reconciles one plugin resource, its worker and its status.
pub(crate) async fn reconcile(plugin: Arc<DaskOperatorPlugin>, context: Arc<PluginContext>) -> Result<Action, Error> {
    let key = key_of(&plugin);
    let served = validate::is_served(&key, &context.plugins.places);
    let valid = match served.and_then(|()| validate::validate(&plugin, &context.settings)) {
        Ok(valid) => valid,
        Err(refusal) => {
            context.registry.remove(&key);
            context.probes.forget(&key);
            context.inquiries.forget(&key);
            write_status(&context, &plugin, &Findings::refused(refusal)).await?;
            return Ok(Action::await_change());
        }
    };
    hand_over_leave(&context, &key, &plugin);
    if let Some(result) = context.inquiries.take(&key) {
        conclusion::conclude(&context, &plugin, &valid, result)?;
    }
    let now = Instant::now();
    let (last, next) = if context.inquiries.is_under_way(&key) {
        (context.probes.last(&key, &plugin), INQUIRY_PERIOD)
    } else {
        match context.probes.recall(&key, &plugin, now) {
            Recalled::Fresh(probe) => {
                let next = (probe.at + probe.pause()).saturating_duration_since(now);
                (Some(probe), next)
            }
            Recalled::Stale(last) => {
                inquiry::begin(&context, &plugin, valid, last.as_ref());
                (last, INQUIRY_PERIOD)
            }
        }
    };
    // Findings about another generation do not apply to this one.
    let last = last.filter(|probe| Some(probe.generation) == plugin.metadata.generation);
    if let Some(mut probe) = last.filter(Probe::is_shown) {
        probe.findings.summary = context.registry.get(&key).and_then(|worker| worker.summary.borrow().clone());
        write_status(&context, &plugin, &probe.findings).await?;
    }
    Ok(Action::requeue(next.max(MIN_REQUEUE)))
}

fn leave_of(plugin: &DaskOperatorPlugin) -> Option<String> {
    plugin.annotations().get(ALLOW_ANNOTATION).cloned()
}

/// Passes the annotation that allows pruning to the worker. Annotations do not change the generation, so no probe would
/// pass it on.
fn hand_over_leave(context: &PluginContext, key: &PluginKey, plugin: &DaskOperatorPlugin) {
    let Some(worker) = context.registry.get(key) else { return };
    let leave = leave_of(plugin);
    if worker.registered.borrow().allow_prune == leave {
        return;
    }
    worker.registered.send_modify(|registered| Arc::make_mut(registered).allow_prune = leave);
    // An error means that the worker is being stopped.
    let _ = worker.commands.send(Command::EnqueueAll(EventReason::PluginChanged));
}

/// Returns the plugin's registration for `render`, which has no API server to resolve kinds. Everything that flags
/// could allow is allowed.
pub(crate) fn without_cluster(
    plugin: &DaskOperatorPlugin,
    kinds: Vec<ChildKind>,
    home: &str,
) -> Result<Registration, Rejection> {
    let settings = Settings {
        namespace: home.to_owned(),
        watched: Scope::all(),
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: plugin.namespace().as_deref() != Some(home),
        plugins_per_namespace: usize::MAX,
        urls: Urls { allowed: true, dev: true },
        identity: TokenSubject { service_account: String::new(), pod: None },
        lives: CertificateLifetimes { authority: Duration::ZERO, certificate: Duration::ZERO },
        endpoints: false,
        strays: false,
    };
    let valid = validate::validate(plugin, &settings)?;
    Ok(validate::registration(plugin, &valid, kinds, home))
}

/// Returns the address of a plugin on this machine, or what is wrong with `url`.
pub(crate) fn loopback(url: &str) -> Result<Base, String> {
    endpoint::parse_url(url, "http")
}

/// Returns the kinds of the plugin's allow-list, or none if one of them is not served.
pub(crate) async fn kinds_of(context: &PluginContext, plugin: &DaskOperatorPlugin) -> Vec<ChildKind> {
    observe::resolve_kinds(&context.client, plugin).await.unwrap_or_default()
}

/// Returns the writer of the plugin's children, or why the plugin must not have any.
pub(crate) fn writer_of(context: &PluginContext, plugin: &DaskOperatorPlugin) -> Result<Writer, Rejection> {
    let Tenancy { account, scope } = validate::tenancy(plugin, &context.settings)?;
    let writer = context.writers.writer(account.as_ref(), scope.as_deref());
    writer.map_err(|error| {
        let reason = match error {
            writer::Error::Client(_) => "InvalidWriter",
            writer::Error::TooMany(_) => "TooManyWriters",
        };
        Rejection::new(reason, format!("writer: {error}"))
    })
}

async fn write_status(context: &PluginContext, plugin: &DaskOperatorPlugin, findings: &Findings) -> Result<(), Error> {
    let desired = status::status_of(plugin, findings, Timestamp::now());
    if status::write(&context.reporter, plugin, &desired).await.map_err(Error::Status)? {
        let old = plugin.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let desired = status::reported(old, &desired.conditions);
        context.reporter.condition_changes(plugin, old, &desired).await;
    }
    Ok(())
}
