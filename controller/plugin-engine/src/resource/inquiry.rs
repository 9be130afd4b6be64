//! One inquiry about a plugin: queries the API server about its kinds and permissions, and then the plugin about
//! itself. Inquiries run outside of the reconciler. A later pass acts on the answer, so that nothing is registered from
//! an outdated spec.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use dask_operator_api::DaskOperatorPlugin;
use jiff::Timestamp;
use kube::ResourceExt as _;
use operator_runtime::{
    conditions::{self, READY},
    rejection::Rejection,
};

use super::{
    Error,
    context::PluginContext,
    endpoint_change::EndpointChange,
    inquiry_result::{InquiryResult, Usable},
    interruption::{self, Before},
    leave_of,
    observe::{self, Rights},
    probes::Probe,
    reasons::INVALID_ENDPOINT,
    route,
    status::Findings,
    validate::{self, ValidatedPlugin},
    writer_of,
};
use crate::model::key::key_of;
use crate::{
    client::{Caller, response::CallError},
    index::{
        registration::Registered,
        registry::{Command, WorkerHandle},
    },
    model::{key::PluginKey, writer::WatchKey},
    sync::worker,
};
use plugin_protocol::{Discovery, EventReason};

/// How long a successful permission review is valid. A review is one request per verb.
const AUTHORIZE_PERIOD: Duration = Duration::from_mins(10);
/// How many watches of children the plugins of one team may need: enough for 2 accounts with all kinds, or more
/// accounts with fewer kinds. Each watch is a connection, a task and a cache.
const MAX_WATCHES: usize = 64;

/// Starts an inquiry outside of the reconciler. A later pass takes its answer.
pub(crate) fn begin(
    context: &Arc<PluginContext>,
    plugin: &Arc<DaskOperatorPlugin>,
    valid: ValidatedPlugin,
    last: Option<&Probe>,
) {
    let key = key_of(plugin);
    let reviewed = last.filter(|probe| Some(probe.generation) == plugin.metadata.generation);
    let reviewed = reviewed.and_then(|probe| probe.authorized_at).filter(|at| at.elapsed() < AUTHORIZE_PERIOD);
    let change = context.probes.take_change(&key);
    let (asked, subject) = (Arc::clone(context), Arc::clone(plugin));
    let inquiry = async move {
        let (suspended, finalize) = (subject.spec.suspend, subject.spec.finalize.enabled);
        let authorized = reviewed.map(|_| Ok(()));
        let mut findings = Findings { authorized, suspended, finalize, ..Findings::default() };
        let outcome = inquire(&asked, &subject, &valid, (change, &mut findings)).await;
        let (uid, generation) = (subject.uid(), subject.metadata.generation);
        InquiryResult { uid, generation, change, reviewed, findings, outcome }
    };
    let (task_context, plugin) = (Arc::clone(context), key.clone());
    context.inquiries.begin(&key, inquiry, move || task_context.plugins.push(&plugin));
}

/// Acts on the answer of an inquiry, unless the plugin has changed since the inquiry began.
pub(crate) fn conclude(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    valid: &ValidatedPlugin,
    answer: InquiryResult,
) -> Result<(), Error> {
    let key = key_of(plugin);
    let InquiryResult { uid, generation, change, reviewed, mut findings, outcome } = answer;
    let is_about_this = (&uid, generation) == (&plugin.metadata.uid, plugin.metadata.generation);
    if !is_about_this || !matches!(outcome, Ok(Some(_))) {
        context.probes.keep(&key, change);
    }
    if !is_about_this {
        return Ok(());
    }
    let last = context.probes.last(&key, plugin);
    let failures = last.as_ref().map_or(0, |probe| probe.failures);
    let result = match outcome {
        Ok(usable) => {
            settle(context, (plugin, valid), usable, (&mut findings, change, failures > 0));
            Ok(())
        }
        Err(error) => {
            // Nothing new is known, so the last findings are kept.
            findings = match last.as_ref().filter(|probe| Some(probe.generation) == generation) {
                Some(probe) => probe.findings.clone(),
                None => Findings { refusal: Some(Rejection::new(error.category(), error.to_string())), ..findings },
            };
            Err(error)
        }
    };
    let failed = result.is_err() || (!findings.is_ready() && !findings.suspended);
    let allowed = result.is_ok() && matches!(findings.authorized, Some(Ok(())));
    let now = Instant::now();
    let interrupted = interruption::since(readiness_before(plugin, last.as_ref()), &findings, now);
    if let (Some(_), Some(last)) = (interrupted, &last) {
        findings = last.findings.clone();
    }
    let probe = Probe {
        uid: uid.unwrap_or_default(),
        generation: generation.unwrap_or_default(),
        at: now,
        authorized_at: reviewed.or_else(|| allowed.then_some(now)),
        failures: if failed { failures + 1 } else { 0 },
        renewal: context.probes.renewal(&key, Timestamp::now()),
        interrupted,
        // The validation accepts this scheme only for `--dev-plugins`.
        development: plugin.spec.endpoint.url.as_deref().is_some_and(|url| url.starts_with("http://")),
        findings,
    };
    context.probes.remember(key, probe);
    result
}

