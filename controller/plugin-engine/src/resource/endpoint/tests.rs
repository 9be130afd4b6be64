//! Tests of the validation of endpoints.

use serde_json::{Value, json};

use super::*;

fn validated(namespace: &str, spec: &Value, allowed: bool) -> Result<ValidatedEndpoint, Rejection> {
    validated_with(namespace, spec, Urls { allowed, dev: false })
}

fn validated_with(namespace: &str, spec: &Value, urls: Urls) -> Result<ValidatedEndpoint, Rejection> {
    let mut plugin = json!({
        "apiVersion": "kubernetes.dask.org/v1alpha1",
        "kind": "DaskOperatorPlugin",
        "metadata": {"name": "ingress", "namespace": namespace},
        "spec": {"subjects": [{"kind": "Service"}], "children": [{"apiVersion": "v1", "kind": "ConfigMap"}]},
    });
    plugin["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    validate(&serde_json::from_value(plugin).unwrap(), namespace, urls)
}

fn reason(spec: &Value) -> &'static str {
    validated("dask-operator", spec, true).unwrap_err().reason
}

fn url(url: &str) -> Result<Base, Rejection> {
    match validated("dask-operator", &json!({"endpoint": {"url": url}}), true)? {
        ValidatedEndpoint::Custom(CustomEndpoint { target: Target::Url(base), .. }) => Ok(base),
        other => panic!("{other:?}"),
    }
}

#[test]
fn urls_are_refused_unless_the_operator_allows_them() {
    let spec = json!({"endpoint": {"url": "https://plugins.example.com/dask"}});
    assert_eq!(validated("dask-operator", &spec, false).unwrap_err().reason, "UrlsDisabled");
    assert!(validated("dask-operator", &spec, true).is_ok());
}

#[test]
fn http_is_allowed_only_for_this_machine_in_development() {
    let reason = |url: &str, urls| {
        let found = validated_with("dask-operator", &json!({"endpoint": {"url": url}}), urls);
        found.map(|endpoint| assert!(matches!(endpoint, ValidatedEndpoint::Dev(_)))).map_err(|refused| refused.reason)
    };
    let dev = Urls { allowed: false, dev: true };
    for local in ["http://127.0.0.1:8000", "http://127.0.0.1/dask"] {
        assert_eq!(reason(local, dev), Ok(()), "{local}");
        assert_eq!(reason(local, Urls { allowed: true, dev: false }), Err("InvalidEndpoint"), "{local}");
        assert_eq!(reason(local, Urls::default()), Err("UrlsDisabled"), "{local}");
    }
    for elsewhere in ["http://127.0.0.2:8000", "http://localhost:8000", "http://10.0.0.5", "http://u@127.0.0.1"] {
        assert_eq!(reason(elsewhere, dev), Err("InvalidEndpoint"), "{elsewhere}");
    }
    assert_eq!(reason("https://plugins.example.com", dev), Err("UrlsDisabled"));
    let with_tls = json!({"endpoint": {"url": "http://127.0.0.1:8000"}, "tls": {"mode": "Custom"}});
    assert_eq!(validated_with("dask-operator", &with_tls, dev).unwrap_err().reason, "InvalidTls");
}

#[test]
fn a_url_is_host_port_and_path_and_its_audience_has_all_three() {
    for (text, audience) in [
        ("https://plugins.example.com", "https://plugins.example.com:443"),
        ("https://plugins.example.com/", "https://plugins.example.com:443"),
        ("https://plugins.example.com:443/dask/", "https://plugins.example.com:443/dask"),
        ("https://PLUGINS.example.com:8443/Dask", "https://plugins.example.com:8443/Dask"),
        ("https://10.0.0.5/a/../b", "https://10.0.0.5:443/b"),
        ("https://[2606:4700::1111]:8443", "https://[2606:4700::1111]:8443"),
    ] {
        assert_eq!(url(text).unwrap().url(), audience, "{text}");
    }
}

#[test]
fn urls_that_hold_more_than_an_address_or_other_schemes_are_refused() {
    for text in [
        "",
        "plugins.example.com",
        "http://plugins.example.com",
        "file:///etc/passwd",
        "https://",
        "https://user@plugins.example.com",
        "https://user:secret@plugins.example.com",
        "https://:secret@plugins.example.com",
        "https://plugins.example.com?a=b",
        "https://plugins.example.com/?",
        "https://plugins.example.com/#a",
        "https://plugins.example.com/a b",
        "https://plugins.example.com/%2e%2e%2fa;b",
        "https://plugins.example.com:99999",
    ] {
        let refused = url(text).unwrap_err();
        assert_eq!(refused.reason, "InvalidEndpoint", "{text}");
        assert!(!refused.message.contains("secret@"), "{text}: a message may not quote a password");
    }
}

/// Addresses are not resolved, so the check of DNS answers does not see them.
#[test]
fn addresses_in_urls_are_checked_in_each_notation() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "１２７.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "kubernetes",
        "kubernetes.default.svc",
        "kubernetes.default.svc.",
        "kubernetes.default.svc.cluster.local",
    ] {
        for text in [format!("https://{host}"), format!("https://{host}:8443/a")] {
            assert_eq!(url(&text).err().map(|refused| refused.reason), Some("InvalidEndpoint"), "{text}");
        }
    }
}

