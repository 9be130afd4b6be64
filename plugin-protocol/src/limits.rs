//! Sizes that both sides hold each other to.

/// The largest request body, in bytes. The controller never sends more.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// The largest answer, in bytes, error bodies included.
pub const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024;
/// The most children in one answer.
pub const MAX_CHILDREN: usize = 64;
/// The largest manifest of one child, in bytes of compact JSON.
pub const MAX_CHILD_BYTES: usize = 256 * 1024;
/// The deepest nesting of objects and arrays in an answer.
pub const MAX_JSON_DEPTH: usize = 64;
/// Messages longer than this many bytes are cut.
pub const MAX_MESSAGE_BYTES: usize = 512;
/// The largest `spec.settings`, in bytes of compact JSON.
pub const MAX_SETTINGS_BYTES: usize = 64 * 1024;

/// Cuts `text` to [`MAX_MESSAGE_BYTES`] without splitting a character.
///
/// ```
/// use dask_plugin_protocol::limits::{MAX_MESSAGE_BYTES, cut_message};
/// assert_eq!(cut_message("short"), "short");
/// assert!(cut_message(&"é".repeat(400)).len() <= MAX_MESSAGE_BYTES);
/// ```
pub fn cut_message(text: &str) -> &str {
    let mut end = text.len().min(MAX_MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
