//! Syncs one subject with one plugin: observe → ask → screen → plan → apply → prune.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _, api::DynamicObject, core::ApiResource};
use plugin_protocol::{EventReason, PluginResponse, ResponseStatus, ReviewRequest};
use serde_json::{Value, json};

use super::{
    outcome::CallError,
    plan::{self, Claim, Conflict, Known, Plan},
    registry::{ChildVersion, Registered},
    review::Question,
    screen::{self, Approved, KEY_LABEL, Origin, Rejected},
    subject::{self, SubjectKey},
    summary::Verdict,
    watches::{Watches, child_index},
};
use crate::k8s::{self, Force};

/// How soon a subject is tried again whose children could not all be written.
const WRITE_RETRY: Duration = Duration::from_secs(10);

/// What workers of all plugins share.
pub(super) struct Env {
    pub(super) client: Client,
    pub(super) watches: Arc<Watches>,
}

/// What is remembered of a subject between calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) subject_uid: String,
    /// The question, without children, that `verdict` settles: it need not be looked at again before it,
    /// or a child, changes.
    settled: Option<String>,
    /// The question, with the children that stood then, that `answer` belongs to.
    asked: Option<String>,
    answer: Option<PluginResponse>,
    /// Calls for the same question without a result.
    attempts: u32,
    /// What was written, by plural and name.
    pub(super) written: HashMap<(String, String), ChildVersion>,
    pub(super) verdict: Option<Verdict>,
}