#[test]
fn endpoints_cannot_leave_their_place() {
    let elsewhere = json!({"endpoint": {"service": {"name": "a", "namespace": "kube-system"}}});
    assert_eq!(reason(&elsewhere), "InvalidEndpoint");
    for socket in ["../run/secret.sock", "a/../../secret.sock", ".hidden", ""] {
        assert_eq!(reason(&json!({"endpoint": {"socket": socket}})), "InvalidEndpoint", "{socket}");
    }
    assert_eq!(reason(&json!({"endpoint": {}})), "InvalidEndpoint");
}

#[test]
fn the_api_server_is_no_plugin() {
    let spec = json!({"endpoint": {"service": {"name": "kubernetes"}}});
    assert_eq!(validated("default", &spec, true).unwrap_err().reason, "InvalidEndpoint");
    assert!(validated("dask-operator", &spec, true).is_ok());
}

/// With the name `10.0.0.5:22/`, the controller would connect to any host and port.
#[test]
fn a_service_endpoint_cannot_name_another_host() {
    for name in ["10.0.0.5:22/", "a.other", "a?", "a#", "user@host", "", "-a", "Upper"] {
        assert_eq!(reason(&json!({"endpoint": {"service": {"name": name}}})), "InvalidEndpoint", "{name}");
    }
    for path in ["", "dask", "/a?b", "/a#b", "/a b", "@host"] {
        let spec = json!({"endpoint": {"service": {"name": "a", "path": path}}});
        assert_eq!(reason(&spec), "InvalidEndpoint", "{path}");
    }
}

#[test]
fn endpoint_and_mode_decide_who_issues_the_certificates() {
    let kind = |spec: Value| match validated("dask-operator", &spec, true).unwrap() {
        ValidatedEndpoint::Socket(_) => "socket",
        ValidatedEndpoint::Dev(_) => "dev",
        ValidatedEndpoint::Auto(_) => "auto",
        ValidatedEndpoint::Custom(_) => "custom",
    };
    let (service, address) = (json!({"service": {"name": "a"}}), json!({"url": "https://a.example.com"}));
    assert_eq!(kind(json!({"endpoint": {"socket": "a.sock"}})), "socket");
    assert_eq!(kind(json!({"endpoint": {"socket": "sidecar/a.sock"}})), "socket");
    assert_eq!(kind(json!({"endpoint": service})), "auto");
    assert_eq!(kind(json!({"endpoint": service, "tls": {"mode": "Custom"}})), "custom");
    // The API server sets `Auto` as the default.
    assert_eq!(kind(json!({"endpoint": address, "tls": {"mode": "Auto", "caBundle": "x"}})), "custom");
    assert_eq!(kind(json!({"endpoint": address})), "custom");
}

#[test]
fn settings_that_would_not_be_acted_on_are_refused() {
    let (service, socket) = (json!({"service": {"name": "a"}}), json!({"socket": "a.sock"}));
    let address = json!({"url": "https://a.example.com"});
    let from = json!({"kind": "ConfigMap", "name": "ca"});
    let hmac = json!({"secretName": "a", "key": "b"});
    let both = json!({"mode": "Custom", "caBundle": "x", "caFrom": from});
    let table = [
        (&socket, json!({"mode": "Custom"}), json!({}), "InvalidTls"),
        (&socket, json!({"caBundle": "x"}), json!({}), "InvalidTls"),
        (&socket, json!({}), json!({"serviceAccountToken": true}), "InvalidAuth"),
        (&socket, json!({}), json!({"hmac": hmac}), "InvalidAuth"),
        (&service, json!({"caBundle": "x"}), json!({}), "InvalidTls"),
        (&service, json!({"caFrom": from}), json!({}), "InvalidTls"),
        (&service, json!({"clientCertificate": {"secretName": "a"}}), json!({}), "InvalidTls"),
        (&service, json!({}), json!({"serviceAccountToken": true}), "InvalidAuth"),
        (&service, json!({}), json!({"hmac": hmac}), "InvalidAuth"),
        (&service, json!({"mode": "Custom"}), json!({"hmac": hmac}), "InvalidAuth"),
        (&service, both.clone(), json!({}), "InvalidTls"),
        (&address, both, json!({}), "InvalidTls"),
        (&address, json!({"caFrom": {"kind": "Secret", "name": "../pods"}}), json!({}), "InvalidTls"),
        (&address, json!({"clientCertificate": {"secretName": "a/b"}}), json!({}), "InvalidTls"),
        (&address, json!({}), json!({"hmac": {"secretName": "a?b", "key": "c"}}), "InvalidAuth"),
    ];
    for (endpoint, tls, auth, expected) in table {
        let spec = json!({"endpoint": endpoint, "tls": tls, "auth": auth});
        assert_eq!(reason(&spec), expected, "{spec}");
    }
    let off = json!({"endpoint": service, "auth": {"serviceAccountToken": false}});
    assert!(validated("dask-operator", &off, true).is_ok());
}