/// Returns what was known about the plugin before an inquiry. A process that has just begun to lead knows it from the
/// status.
fn readiness_before(plugin: &DaskOperatorPlugin, last: Option<&Probe>) -> Before {
    let generation = plugin.metadata.generation;
    match last {
        Some(probe) if Some(probe.generation) != generation => Before::NotReady,
        Some(Probe { interrupted: Some(since), .. }) => Before::Interrupted(*since),
        Some(probe) if probe.findings.is_ready() => Before::Ready,
        Some(_) => Before::NotReady,
        None => {
            let status = plugin.status.as_ref().filter(|status| status.observed_generation == generation);
            let ready = status.and_then(|status| conditions::find(&status.conditions, READY));
            if ready.is_some_and(|ready| ready.status == "True") { Before::Ready } else { Before::NotReady }
        }
    }
}

/// Registers the plugin, or stops its worker if it must not continue.
fn settle(
    context: &PluginContext,
    (plugin, valid): (&DaskOperatorPlugin, &ValidatedPlugin),
    usable: Option<Usable>,
    (findings, change, recovered): (&mut Findings, EndpointChange, bool),
) {
    let key = key_of(plugin);
    let home = &context.settings.namespace;
    // Plugins in the operator's namespace may need any number of watches.
    if let Some(found) = usable.as_ref().filter(|_| key.namespace != *home) {
        let needed = watches_of_team(&context.registry.all(), &key, found).len();
        if let Err(refusal) = check_watches(&key.namespace, needed) {
            findings.refusal = Some(refusal);
            context.registry.remove(&key);
            return;
        }
    }
    // A worker must not continue with a spec that no longer exists.
    let outdated = |worker: &WorkerHandle| {
        let registered = worker.registered.borrow();
        Some(&registered.uid) != plugin.metadata.uid.as_ref()
            || Some(registered.generation) != plugin.metadata.generation
    };
    let stale = usable.is_none() && context.registry.get(&key).as_ref().is_some_and(outdated);
    // Missing credentials do not close open connections, but an endpoint that became invalid does.
    let turned_bad = findings.refusal.as_ref().is_some_and(|refusal| refusal.reason == INVALID_ENDPOINT);
    if plugin.spec.suspend || stale || turned_bad {
        context.registry.remove(&key);
    } else if let Some(Usable { kinds, writer, caller, discovery }) = usable {
        let registered = Registered {
            registration: validate::registration(plugin, valid, kinds, home),
            hooks: discovery.hooks,
            writer,
            version: discovery.version,
            caller,
            allow_prune: leave_of(plugin),
        };
        register(context, registered, recovered, change.replaced);
    }
}

