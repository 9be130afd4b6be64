//! Names and versions of children, by which changes of others are told from our own writes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kube::{ResourceExt as _, core::ApiResource};

/// `plural.group` and name of a child within its namespace.
pub(crate) type ChildName = (String, String);

/// The name of a child in whatever version of its kind.
pub(crate) fn child_name(resource: &ApiResource, name: &str) -> ChildName {
    (format!("{}.{}", resource.plural, resource.group), name.to_owned())
}

/// What the watch said of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildChange {
    pub(crate) subject_uid: String,
    pub(crate) child: ChildName,
    /// What it is now; `None` if it is gone.
    pub(crate) state: Option<ChildVersion>,
}

/// Tells our own writes from those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildVersion {
    pub(crate) uid: String,
    pub(crate) generation: Option<i64>,
    pub(crate) resource_version: Option<String>,
    /// Hash of labels and annotations, whose changes do not move the generation.
    pub(crate) decoration: u64,
}

impl ChildVersion {
    pub(crate) fn of(object: &impl kube::Resource) -> Self {
        Self {
            uid: object.uid().unwrap_or_default(),
            generation: object.meta().generation,
            resource_version: object.resource_version(),
            decoration: decoration(object),
        }
    }

    /// Whether somebody else may have changed more than the status since `self` was written. Kinds that have no
    /// generation cannot tell, and count each change: a dry run shows what it was.
    pub(crate) fn drifted_to(&self, now: &Self) -> bool {
        if self.uid != now.uid {
            return true;
        }
        if now.is_before(self) {
            return false;
        }
        match (self.generation, now.generation) {
            (Some(before), Some(generation)) if before != 0 => {
                before != generation || self.decoration != now.decoration
            }
            _ => self.resource_version != now.resource_version,
        }
    }

    /// Whether this is an older state of the same object, as watches tell of them late. Resource versions of one
    /// kind are decimal numbers that grow (Kubernetes 1.35); where they are none, nothing is known.
    fn is_before(&self, other: &Self) -> bool {
        let number = |version: &Self| version.resource_version.as_deref().and_then(|text| text.parse::<u128>().ok());
        number(self).zip(number(other)).is_some_and(|(mine, others)| mine < others)
    }
}

fn decoration(object: &impl kube::Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    (object.labels(), object.annotations()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(uid: &str, generation: Option<i64>, resource_version: &str) -> ChildVersion {
        let resource_version = Some(resource_version.to_owned());
        ChildVersion { uid: uid.to_owned(), generation, resource_version, decoration: 0 }
    }

    #[test]
    fn a_status_update_is_no_drift() {
        let written = version("a", Some(1), "10");
        assert!(!written.drifted_to(&version("a", Some(1), "11")));
        assert!(written.drifted_to(&version("a", Some(2), "12")));
        assert!(written.drifted_to(&version("b", Some(1), "13")), "another object under the same name");
        let annotated = ChildVersion { decoration: 1, ..version("a", Some(1), "14") };
        assert!(written.drifted_to(&annotated), "annotations decide how most Ingresses work");
    }

    #[test]
    fn kinds_without_generation_count_each_change() {
        let written = version("a", None, "10");
        assert!(!written.drifted_to(&version("a", None, "10")));
        assert!(written.drifted_to(&version("a", None, "11")));
    }

    /// Else a plugin that answers something else each time would be asked again for each of its own writes.
    #[test]
    fn what_a_watch_tells_late_is_no_drift() {
        let written = version("a", Some(3), "100");
        assert!(!written.drifted_to(&version("a", Some(2), "99")));
        assert!(!version("a", None, "100").drifted_to(&version("a", None, "99")));
        assert!(written.drifted_to(&version("b", Some(1), "99")));
        assert!(written.drifted_to(&version("a", Some(4), "not a number")));
    }
}
