//! What changes behind a plugin while it is used: certificates, sockets and pods.

use std::{
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{extract::Request, http::header::CONNECTION, middleware::Next, response::Response};
use plugin_server_kit::{
    protocol::EventReason,
    router,
    serve::{Listener, serve},
    tls::Tls,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::recording_plugin::RecordingPlugin;
use crate::support::{
    TestContext, cluster, condition, eventually, message,
    plugin::{Reply, TestPlugin, config},
    with_controller, with_temp_ns, within,
};

const AUTHORITY: &str = "dask-operator-plugin-ca";
const SUBJECTS: [&str; 2] = ["demo-scheduler", "other-scheduler"];
/// Much less than the minute after which a plugin is discovered anyway.
const SOON: Duration = Duration::from_secs(15);

/// Closes the connection after each call, so that each makes a handshake of its own.
async fn hang_up(call: Request, next: Next) -> Response {
    let mut response = next.run(call).await;
    response.headers_mut().insert(CONNECTION, "close".parse().unwrap());
    response
}

/// Updates `folder` as a kubelet updates a mounted Secret: all files change at once. Counts the changes.
async fn mount(context: TestContext, secret: &'static str, folder: std::path::PathBuf, changes: Arc<AtomicUsize>) {
    let mut last = Value::Null;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        if let Some(secret) = context.get("Secret", secret).await
            && secret["data"] != last
        {
            last = secret["data"].clone();
            write_mount(&folder, &last, changes.fetch_add(1, Ordering::SeqCst));
        }
    }
}

fn write_mount(folder: &Path, data: &Value, change: usize) {
    let name = format!("..{change}");
    std::fs::create_dir(folder.join(&name)).unwrap();
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        let bytes: k8s_openapi::ByteString = serde_json::from_value(data[file].clone()).unwrap();
        std::fs::write(folder.join(&name).join(file), bytes.0).unwrap();
    }
    symlink(&name, folder.join("..new")).unwrap();
    std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
}

fn trusted(secret: &Value) -> usize {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(secret["data"]["ca.crt"].clone()).unwrap();
    String::from_utf8(bytes.0).unwrap().matches("BEGIN CERTIFICATE").count()
}

