//! From what a `DecoratorController`'s hook answers to children.

use std::collections::BTreeSet;

use dask_plugin_server::protocol::{Child, Subject};
use dask_plugin_server::{Answer, PluginError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::keys::{Identity, keys};

/// The hook's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    labels: Option<Map<String, Value>>,
    annotations: Option<Map<String, Value>>,
    status: Option<Map<String, Value>>,
    attachments: Option<Vec<Value>>,
    resync_after_seconds: Option<f64>,
    finalized: Option<bool>,
    /// Metacontroller passes over these by default.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Verdict {
    /// Reads a body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, PluginError> {
        let verdict: Self = serde_json::from_slice(body)
            .map_err(|error| invalid(format!("the hook's answer is not that of a DecoratorController: {error}")))?;
        // Such as {"error": "…"}, which must not delete what is there.
        if verdict.attachments.is_none() && !verdict.others.is_empty() {
            return Err(invalid("the hook's answer has no attachments; answer with [] if there are to be none"));
        }
        Ok(verdict)
    }

    /// The attachments as children, and a warning of what cannot be done.
    pub(crate) fn into_answer(self, subject: &Subject) -> Result<Answer, PluginError> {
        let warning = self.warning(subject);
        let resync = self.resync_after_seconds();
        let attachments = self.attachments.unwrap_or_default();
        let identities = attachments.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        for (attachment, identity) in attachments.iter().zip(&identities) {
            let what = format!("{} {}", identity.kind, identity.name);
            if !seen.insert(identity) {
                return Err(invalid(format!("the hook answered with {what} twice; leave one out")));
            }
            let namespace = attachment.pointer("/metadata/namespace").and_then(Value::as_str);
            if namespace.is_some_and(|namespace| namespace != subject.namespace()) {
                return Err(invalid(format!(
                    "the hook put {what} into another namespace; children live in that of the Dask resource"
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

    /// Whether the hook is done with an object that goes.
    pub(crate) fn is_final(&self) -> bool {
        self.finalized == Some(true)
    }

    /// Whether the object is among the attachments.
    pub(crate) fn wants(&self, object: &Value) -> bool {
        let Ok(wanted) = identity(object) else { return false };
        self.attachments.iter().flatten().any(|attachment| identity(attachment).is_ok_and(|one| one == wanted))
    }

    /// The hook's seconds may have a fraction.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
    pub(crate) fn resync_after_seconds(&self) -> u32 {
        self.resync_after_seconds.unwrap_or_default().ceil() as u32
    }

    fn warning(&self, subject: &Subject) -> Option<String> {
        let wishes = [("labels", &self.labels), ("annotations", &self.annotations), ("status", &self.status)];
        let wishes: Vec<_> = wishes
            .into_iter()
            .filter(|(_, wish)| wish.as_ref().is_some_and(|wish| !wish.is_empty()))
            .map(|(name, _)| name)
            .collect();
        (!wishes.is_empty()).then(|| {
            format!(
                "the hook sets {} of the {} {}, which is left as it is: plugins write children only",
                wishes.join(" and "),
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
            invalid(format!("the hook answered with an attachment without {field}; give it one"))
        })
    };
    Ok(Identity { api_version: text("/apiVersion")?, kind: text("/kind")?, name: text("/metadata/name")? })
}

fn invalid(message: impl Into<String>) -> PluginError {
    PluginError::failure("InvalidAnswer", message)
}
