//! A reverse proxy between one controller and the API server that injects the faults of its run.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, BodyStream, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use kube::{Client, client::Body};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::AbortHandle,
};

use crate::{
    fault_profile::{CallFault, FaultProfile},
    support::proxy::{Fault, call_of, forward, refusal, serve},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The proxy. It stops listening when dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: AbortHandle,
}

struct Shared {
    client: Client,
    profile: FaultProfile,
    faults_active: AtomicBool,
    blackholed: watch::Sender<bool>,
    kill: Notify,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: BTreeMap<String, usize>,
    /// How often each fault occurred.
    faults: BTreeMap<&'static str, usize>,
    last_write: Option<Instant>,
}

impl Proxy {
    /// A proxy to the API server of `client` that lets everything pass until [`Self::set_faults_active`].
    pub(crate) async fn start(client: Client, profile: FaultProfile) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            client,
            profile,
            faults_active: AtomicBool::new(false),
            blackholed: watch::Sender::new(false),
            kill: Notify::new(),
            counts: Mutex::default(),
        });
        let (blackholed, answering) = (shared.blackholed.subscribe(), Arc::clone(&shared));
        let answer = move |request| answer(Arc::clone(&answering), request);
        let accepting = tokio::spawn(serve(listener, blackholed, answer)).abort_handle();
        Self { shared, address, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches the faults on or off.
    pub(crate) fn set_faults_active(&self, active: bool) {
        self.shared.faults_active.store(active, Ordering::SeqCst);
    }

    /// Drops all packets for `time`. Connections that exist never carry data again.
    pub(crate) async fn blackhole(&self, time: Duration) {
        self.shared.count("network outage");
        self.shared.blackholed.send_replace(true);
        tokio::time::sleep(time).await;
        self.shared.blackholed.send_replace(false);
    }

    /// Waits until a fault kills the controller in the middle of a write.
    pub(crate) async fn kill(&self) {
        self.shared.kill.notified().await;
    }

    /// How often each fault occurred.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, usize> {
        self.shared.counts.lock().unwrap().faults.clone()
    }

    /// Returns the time since the last write of the controller.
    pub(crate) fn unwritten_for(&self) -> Duration {
        let last = self.shared.counts.lock().unwrap().last_write;
        last.map_or(Duration::MAX, |last| last.elapsed())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn count(&self, fault: &'static str) {
        *self.counts.lock().unwrap().faults.entry(fault).or_default() += 1;
    }

    /// Counts a call and returns its number among the calls of its kind.
    fn nth(&self, call: &str) -> usize {
        let mut counts = self.counts.lock().unwrap();
        if !["get ", "list ", "watch ", "part of "].iter().any(|verb| call.starts_with(verb)) {
            counts.last_write = Some(Instant::now());
        }
        let count = counts.calls.entry(call.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn are_faults_active(&self) -> bool {
        self.faults_active.load(Ordering::SeqCst)
    }

    fn call_fault(&self, call: &str) -> CallFault {
        let nth = self.nth(call);
        if self.are_faults_active() { self.profile.call_fault(call, nth) } else { CallFault::Delay(Duration::ZERO) }
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, io::Error> {
    let call = call_of(request.method(), request.uri());
    match shared.call_fault(&call) {
        CallFault::Delay(delay) => {
            if !delay.is_zero() {
                shared.count("slow response");
            }
            let response = forward(&shared.client, request).await?;
            tokio::time::sleep(delay).await;
            Ok(if call.starts_with("watch ") { disturb_watch(shared, &call, response) } else { whole(response) })
        }
        CallFault::KillController => {
            shared.count("kill in the middle of a write");
            forward(&shared.client, request).await?;
            shared.kill.notify_one();
            std::future::pending().await
        }
        CallFault::Fail(fault) => fail(&shared, fault, request).await,
    }
}

async fn fail(shared: &Shared, fault: Fault, request: Request<Incoming>) -> Result<Answer, io::Error> {
    match fault {
        Fault::Refused(code, reason) => {
            shared.count(reason);
            Ok(whole(refusal(code, reason)))
        }
        Fault::Reset => {
            shared.count("reset");
            Err(io::ErrorKind::ConnectionReset.into())
        }
        // It ends when the controller closes the connection.
        Fault::Hang => {
            shared.count("hang");
            std::future::pending().await
        }
        // The same response as when a watch starts.
        Fault::Expired => {
            shared.count("expired");
            Ok(whole(refusal(410, "Expired")))
        }
        Fault::LostError => {
            shared.count("carried out, response 500");
            forward(&shared.client, request).await.map(|_| whole(refusal(500, "InternalError")))
        }
        Fault::LostAnswer => {
            shared.count("carried out, response lost");
            forward(&shared.client, request).await?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

fn whole(response: Response<Body>) -> Answer {
    response.map(|body| body.map_err(BoxError::from).boxed_unsync())
}

/// Delays the events of a watch and ends it early. Events of one watch keep their order, as they do in reality.
fn disturb_watch(shared: Arc<Shared>, call: &str, response: Response<Body>) -> Answer {
    let call = format!("part of {call}");
    response.map(|body| {
        let parts = BodyStream::new(body).map(|part| part.map_err(BoxError::from)).boxed();
        let parts = stream::unfold((parts, shared, call, false), next_part);
        StreamBody::new(parts).boxed_unsync()
    })
}

type Parts = stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;
type Watched = (Parts, Arc<Shared>, String, bool);

async fn next_part((mut parts, shared, call, over): Watched) -> Option<(Result<Frame<Bytes>, BoxError>, Watched)> {
    if over {
        return None;
    }
    let part = parts.next().await?;
    let fault = shared.are_faults_active().then(|| shared.profile.watch_fault(&call, shared.nth(&call)));
    let Some(fault) = fault else { return Some((part, (parts, shared, call, false))) };
    if !fault.delay.is_zero() {
        shared.count("late watch event");
        tokio::time::sleep(fault.delay).await;
    }
    if fault.cut {
        shared.count("watch cut");
        let cut = Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionReset)));
        return Some((cut, (parts, shared, call, true)));
    }
    Some((part, (parts, shared, call, false)))
}
