//! Builds and writes the status of a plugin resource.

use dask_operator_api::{DaskOperatorPlugin, DaskOperatorPluginStatus, DiscoveredPlugin};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use operator_runtime::{
    conditions::{self, ACCEPTED, ConditionUpdate, NOT_TRIED, STALLED},
    k8s,
    rejection::Rejection,
    report::StatusReporter,
};

use crate::model::labels::READY;
use crate::model::summary::Summary;
use plugin_protocol::{Discovery, Hook};

const DISCOVERED: &str = "Discovered";
const AUTHORIZED: &str = "Authorized";
/// All conditions of a plugin resource. Each status has them all.
pub const CONDITIONS: &[&str] = &[ACCEPTED, DISCOVERED, AUTHORIZED, READY, STALLED];

/// The findings about a plugin. A step that was not reached is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) refusal: Option<Rejection>,
    pub(crate) endpoint: Option<String>,
    pub(crate) authorized: Option<Result<(), Rejection>>,
    pub(crate) discovered: Option<Result<Discovery, Rejection>>,
    pub(crate) suspended: bool,
    /// Whether the resource wants the plugin to be called before objects are deleted.
    pub(crate) finalize: bool,
    /// `None` while it is unknown; the old summary is kept then.
    pub(crate) summary: Option<Summary>,
}

impl Findings {
    pub(crate) fn refused(refusal: Rejection) -> Self {
        Self { refusal: Some(refusal), summary: Some(Summary::default()), ..Self::default() }
    }

    /// Returns whether subjects may be synced.
    pub(crate) fn is_ready(&self) -> bool {
        self.refusal.is_none()
            && !self.suspended
            && matches!(self.authorized, Some(Ok(())))
            && matches!(self.discovered, Some(Ok(_)))
    }
}

pub(crate) fn status_of(plugin: &DaskOperatorPlugin, findings: &Findings, now: Timestamp) -> DaskOperatorPluginStatus {
    let old = plugin.status.as_ref();
    let generation = plugin.metadata.generation;
    let summary = &findings.summary;
    let verdicts =
        vec![accepted(findings), discovered(findings), authorized(findings), ready(findings), stalled(findings)];
    let said = match &findings.discovered {
        Some(Ok(discovery)) => Some(said(discovery)),
        // The last answer of the plugin stays visible while the plugin is unreachable.
        _ => old.and_then(|status| status.discovered.clone()),
    };
    DaskOperatorPluginStatus {
        observed_generation: generation,
        conditions: conditions::updated(
            old.map(|status| status.conditions.as_slice()).unwrap_or_default(),
            verdicts,
            generation,
            now,
        ),
        endpoint: findings.endpoint.clone(),
        discovered: said,
        subjects: summary.as_ref().map(|summary| summary.counts).or_else(|| old?.subjects),
        failures: match summary {
            Some(summary) => summary.failures.clone(),
            None => old.map(|status| status.failures.clone()).unwrap_or_default(),
        },
    }
}

fn said(discovery: &Discovery) -> DiscoveredPlugin {
    DiscoveredPlugin {
        name: discovery.name.clone(),
        version: discovery.version.clone(),
        protocol_versions: discovery.protocol_versions.clone(),
        hooks: discovery.hooks.iter().map(|hook| hook.as_str().to_owned()).collect(),
        capabilities: discovery.capabilities.clone(),
    }
}

fn accepted(findings: &Findings) -> ConditionUpdate {
    match &findings.refusal {
        Some(refusal) => ConditionUpdate::no(ACCEPTED, refusal.reason, refusal.message.as_str()),
        None => ConditionUpdate::yes(ACCEPTED, "Valid", "the resource is valid"),
    }
}

/// Returns the failure of a hook that the plugin declares but does not serve when it is called (404, 405).
fn not_served(findings: &Findings) -> Option<String> {
    let failures = &findings.summary.as_ref()?.failures;
    let failure = failures.iter().find(|failure| failure.reason == "NotServed")?;
    Some(format!("{}: {}", failure.hook, failure.message))
}

fn discovered(findings: &Findings) -> ConditionUpdate {
    match &findings.discovered {
        Some(Ok(_)) if let Some(message) = not_served(findings) => {
            ConditionUpdate::no(DISCOVERED, "HookNotServed", message)
        }
        // The condition reports the problem, but the hook that the plugin serves is still called.
        Some(Ok(discovery)) if findings.finalize && !discovery.hooks.contains(&Hook::Finalize) => {
            let message = "spec.finalize.enabled is true, and the plugin does not serve the hook Finalize: it is \
                           not asked before anything goes, and holds nothing up";
            ConditionUpdate::no(DISCOVERED, "HookNotServed", message)
        }
        Some(Ok(_)) => ConditionUpdate::yes(DISCOVERED, "Answered", "the plugin said what it serves"),
        Some(Err(refusal)) => ConditionUpdate::no(DISCOVERED, refusal.reason, refusal.message.as_str()),
        None => ConditionUpdate::unknown(DISCOVERED, NOT_TRIED, "the plugin has not been called"),
    }
}

