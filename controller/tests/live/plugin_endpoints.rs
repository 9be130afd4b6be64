//! Plugins at addresses and with certificates of their own, and those that the controller must not connect to.

use axum::http::Response;
use futures::FutureExt as _;
use k8s_openapi::{
    ByteString,
    api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use crate::support::{
    TestContext, cluster, condition, eventually,
    https_plugin::{Ca, HttpsPlugin, Leaf, Seen, tls, well},
    message,
    plugin::TestPlugin,
    uid, version, with_controller, with_temp_ns,
};

const CHILD: &str = "demo-scheduler-echo-config";
const HOST: &str = "plugins.example.com";
const URLS: &[&str] = &["--allow-plugin-urls"];

fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let data: Value =
        data.iter().map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.as_bytes().to_vec())))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
}

fn ca_map(pem: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plugin-ca"}, "data": {"ca.crt": pem}})
}

fn ca_from(kind: &str) -> Value {
    json!({"mode": "Custom", "caFrom": {"kind": kind, "name": "plugin-ca"}})
}

/// Returns the resource of `plugin` with this endpoint.
fn manifest(plugin: &TestPlugin, endpoint: &Value, tls: &Value, auth: &Value) -> Value {
    let mut manifest = plugin.manifest();
    manifest["spec"]["endpoint"] = endpoint.clone();
    manifest["spec"]["tls"] = tls.clone();
    manifest["spec"]["auth"] = auth.clone();
    manifest
}

fn service(name: &str, port: u16) -> Value {
    json!({"service": {"name": name, "port": port}})
}

fn url(port: u16) -> Value {
    json!({"url": format!("https://{HOST}:{port}/dask/")})
}

fn service_host(context: &TestContext, name: &str) -> String {
    format!("{name}.{}.svc", context.namespace)
}

/// Waits until the resource is refused for this reason. Returns the message.
async fn refused(plugin: &TestPlugin, reason: &str) -> String {
    let resource = plugin.until(|plugin| condition(plugin, "Accepted") == ("False", reason)).await;
    message(&resource, "Accepted").to_owned()
}