/// Queries the API server, then the plugin. Problems are recorded in `findings`.
async fn inquire(
    context: &PluginContext,
    plugin: &DaskOperatorPlugin,
    valid: &ValidatedPlugin,
    (change, findings): (EndpointChange, &mut Findings),
) -> Result<Option<Usable>, Error> {
    let route = match route::route(context, plugin, &valid.endpoint).await {
        Ok(route) => route,
        Err(refusal) => {
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
    let timeout = plugin.spec.timeout();
    let open = context.registry.get(&key_of(plugin)).map(|worker| worker.registered.borrow().caller.clone());
    let caller = match open.filter(|caller| !change.reconnect && caller.serves(&route, timeout)) {
        Some(caller) => Ok(caller),
        None => Caller::new(&route, timeout),
    };
    let (caller, discovered) = match caller {
        Ok(caller) => {
            let discovered = caller.discover().await.map_err(|error| refusal_of(&error)).and_then(speaks_our_version);
            (Some(caller), discovered)
        }
        Err(error) => (None, Err(Rejection { reason: "TlsError", message: error.to_string() })),
    };
    findings.discovered = Some(discovered.clone());
    Ok(match (caller, discovered) {
        (Some(caller), Ok(discovery)) if may_write => Some(Usable { kinds, writer, caller, discovery }),
        _ => None,
    })
}

/// Refuses the plugin if the plugins of its namespace would need too many watches.
fn check_watches(namespace: &str, needed: usize) -> Result<(), Rejection> {
    if needed <= MAX_WATCHES {
        return Ok(());
    }
    let message = format!(
        "children: the plugins of the namespace {namespace} need {needed} watches, one for each ServiceAccount and kind, \
         and may have {MAX_WATCHES}; list fewer kinds, or let plugins share a ServiceAccount"
    );
    Err(Rejection::new("TooManyWatches", message))
}

/// Returns the watches that the plugins of a namespace need together, if `plugin` is registered with `usable`.
fn watches_of_team(registered: &[Arc<Registered>], plugin: &PluginKey, usable: &Usable) -> HashSet<WatchKey> {
    let others = registered.iter().filter(|other| other.key.namespace == plugin.namespace && other.key != *plugin);
    let (writer, kinds) = (usable.writer.key(), usable.kinds.iter());
    let own = kinds.map(|kind| WatchKey { writer: writer.clone(), resource: kind.resource.clone() });
    others.flat_map(|other| other.watches()).chain(own).collect()
}

fn refusal_of(error: &CallError) -> Rejection {
    Rejection { reason: error.reason(), message: error.to_string() }
}

fn speaks_our_version(discovery: Discovery) -> Result<Discovery, Rejection> {
    if discovery.speaks_our_version() {
        return Ok(discovery);
    }
    let spoken = discovery.protocol_versions.join(", ");
    let ours = plugin_protocol::PROTOCOL_VERSION;
    let message = format!("the plugin speaks protocol versions {spoken}, and this controller speaks {ours}");
    Err(Rejection { reason: "VersionMismatch", message })
}

/// Starts the plugin's worker, or passes the changes to it.
fn register(context: &PluginContext, registered: Registered, recovered: bool, replaced: bool) {
    let key = registered.key.clone();
    let registered = Arc::new(registered);
    let uid = registered.uid.clone();
    let Some(worker) = context.registry.get(&key) else {
        let worker = worker::spawn(Arc::clone(&context.env), registered);
        context.registry.insert(key.clone(), worker);
        // The resource may have been deleted while the plugin was called. Nothing else would stop the worker then.
        let live = context.plugins.get(&key);
        if live.and_then(|plugin| plugin.uid()) != Some(uid) {
            context.registry.remove(&key);
        }
        return;
    };
    let differs = replaced || worker.registered.borrow().asks_differently(&registered);
    // Running calls continue with the registration that they began with.
    worker.registered.send_replace(registered);
    // An error means that the worker is being stopped. `EnqueueAll` includes the subjects that failed.
    if differs {
        let _ = worker.commands.send(Command::EnqueueAll(EventReason::PluginChanged));
    } else if recovered {
        let _ = worker.commands.send(Command::Recovered);
    }
}

#[cfg(test)]
mod tests {
    use operator_runtime::k8s;
    use operator_runtime::testing::made;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::mk_dependencies;
    use crate::{config::test_settings, engine::test_engine};

    fn plugin(generation: i64) -> DaskOperatorPlugin {
        serde_json::from_value(json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"namespace": "dask-operator", "name": "echo", "uid": "echo", "generation": generation},
            "spec": {
                "endpoint": {"socket": "echo.sock"},
                "subjects": [{"kind": "Service"}],
                "children": [{"apiVersion": "v1", "kind": "ConfigMap"}],
            },
        }))
        .unwrap()
    }

    /// Otherwise a spec that has been refused since could start the plugin's worker.
    #[tokio::test]
    async fn a_result_about_an_older_spec_changes_nothing() {
        let (context, _) = mk_dependencies(made).await;
        let engine = test_engine(&context, test_settings(), &CancellationToken::new());
        let change = EndpointChange { reconnect: true, replaced: true };
        let answer = |generation| InquiryResult {
            uid: Some("echo".to_owned()),
            generation: Some(generation),
            change,
            reviewed: None,
            findings: Findings::default(),
            outcome: Ok(None),
        };
        let current = plugin(2);
        let valid = validate::validate(&current, &engine.settings).unwrap();
        let last = || engine.probes.last(&key_of(&current), &current).map(|probe| (probe.generation, probe.failures));
        conclude(&engine, &current, &valid, answer(1)).unwrap();
        assert_eq!((last(), engine.probes.take_change(&key_of(&current))), (None, change));
        conclude(&engine, &current, &valid, answer(2)).unwrap();
        assert_eq!(last(), Some((2, 1)));
        conclude(&engine, &current, &valid, answer(2)).unwrap();
        let refused = k8s::Error::Outdated { object: "echo".to_owned() };
        let failed = InquiryResult { outcome: Err(Error::Observe(refused)), ..answer(2) };
        assert!(conclude(&engine, &current, &valid, failed).is_err());
        assert_eq!(last(), Some((2, 3)), "pauses grow, whatever fails");
    }

    #[test]
    fn a_team_that_needs_too_many_watches_is_refused() {
        assert!(check_watches("team-a", MAX_WATCHES).is_ok());
        let refusal = check_watches("team-a", MAX_WATCHES + 1).unwrap_err();
        assert_eq!(refusal.reason, "TooManyWatches");
        assert!(refusal.message.contains("team-a need 65 watches"), "{}", refusal.message);
    }
}
