//! Names and versions of children. They distinguish changes by other clients from our own writes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kube::{ResourceExt as _, core::ApiResource};

/// The name of a child within its namespace, regardless of the version of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChildName {
    /// The kind as `plural.group`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl ChildName {
    pub(crate) fn of(resource: &ApiResource, name: &str) -> Self {
        Self { kind: format!("{}.{}", resource.plural, resource.group), name: name.to_owned() }
    }
}

/// A change of a child that a watch reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildChange {
    pub(crate) namespace: String,
    pub(crate) subject_uid: String,
    pub(crate) child: ChildName,
    /// The version of the child after the change, or `None` if it was deleted.
    pub(crate) state: Option<ChildVersion>,
}

/// The version of a child. It distinguishes our own writes from those of other clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildVersion {
    pub(crate) uid: String,
    pub(crate) generation: Option<i64>,
    pub(crate) resource_version: Option<String>,
    /// Hash of labels and annotations, whose changes do not increment the generation.
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

    /// Returns whether another client may have changed more than the status since `self` was written. `now` is not older
    /// than that write. For kinds without a generation every change counts; a dry run then shows what has changed.
    pub(crate) fn drifted_to(&self, now: &Self) -> bool {
        if self.uid != now.uid {
            return true;
        }
        match (self.generation, now.generation) {
            (Some(before), Some(generation)) if before != 0 => {
                before != generation || self.decoration != now.decoration
            }
            _ => self.resource_version != now.resource_version,
        }
    }

    /// Returns whether this is an older version of the same object. Resource versions of one kind are increasing decimal
    /// numbers (Kubernetes 1.35). If they are no numbers, the order is unknown.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        let number = |version: &Self| version.resource_version.as_deref().and_then(|text| text.parse::<u128>().ok());
        self.uid == other.uid && number(self).zip(number(other)).is_some_and(|(mine, others)| mine < others)
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

    #[test]
    fn versions_of_one_object_have_an_order_if_they_are_numbers() {
        let hundred = version("a", Some(3), "100");
        let table =
            [("a", "99", true), ("a", "100", false), ("a", "101", false), ("b", "99", false), ("a", "x", false)];
        for (uid, other, expected) in table {
            assert_eq!(version(uid, Some(2), other).is_before(&hundred), expected, "{uid} {other}");
        }
        assert!(hundred.drifted_to(&version("b", Some(1), "99")));
        assert!(hundred.drifted_to(&version("a", Some(4), "not a number")));
    }
}
