//! Names of the HTTP headers of a call: CloudEvents 1.0 in binary mode, and W3C trace context.

/// The CloudEvents version, always [`CE_SPECVERSION_VALUE`].
pub const CE_SPECVERSION: &str = "ce-specversion";
/// The value of [`CE_SPECVERSION`].
pub const CE_SPECVERSION_VALUE: &str = "1.0";
/// The uid of the request.
pub const CE_ID: &str = "ce-id";
/// The `event.type` of the request.
pub const CE_TYPE: &str = "ce-type";
/// The plugin resource that the call is made for, as an API path.
pub const CE_SOURCE: &str = "ce-source";
/// The subject, as `namespace/name`.
pub const CE_SUBJECT: &str = "ce-subject";
/// The time of the event (RFC 3339).
pub const CE_TIME: &str = "ce-time";
/// The W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
