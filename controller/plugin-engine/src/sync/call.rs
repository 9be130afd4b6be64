//! Calls plugins, and records each call in the metrics and the trace.

use crate::{
    children::context::SyncContext,
    client::{answer::Answer, memory_shares::Reservation, response::CallError, traceparent},
    index::registration::Registered,
    model::subject::SubjectKey,
};
use plugin_protocol::{ResponseStatus, ReviewRequest};
use tracing::{Instrument as _, field::Empty};

/// Calls the plugin. Counts, times and traces the call. The memory of the response is reserved in `memory`.
pub(crate) async fn call(
    env: &SyncContext,
    plugin: &Registered,
    request: &ReviewRequest,
    memory: &mut Reservation,
) -> Result<Answer, CallError> {
    let hook = request.request.hook.as_str();
    tracing::Span::current().record("hook", hook);
    let call = env.metrics.call(&plugin.identity, hook);
    let result = plugin.caller.call(request, memory).await;
    let outcome = match &result {
        Ok(answer) => match answer.status {
            ResponseStatus::Success => "Success",
            ResponseStatus::Pending => "Pending",
            _ => "Failure",
        },
        Err(error) => error.reason(),
    };
    tracing::debug!(outcome, "called a plugin");
    call.ended(outcome);
    result
}

/// Runs a pass over a subject as one trace.
pub(crate) async fn traced<T>(plugin: &Registered, subject: &SubjectKey, pass: impl Future<Output = T>) -> T {
    let trace = format!("{:032x}", fastrand::u128(1..));
    let span = tracing::info_span!("plugin", trace.id = trace, plugin = plugin.identity, %subject, hook = Empty);
    traceparent::in_trace(trace, pass).instrument(span).await
}
