//! Which subjects a plugin is asked about; pure.

use kube::{
    ResourceExt as _,
    api::DynamicObject,
    core::{Selector, SelectorExt as _},
};

use crate::{crd::MatchRules, invalid::Invalid};

/// The `match` field of a plugin resource, ready to be used.
#[derive(Clone, Debug, Default)]
pub(super) struct Matcher {
    objects: Option<Selector>,
}

impl Matcher {
    /// Compiles `rules`, or says what is wrong with them.
    pub(super) fn compile(rules: &MatchRules) -> Result<Self, Invalid> {
        let objects = rules.object_selector.clone().map(Selector::try_from).transpose();
        let objects =
            objects.map_err(|error| Invalid::new("InvalidSelector", format!("match.objectSelector: {error}")))?;
        Ok(Self { objects })
    }

    /// Whether the plugin is asked about `object`.
    pub(super) fn matches(&self, object: &DynamicObject) -> bool {
        self.objects.as_ref().is_none_or(|selector| selector.matches(object.labels()))
    }
}
