//! Configuration of the plugin engine, as flags set it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use operator_runtime::{scope::Scope, watch::WatchTiming};

/// Settings of the plugin engine.
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// The namespaces whose Dask resources are subjects.
    pub watched: Scope,
    /// Time limits of watches.
    pub pace: WatchTiming,
    /// Directory of the Unix sockets of plugins that run as sidecars.
    pub socket_dir: PathBuf,
    /// Address of the Services of all plugins, for a controller outside of the cluster.
    pub service_ip: Option<IpAddr>,
    /// Whether teams may have plugins in their own namespaces.
    pub tenants: bool,
    /// Which URLs plugins may have.
    pub urls: Urls,
    /// Whose tokens the controller presents to plugins.
    pub identity: TokenSubject,
    /// How long certificates are valid.
    pub lives: CertificateLifetimes,
    /// Whether the `EndpointSlice`s of plugins' Services may be watched.
    pub endpoints: bool,
}

impl Settings {
    /// Returns where plugin resources and their Services can be. Without teams' plugins that is the operator's
    /// namespace alone: the controller need not have the right to read those of others.
    pub fn plugin_scope(&self) -> Scope {
        if self.tenants { self.watched.with(&self.namespace) } else { Scope::of([&self.namespace]) }
    }
}

/// Which URLs plugins may have, beside those of Services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Urls {
    /// Whether URLs outside of the cluster are allowed.
    pub allowed: bool,
    /// Whether `http://127.0.0.1` is allowed.
    pub dev: bool,
}

/// The ServiceAccount and the pod whose tokens the controller presents to plugins.
#[derive(Clone, Debug)]
pub struct TokenSubject {
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// Name and uid of the controller's pod.
    pub pod: Option<(String, String)>,
}

/// How long certificates are valid.
#[derive(Clone, Copy, Debug)]
pub struct CertificateLifetimes {
    /// The certificate authority's own certificate.
    pub authority: Duration,
    /// Certificates of clients and plugins.
    pub certificate: Duration,
}

/// The flags of an installation that watches all namespaces, without teams' plugins.
#[cfg(any(test, feature = "testing"))]
pub fn test_settings() -> Settings {
    Settings {
        namespace: "dask-operator".to_owned(),
        watched: Scope::all(),
        pace: WatchTiming::default(),
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: false,
        urls: Urls::default(),
        identity: TokenSubject { service_account: "dask-operator".to_owned(), pod: None },
        lives: CertificateLifetimes { authority: Duration::ZERO, certificate: Duration::ZERO },
        endpoints: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_looked_for_where_they_can_be_accepted() {
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
