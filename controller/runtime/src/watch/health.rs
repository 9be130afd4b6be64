//! The health of one watch: whether its first list is complete, when the API server last responded, and how it fails.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use kube::{
    Client,
    client::Body,
    runtime::watcher::Error::{self, InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed},
};
use tokio::sync::watch;
use tower::service_fn;

use super::unreadable::UnreadableObjects;

/// The state of the first list of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The API server has not responded to the list yet.
    Waiting,
    /// The API server rejects the list for now. It is retried again and again.
    Refused,
    /// The list is complete. This state is final.
    Delivered,
}

/// The state of the watch of one kind in one namespace, or in all: its progress, and whether the API server responds.
#[derive(Debug)]
pub(crate) struct WatchHealth {
    kind: String,
    pub namespace: Option<String>,
    pub delivery: watch::Sender<Delivery>,
    /// The objects that cannot be read.
    pub unreadable: UnreadableObjects,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the API server last responded, even if with an error.
    last_response: Instant,
    /// The failures since the watch last worked.
    failures: BTreeSet<Failure>,
    /// When responses became unreadable as a list or a watch, if they are.
    unparsable_since: Option<Instant>,
}

/// The step that failed and the HTTP status code, which is 0 if there is none.
type Failure = (&'static str, u16);

impl WatchHealth {
    pub(crate) fn new(kind: &str, namespace: Option<&str>, now: Instant) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            delivery: watch::Sender::new(Delivery::Waiting),
            unreadable: UnreadableObjects::default(),
            state: Mutex::new(State { last_response: now, failures: BTreeSet::new(), unparsable_since: None }),
        }
    }

    /// Returns a clone of the client that records the time of each response. A watch without events is restarted
    /// without any notice: only its HTTP response shows that the API server is there.
    pub(crate) fn listen(self: &Arc<Self>, client: &Client) -> Client {
        let (inner, health) = (client.clone(), Arc::clone(self));
        let service = service_fn(move |request: Request<Body>| {
            let (client, health) = (inner.clone(), Arc::clone(&health));
            async move {
                let query = request.uri().query().unwrap_or_default();
                let is_watch = query.split('&').any(|parameter| parameter == "watch=true");
                let response = client.send(request).await?;
                health.answered(response.status(), is_watch, Instant::now());
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(service, client.default_namespace())
    }

    /// Handles the head of a response. Only the start of a watch shows that it works again: the list before it may be
    /// allowed while the watch is not.
    fn answered(&self, status: StatusCode, is_watch: bool, now: Instant) {
        let mut state = self.state();
        state.last_response = state.last_response.max(now);
        if is_watch && status.is_success() && !state.failures.is_empty() {
            state.failures.clear();
            tracing::info!(kind = self.kind, namespace = self.namespace, "a watch has recovered");
        }
    }

    /// Logs a failure, once until the watch works again.
    pub(crate) fn failed(&self, error: &Error, now: Instant) {
        if is_unparsable(error) {
            self.state().unparsable_since.get_or_insert(now);
        }
        let (is_new, error) = (self.is_new(error), sentence(error));
        if is_new {
            tracing::warn!(kind = self.kind, namespace = self.namespace, error, "a watch fails and is retried");
        } else {
            tracing::debug!(kind = self.kind, namespace = self.namespace, error, "a watch still fails");
        }
    }

    fn is_new(&self, error: &Error) -> bool {
        self.state().failures.insert(failure_of(error))
    }

    /// Returns how long the API server has not responded.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state().last_response)
    }

    /// Records that the watch delivered something.
    pub(crate) fn delivers(&self) {
        self.state().unparsable_since = None;
    }

    /// Returns how long the watch has delivered nothing although the API server answers.
    pub(crate) fn stalled_for(&self, now: Instant) -> Duration {
        self.state().unparsable_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default()
    }

    pub(crate) fn is_delivered(&self) -> bool {
        *self.delivery.borrow() == Delivery::Delivered
    }

    /// Waits until `condition` is true for the state of the first list.
    pub(crate) async fn until(&self, condition: impl Fn(Delivery) -> bool) {
        // No error occurs, because `self` holds the sender.
        let _ = self.delivery.subscribe().wait_for(|delivery| condition(*delivery)).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the message of an error: the API server's own if it sent one.
fn sentence(error: &Error) -> String {
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => {
            status.message.clone()
        }
        WatchError(status) => format!("{} {}", status.reason, status.message),
        // Such an error quotes the response, which contains users' data.
        error if is_unparsable(error) => "the API server's answer cannot be read".to_owned(),
        other => other.to_string(),
    }
}

fn failure_of(error: &Error) -> Failure {
    let code = |error: &kube::Error| match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match error {
        InitialListFailed(error) => ("list", code(error)),
        WatchStartFailed(error) => ("watch", code(error)),
        WatchError(status) => ("event", status.code),
        WatchFailed(error) => ("stream", code(error)),
        NoResourceVersion => ("version", 0),
    }
}

/// Returns whether a response arrived but could not be read. Rejections and lost connections do not count, because they
/// are temporary.
fn is_unparsable(error: &Error) -> bool {
    let is_unreadable = |error: &kube::Error| {
        matches!(
            error,
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded
        )
    };
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => is_unreadable(error),
        NoResourceVersion => true,
        WatchError(_) => false,
    }
}

/// Returns whether the API server rejected a list or watch with this status code: the caller lacks permissions (403),
/// or the kind does not exist (404).
pub(crate) fn is_refused(error: &Error, code: u16) -> bool {
    matches!(failure_of(error), ("list" | "watch", found) if found == code)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16) -> Error {
        InitialListFailed(kube::Error::Api(Status { code, ..Status::default() }.boxed()))
    }

    #[test]
    fn a_failure_is_told_once_until_the_watch_works_again() {
        let now = Instant::now();
        let health = WatchHealth::new("pods", Some("team-a"), now);
        assert!(health.is_new(&refusal(403)));
        assert!(!health.is_new(&refusal(403)));
        assert!(health.is_new(&refusal(500)), "that is another one");
        assert!(!health.is_new(&refusal(403)), "two that alternate are no news");
        let table = [(StatusCode::FORBIDDEN, true), (StatusCode::FORBIDDEN, false), (StatusCode::OK, false)];
        for (status, is_watch) in table {
            health.answered(status, is_watch, now);
            assert!(!health.is_new(&refusal(403)), "{status} {is_watch}");
        }
        health.answered(StatusCode::OK, true, now);
        assert!(health.is_new(&refusal(403)));
    }

    #[test]
    fn any_answer_ends_the_silence_and_a_refusal_is_one() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let health = WatchHealth::new("pods", None, start);
        assert_eq!(health.silent_for(after(7)), Duration::from_secs(7));
        health.answered(StatusCode::FORBIDDEN, false, after(7));
        assert_eq!(health.silent_for(after(9)), Duration::from_secs(2));
        health.answered(StatusCode::OK, true, after(5));
        assert_eq!(health.silent_for(after(9)), Duration::from_secs(2), "an answer that is noted late changes nothing");
        assert_eq!(health.silent_for(start), Duration::ZERO);
    }

    #[test]
    fn a_watch_stalls_while_answers_cannot_be_read_and_not_while_there_are_none() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let unparsable_since =
            || InitialListFailed(kube::Error::SerdeError(serde_json::from_str::<u8>("\"secret\"").unwrap_err()));
        let health = WatchHealth::new("pods", None, start);
        health.failed(&refusal(500), after(1));
        assert_eq!(health.stalled_for(after(100)), Duration::ZERO);
        health.failed(&unparsable_since(), after(10));
        health.failed(&unparsable_since(), after(20));
        assert_eq!(health.stalled_for(after(100)), Duration::from_secs(90));
        assert!(!sentence(&unparsable_since()).contains("secret"), "{}", sentence(&unparsable_since()));
        health.delivers();
        assert_eq!(health.stalled_for(after(100)), Duration::ZERO);
    }

    #[test]
    fn only_lists_and_watches_are_refused() {
        assert!(is_refused(&refusal(403), 403) && !is_refused(&refusal(403), 404));
        let expired = Error::WatchError(Status { code: 403, ..Status::default() }.boxed());
        assert!(!is_refused(&expired, 403));
    }
}
