//! A roll-out of a plugin: its replicas are replaced one after the other while the controller uses them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use plugin_server_kit::{
    router,
    serve::{Listener, serve},
    tls::Tls,
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::recording_plugin::RecordingPlugin;
use crate::support::{TestContext, condition, plugin::TestPlugin, with_controller};

/// Much less than the backoff of calls that fail several times.
const SOON: Duration = Duration::from_secs(10);

/// A Service in front of replicas: connections go to its endpoints in turn. One that has ended accepts none, and the
/// connection is closed.
#[derive(Clone, Default)]
struct Service {
    endpoints: Arc<Mutex<Vec<u16>>>,
    turn: Arc<AtomicUsize>,
    /// The number of connections that no endpoint accepted.
    refused: Arc<AtomicUsize>,
}

impl Service {
    async fn run(self, listener: TcpListener) {
        while let Ok((mut client, _)) = listener.accept().await {
            let service = self.clone();
            tokio::spawn(async move {
                let endpoint = {
                    let endpoints = service.endpoints.lock().unwrap();
                    endpoints[service.turn.fetch_add(1, Ordering::SeqCst) % endpoints.len()]
                };
                match TcpStream::connect(("127.0.0.1", endpoint)).await {
                    Ok(mut server) => drop(tokio::io::copy_bidirectional(&mut client, &mut server).await),
                    Err(_) => {
                        service.refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    }
}

/// One replica.
struct Replica {
    port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Replica {
    async fn start(folder: &Path, plugin: RecordingPlugin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = Listener::tls(listener.into_std().unwrap(), Tls::load(folder).await.unwrap()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, router(plugin), async move { drop(stopped.await) }));
        Self { port, stop, task }
    }

    /// Ends it as a plugin ends that does not wait for its removal from the Service.
    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// Writes which pods are behind the plugin's Service, as the kubelet and the endpoints' controller do.
async fn write_endpoints(context: &TestContext, pods: &[String]) {
    let endpoint = |pod: &String| {
        let target = json!({"kind": "Pod", "name": pod, "namespace": context.namespace, "uid": pod});
        json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": target})
    };
    let labels = json!({"kubernetes.io/service-name": "echo"});
    context
        .apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "echo-1", "labels": labels},
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        }))
        .await;
}

/// Returns the Warning Events about the plugin, and about what it failed to do. Others say that no node runs the pods.
async fn warnings(context: &TestContext) -> Vec<Value> {
    let mut events = context.list("Event", "").await;
    events.retain(|event| {
        event["type"] == "Warning" && (event["regarding"]["name"] == "echo" || event["action"] == "PluginsSynced")
    });
    events
}

/// Each replica ends before the Service knows it, which is the worst that a roll-out does.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_stays_ready_and_each_question_is_answered_while_its_replicas_are_replaced() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let (plugin, service) = (RecordingPlugin::default(), Service::default());
        let resource = TestPlugin::new(&context, "echo");
        let mut manifest = resource.manifest();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        manifest["spec"]["endpoint"]["service"]["port"] = json!(listener.local_addr().unwrap().port());
        context.create(&manifest).await;
        let folder = context.folder();
        resource.write_certificates(&folder).await;
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(Replica::start(&folder, plugin.clone()).await);
        }
        let set = |replicas: &[Replica]| {
            *service.endpoints.lock().unwrap() = replicas.iter().map(|replica| replica.port).collect();
        };
        let pods = |replicas: &[Replica]| replicas.iter().map(|replica| replica.port.to_string()).collect::<Vec<_>>();
        set(&replicas);
        tokio::spawn(service.clone().run(listener));
        write_endpoints(&context, &pods(&replicas)).await;
        resource.until_ready("True", "Ready").await;
        resource.until_counts(1, 1, 0).await;
        plugin.is_called_again(&context, "before", SOON).await;
        let before = context.expect("DaskOperatorPlugin", "echo").await;

        for round in 0..4 {
            replicas.push(Replica::start(&folder, plugin.clone()).await);
            set(&replicas);
            write_endpoints(&context, &pods(&replicas)).await;
            plugin.is_called_again(&context, &format!("{round} joined"), SOON).await;
            // It ends, and its endpoint stays for some more questions. The next connection is made to it.
            let old = replicas.remove(0);
            old.end().await;
            service.turn.store(0, Ordering::SeqCst);
            for question in 0..3 {
                plugin.is_called_again(&context, &format!("{round} ended {question}"), SOON).await;
            }
            set(&replicas);
            write_endpoints(&context, &pods(&replicas)).await;
            plugin.is_called_again(&context, &format!("{round} left"), SOON).await;
        }
        assert!(service.refused.load(Ordering::SeqCst) > 0, "some connections met a replica that had ended");
        let after = resource.until(|plugin| condition(plugin, "Ready").0 == "True").await;
        assert_eq!(after["status"]["conditions"], before["status"]["conditions"], "it was ready all the time");
        resource.until_counts(1, 1, 0).await;
        assert_eq!(warnings(&context).await, Vec::<Value>::new());
    })
    .await;
}

/// A plugin with one replica is away for some seconds.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_short_interruption_is_no_news_and_the_subjects_that_were_answered_are_not_asked_again() {
    with_controller(async |context| {
        context.create_settled("demo", 0).await;
        let mut plugin = TestPlugin::installed(&context, "echo").await;
        plugin.until_counts(1, 1, 0).await;
        let before = context.expect("DaskOperatorPlugin", "echo").await;
        // It was created before it was served.
        let warnings_before = warnings(&context).await;
        plugin.forget_calls();
        plugin.stop().await;
        // The controller notices the change of the endpoints, and does not reach the plugin.
        let refused = TcpListener::bind(("127.0.0.1", plugin.port())).await.unwrap();
        plugin.touch_endpoints().await;
        for _ in 0..2 {
            tokio::time::timeout(SOON, refused.accept()).await.expect("it is tried again soon").unwrap();
        }
        drop(refused);
        plugin.serve().await;
        plugin.touch_endpoints().await;
        let other = TestPlugin::installed(&context, "other").await;
        other.until_counts(1, 1, 0).await;
        let after = context.expect("DaskOperatorPlugin", "echo").await;
        assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
        assert_eq!(plugin.calls().len(), 0);
        assert_eq!(warnings(&context).await, warnings_before);
    })
    .await;
}
