//! The response of the hook of a `DecoratorController`.

use std::collections::BTreeMap;

use dask_plugin_server::protocol::Subject;
use dask_plugin_server::{Answer, PluginError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::attachments::{Children, children, identity};
use crate::call_error::{RETRY_SECONDS, excerpt};
use crate::config::ResponseMode;
use crate::fields::{self, KnownFields};

const ATTACHMENTS: &str = "attachments";
/// The fields of a response in Metacontroller.
const FIELDS: [&str; 6] = ["labels", "annotations", "status", ATTACHMENTS, "resyncAfterSeconds", "finalized"];

/// The response of the hook. A field of another type is an error, as in Metacontroller.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookResponse {
    labels: Option<BTreeMap<String, Option<String>>>,
    annotations: Option<BTreeMap<String, Option<String>>>,
    status: Option<Map<String, Value>>,
    attachments: Option<Vec<Value>>,
    resync_after_seconds: Option<f64>,
    finalized: Option<bool>,
    /// The names of other fields, if there are no attachments.
    #[serde(skip)]
    ignored: Vec<String>,
}

impl HookResponse {
    /// Reads the body of a response.
    pub(crate) fn read(body: &[u8], mode: ResponseMode) -> Result<Self, PluginError> {
        let unusable = |why: &dyn std::fmt::Display| {
            invalid(format!("the response of the hook is not that of a DecoratorController: {why}"))
        };
        let KnownFields { known, unknown } = fields::read(body, &FIELDS, mode).map_err(|error| unusable(&error))?;
        let has_attachments = known.contains_key(ATTACHMENTS);
        let mut response: Self =
            serde_path_to_error::deserialize(Value::Object(known)).map_err(|error| unusable(&error))?;
        if !has_attachments {
            response.ignored = unknown;
        }
        Ok(response)
    }

    /// Returns the attachments as children, and warnings about what is not as in Metacontroller.
    pub(crate) fn into_answer(self, subject: &Subject) -> Result<Answer, PluginError> {
        let resync = self.resync_after_seconds();
        let of_fields = self.fields_of_subject(subject).into_iter().chain(self.ignored_fields());
        let mut warnings: Vec<String> = of_fields.collect();
        let Children { children, warnings: of_children } =
            children(self.attachments.unwrap_or_default(), subject).map_err(invalid)?;
        warnings.extend(of_children);
        let answer = Answer::new(children).resync_after(resync);
        Ok(warnings.into_iter().fold(answer, Answer::warning))
    }

    /// Returns whether the hook has finalized the object.
    pub(crate) fn is_final(&self) -> bool {
        self.finalized == Some(true)
    }

    /// Returns whether the object is among the attachments.
    pub(crate) fn contains(&self, object: &Value) -> bool {
        let Ok(wanted) = identity(object) else { return false };
        self.attachments.iter().flatten().any(|attachment| identity(attachment).is_ok_and(|one| one == wanted))
    }

    /// Returns the seconds until the next call, rounded up.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
    pub(crate) fn resync_after_seconds(&self) -> u32 {
        self.resync_after_seconds.unwrap_or_default().ceil() as u32
    }

    /// Returns a warning if the hook sets fields of the subject.
    fn fields_of_subject(&self, subject: &Subject) -> Option<String> {
        let is_set = |map: &Option<BTreeMap<_, _>>| map.as_ref().is_some_and(|map| !map.is_empty());
        let fields = [
            ("labels", is_set(&self.labels)),
            ("annotations", is_set(&self.annotations)),
            ("status", self.status.as_ref().is_some_and(|status| !status.is_empty())),
        ];
        let fields: Vec<_> = fields.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
        (!fields.is_empty()).then(|| {
            format!(
                "the hook sets {} of the {} {}, which is left as it is: plugins write children only",
                fields.join(" and "),
                subject.kind(),
                subject.name()
            )
        })
    }

    /// Returns a warning if the hook probably means something else than no attachments.
    fn ignored_fields(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| {
            let names = excerpt(&self.ignored.join(", "));
            format!("the response of the hook has no attachments, but fields that are ignored: {names}")
        })
    }
}

fn invalid(message: impl Into<String>) -> PluginError {
    PluginError::failure("InvalidAnswer", message).resync_after(RETRY_SECONDS)
}
