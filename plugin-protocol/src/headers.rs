//! Names of the HTTP headers of a call: CloudEvents 1.0 in binary mode, and W3C trace context.

/// CloudEvents version, always [`CE_SPECVERSION_VALUE`].
pub const CE_SPECVERSION: &str = "ce-specversion";
/// The CloudEvents version that is sent.
pub const CE_SPECVERSION_VALUE: &str = "1.0";
/// The request's uid.
pub const CE_ID: &str = "ce-id";
/// `event.type` of the request.
pub const CE_TYPE: &str = "ce-type";
/// The plugin resource on whose behalf the call is made, as an API path.
pub const CE_SOURCE: &str = "ce-source";
/// `namespace/name` of the subject.
pub const CE_SUBJECT: &str = "ce-subject";
/// RFC 3339 time of the event.
pub const CE_TIME: &str = "ce-time";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
