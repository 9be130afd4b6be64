//! The client of Dask's scheduler and a fake scheduler.

use std::{collections::BTreeSet, time::Duration};

use dask_scheduler_client::{Client, Endpoint, Error, Idleness, Retired, Side, codec, message};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use crate::support::scheduler::FakeScheduler;

async fn started() -> (FakeScheduler, Client) {
    let scheduler = FakeScheduler::start().await;
    let client = Client::new(scheduler.endpoint());
    (scheduler, client)
}

fn set(addresses: &[&String]) -> BTreeSet<String> {
    addresses.iter().map(|address| (*address).clone()).collect()
}

/// Starts a server that sends `bytes` to each client that connects, and then nothing more.
async fn sending(bytes: Vec<u8>) -> (Client, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        // Until the client disconnects.
        let _end = stream.read_to_end(&mut Vec::new()).await;
    });
    let (host, http_prefix) = ("127.0.0.1".to_owned(), String::new());
    (Client::new(Endpoint { host, port, http_port: None, http_prefix, tls: None }), server)
}

#[tokio::test]
async fn workers_are_listed_with_their_names_and_their_tasks() {
    let (scheduler, client) = started().await;
    let (first, second) = (scheduler.register("a"), scheduler.register("b"));
    scheduler.load("b", 3);
    // Reconcilers run on several threads.
    let workers = tokio::spawn(async move { client.workers().await }).await.unwrap().unwrap();
    let listed: Vec<_> =
        workers.iter().map(|w| (&w.address, w.name.as_str(), w.status.as_str(), w.processing)).collect();
    assert_eq!(listed, [(&first, "a", "running", 0), (&second, "b", "running", 3)]);
    // A number of workers would shorten the list in new versions, and is an error in old ones.
    assert_eq!(scheduler.calls_of("identity"), [json!({})]);
}

#[tokio::test]
async fn the_closing_order_is_the_schedulers() {
    let (scheduler, client) = started().await;
    let (busy, old, young) = (scheduler.register("busy"), scheduler.register("old"), scheduler.register("young"));
    scheduler.load("busy", 1);
    assert_eq!(client.closing_order(9).await.unwrap(), [young.clone(), old, busy]);
    assert_eq!(client.closing_order(1).await.unwrap(), [young]);
    assert!(client.closing_order(0).await.unwrap().is_empty());
    let asked = |n: usize| json!({"n": n, "attribute": "address"});
    assert_eq!(scheduler.calls_of("workers_to_close"), [asked(9), asked(1)]);
}

/// The results on a worker that is deleted without being retired are lost.
#[tokio::test]
async fn only_those_count_as_retired_of_which_the_scheduler_says_so() {
    let (scheduler, client) = started().await;
    let (going, holding) = (scheduler.register("going"), scheduler.register("holding"));
    scheduler.set(|state| _ = state.refusing.insert(holding.clone()));
    let unknown = "tcp://127.0.0.1:1".to_owned();
    let addresses = [going.clone(), holding, unknown];
    assert_eq!(client.retire(&addresses).await.unwrap(), Retired { addresses: set(&[&going]), by: Side::Rpc });
    assert_eq!(scheduler.workers(), ["holding"]);
    let expected = json!({"workers": addresses, "close_workers": false, "remove": true});
    assert_eq!(scheduler.calls_of("retire_workers"), [expected]);
    // With an empty list of names or addresses, older versions would choose by themselves.
    assert!(client.retire(&[]).await.unwrap().addresses.is_empty());
    assert_eq!(scheduler.calls().len(), 1);
}

#[tokio::test]
async fn the_desired_number_of_workers_is_the_schedulers() {
    let (scheduler, client) = started().await;
    scheduler.set(|state| state.desired_workers = 70_000);
    assert_eq!(client.desired_workers().await.unwrap(), 70_000);
}

#[tokio::test]
async fn a_scheduler_that_does_not_say_since_when_it_is_idle_is_counted() {
    let (scheduler, client) = started().await;
    assert_eq!(client.idleness().await.unwrap(), Idleness::Since(1000.0));
    assert!(scheduler.calls_of("/json/counts.json").is_empty());

    scheduler.set(|state| state.idle_since = None);
    assert_eq!(client.idleness().await.unwrap(), Idleness::Counted);

    scheduler.register("a");
    scheduler.load("a", 1);
    assert_eq!(client.idleness().await.unwrap(), Idleness::Busy);

    // A worker whose tasks cannot be counted may be busy.
    scheduler.load("a", 0);
    let without = |http_port| Client::new(Endpoint { http_port, ..scheduler.endpoint() });
    assert_eq!(without(None).idleness().await.unwrap(), Idleness::Busy);
    assert_eq!(without(Some(scheduler.port())).idleness().await.unwrap(), Idleness::Busy);
    assert_eq!(client.idleness().await.unwrap(), Idleness::Counted);
}

#[tokio::test]
async fn what_the_scheduler_fails_with_is_told() {
    let (scheduler, client) = started().await;
    scheduler.set(|state| state.exception = Some("ValueError('no')".to_owned()));
    // The call was made: a second one by HTTP could retire workers twice.
    scheduler.set(|state| state.http_api = true);
    let exception_text = "ValueError('no')".to_owned();
    let error = client.retire(&["tcp://127.0.0.1:1".to_owned()]).await.unwrap_err();
    assert_eq!(error, Error::Scheduler { exception_text });
    assert_eq!(error.to_string(), "the scheduler failed: ValueError('no')");
    assert_eq!(client.workers().await.unwrap_err(), error);
    assert!(scheduler.calls().iter().all(|call| !call.op.starts_with('/')));
}

