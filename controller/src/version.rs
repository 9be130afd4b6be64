//! Prints the version of the program and of the APIs that it is built for.

use std::{
    env::consts::{ARCH, OS},
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;

use plugin_protocol::PROTOCOL_VERSION;

/// The version of the Kubernetes API whose types are compiled in.
const KUBERNETES: &str = "1.37";

/// How the version is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    version: &'static str,
    /// Versions of the plugin protocol.
    protocol_versions: [&'static str; 1],
    kubernetes: &'static str,
    platform: String,
}

/// Prints the version of the program, of the plugin protocol and of the Kubernetes API, and the platform.
///
/// # Errors
/// If `out` cannot be written to.
pub fn print(output: Output, out: &mut impl Write) -> io::Result<()> {
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION"),
        protocol_versions: [PROTOCOL_VERSION],
        kubernetes: KUBERNETES,
        platform: format!("{OS}/{ARCH}"),
    };
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&facts)?),
        Output::Text => {
            writeln!(out, "dask-operator {}", facts.version)?;
            writeln!(out, "plugin protocol {}", facts.protocol_versions.join(", "))?;
            writeln!(out, "Kubernetes API {}", facts.kubernetes)?;
            writeln!(out, "platform {}", facts.platform)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `k8s-openapi` does not expose which version was selected, so the constant is compared with the manifest.
    #[test]
    fn the_version_of_kubernetes_is_the_one_that_the_workspace_asks_for() {
        let feature = format!("k8s-openapi = {{ version = \"0.29\", features = [\"v{}\"", KUBERNETES.replace('.', "_"));
        assert!(include_str!("../../Cargo.toml").contains(&feature), "{feature}");
    }
}
