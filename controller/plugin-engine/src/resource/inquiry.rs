//! One inquiry about a plugin: queries the API server about its kinds and permissions, and then the plugin about
//! itself. Inquiries run outside of the reconciler. A later pass acts on the answer ([`super::conclusion`]), so that
//! nothing is registered from an outdated spec.

use std::{sync::Arc, time::Duration};

use dask_operator_api::DaskOperatorPlugin;
use kube::ResourceExt as _;
use operator_runtime::rejection::Rejection;

use super::{
    Error,
    context::PluginContext,
    endpoint_change::EndpointChange,
    inquiry_result::{InquiryResult, Usable},
    observe::{self, Rights},
    probes::Probe,
    route,
    status::Findings,
    validate::ValidatedPlugin,
    writer_of,
};
use crate::{
    client::{Caller, response::CallError},
    model::key::key_of,
};
use plugin_protocol::Discovery;

/// How long a successful permission review is valid. A review is one request per verb.
const AUTHORIZE_PERIOD: Duration = Duration::from_mins(10);
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
        let inquiry = Inquiry { context: &asked, plugin: &subject, valid: &valid, change };
        let outcome = inquiry.run(&mut findings).await;
        let (uid, generation) = (subject.uid(), subject.metadata.generation);
        InquiryResult { uid, generation, change, reviewed, findings, outcome }
    };
    let (task_context, plugin) = (Arc::clone(context), key.clone());
    context.inquiries.begin(&key, inquiry, move || task_context.plugins.push(&plugin));
}

/// An inquiry in progress.
#[derive(Clone, Copy)]
struct Inquiry<'a> {
    context: &'a PluginContext,
    plugin: &'a DaskOperatorPlugin,
    valid: &'a ValidatedPlugin,
    /// What has changed at the plugin's endpoint since the last inquiry.
    change: EndpointChange,
}

impl Inquiry<'_> {
    /// Queries the API server, then the plugin. Problems are recorded in `findings`.
    async fn run(&self, findings: &mut Findings) -> Result<Option<Usable>, Error> {
        let Inquiry { context, plugin, valid, change } = *self;
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
                let discovered =
                    caller.discover().await.map_err(|error| refusal_of(&error)).and_then(speaks_our_version);
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
