//! What an evaluation may cost, and how it fails.
//!
//! Costs are counted, not measured: the same expression and object always come to the same end. They are charged
//! before the work is done.

use std::borrow::Cow;

/// What one expression may cost for one object. The API server has the same limit.
const PER_EXPRESSION: u64 = 1_000_000;
/// What all conditions of a plugin may cost together for one object. The API server has the same limit.
const PER_OBJECT: u64 = 2_500_000;
/// Bytes that are read, compared or copied for one unit.
const BYTES_PER_UNIT: u64 = 10;
/// A list or a map that an expression makes. The API server charges the same.
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
/// An operand that fails, where another one may decide all the same.
pub(crate) const FAILURE: u64 = 10;
/// What an author can do.
const ADVICE: &str = "test size() first, nest no macros, or leave out objects that have lists as long as this one";

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("it costs more than {PER_EXPRESSION} units for this object: {ADVICE}")]
    TooCostly,
    #[error("the conditions together cost more than {PER_OBJECT} units for this object: {ADVICE}")]
    TogetherTooCostly,
    #[error("{0}")]
    Failed(Cow<'static, str>),
}

impl Error {
    pub(crate) fn failed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed(message.into())
    }

    /// Whether the evaluation ends, even where another operand could decide without this one.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// What is left to spend on one object for the conditions of one plugin.
#[derive(Debug)]
pub(crate) struct Budget {
    expression: u64,
    object: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { expression: PER_EXPRESSION, object: PER_OBJECT }
    }

    /// Begins the next expression.
    pub(crate) fn begin(&mut self) {
        self.expression = PER_EXPRESSION;
    }

    /// Charges `units`.
    pub(crate) fn spend(&mut self, units: u64) -> Result<(), Error> {
        self.expression = self.expression.checked_sub(units).ok_or(Error::TooCostly)?;
        self.object = self.object.checked_sub(units).ok_or(Error::TogetherTooCostly)?;
        Ok(())
    }

    /// Charges one unit for each of `count` elements.
    pub(crate) fn spend_elements(&mut self, count: usize) -> Result<(), Error> {
        self.spend(count as u64)
    }

    /// Charges the reading or copying of `count` bytes.
    pub(crate) fn spend_bytes(&mut self, count: usize) -> Result<(), Error> {
        self.spend((count as u64).div_ceil(BYTES_PER_UNIT))
    }

    /// Returns what was spent on the object so far.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> u64 {
        PER_OBJECT - self.object
    }
}
