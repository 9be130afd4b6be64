//! The namespaces that the controller watches.

use std::{collections::BTreeSet, fmt};

/// All namespaces, or a set of at least one namespace.
///
/// With a set, the controller makes no cluster-wide requests. The permissions that it needs then fit into a Role in
/// each of the namespaces.
///
/// ```
/// use operator_runtime::scope::Scope;
///
/// let teams = Scope::of(["team-b", "team-a"]);
/// assert!(teams.contains("team-a") && !teams.contains("team-c"));
/// assert_eq!(teams.to_string(), "the namespaces team-a, team-b");
/// assert_eq!(Scope::of([""]), Scope::all());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Option<BTreeSet<String>>);

impl Scope {
    /// Returns the scope of all namespaces.
    pub fn all() -> Self {
        Self(None)
    }

    /// Returns the scope of these namespaces, or of all namespaces if there are no names. Empty names are ignored,
    /// because a variable that is set to nothing counts as unset.
    pub fn of<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).filter(|name| !name.is_empty()).collect();
        Self(Some(names).filter(|names| !names.is_empty()))
    }

    /// Returns the names of the namespaces, or `None` for all namespaces.
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        self.0.as_ref()
    }

    /// Returns whether only some namespaces are watched.
    pub fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether `namespace` is watched.
    pub fn contains(&self, namespace: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(namespace))
    }

    /// Returns this scope with `namespace` added.
    #[must_use]
    pub fn with(&self, namespace: &str) -> Self {
        let mut scope = self.clone();
        if let Some(names) = &mut scope.0 {
            names.insert(namespace.to_owned());
        }
        scope
    }

    /// Returns the namespaces in which requests are made, one after the other. `None` stands for one cluster-wide
    /// request.
    pub fn parts(&self) -> Vec<Option<&str>> {
        match &self.0 {
            Some(names) => names.iter().map(|name| Some(name.as_str())).collect(),
            None => vec![None],
        }
    }
}

/// The text for messages, such as `the namespaces a, b`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(names) = &self.0 else { return f.write_str("all namespaces") };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plural = if names.len() > 1 { "s" } else { "" };
        write!(f, "the namespace{plural} {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_all_namespaces_and_parts_are_requests() {
        for names in [&[][..], &[""], &["", ""]] {
            let scope = Scope::of(names.iter().copied());
            assert_eq!(scope, Scope::all(), "{names:?}");
            assert!(!scope.is_limited() && scope.contains("anything"));
            assert_eq!(scope.parts(), [None]);
        }
        let scope = Scope::of(["b", "", "a", "b"]);
        assert!(scope.is_limited() && !scope.contains("") && !scope.contains("c"));
        assert_eq!(scope.parts(), [Some("a"), Some("b")]);
    }

    #[test]
    fn a_scope_grows_only_if_it_is_limited() {
        assert_eq!(Scope::all().with("a"), Scope::all());
        assert_eq!(Scope::of(["b"]).with("a"), Scope::of(["a", "b"]));
        assert_eq!(Scope::of(["a"]).with("a"), Scope::of(["a"]));
    }

    #[test]
    fn messages_name_the_namespaces() {
        assert_eq!(Scope::all().to_string(), "all namespaces");
        assert_eq!(Scope::of(["a"]).to_string(), "the namespace a");
        assert_eq!(Scope::of(["b", "a"]).to_string(), "the namespaces a, b");
    }
}
