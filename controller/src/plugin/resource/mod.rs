//! The DaskOperatorPlugin reconciler: accept → authorise → discover → register, and say so in the status.

mod endpoint;
mod material;
mod observe;
mod probes;
mod route;
mod status;
mod validate;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use plugin_protocol::{Discovery, EventReason};

use self::{
    observe::Rights,
    probes::Probe,
    status::Findings,
    validate::{Tenancy, ValidatedPlugin},
};
pub(super) use self::{
    probes::{News, Probes},
    status::READY,
};
use super::{
    authority::Authority,
    brake::ALLOW_ANNOTATION,
    client::{Base, Caller},
    kinds::ChildKind,
    outcome::CallError,
    plugins::Plugins,
    registry::{Command, PluginKey, Registered, Registration, Registry, WorkerHandle},
    retire::Departed,
    sockets::Sockets,
    sync::Env,
    wiring::{Identity, Lives, Settings, Urls},
    worker,
    writer::{Writer, Writers},
};
use crate::{
    crd::DaskOperatorPlugin, events::Recorder, invalid::Invalid, k8s, leader::Leadership, reconciler::Action, report,
    scope::Scope, watch::Pace,
};

/// How long the answer to "may these kinds be written?" holds. Each asking is a request a verb.
const AUTHORIZE_PERIOD: Duration = Duration::from_mins(10);
/// A requeue of nothing would spin.
const MIN_REQUEUE: Duration = Duration::from_millis(100);

/// What the reconciler works with.
pub(super) struct PluginContext {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) authority: Authority,
    pub(super) recorder: Recorder,
    /// All plugin resources.
    pub(super) plugins: Plugins,
    pub(super) writers: Writers,
    pub(super) registry: Arc<Registry>,
    pub(super) env: Arc<Env>,
    pub(super) probes: Probes,
    pub(super) sockets: Sockets,
    pub(super) leadership: Leadership,
    pub(super) departed: Departed,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{}", .0.message())]
    Observe(k8s::Error),
    #[error("{}", .0.message())]
    Status(k8s::Error),
}

impl Error {
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) | Self::Status(error) => error.category(),
        }
    }
}

/// Brings one plugin resource, its worker and its status up to date.
pub(super) async fn reconcile(plugin: Arc<DaskOperatorPlugin>, context: Arc<PluginContext>) -> Result<Action, Error> {
    let key = key_of(&plugin);
    let valid = match validate::validate(&plugin, &context.settings) {
        Ok(valid) => valid,
        Err(refusal) => {
            context.registry.remove(&key);
            context.probes.forget(&key);
            write_status(&context, &plugin, &Findings::refused(refusal)).await?;
            return Ok(Action::await_change());
        }
    };
    hand_over_leave(&context, &key, &plugin);
    let (last, fresh) = context.probes.recall(&key, &plugin, Instant::now());
    let mut probe = match last {
        Some(probe) if fresh => probe,
        last => {
            let probe = probe_plugin(&context, &plugin, &key, &valid, last).await?;
            context.probes.remember(key.clone(), probe.clone());
            probe
        }
    };
    probe.findings.summary = context.registry.get(&key).and_then(|worker| worker.summary.borrow().clone());
    write_status(&context, &plugin, &probe.findings).await?;
    let next = (probe.at + probe.pause()).saturating_duration_since(Instant::now());
    Ok(Action::requeue(next.max(MIN_REQUEUE)))
}

fn leave_of(plugin: &DaskOperatorPlugin) -> Option<String> {
    plugin.annotations().get(ALLOW_ANNOTATION).cloned()
}

/// An annotation does not move the generation, so that no probe would bring it to the worker.
fn hand_over_leave(context: &PluginContext, key: &PluginKey, plugin: &DaskOperatorPlugin) {
    let Some(worker) = context.registry.get(key) else { return };
    let leave = leave_of(plugin);
    if worker.registered.borrow().allow_prune == leave {
        return;
    }
    worker.registered.send_modify(|registered| Arc::make_mut(registered).allow_prune = leave);
    // An error means that the worker is being stopped.
    let _ = worker.commands.send(Command::LookAtAll(EventReason::PluginChanged));
}

