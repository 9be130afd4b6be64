//! Keys and identities of plugins.

use dask_operator_api::DaskOperatorPlugin;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

/// What the finalizers of all plugins begin with; the plugin's identity follows.
pub(crate) const PREFIX: &str = "plugin.kubernetes.dask.org/";

/// Returns the plugin that a finalizer belongs to, if it is a plugin's.
///
/// Every finalizer with the prefix counts as one, also if no plugin can have such an identity: the prefix is the
/// operator's own, so that nobody else would ever remove it. To ignore it would keep the object, and with it the
/// namespace, for ever. A finalizer of a plugin that does not exist guards nothing, and its removal costs one request.
pub(crate) fn identity_of(finalizer: &str) -> Option<&str> {
    finalizer.strip_prefix(PREFIX)
}

/// A label's value has at most so many characters.
const MAX_IDENTITY: usize = 63;

/// Hex digits of the hash that a cut identity ends in: 128 bits.
const IDENTITY_HASH: usize = 32;

/// A plugin resource by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PluginKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl PluginKey {
    /// A label's value: the name, and for plugins outside of the operator's namespace theirs too, so that two of
    /// one name are not taken for each other.
    ///
    /// An identity that is cut has exactly [`MAX_IDENTITY`] characters, and one that is not cut has fewer. So no
    /// plugin and no namespace can be named such that their identity is the cut one of another plugin. A character
    /// that no name has would separate them too, but identities are also the domains of condition types.
    pub(crate) fn identity(&self, operator_namespace: &str) -> String {
        if self.namespace == operator_namespace {
            return self.name.clone();
        }
        let whole = format!("{}.{}", self.name, self.namespace);
        if whole.len() < MAX_IDENTITY {
            return whole;
        }
        let kept: String = whole.chars().take(MAX_IDENTITY - IDENTITY_HASH - 1).collect();
        let kept = kept.trim_end_matches(['-', '.']);
        // More digits take the place of what was trimmed.
        let digits = MAX_IDENTITY - kept.len() - 1;
        let hash: String = hex::encode(Sha256::digest(&whole)).chars().take(digits).collect();
        format!("{kept}.{hash}")
    }
}

pub(crate) fn key_of(plugin: &DaskOperatorPlugin) -> PluginKey {
    PluginKey { namespace: plugin.namespace().unwrap_or_default(), name: plugin.name_any() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR: &str = "dask-operator";

    fn identity(name: &str, namespace: &str) -> String {
        PluginKey { name: name.to_owned(), namespace: namespace.to_owned() }.identity(OPERATOR)
    }

    #[test]
    fn an_identity_that_is_short_enough_names_the_plugin_and_its_namespace() {
        assert_eq!(identity("echo", OPERATOR), "echo");
        let name = "n".repeat(62 - ".team-a".len());
        assert_eq!(identity(&name, "team-a"), format!("{name}.team-a"));
    }

    #[test]
    fn a_cut_identity_has_128_bits_of_a_hash_and_is_a_label_and_a_domain() {
        for name in ["n".repeat(63), format!("n{}n", "-".repeat(61)), format!("{}.n", "n".repeat(29)).repeat(2)] {
            let identity = identity(&name, "team-a");
            let (_, hash) = identity.rsplit_once('.').unwrap();
            assert!(hash.len() >= 32 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{identity}");
            assert_eq!(identity.len(), 63, "{identity}");
            assert!(identity.split('.').all(dask_operator_api::meta::is_dns_label), "{identity}");
        }
    }

    /// A namespace may have the name of a hash.
    #[test]
    fn no_plugin_can_be_named_such_that_it_has_the_cut_identity_of_another_one() {
        let victim = identity(&"n".repeat(63), "team-a");
        let parts: Vec<&str> = victim.split('.').collect();
        for at in 1..parts.len() {
            let (name, namespace) = (parts[..at].join("."), parts[at..].join("."));
            assert_ne!(identity(&name, &namespace), victim);
        }
    }
}
