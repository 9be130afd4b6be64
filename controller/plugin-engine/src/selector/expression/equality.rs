//! Decides whether two values are equal. Comparisons are charged to the budget, and their depth is bounded.

use std::cmp::Ordering;

use super::{
    budget::{Budget, Error},
    value::{Key, Value},
};

/// The maximum depth of comparisons. Comparison recurses into lists and maps, and the stack is small.
const MAX_DATA_DEPTH: usize = 256;

impl Value<'_> {
    /// Returns whether two values are equal. Values of different types are never equal, except for numbers.
    pub(crate) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, Error> {
        self.equals_at(other, budget, 0)
    }

    fn equals_at(&self, other: &Self, budget: &mut Budget, depth: usize) -> Result<bool, Error> {
        budget.spend(1)?;
        if depth > MAX_DATA_DEPTH {
            return Err(Error::failed(format!(
                "values that are nested more than {MAX_DATA_DEPTH} deep are not compared"
            )));
        }
        match (self, other) {
            (Self::Null, Self::Null) => Ok(true),
            (Self::Bool(left), Self::Bool(right)) => Ok(left == right),
            (Self::Text(left), Self::Text(right)) => same(left.as_bytes(), right.as_bytes(), budget),
            (Self::Bytes(left), Self::Bytes(right)) => same(left, right, budget),
            (Self::List(left), Self::List(right)) if left.len() == right.len() => {
                for (left, right) in left.iter().zip(right.iter()) {
                    if !left.equals_at(&right, budget, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Self::Map(left), Self::Map(right)) if left.len() == right.len() => {
                for key in left.keys(budget)? {
                    if let Key::Text(key) = &key {
                        budget.spend_bytes(key.len())?;
                    }
                    let (Some(left), Some(right)) = (left.get(&key), right.get(&key)) else { return Ok(false) };
                    if !left.equals_at(&right, budget, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (left, right) => Ok(left.compare_numbers(right) == Some(Ordering::Equal)),
        }
    }
}

fn same(left: &[u8], right: &[u8], budget: &mut Budget) -> Result<bool, Error> {
    if left.len() != right.len() {
        return Ok(false);
    }
    budget.spend_bytes(left.len())?;
    Ok(left == right)
}
