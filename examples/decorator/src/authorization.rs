//! The credentials that the plugin presents to the hook.

use std::path::PathBuf;

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::files::{self, FileError};

/// The credentials. Their files are read for each call, because they may be replaced at any time.
#[derive(Debug, Clone)]
pub(crate) enum Authorization {
    /// No credentials.
    None,
    /// A token after the name of its scheme, such as `Bearer`.
    Token { scheme: String, file: PathBuf },
    /// The files `username` and `password` of a directory.
    Basic { dir: PathBuf },
}

impl Authorization {
    /// Adds the credentials to a call.
    pub(crate) async fn add_to(&self, call: RequestBuilder) -> Result<RequestBuilder, FileError> {
        match self {
            Self::None => Ok(call),
            Self::Token { scheme, file } => {
                let token = files::read_line(file).await?;
                let mut value = HeaderValue::try_from(format!("{scheme} {token}"))
                    .map_err(|_| FileError::invalid(file, "has characters that a header must not have"))?;
                value.set_sensitive(true);
                Ok(call.header(AUTHORIZATION, value))
            }
            Self::Basic { dir } => {
                let dir = files::current(dir).await;
                let name = files::read_line(&dir.join("username")).await?;
                let password = files::read_line(&dir.join("password")).await?;
                Ok(call.basic_auth(name, Some(password)))
            }
        }
    }
}
