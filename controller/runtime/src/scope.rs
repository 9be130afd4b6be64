//! The namespaces that the controller watches.

use std::{collections::BTreeSet, fmt};

/// All namespaces, all but some, or a set of at least one namespace.
///
/// With a set of namespaces to watch, the controller makes no cluster-wide requests. The permissions that it needs then
/// fit into a Role in each of the namespaces.
///
/// ```
/// use operator_runtime::scope::Scope;
///
/// let teams = Scope::of(["team-b", "team-a"]);
/// assert!(teams.contains("team-a") && !teams.contains("team-c"));
/// assert_eq!(teams.to_string(), "the namespaces team-a, team-b");
/// assert_eq!(Scope::of([""]), Scope::all());
///
/// let others = Scope::all_but(["team-a"]);
/// assert!(!others.contains("team-a") && others.contains("team-c"));
/// assert_eq!(others.field_selector().unwrap(), "metadata.namespace!=team-a");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Namespaces);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespaces {
    /// All namespaces but these.
    AllBut(BTreeSet<String>),
    Only(BTreeSet<String>),
}

/// Collects names without the empty ones, because a variable that is set to nothing counts as unset.
fn collect<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> BTreeSet<String> {
    names.into_iter().map(Into::into).filter(|name| !name.is_empty()).collect()
}

impl Scope {
    /// Returns the scope of all namespaces.
    pub fn all() -> Self {
        Self(Namespaces::AllBut(BTreeSet::new()))
    }

    /// Returns the scope of these namespaces, or of all namespaces if there are no names. Empty names are ignored.
    pub fn of<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Self {
        let names = collect(names);
        if names.is_empty() { Self::all() } else { Self(Namespaces::Only(names)) }
    }

    /// Returns the scope of all namespaces but these. Empty names are ignored.
    pub fn all_but<Name: Into<String>>(names: impl IntoIterator<Item = Name>) -> Self {
        Self(Namespaces::AllBut(collect(names)))
    }

    /// Reads the text that [`Self::to_text`] returns.
    pub(crate) fn from_text(text: &str) -> Self {
        let terms = || text.split(',').map(str::trim).filter(|term| !term.is_empty());
        if terms().any(|term| term == "*") {
            return Self::all_but(terms().filter_map(|term| term.strip_prefix('!')));
        }
        Self::of(terms())
    }

    /// Returns the scope as text: `*`, `*,!a` or `a,b`.
    pub(crate) fn to_text(&self) -> String {
        if self.is_limited() {
            return self.parts().into_iter().flatten().collect::<Vec<_>>().join(",");
        }
        let excluded = self.excluded().map(|name| format!("!{name}"));
        std::iter::once("*".to_owned()).chain(excluded).collect::<Vec<_>>().join(",")
    }

    /// Returns whether only named namespaces are watched, so that no cluster-wide requests are made.
    pub fn is_limited(&self) -> bool {
        matches!(self.0, Namespaces::Only(_))
    }

    /// Returns whether `namespace` is watched.
    pub fn contains(&self, namespace: &str) -> bool {
        match &self.0 {
            Namespaces::AllBut(names) => !names.contains(namespace),
            Namespaces::Only(names) => names.contains(namespace),
        }
    }

    /// Returns the names of the namespaces that are left out.
    pub fn excluded(&self) -> impl Iterator<Item = &str> {
        let names = match &self.0 {
            Namespaces::AllBut(names) => Some(names),
            Namespaces::Only(_) => None,
        };
        names.into_iter().flatten().map(String::as_str)
    }

    /// Returns the field selector for cluster-wide requests, by which the API server leaves out the namespaces that are
    /// not watched. It supports `metadata.namespace` for each namespaced kind.
    pub fn field_selector(&self) -> Option<String> {
        match &self.0 {
            Namespaces::AllBut(names) if !names.is_empty() => {
                let terms: Vec<String> = names.iter().map(|name| format!("metadata.namespace!={name}")).collect();
                Some(terms.join(","))
            }
            _ => None,
        }
    }

    /// Returns this scope with `namespace` added.
    #[must_use]
    pub fn with(&self, namespace: &str) -> Self {
        let mut scope = self.clone();
        match &mut scope.0 {
            Namespaces::AllBut(names) => names.remove(namespace),
            Namespaces::Only(names) => names.insert(namespace.to_owned()),
        };
        scope
    }

