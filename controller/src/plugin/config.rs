//! Configuration of the plugin engine, as flags set it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use operator_runtime::{scope::Scope, watch::Pace};

/// What flags say about plugins.
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) watched: Scope,
    pub(crate) pace: Pace,
    pub(crate) socket_dir: PathBuf,
    pub(crate) service_ip: Option<IpAddr>,
    /// Whether teams may have plugins in their own namespaces.
    pub(crate) tenants: bool,
    pub(crate) urls: Urls,
    pub(crate) identity: Identity,
    pub(crate) lives: Lives,
    /// Whether what stands behind plugins' Services may be watched.
    pub(crate) endpoints: bool,
}

impl Settings {
    /// Where plugin resources and their Services can be. Without teams' plugins that is the operator's namespace
    /// alone: the controller need not have the right to read those of others.
    pub(crate) fn plugin_scope(&self) -> Scope {
        if self.tenants { self.watched.with(&self.namespace) } else { Scope::of([&self.namespace]) }
    }
}

/// Which URLs plugins may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Urls {
    /// Those outside of the cluster.
    pub(crate) allowed: bool,
    /// `http://127.0.0.1`.
    pub(crate) dev: bool,
}

/// Whose tokens the controller shows to plugins.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) service_account: String,
    /// Name and uid.
    pub(crate) pod: Option<(String, String)>,
}

/// How long certificates live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lives {
    pub(crate) authority: Duration,
    pub(crate) certificate: Duration,
}

/// The flags of an installation that watches all namespaces, without teams' plugins.
#[cfg(test)]
pub(crate) fn test_settings() -> Settings {
    Settings {
        namespace: "dask-operator".to_owned(),
        watched: Scope::all(),
        pace: Pace::default(),
        socket_dir: PathBuf::new(),
        service_ip: None,
        tenants: false,
        urls: Urls::default(),
        identity: Identity { service_account: "dask-operator".to_owned(), pod: None },
        lives: Lives { authority: Duration::ZERO, certificate: Duration::ZERO },
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