fn authorized(findings: &Findings) -> ConditionUpdate {
    match &findings.authorized {
        Some(Ok(())) => ConditionUpdate::yes(AUTHORIZED, "Allowed", "all kinds in spec.children may be written"),
        Some(Err(refusal)) => ConditionUpdate::no(AUTHORIZED, refusal.reason, refusal.message.as_str()),
        None => ConditionUpdate::unknown(AUTHORIZED, NOT_TRIED, "the rights were not checked"),
    }
}

/// Returns the Ready condition. It reports the first problem, in the order in which a user would fix them.
fn ready(findings: &Findings) -> ConditionUpdate {
    let wrong = findings
        .refusal
        .as_ref()
        .or_else(|| findings.authorized.as_ref()?.as_ref().err())
        .or_else(|| findings.discovered.as_ref()?.as_ref().err());
    if let Some(refusal) = wrong {
        return ConditionUpdate::no(READY, refusal.reason, refusal.message.as_str());
    }
    if findings.suspended {
        return ConditionUpdate::no(
            READY,
            "Suspended",
            "spec.suspend is true: the plugin is not called, its children stay",
        );
    }
    if let Some(message) = not_served(findings) {
        return ConditionUpdate::no(READY, "HookNotServed", message);
    }
    if findings.is_ready() {
        return ConditionUpdate::yes(READY, "Ready", "the plugin answers and is asked about its subjects");
    }
    ConditionUpdate::no(READY, "Pending", "the plugin has not been called yet")
}

/// Returns the Stalled condition. Only an invalid resource has to be changed: the plugin, and rights, are probed again and
/// again.
fn stalled(findings: &Findings) -> ConditionUpdate {
    let reason = findings.refusal.as_ref().map(|refusal| refusal.reason);
    conditions::stalled(&ready(findings), reason.as_slice())
}

/// Returns whether `status` equals `desired`. Conditions of other types belong to other writers and are ignored:
/// writing ours would not remove them, so the write would be repeated endlessly.
fn shows(status: &DaskOperatorPluginStatus, desired: &DaskOperatorPluginStatus) -> bool {
    let is_ours = |condition: &Condition| desired.conditions.iter().any(|ours| ours.type_ == condition.type_);
    let conditions = status.conditions.iter().filter(|condition| is_ours(condition)).cloned().collect();
    DaskOperatorPluginStatus { conditions, ..status.clone() } == *desired
}

/// Writes `desired` if it differs from the current status. Returns whether it wrote.
pub(crate) async fn write(
    reporter: &StatusReporter,
    plugin: &DaskOperatorPlugin,
    desired: &DaskOperatorPluginStatus,
) -> Result<bool, k8s::Error> {
    if plugin.status.as_ref().is_some_and(|status| shows(status, desired)) {
        return Ok(false);
    }
    reporter.apply(k8s::FIELD_MANAGER, plugin, desired).await?;
    log(plugin, desired);
    Ok(true)
}

/// Returns the conditions whose changes from `old` to `new` emit Events. `Ready` repeats another condition if that one is
/// false for the same reason: its Event would have the same text. So does its recovery.
pub(crate) fn reported(old: &[Condition], new: &[Condition]) -> Vec<Condition> {
    let find = |conditions: &[Condition]| conditions.iter().find(|condition| condition.type_ == READY).cloned();
    let repeats = |conditions: &[Condition], ready: Option<Condition>| {
        let is_same = |other: &Condition, ready: &Condition| {
            other.type_ != READY && other.type_ != STALLED && other.status == "False" && other.reason == ready.reason
        };
        ready.is_some_and(|ready| conditions.iter().any(|other| is_same(other, &ready)))
    };
    let is_ready = find(new).is_some_and(|ready| ready.status == "True");
    let repeated = repeats(new, find(new)) || (is_ready && repeats(old, find(old)));
    new.iter().filter(|condition| condition.type_ != READY || !repeated).cloned().collect()
}

