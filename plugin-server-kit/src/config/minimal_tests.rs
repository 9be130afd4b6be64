//! The environment of a plugin that is built without features: no variable silently disables a check.

use super::*;

fn error_of(variables: &[(&str, &str)]) -> String {
    let config = Config::from_lookup(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        Ok(found.map(|(_, value)| (*value).to_owned()))
    });
    config.unwrap_err().to_string()
}

#[test]
fn a_variable_of_a_missing_feature_is_an_error() {
    for (variable, feature) in [
        ("PLUGIN_HMAC_FILE", "signature"),
        ("PLUGIN_TOKEN_AUDIENCE", "token"),
        ("PLUGIN_TOKEN_JWKS", "token"),
        ("PLUGIN_TOKEN_JWKS_CA", "token"),
        ("PLUGIN_TOKEN_ISSUER", "token"),
        ("PLUGIN_TOKEN_SUBJECT", "token"),
    ] {
        let expected =
            format!("{variable} is set, but the plugin is built without the feature {feature} of dask-plugin-server");
        assert_eq!(error_of(&[("PLUGIN_SOCKET", "/x"), (variable, "a")]), expected);
    }
}

#[test]
fn without_tls_an_endpoint_is_required() {
    assert!(error_of(&[]).ends_with("set PLUGIN_SOCKET or PLUGIN_INSECURE_PORT"));
}
