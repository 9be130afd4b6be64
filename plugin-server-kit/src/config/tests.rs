//! The environment and the configuration that results from it.

use super::*;

fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_lookup(|wanted| {
        let found = variables.iter().find(|(variable, _)| *variable == wanted);
        Ok(found.map(|(_, value)| (*value).to_owned()))
    })
}

#[test]
fn an_empty_environment_means_mutual_tls_and_a_health_port() {
    for variables in [[("", "")], [("PLUGIN_SOCKET", "")]] {
        let config = config(&variables).unwrap();
        assert_eq!(config.endpoint, Endpoint::Tls { dir: "/etc/plugin-tls".into(), port: 8443 });
        assert_eq!((config.health_port, config.log_format), (Some(8080), LogFormat::Text));
    }
}

#[test]
fn every_variable_has_its_effect() {
    let config = config(&[
        ("PLUGIN_TLS_DIR", "/certs"),
        ("PLUGIN_PORT", "9443"),
        ("PLUGIN_HEALTH_PORT", "9080"),
        ("PLUGIN_DRAIN_SECONDS", "12"),
        ("LOG_FORMAT", "json"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.endpoint, Endpoint::Tls { dir: "/certs".into(), port: 9443 });
    assert_eq!((config.health_port, config.log_format), (Some(9080), LogFormat::Json));
    assert_eq!(config.drain, Duration::from_secs(12));
}

#[test]
fn a_sidecar_and_a_development_server_open_a_health_port_only_if_it_is_set() {
    let socket = config(&[("PLUGIN_SOCKET", "/run/x.sock")]).unwrap();
    assert_eq!(socket.endpoint, Endpoint::Socket("/run/x.sock".into()));
    assert_eq!(socket.health_port, None);
    let insecure = config(&[("PLUGIN_INSECURE_PORT", "8000")]).unwrap();
    assert_eq!(insecure.endpoint, Endpoint::Insecure { port: 8000 });
    assert_eq!(insecure.health_port, None);
    let on = config(&[("PLUGIN_SOCKET", "/x"), ("PLUGIN_HEALTH_PORT", "1")]).unwrap();
    assert_eq!(on.health_port, Some(1));
    let off = config(&[("PLUGIN_HEALTH_PORT", "0")]).unwrap();
    assert_eq!(off.health_port, None);
}

#[test]
fn only_a_plugin_behind_a_service_drains_by_default() {
    assert_eq!(config(&[]).unwrap().drain, Duration::from_secs(5));
    assert_eq!(config(&[("PLUGIN_SOCKET", "/x")]).unwrap().drain, Duration::ZERO);
    assert_eq!(config(&[("PLUGIN_INSECURE_PORT", "8000")]).unwrap().drain, Duration::ZERO);
    assert_eq!(config(&[("PLUGIN_DRAIN_SECONDS", "0")]).unwrap().drain, Duration::ZERO);
}

#[test]
fn each_error_is_one_sentence() {
    for (variables, sentence) in [
        ([("PLUGIN_PORT", "https"), ("", "")], "PLUGIN_PORT is \"https\", which is not a port number"),
        ([("PLUGIN_HEALTH_PORT", "70000"), ("", "")], "PLUGIN_HEALTH_PORT is \"70000\", which is not a port number"),
        (
            [("PLUGIN_DRAIN_SECONDS", "5s"), ("", "")],
            "PLUGIN_DRAIN_SECONDS is \"5s\", which is not a number from 0 to 600",
        ),
        ([("LOG_FORMAT", "xml"), ("", "")], "LOG_FORMAT is \"xml\", which is not text or json"),
        (
            [("PLUGIN_TOKEN_AUDIENCE", "https://a:443"), ("PLUGIN_TOKEN_JWKS", "http://a/jwks")],
            "PLUGIN_TOKEN_JWKS is \"http://a/jwks\", which is not the path of a file or an https URL",
        ),
        (
            [("PLUGIN_TOKEN_ISSUER", "https://a"), ("", "")],
            "PLUGIN_TOKEN_ISSUER is set, but PLUGIN_TOKEN_AUDIENCE is not; set both or none",
        ),
        (
            [("PLUGIN_SOCKET", "/x"), ("PLUGIN_INSECURE_PORT", "1")],
            "PLUGIN_SOCKET and PLUGIN_INSECURE_PORT are both set; unset one",
        ),
    ] {
        assert_eq!(config(&variables).unwrap_err().to_string(), sentence);
    }
}