/// Logs one line for each transition of the plugin.
fn log(plugin: &DaskOperatorPlugin, desired: &DaskOperatorPluginStatus) {
    let ready = |conditions: &[Condition]| {
        let found = conditions.iter().find(|condition| condition.type_ == READY)?;
        Some((found.status.clone(), found.reason.clone(), found.message.clone()))
    };
    let before = plugin.status.as_ref().and_then(|status| ready(&status.conditions));
    let Some((status, reason, message)) = ready(&desired.conditions) else { return };
    if before.is_some_and(|before| (before.0, before.1) == (status.clone(), reason.clone())) {
        return;
    }
    let (namespace, plugin) = (plugin.namespace(), plugin.name_any());
    if status == "True" {
        tracing::info!(namespace, plugin, "a plugin is ready");
    } else {
        tracing::warn!(namespace, plugin, reason, "a plugin is not ready");
        // The message may quote the resource or the plugin's response.
        tracing::debug!(namespace, plugin, reason, message, "a plugin is not ready");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use operator_runtime::testing::{HealthCase, check_health, health_message};
    use serde_json::json;

    use super::*;

    fn plugin() -> DaskOperatorPlugin {
        serde_json::from_value(json!({
            "apiVersion": "kubernetes.dask.org/v1alpha1",
            "kind": "DaskOperatorPlugin",
            "metadata": {"name": "ingress", "namespace": "dask-operator", "generation": 1},
            "spec": {
                "endpoint": {"service": {"name": "ingress"}},
                "subjects": [{"kind": "Service", "component": "scheduler"}],
                "children": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}],
            },
        }))
        .unwrap()
    }

    /// Returns what is found about a plugin that works.
    fn working() -> Findings {
        Findings {
            endpoint: Some("https://ingress.dask-operator.svc/".to_owned()),
            authorized: Some(Ok(())),
            discovered: Some(Ok(Discovery::new("ingress", "1.0.0"))),
            ..Findings::default()
        }
    }

    #[test]
    fn each_state_of_a_plugin_has_true_conditions_that_tools_understand() {
        let refuse = |reason| Rejection::new(reason, "the reason");
        let invalid = Findings::refused(refuse("InvalidEndpoint"));
        let forbidden = Findings { authorized: Some(Err(refuse("Forbidden"))), discovered: None, ..working() };
        let unreachable = Findings { discovered: Some(Err(refuse("Unreachable"))), ..working() };
        let table = [
            ("invalid_endpoint", invalid, ["-??-+", "Failed", "Degraded"]),
            ("forbidden", forbidden, ["+?---", "InProgress", "Degraded"]),
            ("unreachable", unreachable, ["+-+--", "InProgress", "Degraded"]),
            ("suspended", Findings { suspended: true, ..working() }, ["+++--", "InProgress", "Suspended"]),
            ("not_asked_yet", Findings::default(), ["+??--", "InProgress", "Progressing"]),
            ("ready", working(), ["++++-", "Current", "Healthy"]),
        ];
        let sign = |condition: &Condition| match condition.status.as_str() {
            "True" => '+',
            "False" => '-',
            _ => '?',
        };
        let new = DaskOperatorPluginStatus { observed_generation: Some(-1), ..DaskOperatorPluginStatus::default() };
        let mut states = vec![("new", new, ["", "InProgress", "Progressing"])];
        let written = Timestamp::from_second(1_795_424_400).unwrap();
        for (state, findings, expected) in table {
            states.push((state, status_of(&plugin(), &findings, written), expected));
        }
        let mut cases = Vec::new();
        for (state, status, [conditions, kstatus, health]) in states {
            let types: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
            assert!(types.is_empty() || types == CONDITIONS, "{state} {types:?}");
            assert_eq!(status.conditions.iter().map(sign).collect::<String>(), conditions, "{state}");
            let object = json!(DaskOperatorPlugin { status: Some(status), ..plugin() });
            let message = health_message(&object);
            cases.push(HealthCase { state, object, kstatus, health, message });
        }
        check_health("DaskOperatorPlugin", &cases);
    }

    /// Two Events with the same text would look like two problems.
    #[test]
    fn ready_is_reported_unless_it_repeats_another_condition() {
        let status = |findings: &Findings| status_of(&plugin(), findings, Timestamp::UNIX_EPOCH).conditions;
        let refused = Rejection::new("Unreachable", "the reason");
        let unreachable = Findings { discovered: Some(Err(refused)), ..working() };
        let suspended = Findings { suspended: true, ..working() };
        let (ready, unreachable, suspended) = (status(&working()), status(&unreachable), status(&suspended));
        let has_ready = |old: &[Condition], new: &[Condition]| reported(old, new).iter().any(|c| c.type_ == READY);
        assert!(!has_ready(&ready, &unreachable));
        assert!(!has_ready(&unreachable, &ready), "the condition that was repeated reports the recovery");
        assert!(has_ready(&ready, &suspended));
        assert!(has_ready(&unreachable, &suspended));
        assert!(has_ready(&suspended, &ready));
        assert!(has_ready(&[], &ready));
    }

    #[test]
    fn conditions_of_other_controllers_cause_no_write() {
        let condition = |type_: &str, status: &str| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: "Because".to_owned(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        let status = |conditions| DaskOperatorPluginStatus { conditions, ..DaskOperatorPluginStatus::default() };
        let desired = status(vec![condition(READY, "True")]);
        assert!(shows(&desired, &desired));
        assert!(shows(&status(vec![condition("Theirs", "True"), condition(READY, "True")]), &desired));
        assert!(!shows(&status(vec![condition("Theirs", "True"), condition(READY, "False")]), &desired));
        assert!(!shows(&status(vec![condition("Theirs", "True")]), &desired));
    }
}