    /// Returns this scope without `namespace`, or `None` if nothing is left.
    pub fn without(&self, namespace: &str) -> Option<Self> {
        let mut scope = self.clone();
        match &mut scope.0 {
            Namespaces::AllBut(names) => names.insert(namespace.to_owned()),
            Namespaces::Only(names) => names.remove(namespace),
        };
        let is_empty = matches!(&scope.0, Namespaces::Only(names) if names.is_empty());
        (!is_empty).then_some(scope)
    }

    /// Returns the namespaces in which requests are made, one after the other. `None` stands for one cluster-wide
    /// request.
    pub fn parts(&self) -> Vec<Option<&str>> {
        match &self.0 {
            Namespaces::Only(names) => names.iter().map(|name| Some(name.as_str())).collect(),
            Namespaces::AllBut(_) => vec![None],
        }
    }
}

/// The text for messages, such as `the namespaces a, b`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, names) = match &self.0 {
            Namespaces::AllBut(names) if names.is_empty() => return f.write_str("all namespaces"),
            Namespaces::AllBut(names) => ("all namespaces except", names),
            Namespaces::Only(names) if names.len() == 1 => ("the namespace", names),
            Namespaces::Only(names) => ("the namespaces", names),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        write!(f, "{start} {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_its_text() {
        for text in ["*", "*,!a,!b", "a", "a,b"] {
            assert_eq!(Scope::from_text(text).to_text(), text);
        }
        assert_eq!(Scope::from_text(" a , b,"), Scope::of(["a", "b"]));
    }

    #[test]
    fn a_scope_of_no_name_is_that_of_all_namespaces() {
        for names in [&[][..], &[""], &["", ""]] {
            let scope = Scope::of(names.iter().copied());
            assert_eq!(scope, Scope::all(), "{names:?}");
            assert!(!scope.is_limited() && scope.contains("anything"));
            assert_eq!(scope.parts(), [None]);
        }
    }

    #[test]
    fn a_scope_of_names_has_a_part_for_each() {
        let scope = Scope::of(["b", "", "a", "b"]);
        assert!(scope.is_limited() && !scope.contains("") && !scope.contains("c"));
        assert_eq!(scope.parts(), [Some("a"), Some("b")]);
    }

    #[test]
    fn a_scope_grows_only_if_it_is_limited() {
        assert_eq!(Scope::all().with("a"), Scope::all());
        assert_eq!(Scope::of(["b"]).with("a"), Scope::of(["a", "b"]));
        assert_eq!(Scope::of(["a"]).with("a"), Scope::of(["a"]));
        assert_eq!(Scope::all_but(["a", "b"]).with("a"), Scope::all_but(["b"]));
    }

    #[test]
    fn a_scope_without_its_only_namespace_is_nothing() {
        assert_eq!(Scope::all().without("a"), Some(Scope::all_but(["a"])));
        assert_eq!(Scope::of(["a", "b"]).without("a"), Some(Scope::of(["b"])));
        assert_eq!(Scope::of(["b"]).without("a"), Some(Scope::of(["b"])));
        assert_eq!(Scope::of(["a"]).without("a"), None);
    }

    #[test]
    fn excluded_namespaces_are_left_out_of_one_cluster_wide_request() {
        let scope = Scope::all_but(["b", "", "a"]);
        assert!(!scope.is_limited() && !scope.contains("a") && !scope.contains("b") && scope.contains("c"));
        assert_eq!(scope.parts(), [None]);
        assert_eq!(scope.field_selector().as_deref(), Some("metadata.namespace!=a,metadata.namespace!=b"));
        for scope in [Scope::all(), Scope::all_but([""]), Scope::of(["a"])] {
            assert_eq!(scope.field_selector(), None, "{scope}");
        }
    }

    #[test]
    fn messages_name_the_namespaces() {
        assert_eq!(Scope::all().to_string(), "all namespaces");
        assert_eq!(Scope::of(["a"]).to_string(), "the namespace a");
        assert_eq!(Scope::of(["b", "a"]).to_string(), "the namespaces a, b");
        assert_eq!(Scope::all_but(["b", "a"]).to_string(), "all namespaces except a, b");
    }
}