async fn review(context: &TestContext, token: &str, audience: Option<&str>) -> TokenReviewStatus {
    let spec =
        TokenReviewSpec { token: token.to_owned(), audiences: audience.map(|audience| vec![audience.to_owned()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let api: Api<TokenReview> = Api::all(context.client.clone());
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap()
}

// --- Certificates of other authorities ---

/// A new authority reaches controller and plugin one after the other, without an edit of the plugin resource.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_authority_and_a_client_certificate_of_others_are_used_and_their_rotation_is_followed() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let (old, new) = (Ca::new("old"), Ca::new("new"));
        let host = service_host(&context, "echo");
        let server = HttpsPlugin::serve(tls(&old.leaf(&host), Some(&old))).await;
        let plugin = TestPlugin::new(&context, "echo");
        let mut security = ca_from("ConfigMap");
        security["clientCertificate"] = json!({"secretName": "client"});
        context.create(&manifest(&plugin, &service("echo", server.port), &security, &json!({}))).await;

        let said = refused(&plugin, "ConfigMapNotFound").await;
        assert!(said.contains(&format!("{}/plugin-ca", context.namespace)), "{said}");
        context.create(&ca_map(&old.pem)).await;
        let said = refused(&plugin, "SecretNotFound").await;
        assert!(said.contains(&format!("{}/client", context.namespace)), "{said}");
        let Leaf { certificate, key } = old.leaf("controller");
        context.create(&secret("client", &[("tls.crt", &certificate)])).await;
        let said = refused(&plugin, "TlsError").await;
        assert!(said.contains("client has no key tls.key"), "{said}");
        context.apply(&secret("client", &[("tls.crt", &certificate), ("tls.key", &key)])).await;
        plugin.until_ready("True", "Ready").await;
        let child = context.appears("ConfigMap", CHILD).await;
        plugin.until_counts(1, 1, 0).await;

        server.restart(tls(&new.leaf(&host), Some(&old)));
        plugin.touch_endpoints().await;
        let resource = plugin.until_ready("False", "Unreachable").await;
        assert!(message(&resource, "Ready").contains("an authority that is not trusted"), "{resource}");
        context.apply(&ca_map(&new.pem)).await;
        let resource = plugin.until_ready("True", "Ready").await;
        assert_eq!(resource["metadata"]["generation"], 1);
        let after = context.expect("ConfigMap", CHILD).await;
        assert_eq!((uid(&after), version(&after)), (uid(&child), version(&child)));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn an_authority_that_cannot_be_used_is_named_and_fixed_without_touching_the_plugin() {
    with_controller(async |context| {
        let ca = Ca::new("any");
        let server = HttpsPlugin::serve(tls(&ca.leaf(&service_host(&context, "echo")), None)).await;
        let plugin = TestPlugin::new(&context, "echo");
        let endpoint = service("echo", server.port);
        context.create(&manifest(&plugin, &endpoint, &ca_from("Secret"), &json!({}))).await;
        refused(&plugin, "SecretNotFound").await;
        for (data, fragment) in [
            (("other", ca.pem.as_str()), "has no key ca.crt"),
            (("ca.crt", "no PEM"), "key ca.crt: the authority's certificates cannot be used"),
        ] {
            context.apply(&secret("plugin-ca", &[data])).await;
            let whole = format!("tls.caFrom: the Secret {}/plugin-ca", context.namespace);
            plugin
                .until(|plugin| {
                    let said = message(plugin, "Accepted");
                    condition(plugin, "Accepted") == ("False", "TlsError")
                        && said.starts_with(&whole)
                        && said.contains(fragment)
                })
                .await;
        }
        context.apply(&secret("plugin-ca", &[("ca.crt", &ca.pem)])).await;
        plugin.until_ready("True", "Ready").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_whose_certificate_is_not_good_is_not_called_and_its_children_stay() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let (ca, foreign) = (Ca::new("ours"), Ca::new("foreign"));
        let host = service_host(&context, "echo");
        let good = tls(&ca.leaf(&host), None);
        let server = HttpsPlugin::serve(good.clone()).await;
        let plugin = TestPlugin::new(&context, "echo");
        let security = json!({"mode": "Custom", "caBundle": ca.pem});
        context.create(&manifest(&plugin, &service("echo", server.port), &security, &json!({}))).await;
        plugin.until_counts(1, 1, 0).await;
        let child = context.appears("ConfigMap", CHILD).await;

        for (leaf, fragment) in [
            (ca.leaf_until(&host, 2021), "has expired at 2021-01-01T00:00:00Z"),
            (foreign.leaf(&host), "by an authority that is not trusted"),
            (ca.leaf("other.example.com"), "not valid for name"),
        ] {
            server.restart(tls(&leaf, None));
            plugin.touch_endpoints().await;
            let says = |plugin: &Value| {
                condition(plugin, "Discovered") == ("False", "Unreachable")
                    && message(plugin, "Discovered").contains(fragment)
            };
            let resource = plugin.until(says).await;
            // The status is the same after each attempt.
            let before = server.attempts();
            plugin.touch_endpoints().await;
            eventually("two more attempts", async || {
                let attempts = server.attempts();
                if attempts >= before + 2 { Ok(()) } else { Err(format!("there were {}", attempts - before)) }
            })
            .await;
            assert_eq!(version(&plugin.until(says).await), version(&resource), "{fragment}");
            server.restart(good.clone());
            plugin.touch_endpoints().await;
            plugin.until_ready("True", "Ready").await;
        }
        assert_eq!(version(&context.expect("ConfigMap", CHILD).await), version(&child));
    })
    .await;
}

// --- Credentials ---

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_token_is_for_the_endpoint_of_its_plugin_alone_and_goes_with_the_controllers_pod() {
    with_temp_ns(|context| async move {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dask-operator"}});
        context.create(&account).await;
        let pod = context
            .create(&json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "controller-0"},
                "spec": {
                    "serviceAccountName": "dask-operator",
                    "containers": [{"name": "controller", "image": "example.com/none"}],
                },
            }))
            .await;
        let flags = ["--allow-plugin-urls", "--pod-name", "controller-0", "--pod-uid", uid(&pod)];
        let _controller = context.start_controller_with(&flags).await;
        let ca = Ca::new("any");
        let security = json!({"mode": "Custom", "caBundle": ca.pem});
        let auth = json!({"serviceAccountToken": true});
        let inside = HttpsPlugin::serve(tls(&ca.leaf(&service_host(&context, "echo")), None)).await;
        let outside = HttpsPlugin::serve(tls(&ca.leaf(HOST), None)).await;
        let audiences = [
            format!("https://{}:{}", service_host(&context, "echo"), inside.port),
            format!("https://{HOST}:{}/dask", outside.port),
        ];
        let endpoints = [service("echo", inside.port), url(outside.port)];
        for (name, endpoint) in ["echo", "other"].into_iter().zip(&endpoints) {
            let plugin = TestPlugin::new(&context, name);
            context.create(&manifest(&plugin, endpoint, &security, &auth)).await;
            plugin.until_ready("True", "Ready").await;
        }
        let tokens = [&inside, &outside].map(|server| server.seen()[0].bearer().unwrap().to_owned());
        for (holder, token) in tokens.iter().enumerate() {
            for (other, audience) in audiences.iter().enumerate() {
                let status = review(&context, token, Some(audience)).await;
                assert_eq!(status.authenticated.unwrap_or_default(), holder == other, "{audience}");
            }
            assert_eq!(review(&context, token, None).await.authenticated, None, "the API server itself refuses it");
        }
        let user = review(&context, &tokens[0], Some(&audiences[0])).await.user.unwrap();
        assert_eq!(user.username, Some(format!("system:serviceaccount:{}:dask-operator", context.namespace)));
        let bound = user.extra.unwrap().remove("authentication.kubernetes.io/pod-name");
        assert_eq!(bound, Some(vec!["controller-0".to_owned()]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn one_token_serves_many_calls_and_without_an_account_none_is_made() {
    with_controller(async |context| {
        for name in ["demo", "other"] {
            context.create(&cluster(name, 0)).await;
        }
        let ca = Ca::new("any");
        let server = HttpsPlugin::serve(tls(&ca.leaf(&service_host(&context, "echo")), None)).await;
        let plugin = TestPlugin::new(&context, "echo");
        let security = json!({"mode": "Custom", "caBundle": ca.pem});
        let auth = json!({"serviceAccountToken": true});
        context.create(&manifest(&plugin, &service("echo", server.port), &security, &auth)).await;
        let resource = plugin.until_ready("False", "NoCredentials").await;
        assert!(message(&resource, "Ready").contains("ServiceAccount dask-operator"), "{resource}");
        assert_eq!(server.attempts(), 0, "nothing is sent without the token");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "dask-operator"}});
        context.create(&account).await;
        plugin.until_counts(2, 2, 0).await;
        let mut tokens: Vec<_> = server.seen().iter().map(|seen| seen.bearer().unwrap().to_owned()).collect();
        assert!(tokens.len() >= 3);
        tokens.dedup();
        assert_eq!(tokens.len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn requests_to_a_url_are_signed_and_forged_ones_are_recognised() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller_with(URLS).await;
        context.create(&cluster("demo", 0)).await;
        let ca = Ca::new("any");
        let server = HttpsPlugin::serve(tls(&ca.leaf(HOST), None)).await;
        let plugin = TestPlugin::new(&context, "echo");
        let auth = json!({"hmac": {"secretName": "shared", "key": "signing"}});
        let key = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        server.behave(move |seen| {
            let verified = Webhook::new(key).unwrap().verify(&seen.body, &seen.headers);
            if verified.is_ok() { well(seen) } else { code(401) }
        });
        context.create(&manifest(&plugin, &url(server.port), &json!({"caBundle": ca.pem}), &auth)).await;
        refused(&plugin, "SecretNotFound").await;
        context.create(&secret("shared", &[("signing", "another key altogether")])).await;
        plugin.until_ready("False", "AuthFailed").await;
        context.apply(&secret("shared", &[("signing", key)])).await;
        plugin.until_counts(1, 1, 0).await;
        let calls: Vec<Seen> = server.seen().into_iter().filter(|seen| !seen.is_discovery()).collect();
        let header = |seen: &Seen, name: &str| seen.headers[name].to_str().unwrap().to_owned();
        assert_eq!(calls[0].path, "/dask/v1alpha1/sync");
        assert_eq!(header(&calls[0], "webhook-id"), header(&calls[0], "ce-id"));
        assert_eq!(header(&server.seen()[0], "webhook-id"), "discovery");
    })
    .await;
}

// --- Addresses that are refused ---

fn code(code: u16) -> Response<String> {
    Response::builder().status(code).body(String::new()).unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn addresses_of_the_controllers_own_surroundings_are_refused() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller_with(URLS).await;
        // The controller does not even connect to the address.
        let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = trap.local_addr().unwrap().port();
        let hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "169.254.169.254"];
        for (number, host) in hosts.into_iter().enumerate() {
            let name: &'static str = ["a", "b", "c", "d", "e", "f"][number];
            let plugin = TestPlugin::new(&context, name);
            let endpoint = json!({"url": format!("https://{host}:{port}/")});
            context.create(&manifest(&plugin, &endpoint, &json!({}), &json!({}))).await;
            let said = refused(&plugin, "InvalidEndpoint").await;
            assert!(said.starts_with("endpoint.url must not be"), "{host}: {said}");
        }
        assert!(trap.accept().now_or_never().is_none());
    })
    .await;
}

