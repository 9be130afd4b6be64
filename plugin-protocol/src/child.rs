//! Children: the objects that a plugin wants to exist, and the keys that identify them.

use std::borrow::Borrow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object that a plugin wants to exist.
///
/// Its identity is (plugin, subject, key). If the manifest of a key gets another name, the object with the new name
/// replaces the object with the old one.
///
/// ```
/// use dask_plugin_protocol::Child;
/// use serde_json::json;
///
/// let child = Child::new("config", json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}));
/// assert_eq!(child.key, "config");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Child {
    /// A stable name for the role of the child, see [`ChildKey`].
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")))]
    pub key: String,
    /// The object. `metadata.name` is optional. The controller sets the namespace, the owner and the status.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub manifest: Value,
}

impl Child {
    /// Creates a child from JSON.
    pub fn new(key: impl Into<String>, manifest: Value) -> Self {
        Self { key: key.into(), manifest }
    }

    /// Creates a child from a typed object, such as those of k8s-openapi.
    ///
    /// ```
    /// use dask_plugin_protocol::Child;
    /// use serde::Serialize;
    ///
    /// #[derive(Serialize)]
    /// #[serde(rename_all = "camelCase")]
    /// struct ConfigMap {
    ///     api_version: &'static str,
    ///     kind: &'static str,
    /// }
    ///
    /// let child = Child::from_object("config", &ConfigMap { api_version: "v1", kind: "ConfigMap" })?;
    /// assert_eq!(child.manifest["kind"], "ConfigMap");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn from_object(key: impl Into<String>, object: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::new(key, serde_json::to_value(object)?))
    }
}

/// A valid key of a child: it matches `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
///
/// The key is used as the value of a label and as the end of a name. Neither may end in a dash.
///
/// ```
/// use dask_plugin_protocol::ChildKey;
///
/// let key: ChildKey = "dashboard-tls".parse()?;
/// assert_eq!(key.as_str(), "dashboard-tls");
/// assert!(ChildKey::new("Dashboard").is_err());
/// assert!(ChildKey::new("dashboard-").is_err());
/// # Ok::<(), dask_plugin_protocol::InvalidChildKey>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ChildKey(String);

/// The error for a string that is not a [`ChildKey`].
///
/// ```
/// let error = dask_plugin_protocol::ChildKey::new("A").unwrap_err();
/// assert!(error.to_string().starts_with("child key \"A\" does not match "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("child key {0:?} does not match [a-z0-9]([a-z0-9-]{{0,38}}[a-z0-9])?")]
pub struct InvalidChildKey(String);

impl ChildKey {
    const MAX_LEN: usize = 40;

    /// Validates `key`.
    pub fn new(key: &str) -> Result<Self, InvalidChildKey> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if key.is_empty() || key.len() > Self::MAX_LEN || !key.bytes().all(allowed) || key.trim_matches('-') != key {
            return Err(InvalidChildKey(crate::limits::cut_message(key).to_owned()));
        }
        Ok(Self(key.to_owned()))
    }

    /// Returns the key as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChildKey {
    type Err = InvalidChildKey;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::new(key)
    }
}

impl TryFrom<&str> for ChildKey {
    type Error = InvalidChildKey;

    fn try_from(key: &str) -> Result<Self, Self::Error> {
        Self::new(key)
    }
}

impl TryFrom<String> for ChildKey {
    type Error = InvalidChildKey;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::new(&key)
    }
}

impl From<ChildKey> for String {
    fn from(key: ChildKey) -> Self {
        key.0
    }
}

impl AsRef<str> for ChildKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// Lets maps with keys of this type be searched by `&str`: the derived `Eq`, `Ord` and `Hash` are those of the string.
impl Borrow<str> for ChildKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ChildKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn every_conversion_validates_the_key() {
        let valid = ChildKey::new("dashboard-tls").unwrap();
        assert_eq!("dashboard-tls".parse(), Ok(valid.clone()));
        assert_eq!(ChildKey::try_from("dashboard-tls"), Ok(valid.clone()));
        assert_eq!(ChildKey::try_from("dashboard-tls".to_owned()), Ok(valid.clone()));
        assert_eq!((valid.as_ref(), String::from(valid.clone())), ("dashboard-tls", "dashboard-tls".to_owned()));
        let longest = "a".repeat(40);
        assert!(ChildKey::new(&longest).is_ok());
        for invalid in ["", "-", "a-", "-a", "A", "a_b", &format!("{longest}a")] {
            assert!(invalid.parse::<ChildKey>().is_err(), "{invalid}");
            assert!(ChildKey::try_from(invalid).is_err(), "{invalid}");
            assert!(ChildKey::try_from(invalid.to_owned()).is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_map_with_keys_of_children_is_searched_by_a_string() {
        let key = ChildKey::new("config").unwrap();
        assert_eq!(BTreeMap::from([(key.clone(), 1)]).get("config"), Some(&1));
        assert_eq!(HashMap::from([(key, 1)]).get("config"), Some(&1));
    }
}
