//! The reason why an object cannot be reconciled.

/// A problem of an object, which persists until the object or something that it depends on changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason for a condition: one `CamelCase` word.
    pub reason: &'static str,
    /// One sentence for the author of the object.
    pub message: String,
}

impl Rejection {
    /// Returns a rejection with this `reason` and `message`.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
