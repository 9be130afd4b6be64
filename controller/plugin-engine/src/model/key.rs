//! Keys and identities of plugins.

use dask_operator_api::DaskOperatorPlugin;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

/// The prefix of all plugins' finalizers. The plugin's identity follows it.
pub(crate) const PREFIX: &str = "plugin.kubernetes.dask.org/";

/// Returns the identity of the plugin that a finalizer belongs to, if it is a plugin's finalizer.
///
/// Every finalizer with the prefix counts, even if no plugin can have such an identity. The prefix belongs to the
/// operator, so no other controller would ever remove the finalizer. Ignoring it would keep the object, and with it
/// the namespace, for ever. A finalizer of a plugin that does not exist protects nothing, and its removal costs one
/// request.
pub(crate) fn identity_of(finalizer: &str) -> Option<&str> {
    finalizer.strip_prefix(PREFIX)
}

/// The maximum length of a label's value.
const MAX_IDENTITY: usize = 63;

/// The number of hex digits in the hash at the end of a cut identity: 128 bits.
const IDENTITY_HASH: usize = 32;

/// The namespace and name of a plugin resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PluginKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl PluginKey {
    /// Returns the plugin's identity, which is a valid label value. It is the name of the plugin. For plugins outside
    /// the operator's namespace it also contains their namespace, so that plugins with the same name can be
    /// distinguished.
    ///
    /// An identity that is cut has exactly [`MAX_IDENTITY`] characters, and one that is not cut has fewer. Therefore no
    /// plugin and no namespace can be named such that their identity is the cut one of another plugin. A separator that
    /// no name contains would prevent this too, but identities are also the domains of condition types.
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
        // More digits replace the characters that were trimmed.
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

    /// A namespace may have the same name as a hash.
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
