use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object that a plugin wants to exist.
///
/// Its identity is (plugin, subject, key): a manifest whose name changes under the same key replaces
/// the object of the old name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Child {
    /// A stable name of the child's role, see [`ChildKey`].
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")))]
    pub key: String,
    /// The object. `metadata.name` may be left out; namespace, owner and status are the controller's.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub manifest: Value,
}

impl Child {
    /// A child from raw JSON.
    pub fn new(key: impl Into<String>, manifest: Value) -> Self {
        Self { key: key.into(), manifest }
    }

    /// A child from a typed object, such as those of k8s-openapi.
    pub fn from_object(key: impl Into<String>, object: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::new(key, serde_json::to_value(object)?))
    }
}

/// A child's key that is known to match `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`: it becomes a label's value and
/// the end of a name, and neither may end in a dash.
///
/// ```
/// use dask_plugin_protocol::ChildKey;
/// assert!(ChildKey::new("dashboard-tls").is_ok());
/// assert!(ChildKey::new("Dashboard").is_err());
/// assert!(ChildKey::new("dashboard-").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ChildKey(String);

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("child key {0:?} does not match [a-z0-9]([a-z0-9-]{{0,38}}[a-z0-9])?")]
pub struct InvalidChildKey(String);

impl ChildKey {
    const MAX_LEN: usize = 40;

    /// Checks `key`.
    pub fn new(key: &str) -> Result<Self, InvalidChildKey> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if key.is_empty() || key.len() > Self::MAX_LEN || !key.bytes().all(allowed) || key.trim_matches('-') != key {
            return Err(InvalidChildKey(crate::limits::cut_message(key).to_owned()));
        }
        Ok(Self(key.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ChildKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
