//! The cost limits of an evaluation and its errors.
//!
//! Costs are counted, not measured, so the same expression and object always have the same result. Work is charged
//! before it is done.

use std::borrow::Cow;

/// The cost limit of one expression for one object. The API server has the same limit.
const PER_EXPRESSION: u64 = 1_000_000;
/// The cost limit of all conditions of a plugin together for one object. The API server has the same limit.
const PER_OBJECT: u64 = 2_500_000;
/// The number of bytes that are read, compared or copied for one unit.
const BYTES_PER_UNIT: u64 = 10;
/// The cost of a list that an expression creates. The API server charges the same.
pub(crate) const LIST: u64 = 10;
/// The cost of a map that an expression creates. The API server charges the same.
pub(crate) const MAP: u64 = 30;
/// The cost of an operand that fails where another one may still decide.
pub(crate) const FAILURE: u64 = 10;
/// The advice to authors of conditions in error messages.
const ADVICE: &str = "test size() first, nest no macros, or leave out objects that have lists as long as this one";

/// The reason why an evaluation has no result.
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

    /// Returns whether the error ends the evaluation, even where another operand could decide without this one.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// The remaining budget of one object for the conditions of one plugin.
#[derive(Debug)]
pub(crate) struct Budget {
    expression: u64,
    object: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { expression: PER_EXPRESSION, object: PER_OBJECT }
    }

    /// Starts the next expression with a full budget of its own.
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

    /// Charges for reading or copying `count` bytes.
    pub(crate) fn spend_bytes(&mut self, count: usize) -> Result<(), Error> {
        self.spend((count as u64).div_ceil(BYTES_PER_UNIT))
    }

    /// Returns the units that were spent on the object so far.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> u64 {
        PER_OBJECT - self.object
    }
}
