//! Configuration of the plugin engine, as set by flags.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use operator_runtime::scope::Scope;

/// Settings of the plugin engine.
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// The namespaces whose Dask resources are subjects.
    pub watched: Scope,
    /// Directory of the Unix sockets of plugins that run as sidecars.
    pub socket_dir: PathBuf,
    /// Address of the Services of all plugins, for a controller outside the cluster.
    pub service_ip: Option<IpAddr>,
    /// Allows plugins in teams' own namespaces.
    pub tenants: bool,
    /// How many plugins of each team's namespace are served.
    pub plugins_per_namespace: usize,
    /// The URLs that plugins may have.
    pub urls: Urls,
    /// The identity in the tokens that the controller presents to plugins.
    pub identity: TokenSubject,
    /// Validity periods of certificates.
    pub lives: CertificateLifetimes,
    /// Enables the watch of the `EndpointSlice`s of plugins' Services.
    pub endpoints: bool,
    /// Enables the watch of plugin resources in namespaces whose plugins are not accepted.
    pub strays: bool,
}

impl Settings {
    /// Returns the namespaces that can contain plugin resources and their Services. Without teams' plugins that is only
    /// the operator's namespace, so that the controller does not need permission to read them elsewhere.
    pub(crate) fn plugin_scope(&self) -> Scope {
        if self.tenants { self.watched.with(&self.namespace) } else { Scope::of([&self.namespace]) }
    }
}

/// The URLs that plugins may have, besides those of Services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Urls {
    /// Allows URLs outside the cluster.
    pub allowed: bool,
    /// Allows `http://127.0.0.1`.
    pub dev: bool,
}

/// The ServiceAccount and the pod in the tokens that the controller presents to plugins.
#[derive(Clone, Debug)]
pub struct TokenSubject {
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// Name and uid of the controller's pod.
    pub pod: Option<(String, String)>,
}

/// Validity periods of certificates.
#[derive(Clone, Copy, Debug)]
pub struct CertificateLifetimes {
    /// The certificate authority's own certificate.
    pub authority: Duration,
    /// Certificates of clients and plugins.
    pub certificate: Duration,
}

/// Returns the settings of an installation that watches all namespaces and has no teams' plugins.
#[cfg(any(test, feature = "testing"))]
pub fn test_settings() -> Settings {
    Settings {
        namespace: "dask-operator".to_owned(),
        watched: Scope::all(),
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: false,
        plugins_per_namespace: 20,
        urls: Urls::default(),
        identity: TokenSubject { service_account: "dask-operator".to_owned(), pod: None },
        lives: CertificateLifetimes { authority: Duration::ZERO, certificate: Duration::ZERO },
        endpoints: true,
        strays: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_watched_where_they_can_be_accepted() {
        let own = Scope::of(["dask-operator"]);
        let table = [
            (false, Scope::all(), own.clone()),
            (false, Scope::of(["team-a"]), own.clone()),
            (true, Scope::all(), Scope::all()),
            (true, Scope::of(["team-a", "team-b"]), Scope::of(["dask-operator", "team-a", "team-b"])),
            (true, own.clone(), own),
        ];
        for (tenants, watched, expected) in table {
            let settings = Settings { watched, tenants, ..test_settings() };
            assert_eq!(settings.plugin_scope(), expected, "{tenants} {}", settings.watched);
        }
    }
}
