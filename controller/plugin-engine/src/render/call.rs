//! The source of answers: a plugin on this machine, or a file.

use std::{fs, path::PathBuf, time::Duration};

use super::{Error, RenderOptions};
use crate::{
    client::{
        Caller, Route,
        answer::Answer,
        memory_shares::Shares,
        response::{self, CallError},
    },
    resource,
};
use plugin_protocol::{Hook, ReviewRequest};

/// The longest timeout that a plugin resource can set.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The source of answers.
pub(crate) enum Source {
    Plugin(Box<Caller>),
    File(Vec<u8>),
}

impl Source {
    /// Opens the source that `args` specify. A plugin is discovered first, as the controller does.
    pub(crate) async fn open(args: &RenderOptions) -> Result<Self, Error> {
        if let Some(path) = &args.answer {
            let body = fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            return Ok(Self::File(body));
        }
        let endpoint = args.endpoint.as_deref().unwrap_or_default();
        let route = match endpoint.strip_prefix("unix:") {
            Some(path) => Route::Socket(PathBuf::from(path)),
            None => Route::Dev(resource::loopback(endpoint).map_err(Error::Endpoint)?),
        };
        let caller = Caller::new(&route, TIMEOUT).map_err(|error| Error::Endpoint(error.to_string()))?;
        let discovery = caller.discover().await.map_err(|error| Error::Discovery(error.to_string()))?;
        if !discovery.speaks_our_version() {
            let versions = discovery.protocol_versions.join(", ");
            let ours = plugin_protocol::PROTOCOL_VERSION;
            return Err(Error::Discovery(format!(
                "it supports the protocol versions {versions}, and the controller supports {ours}"
            )));
        }
        if !discovery.hooks.contains(&Hook::Sync) {
            return Err(Error::Discovery("it does not list the hook Sync".to_owned()));
        }
        Ok(Self::Plugin(Box::new(caller)))
    }

    /// Returns the answer to `review`, validated as in the controller.
    pub(crate) async fn answer(&self, review: &ReviewRequest) -> Result<Answer, CallError> {
        match self {
            Self::Plugin(caller) => caller.call(review, &mut Shares::unlimited().of("")).await,
            Self::File(body) => response::parse_response(body),
        }
    }
}
