use dask_plugin_protocol::{Hook, PROTOCOL_VERSION};

use super::Checked;
use crate::{Lab, lab::failed};

const SENT: &str = "GET /v1alpha1/discovery";

pub(super) async fn is_valid(lab: &Lab) -> Checked {
    let said = lab.discovery().await?;
    for (field, value) in [("name", &said.name), ("version", &said.version)] {
        if value.trim().is_empty() {
            return Err(failed(SENT, format!("a {field}"), "an empty one"));
        }
        if value.len() > 128 {
            return Err(failed(SENT, format!("a {field} of at most 128 bytes"), format!("{} bytes", value.len())));
        }
    }
    Ok(())
}

pub(super) async fn is_ours(lab: &Lab) -> Checked {
    let said = lab.discovery().await?;
    if !said.speaks_our_version() {
        let expected = format!("{PROTOCOL_VERSION} in protocolVersions");
        return Err(failed(SENT, expected, format!("{:?}", said.protocol_versions)));
    }
    if !said.hooks.contains(&Hook::Sync) {
        return Err(failed(SENT, "Sync in hooks", format!("{:?}", said.hooks)));
    }
    Ok(())
}