/// The plugin as decisions see it, for `render`, where no API server tells the kinds; whatever flags could allow is
/// allowed.
pub(super) fn without_cluster(
    plugin: &DaskOperatorPlugin,
    kinds: Vec<ChildKind>,
    home: &str,
) -> Result<Registration, Invalid> {
    let settings = Settings {
        namespace: home.to_owned(),
        watched: Scope::all(),
        pace: Pace::default(),
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: plugin.namespace().as_deref() != Some(home),
        urls: Urls { allowed: true, dev: true },
        identity: Identity { service_account: String::new(), pod: None },
        lives: Lives { authority: Duration::ZERO, certificate: Duration::ZERO },
        endpoints: false,
    };
    let valid = validate::validate(plugin, &settings)?;
    Ok(validate::registration(plugin, &valid, kinds, home))
}

/// Where a plugin listens on this machine, or what is wrong with `url`.
pub(super) fn loopback(url: &str) -> Result<Base, String> {
    endpoint::parse_url(url, "http")
}

pub(super) fn key_of(plugin: &DaskOperatorPlugin) -> PluginKey {
    PluginKey { namespace: plugin.namespace().unwrap_or_default(), name: plugin.name_any() }
}

/// The kinds of the plugin's allow-list, none if one of them is not served.
pub(super) async fn kinds_of(context: &PluginContext, plugin: &DaskOperatorPlugin) -> Vec<ChildKind> {
    observe::resolve_kinds(&context.client, plugin).await.unwrap_or_default()
}

/// Who writes the plugin's children, if it may have any.
pub(super) fn writer_of(context: &PluginContext, plugin: &DaskOperatorPlugin) -> Result<Writer, Invalid> {
    let Tenancy { account, scope } = validate::tenancy(plugin, &context.settings)?;
    let writer = context.writers.writer(account.as_ref(), scope.as_deref());
    writer.map_err(|error| Invalid::new("InvalidWriter", format!("writer: there is no client for it: {error}")))
}

async fn probe_plugin(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    key: &PluginKey,
    valid: &ValidatedPlugin,
    last: Option<Probe>,
) -> Result<Probe, Error> {
    let failures = last.as_ref().map_or(0, |probe| probe.failures);
    let reviewed = last.filter(|probe| Some(probe.generation) == plugin.metadata.generation);
    let reviewed = reviewed.and_then(|probe| probe.authorized_at).filter(|at| at.elapsed() < AUTHORIZE_PERIOD);
    let authorized = reviewed.map(|_| Ok(()));
    let (suspended, finalize) = (plugin.spec.suspend, plugin.spec.finalize.enabled);
    let mut findings = Findings { authorized, suspended, finalize, ..Findings::default() };
    let news = context.probes.take_news(key);
    let outcome = inquire(context, plugin, valid, (news, &mut findings)).await;
    if !matches!(outcome, Ok(Some(_))) {
        context.probes.keep(key, news);
    }
    let outcome = outcome?;
    // A worker must not go on by a spec that is no longer there.
    let outdated = |worker: &WorkerHandle| {
        let registered = worker.registered.borrow();
        Some(&registered.uid) != plugin.metadata.uid.as_ref()
            || Some(registered.generation) != plugin.metadata.generation
    };
    let stale = outcome.is_none() && context.registry.get(key).as_ref().is_some_and(outdated);
    if plugin.spec.suspend || stale {
        context.registry.remove(key);
    } else if let Some(Usable { kinds, writer, caller, discovery }) = outcome {
        let registered = Registered {
            registration: validate::registration(plugin, valid, kinds, &context.settings.namespace),
            hooks: discovery.hooks,
            writer,
            version: discovery.version,
            caller,
            allow_prune: leave_of(plugin),
        };
        register(context, registered, failures > 0, news.replaced);
    }
    let failed = !findings.is_ready() && !findings.suspended;
    let allowed = matches!(findings.authorized, Some(Ok(())));
    Ok(Probe {
        uid: plugin.uid().unwrap_or_default(),
        generation: plugin.metadata.generation.unwrap_or_default(),
        at: Instant::now(),
        authorized_at: reviewed.or_else(|| allowed.then(Instant::now)),
        failures: if failed { failures + 1 } else { 0 },
        renewal: context.probes.renewal(key, Timestamp::now()),
        findings,
    })
}

/// What subjects can be synced with.
struct Usable {
    kinds: Vec<ChildKind>,
    writer: Writer,
    caller: Caller,
    discovery: Discovery,
}

