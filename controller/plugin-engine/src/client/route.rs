//! How a plugin is reached: its address, the protocol and the credentials.

use std::{net::IpAddr, path::PathBuf};

use super::{signature::Signer, tls::Roots, token::Tokens};
use crate::pki::certificates::CertificateAndKey;

/// The address of a plugin and the protocol that reaches it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// HTTPS.
    Https(Https),
    /// A Unix socket in the pod.
    Socket(PathBuf),
    /// HTTP on the machine that the controller runs on.
    Dev(Base),
}

/// An HTTPS endpoint and the credentials of both sides.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Https {
    pub(crate) base: Base,
    /// The host's IP address, if it is not resolved by DNS.
    pub(crate) address: Option<IpAddr>,
    pub(crate) roots: Roots,
    /// The controller's certificate.
    pub(crate) identity: Option<CertificateAndKey>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) signer: Option<Signer>,
}

/// The common prefix of all URLs of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// A host name, or an IP address in the notation of URLs.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    /// Whether the host is an Internet name and not a name inside the cluster.
    pub(crate) absolute: bool,
}

impl Base {
    /// Returns the URL without a trailing `/`. It is also the audience of tokens. The port is always included, so that
    /// no endpoint has the URL that is the API server's own audience.
    pub(crate) fn url(&self) -> String {
        self.url_by("https")
    }

    /// Returns the URL with another scheme.
    pub(super) fn url_by(&self, scheme: &str) -> String {
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path.trim_end_matches('/'))
    }
}

impl Route {
    /// Returns the endpoint in a readable form.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Https(https) => format!("https://{}:{}{}", https.base.host, https.base.port, https.base.path),
            Self::Dev(base) => format!("http://{}:{}{}", base.host, base.port, base.path),
            Self::Socket(path) => format!("unix:{}", path.display()),
        }
    }
}
