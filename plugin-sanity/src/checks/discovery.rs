//! The discovery of the plugin.

use dask_plugin_protocol::{Hook, PROTOCOL_VERSION};

use super::Outcome;
use crate::{Session, session::failed};

const SENT: &str = "GET /v1alpha1/discovery";

pub(super) async fn is_valid(session: &Session) -> Outcome {
    let discovery = session.discovery().await?;
    for (field, value) in [("name", &discovery.name), ("version", &discovery.version)] {
        if value.trim().is_empty() {
            return Err(failed(SENT, format!("a {field}"), "an empty string"));
        }
        if value.len() > 128 {
            return Err(failed(SENT, format!("a {field} of at most 128 bytes"), format!("{} bytes", value.len())));
        }
    }
    Ok(())
}

pub(super) async fn is_ours(session: &Session) -> Outcome {
    let discovery = session.discovery().await?;
    if !discovery.speaks_our_version() {
        let expected = format!("{PROTOCOL_VERSION} in protocolVersions");
        return Err(failed(SENT, expected, format!("{:?}", discovery.protocol_versions)));
    }
    if !discovery.hooks.contains(&Hook::Sync) {
        return Err(failed(SENT, "Sync in hooks", format!("{:?}", discovery.hooks)));
    }
    Ok(())
}
