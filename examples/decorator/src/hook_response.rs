//! Reads the response of the hook of a `DecoratorController`, and derives children from it.

use std::collections::BTreeSet;

use dask_plugin_server::protocol::{Child, Subject};
use dask_plugin_server::{Answer, PluginError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::keys::{Identity, keys};

/// The response of the hook.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookResponse {
    labels: Option<Map<String, Value>>,
    annotations: Option<Map<String, Value>>,
    status: Option<Map<String, Value>>,
    attachments: Option<Vec<Value>>,
    resync_after_seconds: Option<f64>,
    finalized: Option<bool>,
    /// Unknown fields, which Metacontroller ignores by default.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl HookResponse {
    /// Reads the body of a response.
    pub(crate) fn read(body: &[u8]) -> Result<Self, PluginError> {
        let response: Self = serde_json::from_slice(body).map_err(|error| {
            invalid(format!("the response of the hook is not that of a DecoratorController: {error}"))
        })?;
        // A response such as {"error": "…"} must not delete the attachments.
        if response.attachments.is_none() && !response.others.is_empty() {
            return Err(invalid("the response of the hook has no attachments; return [] for no attachments"));
        }
        Ok(response)
    }

    /// Returns the attachments as children, and a warning if the hook sets fields of the subject.
    pub(crate) fn into_answer(self, subject: &Subject) -> Result<Answer, PluginError> {
        let warning = self.warning(subject);
        let resync = self.resync_after_seconds();
        let attachments = self.attachments.unwrap_or_default();
        let identities = attachments.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        for (attachment, identity) in attachments.iter().zip(&identities) {
            let what = format!("{} {}", identity.kind, identity.name);
            if !seen.insert(identity) {
                return Err(invalid(format!("the hook returned {what} twice; remove one")));
            }
            let namespace = attachment.pointer("/metadata/namespace").and_then(Value::as_str);
            if namespace.is_some_and(|namespace| namespace != subject.namespace()) {
                return Err(invalid(format!(
                    "the hook set another namespace for {what}; children are in the namespace of the Dask resource"
                )));
            }
        }
        let children = keys(&identities).into_iter().zip(attachments).map(|(key, manifest)| Child::new(key, manifest));
        let answer = Answer::new(children).resync_after(resync);
        Ok(match warning {
            Some(warning) => answer.warning(warning),
            None => answer,
        })
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

    fn warning(&self, subject: &Subject) -> Option<String> {
        let fields = [("labels", &self.labels), ("annotations", &self.annotations), ("status", &self.status)];
        let fields: Vec<_> = fields
            .into_iter()
            .filter(|(_, field)| field.as_ref().is_some_and(|field| !field.is_empty()))
            .map(|(name, _)| name)
            .collect();
        (!fields.is_empty()).then(|| {
            format!(
                "the hook sets {} of the {} {}, which is left as it is: plugins write children only",
                fields.join(" and "),
                subject.kind(),
                subject.name()
            )
        })
    }
}

fn identity(attachment: &Value) -> Result<Identity, PluginError> {
    let text = |pointer: &str| {
        let value = attachment.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(ToOwned::to_owned).ok_or_else(|| {
            let field = pointer[1..].replace('/', ".");
            invalid(format!("the hook returned an attachment without {field}; set it"))
        })
    };
    Ok(Identity { api_version: text("/apiVersion")?, kind: text("/kind")?, name: text("/metadata/name")? })
}

fn invalid(message: impl Into<String>) -> PluginError {
    PluginError::failure("InvalidAnswer", message)
}