#[tokio::test]
async fn http_is_asked_where_rpc_cannot_be_reached() {
    let (mut scheduler, client) = started().await;
    let address = scheduler.register("a");
    scheduler.set(|state| (state.http_api, state.desired_workers) = (true, 3));
    scheduler.close_rpc().await;
    let workers = client.workers().await.unwrap();
    assert_eq!((workers[0].name.as_str(), &workers[0].address), ("a", &address));
    assert_eq!(client.desired_workers().await.unwrap(), 3);
    assert_eq!(client.idleness().await.unwrap(), Idleness::Since(1000.0));
    let retired = client.retire(std::slice::from_ref(&address)).await.unwrap();
    assert_eq!(retired, Retired { addresses: set(&[&address]), by: Side::Http });
    assert!(client.closing_order(1).await.is_err(), "HTTP would retire at once");
    assert!(scheduler.calls().iter().all(|call| call.op.starts_with('/')));
}

#[tokio::test]
async fn a_scheduler_that_cannot_be_reached_is_an_error_that_says_where() {
    let (mut scheduler, client) = started().await;
    scheduler.close_rpc().await;
    let address = format!("127.0.0.1:{}", scheduler.port());
    let sentence = format!("failed to connect to the scheduler at {address}: Connection refused (os error 111)");
    let without = Client::new(Endpoint { http_port: None, ..scheduler.endpoint() });
    assert_eq!(without.workers().await.unwrap_err().to_string(), sentence);
    let deaf = Client::new(Endpoint { http_port: Some(scheduler.port()), ..scheduler.endpoint() });
    assert_eq!(deaf.workers().await.unwrap_err().to_string(), sentence);
    // HTTP works, but the API is not switched on.
    let error = client.workers().await.unwrap_err();
    assert_eq!((error.category(), error.reason()), ("SchedulerUnreachable", "SchedulerUnreachable"));
    let by_http = "HTTP answered with 404 to /api/v1/get_workers: the scheduler's dashboard has another prefix, or its HTTP \
                   API is not enabled";
    assert_eq!(error.to_string(), format!("{sentence}; {by_http}"));
}

#[tokio::test]
async fn the_paths_of_a_dashboard_with_a_prefix_begin_with_it() {
    let mut scheduler = FakeScheduler::start_below("/p/q").await;
    scheduler.register("a");
    scheduler.set(|state| (state.http_api, state.idle_since) = (true, None));
    let client = Client::new(scheduler.endpoint());
    assert_eq!(client.idleness().await.unwrap(), Idleness::Counted);
    let at_root = Client::new(Endpoint { http_prefix: String::new(), ..scheduler.endpoint() });
    let error = at_root.idleness().await.unwrap_err();
    assert_eq!((error.category(), error.reason()), ("SchedulerProtocol", "SchedulerProtocol"));
    assert!(error.to_string().starts_with("HTTP answered with 404 to /json/counts.json"), "{error}");
    scheduler.close_rpc().await;
    assert_eq!(client.workers().await.unwrap().len(), 1);
    assert_eq!(client.desired_workers().await.unwrap(), 0);
    assert_eq!(client.retire(&["tcp://127.0.0.1:1".to_owned()]).await.unwrap().by, Side::Http);

    let elsewhere = Client::new(Endpoint { http_prefix: "/p".to_owned(), ..scheduler.endpoint() });
    let error = elsewhere.workers().await.unwrap_err().to_string();
    assert!(error.contains("HTTP answered with 404 to /p/api/v1/get_workers"), "{error}");
}

#[tokio::test]
async fn a_scheduler_that_hangs_is_given_up() {
    let (scheduler, client) = started().await;
    scheduler.set(|state| state.hang = true);
    let (silent, _server) = sending(Vec::new()).await;
    let holding = ["tcp://127.0.0.1:1".to_owned()];
    let retired = client.retire(&holding);
    let given_up = async { tokio::join!(client.workers(), silent.workers()) };
    tokio::select! {
        // Moving data takes time.
        retired = retired => unreachable!("{retired:?}"),
        (hanging, silent) = given_up => {
            let limit = Duration::from_secs(5);
            assert_eq!(hanging, Err(Error::Timeout { step: "identity", limit }));
            let limit = Duration::from_secs(3);
            assert_eq!(silent, Err(Error::Timeout { step: "the handshake", limit }));
        }
    }
}

#[tokio::test]
async fn what_is_no_scheduler_is_an_error_at_once() {
    let mut garbled = codec::encode(&message::handshake().unwrap());
    garbled.extend(codec::encode(b"\xc1"));
    let mut numbers = codec::encode(&message::handshake().unwrap());
    numbers.extend(codec::encode(&[42]));
    let table = [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("no msgpack", codec::encode(b"\xc1")),
        ("no msgpack after the handshake", garbled),
        ("a number instead of workers", numbers),
    ];
    for (what, bytes) in table {
        let (client, server) = sending(bytes).await;
        let error = client.workers().await.unwrap_err();
        assert_eq!(error.category(), "SchedulerProtocol", "{what}: {error}");
        server.await.unwrap();
    }
}