/// Asks the API server, then the plugin. What is wrong goes into `findings`.
async fn inquire(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    valid: &ValidatedPlugin,
    (news, findings): (News, &mut Findings),
) -> Result<Option<Usable>, Error> {
    let route = match route::route(context, plugin, &valid.endpoint).await {
        Ok(route) => route,
        Err(refusal) => {
            // Credentials that are missing leave the open connections be; an endpoint that turned bad does not.
            if refusal.reason == endpoint::INVALID_ENDPOINT {
                context.registry.remove(&key_of(plugin));
            }
            findings.refusal = Some(refusal);
            return Ok(None);
        }
    };
    findings.endpoint = Some(route.describe());
    let resolved = observe::resolve_kinds(&context.client, plugin).await;
    let (kinds, writer) = match resolved.and_then(|kinds| Ok((kinds, writer_of(context, plugin)?))) {
        Ok(found) => found,
        Err(refusal) => {
            findings.refusal = Some(refusal);
            return Ok(None);
        }
    };
    if findings.authorized.is_none() {
        let rights = Rights { writer: &writer, kinds: &kinds, namespaces: valid.matcher.reads_namespaces() };
        let authorized = observe::authorize(context, rights).await;
        findings.authorized = Some(authorized.map_err(Error::Observe)?);
    }
    let may_write = matches!(findings.authorized, Some(Ok(())));
    if findings.suspended {
        return Ok(None);
    }
    let timeout = Duration::from_secs(u64::from(plugin.spec.timeout_seconds));
    let open = context.registry.get(&key_of(plugin)).map(|worker| worker.registered.borrow().caller.clone());
    let caller = match open.filter(|caller| !news.reconnect && caller.serves(&route, timeout)) {
        Some(caller) => Ok(caller),
        None => Caller::new(&route, timeout),
    };
    let (caller, discovered) = match caller {
        Ok(caller) => {
            let discovered = caller.discover().await.map_err(|error| refusal_of(&error)).and_then(speaks_our_version);
            (Some(caller), discovered)
        }
        Err(error) => (None, Err(Invalid { reason: "TlsError", message: error.to_string() })),
    };
    findings.discovered = Some(discovered.clone());
    Ok(match (caller, discovered) {
        (Some(caller), Ok(discovery)) if may_write => Some(Usable { kinds, writer, caller, discovery }),
        _ => None,
    })
}

fn refusal_of(error: &CallError) -> Invalid {
    Invalid { reason: error.reason(), message: error.to_string() }
}

fn speaks_our_version(discovery: Discovery) -> Result<Discovery, Invalid> {
    if discovery.speaks_our_version() {
        return Ok(discovery);
    }
    let spoken = discovery.protocol_versions.join(", ");
    let ours = plugin_protocol::PROTOCOL_VERSION;
    let message = format!("the plugin speaks protocol versions {spoken}, and this controller speaks {ours}");
    Err(Invalid { reason: "VersionMismatch", message })
}

/// Starts the plugin's worker, or tells it what is new.
fn register(context: &PluginContext, registered: Registered, recovered: bool, replaced: bool) {
    let key = registered.key.clone();
    let registered = Arc::new(registered);
    let uid = registered.uid.clone();
    let Some(worker) = context.registry.get(&key) else {
        let worker = worker::spawn(Arc::clone(&context.env), registered);
        context.registry.insert(key.clone(), worker);
        // The resource may have gone while the plugin was asked, and nothing would stop the worker then.
        let live = context.plugins.get(&key);
        if live.and_then(|plugin| plugin.uid()) != Some(uid) {
            context.registry.remove(&key);
        }
        return;
    };
    let differs = replaced || worker.registered.borrow().asks_differently(&registered);
    // Calls under way go on with what they began with.
    worker.registered.send_replace(registered);
    // An error means that the worker is being stopped. All subjects include those that failed.
    if differs {
        let _ = worker.commands.send(Command::LookAtAll(EventReason::PluginChanged));
    } else if recovered {
        let _ = worker.commands.send(Command::Recovered);
    }
}

async fn write_status(context: &PluginContext, plugin: &DaskOperatorPlugin, findings: &Findings) -> Result<(), Error> {
    let desired = status::status_of(plugin, findings, Timestamp::now());
    if status::write(&context.client, plugin, &desired).await.map_err(Error::Status)? {
        let old = plugin.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        report::condition_changes(&context.recorder, plugin, old, &desired.conditions).await;
    }
    Ok(())
}