/// What came of one pass.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) memory: Option<Memory>,
    /// When to look again although nothing changed.
    pub(super) again: Option<Duration>,
    /// Whether the plugin was called, and could be reached.
    pub(super) reached: Option<bool>,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("{}", .0.message())]
    Api(#[from] k8s::Error),
    #[error("{0}")]
    Digest(#[from] plugin_protocol::DigestError),
}

impl Error {
    /// Whether asking again is useless before something changes.
    fn is_final(&self) -> bool {
        matches!(self, Self::Call(call) if call.retry(1).is_none())
    }
}

/// Everything that is known about a subject before the plugin is asked.
struct Observed {
    object: Arc<DynamicObject>,
    owner_key: SubjectKey,
    owner: Arc<DynamicObject>,
    /// Children of this plugin and subject.
    known: Vec<Known>,
}

/// One pass over one subject. Whatever fails, children that stand stay.
pub(super) async fn sync(
    env: &Env,
    plugin: &Registered,
    key: &SubjectKey,
    mut memory: Memory,
    reason: EventReason,
) -> Pass {
    let mut reached = None;
    let result = sync_inner(env, plugin, key, &mut memory, reason, &mut reached).await;
    let (verdict, again) = match result {
        Ok(None) => return Pass { memory: None, again: None, reached },
        Ok(Some(step)) => step,
        Err(error) => failing(&error, &mut memory),
    };
    if matches!(verdict, Verdict::Failing { .. }) && again.is_some() {
        memory.settled = None;
    }
    memory.verdict = Some(verdict);
    Pass { memory: Some(memory), again, reached }
}

fn failing(error: &Error, memory: &mut Memory) -> (Verdict, Option<Duration>) {
    memory.attempts = memory.attempts.saturating_add(1);
    let (reason, again) = match error {
        Error::Call(call) => (call.reason(), call.retry(memory.attempts as usize)),
        Error::Api(api) => (api.category(), Some(WRITE_RETRY)),
        Error::Digest(_) => ("InternalError", None),
    };
    (Verdict::Failing { reason, message: error.to_string() }, again)
}

type Step = (Verdict, Option<Duration>);

async fn sync_inner(
    env: &Env,
    plugin: &Registered,
    key: &SubjectKey,
    memory: &mut Memory,
    reason: EventReason,
    reached: &mut Option<bool>,
) -> Result<Option<Step>, Error> {
    let Some(object) = env.watches.subjects(key.kind).await.get(&key.namespace, &key.name) else {
        prune_all(env, plugin, key, &memory.subject_uid).await?;
        return Ok(None);
    };
    let subject_uid = object.uid().unwrap_or_default();
    if memory.subject_uid != subject_uid {
        prune_all(env, plugin, key, &memory.subject_uid).await?;
        *memory = Memory { subject_uid: subject_uid.clone(), ..Memory::default() };
    }
    if !plugin.matches(key.kind, &object) {
        prune_all(env, plugin, key, &subject_uid).await?;
        return Ok(Some((Verdict::Unmatched, None)));
    }
    let Some(observed) = observe(env, plugin, key, object, &subject_uid).await else {
        return Ok(Some((Verdict::Unmatched, None)));
    };
    let question = Question {
        plugin,
        key,
        object: &observed.object,
        owner_key: &observed.owner_key,
        owner: &observed.owner,
        reason,
        now: Timestamp::now(),
    };
    let base = question.request(BTreeMap::new(), 1)?.request.uid;
    let quiet = matches!(reason, EventReason::Updated | EventReason::Created);
    if let (true, Some(verdict)) = (quiet && memory.settled.as_ref() == Some(&base), &memory.verdict) {
        return Ok(Some((verdict.clone(), None)));
    }
    memory.settled = None;
    let live = live_children(env, &observed.known, &key.namespace).await?;
    let request = question.request(by_key(&live), memory.attempts + 1)?;
    let answer = ask(plugin, &request, memory, reason, reached).await;
    if answer.as_ref().map_or_else(Error::is_final, |answer| answer.status != ResponseStatus::Pending) {
        memory.settled = Some(base);
    }
    act(env, plugin, key, memory, &observed, live, answer?).await.map(Some)
}

/// `None` if the Dask resource above is not there, is going, or is not really above.
async fn observe(
    env: &Env,
    plugin: &Registered,
    key: &SubjectKey,
    object: Arc<DynamicObject>,
    subject_uid: &str,
) -> Option<Observed> {
    let owner_key = subject::owner_of(key.kind, &object)?;
    let owner = env.watches.subjects(owner_key.kind).await.get(&owner_key.namespace, &owner_key.name)?;
    let going = owner.metadata.deletion_timestamp.is_some();
    if going || !(owner_key == *key || subject::is_below(key.kind, &object, &owner)) {
        return None;
    }
    let known = known_children(env, plugin, key, subject_uid).await;
    Some(Observed { object, owner_key, owner, known })
}

async fn known_children(env: &Env, plugin: &Registered, key: &SubjectKey, subject_uid: &str) -> Vec<Known> {
    let mut known = Vec::new();
    for kind in &plugin.kinds {
        let cache = env.watches.children(&kind.resource).await;
        let children = cache.indexed(&child_index(&plugin.key.name, subject_uid)).into_iter();
        known.extend(children.filter(|child| child.namespace().as_deref() == Some(&key.namespace)).map(|child| {
            Known { resource: kind.resource.clone(), name: child.name_any(), uid: child.uid().unwrap_or_default() }
        }));
    }
    known
}

type Live = HashMap<(ApiResource, String), DynamicObject>;

async fn live_children(env: &Env, known: &[Known], namespace: &str) -> Result<Live, k8s::Error> {
    let mut live = Live::new();
    for child in known {
        if let Some(object) = get(env, &child.resource, namespace, &child.name).await? {
            live.insert((child.resource.clone(), child.name.clone()), object);
        }
    }
    Ok(live)
}

async fn get(
    env: &Env,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>, k8s::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(env.client.clone(), namespace, resource);
    k8s::timed("get", &format!("{} {namespace}/{name}", resource.kind), api.get_opt(name)).await
}

fn by_key(live: &Live) -> BTreeMap<String, Value> {
    live.values()
        .filter_map(|child| Some((child.labels().get(KEY_LABEL)?.clone(), serde_json::to_value(child).ok()?)))
        .collect()
}

/// The answer to `request`: the remembered one, unless the question is new or its time is over.
async fn ask(
    plugin: &Registered,
    request: &ReviewRequest,
    memory: &mut Memory,
    reason: EventReason,
    reached: &mut Option<bool>,
) -> Result<PluginResponse, Error> {
    let fresh = matches!(reason, EventReason::Resync | EventReason::PluginChanged);
    if let (Some(asked), Some(answer), false) = (&memory.asked, &memory.answer, fresh)
        && *asked == request.request.uid
    {
        return Ok(answer.clone());
    }
    let result = plugin.caller.sync(request).await;
    *reached = Some(!result.as_ref().is_err_and(CallError::is_transport));
    let answer = result?;
    memory.attempts = 0;
    memory.asked = Some(request.request.uid.clone());
    memory.answer = Some(answer.clone());
    Ok(answer)
}

async fn act(
    env: &Env,
    plugin: &Registered,
    key: &SubjectKey,
    memory: &mut Memory,
    observed: &Observed,
    mut live: Live,
    answer: PluginResponse,
) -> Result<Step, Error> {
    match answer.status {
        ResponseStatus::Success => {}
        ResponseStatus::Pending => {
            memory.asked = None;
            memory.attempts = memory.attempts.saturating_add(1);
            let again = CallError::Busy { code: 200, retry_after: None }.retry(memory.attempts as usize);
            return Ok((Verdict::Waiting, again));
        }
        _ => {
            let again =
                (answer.resync_after_seconds > 0).then(|| Duration::from_secs(u64::from(answer.resync_after_seconds)));
            let message = format!("{}: {}", answer.reason, answer.message);
            return Ok((Verdict::Failing { reason: "PluginFailure", message }, again));
        }
    }
    let seconds =
        if answer.resync_after_seconds > 0 { answer.resync_after_seconds } else { plugin.spec.resync_seconds };
    let again = Duration::from_secs(u64::from(seconds));
    let origin = origin(plugin, key, memory, observed);
    let (approved, rejected) = screen::screen(answer.children.unwrap_or_default(), &origin);
    let mut wanted = Vec::with_capacity(approved.len());
    for child in approved {
        let found = match live.remove(&(child.resource().clone(), child.name().to_owned())) {
            Some(found) => Some(found),
            None => get(env, child.resource(), &key.namespace, child.name()).await?,
        };
        wanted.push((child, found));
    }
    let claim = Claim {
        plugin: &plugin.key.name,
        subject_uid: &memory.subject_uid,
        owner_uid: &observed.owner.uid().unwrap_or_default(),
    };
    let plan = plan::plan(wanted, observed.known.clone(), claim);
    let problem = carry_out(env, plugin, &key.namespace, &mut memory.written, plan, &rejected).await;
    Ok(match problem {
        None => (Verdict::Synced, Some(again)),
        Some((reason, message)) => (Verdict::Failing { reason, message }, Some(WRITE_RETRY.min(again))),
    })
}

fn origin<'a>(plugin: &'a Registered, key: &'a SubjectKey, memory: &'a Memory, observed: &Observed) -> Origin<'a> {
    let owner = subject::api_resource(observed.owner_key.kind);
    Origin {
        plugin: &plugin.key.name,
        subject_name: &key.name,
        subject_uid: &memory.subject_uid,
        namespace: &key.namespace,
        // Not blocking: where owner references are checked, that would ask for rights on the owner.
        owner: json!({
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": observed.owner.name_any(),
            "uid": observed.owner.uid(),
            "controller": true,
            "blockOwnerDeletion": false,
        }),
        kinds: &plugin.kinds,
    }
}

