//! Limits of size that the controller and the plugins enforce on each other.

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
