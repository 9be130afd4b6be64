//! Renders the host of a cluster from the pattern in the settings.

use std::net::IpAddr;

use dask_plugin_server::PluginError;

const MAX_HOST_LEN: usize = 253;
const MAX_LABEL_LEN: usize = 63;

/// Replaces `{name}` and `{namespace}`, and checks that the result is a DNS name.
pub(crate) fn render(pattern: &str, name: &str, namespace: &str) -> Result<String, PluginError> {
    let host = fill(pattern, name, namespace).map_err(|problem| {
        PluginError::failure(
            "InvalidHostPattern",
            format!("spec.settings.hostPattern {pattern:?} {problem}; use only {{name}} and {{namespace}}"),
        )
    })?;
    check(&host).map_err(|problem| {
        PluginError::failure(
            "InvalidHost",
            format!("the host {host:?} {problem}; change spec.settings.hostPattern {pattern:?}"),
        )
    })?;
    Ok(host)
}

fn fill(pattern: &str, name: &str, namespace: &str) -> Result<String, String> {
    let mut host = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').ok_or_else(|| "has a { without }".to_owned())?;
        host.push_str(before);
        host.push_str(match placeholder {
            "name" => name,
            "namespace" => namespace,
            unknown => return Err(format!("has the unknown placeholder {{{unknown}}}")),
        });
        rest = after;
    }
    host.push_str(rest);
    if host.contains('}') {
        return Err("has a } without {".to_owned());
    }
    Ok(host)
}

/// Checks the host like the API server checks that of an Ingress: an RFC 1123 subdomain and not an IP address.
fn check(host: &str) -> Result<(), String> {
    if host.len() > MAX_HOST_LEN {
        return Err(format!("is longer than {MAX_HOST_LEN} characters"));
    }
    if host.parse::<IpAddr>().is_ok() {
        return Err("is an IP address".to_owned());
    }
    for label in host.split('.') {
        if label.is_empty() {
            return Err("has an empty part".to_owned());
        }
        if label.len() > MAX_LABEL_LEN {
            return Err(format!("has the part {label:?}, which is longer than {MAX_LABEL_LEN} characters"));
        }
        if !is_label(label) {
            return Err(format!(
                "has the part {label:?}, which has characters other than lower-case letters, digits and inner hyphens"
            ));
        }
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
}
