//! The values of expressions. Values of an object are borrowed from it. Reading a field therefore costs the same
//! regardless of the size of the object, and only values that an expression creates take memory.

use std::{cmp::Ordering, collections::BTreeMap, ops::Deref, rc::Rc};

use serde_json::Value as Json;

use super::budget::{Budget, Error};

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Shared<'a, str>),
    Bytes(Shared<'a, [u8]>),
    List(List<'a>),
    Map(Map<'a>),
}

/// Data that is borrowed from the object or the expression, or created by the expression.
#[derive(Debug)]
pub(crate) enum Shared<'a, T: ?Sized> {
    Borrowed(&'a T),
    Created(Rc<T>),
}

impl<T: ?Sized> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(data) => Self::Borrowed(data),
            Self::Created(data) => Self::Created(Rc::clone(data)),
        }
    }
}

impl<T: ?Sized> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(data) => data,
            Self::Created(data) => data,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum List<'a> {
    Json(&'a [Json]),
    Created(Rc<Vec<Value<'a>>>),
}

#[derive(Clone, Debug)]
pub(crate) enum Map<'a> {
    Json(&'a serde_json::Map<String, Json>),
    Created(Rc<BTreeMap<Key<'a>, Value<'a>>>),
}

/// A key of a map. Equal numbers are the same key, regardless of their types.
#[derive(Clone, Debug)]
pub(crate) enum Key<'a> {
    Bool(bool),
    Number(i128),
    Text(Shared<'a, str>),
}

/// The sort key of map keys.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank<'k> {
    Bool(bool),
    Number(i128),
    Text(&'k str),
}

impl Key<'_> {
    fn rank(&self) -> Rank<'_> {
        match self {
            Self::Bool(key) => Rank::Bool(*key),
            Self::Number(key) => Rank::Number(*key),
            Self::Text(key) => Rank::Text(key),
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Created(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items) => items.get(index).map(Value::of),
            Self::Created(items) => items.get(index).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'a>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Json(fields) => fields.len(),
            Self::Created(fields) => fields.len(),
        }
    }

    pub(crate) fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json(fields), Key::Text(key)) => fields.get(&**key).map(Value::of),
            (Self::Json(_), _) => None,
            (Self::Created(fields), key) => fields.get(key).cloned(),
        }
    }

    /// Returns the keys. Each costs one unit.
    pub(crate) fn keys(&self, budget: &mut Budget) -> Result<Vec<Key<'a>>, Error> {
        budget.spend_elements(self.len())?;
        Ok(match self {
            Self::Json(fields) => fields.keys().map(|key| Key::Text(Shared::Borrowed(key))).collect(),
            Self::Created(fields) => fields.keys().cloned().collect(),
        })
    }
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::Bool(key) => Self::Bool(key),
            Key::Number(key) => {
                i64::try_from(key).map(Self::Int).or_else(|_| u64::try_from(key).map(Self::Uint)).unwrap_or(Self::Null)
            }
            Key::Text(key) => Self::Text(key),
        }
    }
}

impl<'a> Value<'a> {
    /// Returns the value of `json`. Whole numbers become `int`, like literals in expressions.
    pub(crate) fn of(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(bool) => Self::Bool(*bool),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(double)) => Self::Double(double),
                (None, None) => Self::Null,
            },
            Json::String(text) => Self::Text(Shared::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(fields) => Self::Map(Map::Json(fields)),
        }
    }

    /// Creates a map from `fields`.
    pub(crate) fn map(fields: impl IntoIterator<Item = (Key<'a>, Self)>) -> Self {
        Self::Map(Map::Created(Rc::new(fields.into_iter().collect())))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Created(Rc::new(items)))
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Shared::Created(Rc::from(text)))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// Returns the value as a map key.
    pub(crate) fn as_key(&self) -> Result<Key<'a>, Error> {
        match self {
            Self::Bool(key) => Ok(Key::Bool(*key)),
            Self::Int(key) => Ok(Key::Number(i128::from(*key))),
            Self::Uint(key) => Ok(Key::Number(i128::from(*key))),
            Self::Text(key) => Ok(Key::Text(key.clone())),
            other => Err(Error::failed(format!("a value of type {} cannot be a key", other.type_name()))),
        }
    }

    /// Compares two numbers. NaN is not comparable with any number.
    pub(crate) fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self.as_whole(), other.as_whole()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => self.as_double()?.partial_cmp(&other.as_double()?),
        }
    }

    fn as_whole(&self) -> Option<i128> {
        match self {
            Self::Int(whole) => Some(i128::from(*whole)),
            Self::Uint(whole) => Some(i128::from(*whole)),
            _ => None,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "CEL compares doubles with whole numbers that way")]
    fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(double) => Some(*double),
            other => other.as_whole().map(|whole| whole as f64),
        }
    }
}
