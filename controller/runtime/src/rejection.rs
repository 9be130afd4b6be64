//! Why an object cannot be acted on.

/// What is wrong with an object, until it or something around it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// One `CamelCase` word, for a condition.
    pub reason: &'static str,
    /// One sentence, for whoever wrote the object.
    pub message: String,
}

impl Rejection {
    /// `message` under `reason`.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