/// An authority that is valid for a minute: after 40 s there is a second one, which signs from the 45th second on.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn no_call_fails_while_certificates_and_their_authority_rotate_even_if_the_controller_starts_again() {
    with_temp_ns(|context| async move {
        let flags = ["--plugin-authority-seconds", "60", "--plugin-certificate-seconds", "20"];
        // Two controllers, as during a rollout: both rotate the authority in the same second.
        let mut controllers = vec![context.start_controller_with(&flags).await];
        controllers.push(context.start_controller_with(&flags).await);
        context.create_settled("demo", 0).await;
        let (plugin, listener) = (RecordingPlugin::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut manifest = TestPlugin::new(&context, "echo").manifest();
        manifest["spec"]["endpoint"]["service"]["port"] = json!(listener.local_addr().unwrap().port());
        context.create(&manifest).await;
        context.appears("Secret", "echo-plugin-tls").await;
        let (folder, changes) = (context.folder(), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(mount(context.clone(), "echo-plugin-tls", folder.clone(), Arc::clone(&changes)));
        eventually("the mount", async || Tls::load(&folder).await.map_err(|error| error.to_string())).await;
        let tls = Tls::load_and_poll(folder, Duration::from_millis(300)).await.unwrap();
        let router = axum::Router::new().fallback_service(router(plugin.clone()));
        let router = router.layer(axum::middleware::from_fn(hang_up));
        tokio::spawn(serve(Listener::tls(listener.into_std().unwrap(), tls).unwrap(), router, std::future::pending()));
        let resource =
            context.until("DaskOperatorPlugin", "echo", |plugin| condition(plugin, "Ready").0 == "True").await;

        let first = context.expect("Secret", AUTHORITY).await;
        let mut phases = vec![(1, false)];
        for number in 0.. {
            plugin.is_called_again(&context, &number.to_string(), SOON).await;
            let secret = context.expect("Secret", AUTHORITY).await;
            let phase = (trusted(&secret), secret["data"].get("previous.key").is_some());
            if phases.last() == Some(&phase) {
                continue;
            }
            phases.push(phase);
            if phase == (2, true) {
                // During the overlap, the next controller knows only what is in the Secret.
                controllers.remove(0).kill().await;
                controllers.push(context.start_controller_with(&flags).await);
            }
            if phase == (1, false) {
                assert_ne!(secret["data"]["tls.crt"], first["data"]["tls.crt"]);
                break;
            }
        }
        assert_eq!(phases, [(1, false), (2, true), (2, false), (1, false)]);
        assert!(changes.load(Ordering::SeqCst) >= 6, "leaves and bundles changed several times");
        let asked = plugin.requests();
        assert!(asked.iter().all(|request| request.attempt == 1), "each question came through at once");
        let now = context.expect("DaskOperatorPlugin", "echo").await;
        assert_eq!(now["status"]["conditions"], resource["status"]["conditions"], "it was ready all the time");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_authority_that_cannot_be_used_is_reported_and_left_alone() {
    with_temp_ns(|context| async move {
        let secret = |labels: Value| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": AUTHORITY, "labels": labels},
                "data": {"tls.crt": "YQ==", "tls.key": "YQ=="},
            })
        };
        let made = context.create(&secret(json!({"app.kubernetes.io/managed-by": "dask-operator"}))).await;
        let _controller = context.start_controller().await;
        let plugin = TestPlugin::new(&context, "echo");
        context.create(&plugin.manifest()).await;
        let reported = plugin.until_ready("False", "TlsError").await;
        assert!(message(&reported, "Ready").contains("no usable tls.crt"), "{reported}");
        assert_eq!(context.expect("Secret", AUTHORITY).await["data"], made["data"]);

        context.delete("Secret", AUTHORITY).await;
        context.create(&secret(json!({}))).await;
        plugin.until(|plugin| message(plugin, "Ready").contains("not created by the controller")).await;
        context.delete("Secret", AUTHORITY).await;
        context.appears("Secret", "echo-plugin-tls").await;
    })
    .await;
}

// --- Sockets ---

fn asked_because_changed(plugin: &TestPlugin, subject: &str) -> usize {
    let calls = plugin.calls_about(subject);
    calls.iter().filter(|call| call.request.event.reason == EventReason::PluginChanged).count()
}

/// Waits until each subject was synced once more because the plugin changed.
async fn all_asked_again(plugin: &TestPlugin) {
    within(SOON, "a question about each subject", async || {
        let asked = SUBJECTS.map(|subject| asked_because_changed(plugin, subject));
        if asked == [1, 1] { Ok(()) } else { Err(format!("there were {asked:?}")) }
    })
    .await;
}

async fn with_two_clusters(context: &TestContext) {
    for name in ["demo", "other"] {
        context.create_settled(name, 0).await;
    }
}

async fn socket_plugin(context: &TestContext) -> TestPlugin {
    let mut plugin = TestPlugin::new(context, "echo");
    let mut manifest = plugin.manifest();
    manifest["spec"]["endpoint"] = json!({"socket": "echo.sock"});
    plugin.serve_socket("echo.sock");
    context.create(&manifest).await;
    plugin.until_counts(2, 2, 0).await;
    plugin
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_socket_that_is_replaced_has_every_subject_asked_again_once() {
    with_controller(async |context| {
        with_two_clusters(&context).await;
        let mut plugin = socket_plugin(&context).await;
        for value in ["second", "third"] {
            plugin.stop().await;
            plugin.forget_calls();
            // Same version, other responses.
            plugin.answer(Reply::Children(vec![config("config", value)]));
            plugin.serve_socket("echo.sock");
            all_asked_again(&plugin).await;
            for subject in SUBJECTS {
                let child = format!("{subject}-echo-config");
                context.until("ConfigMap", &child, |child| child["data"]["value"] == value).await;
            }
        }
        plugin.until_counts(2, 2, 0).await;
        assert_eq!(SUBJECTS.map(|subject| asked_because_changed(&plugin, subject)), [1, 1]);
    })
    .await;
}

/// Its process and existing connections stay; only the file is gone.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_socket_that_vanishes_is_reported_soon_and_used_again_when_it_is_back() {
    with_controller(async |context| {
        with_two_clusters(&context).await;
        let plugin = socket_plugin(&context).await;
        let (path, away) = (context.socket_dir().join("echo/echo.sock"), context.socket_dir().join("away"));
        std::fs::rename(&path, &away).unwrap();
        let gone = plugin.until(|plugin| condition(plugin, "Discovered").0 == "False");
        tokio::time::timeout(SOON, gone).await.expect("it is reported soon");
        std::fs::rename(&away, &path).unwrap();
        let back = plugin.until_ready("True", "Ready");
        tokio::time::timeout(SOON, back).await.expect("it is used soon");
        plugin.until_counts(2, 2, 0).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_link_in_the_place_of_a_socket_is_refused_and_not_called() {
    with_controller(async |context| {
        with_two_clusters(&context).await;
        let plugin = socket_plugin(&context).await;
        let (path, elsewhere) = (context.socket_dir().join("echo/echo.sock"), context.folder().join("echo.sock"));
        std::fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let refused = plugin.until(|plugin| condition(plugin, "Ready") == ("False", "InvalidEndpoint"));
        let refused = tokio::time::timeout(SOON, refused).await.expect("it is reported soon");
        assert!(message(&refused, "Ready").ends_with("echo.sock is a symbolic link"), "{refused}");
        plugin.forget_calls();
        context.create(&cluster("later", 0)).await;
        context.running("later").await;
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&elsewhere, &path).unwrap();
        plugin.until_counts(3, 3, 0).await;
        assert_eq!(plugin.calls_about("later-scheduler").len(), 1);
    })
    .await;
}

// --- Endpoints ---

/// Writes the endpoints of a plugin's Service, with uid and readiness of each pod.
async fn endpoints(context: &TestContext, slice: &str, service: &str, pods: &[(&str, bool)]) {
    let endpoint = |(number, (uid, ready)): (usize, &(&str, bool))| {
        let target = json!({"kind": "Pod", "name": uid, "namespace": context.namespace, "uid": uid});
        json!({"addresses": [format!("10.0.0.{}", number + 1)], "conditions": {"ready": ready}, "targetRef": target})
    };
    context
        .apply(&json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": slice, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": pods.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
        }))
        .await;
}

/// A rollout may change what a plugin answers without changing its version.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_pod_that_joins_a_plugin_has_every_subject_asked_again_and_one_that_leaves_does_not() {
    with_temp_ns(|context| async move {
        let controller = context.start_controller().await;
        with_two_clusters(&context).await;
        let (mut plugin, mut barrier) = (TestPlugin::new(&context, "echo"), TestPlugin::new(&context, "barrier"));
        endpoints(&context, "echo-1", "echo", &[("a", true), ("b", true)]).await;
        plugin.install().await;
        barrier.install().await;
        plugin.until_counts(2, 2, 0).await;
        barrier.until_counts(2, 2, 0).await;
        plugin.forget_calls();

        // One becomes unready and one is removed: the other responds as before.
        endpoints(&context, "echo-1", "echo", &[("a", true), ("b", false)]).await;
        endpoints(&context, "echo-1", "echo", &[("a", true)]).await;
        barrier.forget_calls();
        endpoints(&context, "barrier-1", "barrier", &[("x", true)]).await;
        all_asked_again(&barrier).await;
        assert_eq!(plugin.calls().len(), 0);

        // Another takes its place, in several slices at once.
        endpoints(&context, "echo-1", "echo", &[("a", true), ("c", true)]).await;
        endpoints(&context, "echo-2", "echo", &[("d", true)]).await;
        all_asked_again(&plugin).await;
        barrier.forget_calls();
        endpoints(&context, "barrier-1", "barrier", &[("x", true), ("y", true)]).await;
        all_asked_again(&barrier).await;
        assert_eq!(plugin.calls().len(), 2, "once a subject");

        // For a controller that starts, all endpoints are new, but none of them was added.
        controller.kill().await;
        plugin.forget_calls();
        barrier.forget_calls();
        let _controller = context.start_controller().await;
        context.create(&cluster("later", 0)).await;
        plugin.until_counts(3, 3, 0).await;
        barrier.until_counts(3, 3, 0).await;
        barrier.forget_calls();
        endpoints(&context, "barrier-1", "barrier", &[("x", true), ("y", true), ("z", true)]).await;
        all_asked_again(&barrier).await;
        assert_eq!(SUBJECTS.map(|subject| plugin.calls_about(subject).len()), [1, 1]);
    })
    .await;
}
