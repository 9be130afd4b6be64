//! The configuration from the environment of the process.
//!
//! URLs and files are not settings of the plugin resource, because users who may edit it must not control the servers
//! that this process connects to, nor the files that it reads.

use std::path::PathBuf;

use reqwest::Url;

use crate::authorization::Authorization;
use crate::connection::TlsFiles;

/// The default URL of the hook, in the pod of the plugin.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8000/sync";

/// The configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The URL of the sync hook.
    pub(crate) sync: Url,
    /// The URL of the finalize hook.
    pub(crate) finalize: Option<Url>,
    /// The version of the requests.
    pub(crate) version: HookVersion,
    /// The fields that responses may have.
    pub(crate) mode: ResponseMode,
    /// The credentials of the plugin.
    pub(crate) authorization: Authorization,
    /// The certificates for HTTPS.
    pub(crate) tls: TlsFiles,
}

/// The version of a hook: the form of the keys in `attachments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookVersion {
    /// `name`.
    V1,
    /// `namespace/name`.
    V2,
}

/// How the fields of a response are read, as in `responseUnMarshallMode` of a `DecoratorController`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseMode {
    /// Unknown and duplicate fields are accepted. The case of letters does not matter.
    Loose,
    /// Unknown and duplicate fields are errors.
    Strict,
}

/// The error for a variable with an invalid value.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is {value:?}; {advice}")]
pub(crate) struct ConfigError {
    variable: &'static str,
    value: String,
    advice: &'static str,
}

impl Config {
    /// Reads the configuration. `lookup` returns the value of a variable. An empty value is like none.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |variable| lookup(variable).filter(|text| !text.is_empty());
        let file = |variable| text(variable).map(PathBuf::from);
        let version = match text("HOOK_VERSION").as_deref() {
            None | Some("v1") => HookVersion::V1,
            Some("v2") => HookVersion::V2,
            Some(other) => return Err(invalid("HOOK_VERSION", other, "set v1 or v2")),
        };
        let mode = match (text("HOOK_RESPONSE_MODE").as_deref(), version) {
            (Some("loose"), _) | (None, HookVersion::V1) => ResponseMode::Loose,
            (Some("strict"), _) | (None, HookVersion::V2) => ResponseMode::Strict,
            (Some(other), _) => return Err(invalid("HOOK_RESPONSE_MODE", other, "set loose or strict")),
        };
        let authorization = match (file("HOOK_TOKEN_FILE"), text("HOOK_BASIC_AUTH_DIR")) {
            (None, None) => Authorization::None,
            (Some(file), None) => {
                let scheme = text("HOOK_TOKEN_TYPE").unwrap_or_else(|| "Bearer".to_owned());
                Authorization::Token { scheme, file }
            }
            (None, Some(dir)) => Authorization::Basic { dir: dir.into() },
            (Some(_), Some(dir)) => {
                return Err(invalid("HOOK_BASIC_AUTH_DIR", &dir, "HOOK_TOKEN_FILE is set, too; set one of them"));
            }
        };
        Ok(Self {
            sync: url("HOOK_URL", text("HOOK_URL").as_deref().unwrap_or(DEFAULT_URL))?,
            finalize: text("FINALIZE_URL").map(|text| url("FINALIZE_URL", &text)).transpose()?,
            version,
            mode,
            authorization,
            tls: TlsFiles { ca: file("HOOK_CA_FILE"), identity: file("HOOK_CLIENT_TLS_DIR") },
        })
    }
}

fn url(variable: &'static str, text: &str) -> Result<Url, ConfigError> {
    let parsed = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    parsed.ok_or_else(|| invalid(variable, text, "set a URL such as http://127.0.0.1:8000/sync"))
}

fn invalid(variable: &'static str, value: &str, advice: &'static str) -> ConfigError {
    ConfigError { variable, value: value.to_owned(), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_the_hook_is_in_the_same_pod_and_of_version_1() {
        let config = read(&[("FINALIZE_URL", "")]).unwrap();
        assert_eq!((config.sync.as_str(), config.finalize), (DEFAULT_URL, None));
        assert_eq!((config.version, config.mode), (HookVersion::V1, ResponseMode::Loose));
    }

    #[test]
    fn a_hook_of_version_2_is_strict_unless_its_mode_is_set() {
        let mode = |mode| read(&[("HOOK_VERSION", "v2"), ("HOOK_RESPONSE_MODE", mode)]).unwrap().mode;
        assert_eq!((mode(""), mode("loose")), (ResponseMode::Strict, ResponseMode::Loose));
    }

    #[test]
    fn a_wrong_variable_is_named_with_its_value() {
        let url = "set a URL such as http://127.0.0.1:8000/sync";
        let table = [
            ("HOOK_URL", "file:///etc/passwd", url),
            ("HOOK_URL", "127.0.0.1:8000", url),
            ("HOOK_URL", "sync", url),
            ("FINALIZE_URL", "https://", url),
            ("HOOK_VERSION", "2", "set v1 or v2"),
            ("HOOK_RESPONSE_MODE", "Loose", "set loose or strict"),
        ];
        for (variable, value, advice) in table {
            let error = read(&[(variable, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("{variable} is {value:?}; {advice}"));
        }
        let both = read(&[("HOOK_TOKEN_FILE", "/token"), ("HOOK_BASIC_AUTH_DIR", "/basic")]).unwrap_err();
        let message = "HOOK_BASIC_AUTH_DIR is \"/basic\"; HOOK_TOKEN_FILE is set, too; set one of them";
        assert_eq!(both.to_string(), message);
    }
}
