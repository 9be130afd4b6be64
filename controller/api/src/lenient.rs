//! Reads what the API server may have accepted and the types of this program do not: one such value must never make
//! the whole object unreadable.

use std::fmt;

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeOwned, Visitor},
};
use serde_json::value::RawValue;

/// Reads an integer of any size. One that does not fit becomes the nearest that does, which is out of any range that
/// is checked later.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(Integer)
}

struct Integer;

impl Visitor<'_> for Integer {
    type Value = i64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an integer")
    }

    fn visit_i64<E>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<i64, E> {
        Ok(i64::try_from(value).unwrap_or(i64::MAX))
    }

    #[expect(clippy::cast_possible_truncation, reason = "such a cast ends at the nearest integer")]
    fn visit_f64<E>(self, value: f64) -> Result<i64, E> {
        Ok(value as i64)
    }
}

/// Reads a field of a status, or nothing if it cannot be read: the controller writes it again.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let text = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).unwrap_or_default())
}

/// Reads the elements of a list in a status that can be read. The others may belong to somebody else, so that they
/// stay where they are whatever the controller writes.
pub fn readable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let elements: Vec<Box<RawValue>> = or_default(deserializer)?;
    Ok(elements.iter().filter_map(|element| serde_json::from_str(element.get()).ok()).collect())
}
