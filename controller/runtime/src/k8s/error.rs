//! Errors of calls to the API server, and their classes.

use std::time::Duration;

use kube::core::Status;

use crate::conditions::{self, ConditionUpdate};

/// A failed call to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server responded with an error, or could not be reached. The `Display` text has no values of the object,
    /// because it goes into the log, which has other readers than the object's author. [`Error::message`] has the
    /// values.
    #[error("failed to {verb} {object}: {}", without_values(.source))]
    Call {
        /// The verb of the call.
        verb: &'static str,
        /// The object of the call.
        object: String,
        /// Why the call failed.
        source: Box<kube::Error>,
    },
    /// No response arrived in time.
    #[error("failed to {verb} {object}: no answer within {} s", .limit.as_secs_f32())]
    Timeout {
        /// The verb of the call.
        verb: &'static str,
        /// The object of the call.
        object: String,
        /// How long the response was awaited.
        limit: Duration,
    },
    /// The object has changed since it was read.
    #[error("{object} has changed in the meantime")]
    Outdated {
        /// The object that has changed.
        object: String,
    },
}

/// The meaning of an error for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The object does not exist.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// Another client changed the object.
    Conflict,
    /// The object is not valid. A retry without a change is useless.
    Rejection,
    /// Permissions or quota are missing.
    Forbidden,
    /// The namespace is being deleted, which cannot be stopped. Nothing can be created in it any more.
    NamespaceEnding,
    /// The API server limits the rate of requests.
    Throttled,
    /// Any error that may go away by itself.
    Transient,
}

impl Error {
    /// Returns the error of a call that the API server rejected or that did not reach it.
    pub fn new(verb: &'static str, object: &str, source: kube::Error) -> Self {
        Self::Call { verb, object: object.to_owned(), source: Box::new(source) }
    }

    /// Returns the error of a call that took longer than `limit`.
    pub fn timeout(verb: &'static str, object: &str, limit: Duration) -> Self {
        Self::Timeout { verb, object: object.to_owned(), limit }
    }

    /// Returns whether a write was refused because its object is gone, or has changed since it was read.
    pub fn is_outdated(&self) -> bool {
        matches!(self.class(), Class::NotFound | Class::Conflict)
    }

    /// Returns the error's class, which depends on the status code of the response.
    pub fn class(&self) -> Class {
        let source = match self {
            Self::Call { source, .. } => source,
            Self::Timeout { .. } => return Class::Transient,
            Self::Outdated { .. } => return Class::Conflict,
        };
        let kube::Error::Api(status) = source.as_ref() else {
            return Class::Transient;
        };
        match status.code {
            404 => Class::NotFound,
            409 if status.is_already_exists() => Class::AlreadyExists,
            409 => Class::Conflict,
            400 | 413 | 415 | 422 => Class::Rejection,
            403 if is_of_ending_namespace(status) => Class::NamespaceEnding,
            401 | 403 => Class::Forbidden,
            429 => Class::Throttled,
            // The response to a server-side apply with an unknown field. Nothing but the message identifies it.
            500 if status.message.contains("failed to create typed patch object") => Class::Rejection,
            _ => Class::Transient,
        }
    }

