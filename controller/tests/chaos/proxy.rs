//! A reverse proxy between one controller and the API server, with the weather of its run.

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
    fault_profile::{Fate, Weather},
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
    weather: Weather,
    storm: AtomicBool,
    dark: watch::Sender<bool>,
    kill: Notify,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: BTreeMap<String, usize>,
    /// How often each thing went wrong.
    faults: BTreeMap<&'static str, usize>,
    last_write: Option<Instant>,
}

impl Proxy {
    /// A proxy to the API server of `client` that lets everything pass until [`Self::set_storm`].
    pub(crate) async fn start(client: Client, weather: Weather) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            client,
            weather,
            storm: AtomicBool::new(false),
            dark: watch::Sender::new(false),
            kill: Notify::new(),
            counts: Mutex::default(),
        });
        let (dark, answering) = (shared.dark.subscribe(), Arc::clone(&shared));
        let answer = move |request| answer(Arc::clone(&answering), request);
        let accepting = tokio::spawn(serve(listener, dark, answer)).abort_handle();
        Self { shared, address, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the weather counts, or does not.
    pub(crate) fn set_storm(&self, storm: bool) {
        self.shared.storm.store(storm, Ordering::SeqCst);
    }

    /// For so long nothing is answered; connections that exist will never say anything again.
    pub(crate) async fn go_dark(&self, time: Duration) {
        self.shared.count("darkness");
        self.shared.dark.send_replace(true);
        tokio::time::sleep(time).await;
        self.shared.dark.send_replace(false);
    }

    /// Waits until the controller is to be killed in the middle of a write.
    pub(crate) async fn kill(&self) {
        self.shared.kill.notified().await;
    }

    /// How often each thing went wrong.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, usize> {
        self.shared.counts.lock().unwrap().faults.clone()
    }

    /// How long the controller has changed nothing.
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

    /// Counts a call and tells its place among those of its kind.
    fn nth(&self, call: &str) -> usize {
        let mut counts = self.counts.lock().unwrap();
        if !["get ", "list ", "watch ", "part of "].iter().any(|verb| call.starts_with(verb)) {
            counts.last_write = Some(Instant::now());
        }
        let count = counts.calls.entry(call.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn is_storm(&self) -> bool {
        self.storm.load(Ordering::SeqCst)
    }

    fn fate(&self, call: &str) -> Fate {
        let nth = self.nth(call);
        if self.is_storm() { self.weather.fate(call, nth) } else { Fate::Answered(Duration::ZERO) }
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, io::Error> {
    let call = call_of(request.method(), request.uri());
    match shared.fate(&call) {
        Fate::Answered(delay) => {
            if !delay.is_zero() {
                shared.count("slow answer");
            }
            let response = forward(&shared.client, request).await?;
            tokio::time::sleep(delay).await;
            Ok(if call.starts_with("watch ") { stormy(shared, &call, response) } else { whole(response) })
        }
        Fate::Kills => {
            shared.count("kill in the middle of a write");
            forward(&shared.client, request).await?;
            shared.kill.notify_one();
            std::future::pending().await
        }
        Fate::Fails(fault) => fail(&shared, fault, request).await,
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
        // Refused in the same words when a watch is begun.
        Fault::Expired => {
            shared.count("expired");
            Ok(whole(refusal(410, "Expired")))
        }
        Fault::LostError => {
            shared.count("done and answered 500");
            forward(&shared.client, request).await.map(|_| whole(refusal(500, "InternalError")))
        }
        Fault::LostAnswer => {
            shared.count("done and not answered");
            forward(&shared.client, request).await?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

fn whole(response: Response<Body>) -> Answer {
    response.map(|body| body.map_err(BoxError::from).boxed_unsync())
}

/// A watch whose parts come late, and which ends early. Within one watch the order stays, as it does in reality.
fn stormy(shared: Arc<Shared>, call: &str, response: Response<Body>) -> Answer {
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
    let passage = shared.is_storm().then(|| shared.weather.passage(&call, shared.nth(&call)));
    let Some(passage) = passage else { return Some((part, (parts, shared, call, false))) };
    if !passage.delay.is_zero() {
        shared.count("late news");
        tokio::time::sleep(passage.delay).await;
    }
    if passage.cut {
        shared.count("watch cut");
        let cut = Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionReset)));
        return Some((cut, (parts, shared, call, true)));
    }
    Some((part, (parts, shared, call, false)))
}
