//! Limits of size that the controller and the plugins enforce on each other.

use std::borrow::Cow;

/// The maximum size of a request body, in bytes. The controller never sends more.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The maximum size of a response body, in bytes, including the bodies of errors.
pub const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024;
/// The maximum number of children in a response.
pub const MAX_CHILDREN: usize = 64;
/// The maximum size of the manifest of a child, in bytes of compact JSON.
pub const MAX_CHILD_BYTES: usize = 256 * 1024;
/// The maximum depth of nested objects and arrays in a response.
pub const MAX_JSON_DEPTH: usize = 64;
/// The maximum size of a message, in bytes. Longer messages are cut.
pub const MAX_MESSAGE_BYTES: usize = 512;
/// The maximum size of `spec.settings`, in bytes of compact JSON.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// What stands for the middle of a shortened message.
const ELLIPSIS: &str = " … ";
/// How much of the end a shortened message keeps, in bytes: errors of the API server begin with the object and end with
/// the cause.
const END_BYTES: usize = 200;

/// Shortens `text` to [`MAX_MESSAGE_BYTES`] by leaving out its middle, without splitting a character.
///
/// ```
/// use dask_plugin_protocol::limits::{MAX_MESSAGE_BYTES, shorten_message};
/// assert_eq!(shorten_message("short"), "short");
/// let long = format!("failed to apply {}: Forbidden", "é".repeat(400));
/// let short = shorten_message(&long);
/// assert!(short.starts_with("failed to apply") && short.ends_with(": Forbidden"));
/// assert!(short.len() <= MAX_MESSAGE_BYTES);
/// ```
pub fn shorten_message(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_MESSAGE_BYTES {
        return Cow::Borrowed(text);
    }
    let begin = &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES - ELLIPSIS.len() - END_BYTES)];
    let end = &text[text.ceil_char_boundary(text.len() - END_BYTES)..];
    Cow::Owned(format!("{begin}{ELLIPSIS}{end}"))
}

/// Cuts `text` to [`MAX_MESSAGE_BYTES`] without splitting a character.
///
/// ```
/// use dask_plugin_protocol::limits::{MAX_MESSAGE_BYTES, cut_message};
/// assert_eq!(cut_message("short"), "short");
/// assert!(cut_message(&"é".repeat(400)).len() <= MAX_MESSAGE_BYTES);
/// ```
pub fn cut_message(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
