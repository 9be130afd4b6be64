//! Acts on the answer of an inquiry: registers the plugin, and remembers the findings for the status and for the time of
//! the next inquiry.

use std::time::Instant;

use dask_operator_api::DaskOperatorPlugin;
use jiff::Timestamp;
use operator_runtime::{
    conditions::{self, READY},
    rejection::Rejection,
};

use super::{
    Error,
    context::PluginContext,
    inquiry_result::InquiryResult,
    interruption::{self, Before},
    probes::Probe,
    register::{self, Inquired},
    status::Findings,
    validate::ValidatedPlugin,
};
use crate::model::key::key_of;

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
            let inquired = Inquired { plugin, valid, usable, change, recovered: failures > 0 };
            register::settle(context, inquired, &mut findings);
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

#[cfg(test)]
mod tests {
    use operator_runtime::k8s;
    use operator_runtime::testing::made;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::{
        super::{endpoint_change::EndpointChange, validate},
        *,
    };
    use crate::{config::test_settings, engine::test_engine, testing::mk_dependencies};

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
}