/// Authors run a controller and a plugin on their own machine.
#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_plugin_on_the_controllers_machine_is_called_by_http_if_a_flag_says_so() {
    with_temp_ns(|context| async move {
        context.create(&cluster("demo", 0)).await;
        let mut plugin = TestPlugin::new(&context, "echo");
        let mut manifest = plugin.manifest();
        manifest["spec"]["endpoint"] = json!({"url": plugin.serve_plain().await});
        context.create(&manifest).await;
        let controller = context.start_controller().await;
        assert!(refused(&plugin, "UrlsDisabled").await.contains("--allow-plugin-urls"));
        controller.stop().await;
        let _controller = context.start_controller_with(&["--dev-plugins"]).await;
        plugin.until_ready("True", "Ready").await;
        plugin.until_counts(1, 1, 0).await;
        context.expect("ConfigMap", CHILD).await;

        manifest["metadata"]["name"] = json!("other");
        manifest["spec"]["endpoint"] = json!({"url": "http://plugins.example.com"});
        let error = context.try_create(&manifest).await.unwrap_err();
        assert!(error.to_string().contains("must begin with https://"), "{error}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn urls_are_refused_unless_a_flag_allows_them() {
    with_controller(async |context| {
        let plugin = TestPlugin::new(&context, "echo");
        context.create(&manifest(&plugin, &url(443), &json!({}), &json!({}))).await;
        let said = refused(&plugin, "UrlsDisabled").await;
        assert!(said.contains("--allow-plugin-urls"), "{said}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn a_service_that_becomes_a_name_of_elsewhere_is_called_no_more() {
    with_controller(async |context| {
        context.create(&cluster("demo", 0)).await;
        let ca = Ca::new("any");
        let server = HttpsPlugin::serve(tls(&ca.leaf(&service_host(&context, "echo")), None)).await;
        let spec = json!({"ports": [{"port": 443}]});
        context.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": spec})).await;
        let plugin = TestPlugin::new(&context, "echo");
        let security = json!({"mode": "Custom", "caBundle": ca.pem});
        context.create(&manifest(&plugin, &service("echo", server.port), &security, &json!({}))).await;
        plugin.until_counts(1, 1, 0).await;
        let child = context.expect("ConfigMap", CHILD).await;

        let external = json!({"type": "ExternalName", "externalName": "metadata.google.internal", "clusterIP": null, "clusterIPs": null});
        context.merge("Service", "echo", json!({"spec": external})).await;
        plugin.touch_endpoints().await;
        let said = refused(&plugin, "InvalidEndpoint").await;
        assert!(said.contains("ExternalName"), "{said}");
        let requests = server.seen().len();
        context.nudge("demo").await;
        // Another plugin is called about the same change.
        let other = TestPlugin::installed(&context, "other").await;
        other.until_counts(1, 1, 0).await;
        assert_eq!(server.seen().len(), requests);
        assert_eq!(version(&context.expect("ConfigMap", CHILD).await), version(&child));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn redirects_are_never_followed() {
    with_temp_ns(|context| async move {
        let _controller = context.start_controller_with(URLS).await;
        let ca = Ca::new("any");
        let server = HttpsPlugin::serve(tls(&ca.leaf(HOST), None)).await;
        let plugin = TestPlugin::new(&context, "echo");
        let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = trap.local_addr().unwrap().port();
        context.create(&manifest(&plugin, &url(server.port), &json!({"caBundle": ca.pem}), &json!({}))).await;
        for location in [
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            format!("https://{HOST}:{port}/"),
            format!("http://127.0.0.1:{port}/"),
        ] {
            let target = location.clone();
            server.behave(move |_| {
                Response::builder().status(302).header("location", &target).body(String::new()).unwrap()
            });
            let requests = server.seen().len();
            plugin.touch_endpoints().await;
            let resource = plugin.until_ready("False", "ProtocolError").await;
            assert!(message(&resource, "Ready").contains("redirects are not followed"), "{resource}");
            eventually("another answer", async || {
                if server.seen().len() > requests { Ok(()) } else { Err("there was none".to_owned()) }
            })
            .await;
        }
        assert!(trap.accept().now_or_never().is_none());
        server.behave(well);
        plugin.until_ready("True", "Ready").await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: make live"]
async fn the_api_server_says_what_does_not_go_together() {
    with_temp_ns(|context| async move {
        let (inside, socket) = (service("echo", 443), json!({"socket": "a.sock"}));
        let outside = json!({"url": "https://plugins.example.com"});
        let from = json!({"kind": "ConfigMap", "name": "ca"});
        let hmac = json!({"hmac": {"secretName": "a", "key": "b"}});
        let token = json!({"serviceAccountToken": true});
        let none = json!({});
        let both = json!({"mode": "Custom", "caBundle": "x", "caFrom": from});
        let table = [
            (&socket, json!({"mode": "Custom"}), &none, "tls is for endpoint.service and endpoint.url"),
            (&socket, none.clone(), &token, "auth.serviceAccountToken needs"),
            (&socket, none.clone(), &hmac, "auth.hmac is for endpoint.url"),
            (&inside, json!({"caFrom": from}), &none, "need tls.mode: Custom"),
            (&inside, json!({"clientCertificate": {"secretName": "a"}}), &none, "need tls.mode: Custom"),
            (&inside, none.clone(), &token, "auth.serviceAccountToken needs"),
            (&inside, json!({"mode": "Custom"}), &hmac, "auth.hmac is for endpoint.url"),
            (&inside, both, &none, "exclude each other"),
            (&json!({"url": "http://plugins.example.com"}), none.clone(), &none, "must begin with https://"),
        ];
        for (endpoint, tls, auth, fragment) in table {
            let manifest = manifest(&TestPlugin::new(&context, "echo"), endpoint, &tls, auth);
            let error = context.try_create(&manifest).await.unwrap_err();
            assert!(matches!(&error, kube::Error::Api(status) if status.code == 422), "{error}");
            assert!(error.to_string().contains(fragment), "{fragment}: {error}");
        }
        for (name, endpoint, tls, auth) in [
            ("a", &outside, json!({"caBundle": "x"}), &hmac),
            ("b", &outside, json!({"mode": "Custom"}), &token),
            ("c", &inside, json!({"mode": "Custom", "caFrom": from}), &token),
            ("d", &inside, none.clone(), &json!({"serviceAccountToken": false})),
            ("e", &socket, none.clone(), &none),
        ] {
            context.create(&manifest(&TestPlugin::new(&context, name), endpoint, &tls, auth)).await;
        }
    })
    .await;
}
