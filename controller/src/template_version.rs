//! Which version of a template an object was made from, and whether the template has changed since.
//!
//! An object records two fingerprints. The one of the text tells that nothing was edited. It is the same in every version
//! of the controller, so that an upgrade replaces no worker. The one of the meaning tells that an edit changed only the
//! spelling, such as `8Gi` to `8192Mi`.

use std::sync::{Arc, LazyLock};

use dask_operator_api::{
    JsonObject,
    kubernetes::canonical_pod_spec,
    meta::{self, Map, map_of},
};
use kube::api::ObjectMeta;
use operator_runtime::fingerprint::fingerprint;
use serde::Serialize;
use serde_json::Value;

/// The fingerprints of a template. That of the meaning is computed when it is first needed, because most passes find that
/// nothing was edited.
#[derive(Clone, Debug)]
pub(crate) struct TemplateVersion {
    text: String,
    meaning: Arc<LazyLock<String, Fingerprinting>>,
}

/// The computation of a fingerprint.
type Fingerprinting = Box<dyn FnOnce() -> String + Send>;

/// Templates of the same text have the same meaning.
impl PartialEq for TemplateVersion {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TemplateVersion {}

impl TemplateVersion {
    /// Returns the version of a template with this text, whose canonical form `canonical` returns.
    pub(crate) fn new<Form: Serialize>(
        text: &impl Serialize,
        canonical: impl FnOnce() -> Form + Send + 'static,
    ) -> Self {
        let meaning: Fingerprinting = Box::new(move || fingerprint(&canonical()));
        Self { text: fingerprint(text), meaning: Arc::new(LazyLock::new(meaning)) }
    }

    /// Returns the fingerprint of the meaning.
    pub(crate) fn meaning(&self) -> &str {
        &self.meaning
    }

    /// Returns the annotations that record this version on an object.
    pub(crate) fn annotations(&self) -> Map {
        map_of([(meta::TEMPLATE, self.text.as_str()), (meta::TEMPLATE_MEANING, self.meaning())])
    }

    /// Returns whether `live` was made from a template of another meaning. An object that records nothing was made by
    /// dask-kubernetes or an older controller, and counts as made from this version.
    pub(crate) fn is_outdated(&self, live: &ObjectMeta) -> bool {
        let is_same_text = recorded(live, meta::TEMPLATE).is_none_or(|text| text == self.text);
        !is_same_text && recorded(live, meta::TEMPLATE_MEANING) != Some(self.meaning())
    }

    /// Returns the annotations that `live` should have: this version if `live` was made from another spelling of it, so
    /// that later edits are compared with the present text, and what it records otherwise.
    pub(crate) fn recorded(&self, live: &ObjectMeta) -> Map {
        let has_this_text = recorded(live, meta::TEMPLATE) == Some(self.text.as_str());
        let is_complete = has_this_text && recorded(live, meta::TEMPLATE_MEANING).is_some();
        if !is_complete && !self.is_outdated(live) {
            return self.annotations();
        }
        let mut annotations = live.annotations.clone().unwrap_or_default();
        annotations.retain(|key, _| key == meta::TEMPLATE || key == meta::TEMPLATE_MEANING);
        annotations
    }
}

/// Returns what `live` records in the annotation `key`.
fn recorded<'a>(live: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    live.annotations.as_ref().and_then(|annotations| annotations.get(key)).map(String::as_str)
}

/// Returns the canonical form of the template of a Deployment's pods. Their restart policy is always `Always`, whatever
/// the template says.
pub(crate) fn deployment_pod(spec: &JsonObject) -> Value {
    let mut pod = canonical_pod_spec(spec);
    if let Some(fields) = pod.as_object_mut() {
        fields.remove("restartPolicy");
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str, meaning: &str) -> TemplateVersion {
        let meaning = meaning.to_owned();
        TemplateVersion::new(&text, move || meaning)
    }

    /// The canonical form costs more than all the rest of a pass.
    #[test]
    fn the_meaning_of_a_template_that_was_not_edited_is_not_computed() {
        let live = made_from(version("8Gi", "8").annotations());
        let unedited = TemplateVersion::new(&"8Gi", || -> String { panic!("it was computed") });
        assert!(!unedited.is_outdated(&live));
        assert_eq!(Some(unedited.recorded(&live)), live.annotations);
    }

    fn made_from(annotations: Map) -> ObjectMeta {
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    #[test]
    fn an_object_is_outdated_if_text_and_meaning_are_others() {
        let live = made_from(version("8Gi", "8").annotations());
        assert!(!version("8Gi", "8").is_outdated(&live), "nothing was edited");
        assert!(!version("8192Mi", "8").is_outdated(&live), "another spelling");
        assert!(!version("8Gi", "eight").is_outdated(&live), "another version of the controller, with other forms");
        assert!(version("9Gi", "9").is_outdated(&live));
    }

    #[test]
    fn an_object_of_an_older_controller_is_compared_by_its_text() {
        let text = map_of([(meta::TEMPLATE, &version("8Gi", "8").text)]);
        assert!(!version("8Gi", "8").is_outdated(&made_from(text.clone())));
        assert!(version("8192Mi", "8").is_outdated(&made_from(text)));
        assert!(!version("8Gi", "8").is_outdated(&ObjectMeta::default()), "one of dask-kubernetes records nothing");
    }

    #[test]
    fn an_object_records_the_present_spelling_and_an_outdated_one_keeps_its_record() {
        let live = made_from(version("8Gi", "8").annotations());
        let respelled = version("8192Mi", "8");
        assert_eq!(respelled.recorded(&live), respelled.annotations());
        assert_eq!(version("9Gi", "9").recorded(&live), version("8Gi", "8").annotations());
        assert_eq!(respelled.recorded(&ObjectMeta::default()), respelled.annotations());
    }

    #[test]
    fn the_restart_policy_of_a_deployment_means_nothing() {
        let spec = |text: &str| deployment_pod(&serde_json::from_str(text).unwrap());
        assert_eq!(spec(r#"{"containers":[],"restartPolicy":"Never"}"#), spec(r#"{"containers":[]}"#));
    }
}