type Problem = (&'static str, String);

/// Writes what is planned; prunes only if nothing was refused and every write went through. The first
/// problem, if any.
async fn carry_out(
    env: &Env,
    plugin: &Registered,
    namespace: &str,
    written: &mut HashMap<(String, String), ChildVersion>,
    plan: Plan,
    rejected: &[Rejected],
) -> Option<Problem> {
    let Plan { apply, prune, conflicts } = plan;
    let mut problem = rejected.first().map(|rejected| (rejected.reason, rejected.message.clone()));
    if let (None, Some(Conflict { message, .. })) = (&problem, conflicts.first()) {
        problem = Some(("Conflict", message.clone()));
    }
    let manager = format!("{}/{}", k8s::FIELD_MANAGER, plugin.key.name);
    for child in &apply {
        match apply_child(env, &manager, namespace, child).await {
            Ok(version) => {
                written.insert((child.resource().plural.clone(), child.name().to_owned()), version);
            }
            Err(error) => problem = problem.or_else(|| Some((error.category(), error.message()))),
        }
    }
    if problem.is_some() {
        return problem;
    }
    for child in &prune {
        match delete(env, namespace, child).await {
            Ok(()) => {
                written.remove(&(child.resource.plural.clone(), child.name.clone()));
            }
            Err(error) => problem = problem.or_else(|| Some((error.category(), error.message()))),
        }
    }
    problem
}

async fn apply_child(env: &Env, manager: &str, namespace: &str, child: &Approved) -> Result<ChildVersion, k8s::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(env.client.clone(), namespace, child.resource());
    let applied = k8s::apply(&api, manager, Force::Yes, child.manifest()).await?;
    Ok(ChildVersion::of(&applied))
}

async fn delete(env: &Env, namespace: &str, child: &Known) -> Result<(), k8s::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(env.client.clone(), namespace, &child.resource);
    k8s::delete(&api, &child.name, &child.uid).await
}

/// Deletes all children of a subject that is gone or matches no longer. They were found by our labels and
/// are deleted by uid.
pub(super) async fn prune_all(
    env: &Env,
    plugin: &Registered,
    key: &SubjectKey,
    subject_uid: &str,
) -> Result<(), k8s::Error> {
    if subject_uid.is_empty() {
        return Ok(());
    }
    for child in known_children(env, plugin, key, subject_uid).await {
        delete(env, &key.namespace, &child).await?;
    }
    Ok(())
}