    /// Returns the status code of the API server's response, if there was one.
    pub fn code(&self) -> Option<u16> {
        let Self::Call { source, .. } = self else { return None };
        match source.as_ref() {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    /// Returns a constant word for metrics and Event reasons.
    pub fn category(&self) -> &'static str {
        match self.class() {
            Class::NotFound => "NotFound",
            Class::AlreadyExists => "NameTaken",
            Class::Conflict => "Conflict",
            Class::Rejection => "Invalid",
            Class::Forbidden => "Forbidden",
            Class::NamespaceEnding => "NamespaceTerminating",
            Class::Throttled => "Throttled",
            Class::Transient => "ApiServerError",
        }
    }

    /// Returns the condition `Accepted` of a resource for which the API server refused an object: what the resource asks
    /// for is not allowed. Returns `None` if the request may succeed when it is repeated.
    pub fn refusal(&self) -> Option<ConditionUpdate> {
        matches!(self.class(), Class::Rejection | Class::Forbidden)
            .then(|| ConditionUpdate::no(conditions::ACCEPTED, self.category(), self.message()))
    }

    /// Returns one sentence for conditions: the API server's own message if it sent one.
    pub fn message(&self) -> String {
        match self {
            Self::Call { verb, object, source } => match source.as_ref() {
                kube::Error::Api(status) => {
                    format!("failed to {verb} {object}: {}", status.message)
                }
                other => format!("failed to {verb} {object}: {other}"),
            },
            Self::Timeout { .. } | Self::Outdated { .. } => self.to_string(),
        }
    }
}

/// Returns the text of the error without values of the object: the API server repeats invalid values, and serde quotes
/// text that does not parse. The paths of the invalid fields are kept.
fn without_values(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 422 | 500) => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let fields: Vec<&str> =
                causes.map(|cause| cause.field.as_str()).filter(|field| !field.is_empty()).collect();
            let reason = if status.reason.is_empty() { "refused" } else { status.reason.as_str() };
            if fields.is_empty() {
                format!("{reason} ({})", status.code)
            } else {
                format!("{reason} ({}): {}", status.code, fields.join(", "))
            }
        }
        kube::Error::SerdeError(_) => "the API server's answer cannot be read".to_owned(),
        other => other.to_string(),
    }
}

/// Returns whether the API server's `NamespaceLifecycle` admission plugin reports that the namespace is being deleted.
fn is_of_ending_namespace(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::namespace_terminating;

    fn api_error(code: u16) -> Error {
        let status = Status { code, message: "the reason".to_owned(), ..Status::default() };
        Error::new("apply", "Deployment a/b", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn the_class_follows_the_code_of_the_answer() {
        let table = [
            (404, Class::NotFound),
            (409, Class::Conflict),
            (422, Class::Rejection),
            (400, Class::Rejection),
            (403, Class::Forbidden),
            (429, Class::Throttled),
            (500, Class::Transient),
        ];
        for (code, class) in table {
            assert_eq!(api_error(code).class(), class, "{code}");
        }
        assert_eq!(Error::timeout("get", "Pod a/b", Duration::from_secs(1)).class(), Class::Transient);
    }

    /// The response to a creation in a namespace that is being deleted.
    #[test]
    fn a_namespace_that_ends_is_no_missing_right() {
        let status = serde_json::from_value(namespace_terminating()).unwrap();
        let error = Error::new("create", "Deployment b/a", kube::Error::Api(status));
        assert_eq!((error.class(), error.category()), (Class::NamespaceEnding, "NamespaceTerminating"));
    }

    #[test]
    fn the_log_has_the_fields_that_are_wrong_and_not_what_is_in_them() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": "Pod \"a\" is invalid: spec.containers[0].name: Invalid value: \"secret\"",
            "details": {"causes": [
                {"reason": "FieldValueInvalid", "message": "Invalid value: \"secret\"", "field": "spec.containers[0].name"},
            ]},
        }))
        .unwrap();
        let error = Error::new("create", "Pod b/a", kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "failed to create Pod b/a: Invalid (422): spec.containers[0].name");
        assert!(error.message().contains("secret"), "its author needs to know");
        let garbled = kube::Error::SerdeError(serde_json::from_str::<u8>("\"secret\"").unwrap_err());
        assert_eq!(
            Error::new("get", "Pod b/a", garbled).to_string(),
            "failed to get Pod b/a: the API server's answer cannot be read"
        );
    }

    #[test]
    fn the_message_is_the_api_servers_own_sentence() {
        assert_eq!(api_error(403).message(), "failed to apply Deployment a/b: the reason");
    }
}
