//! The functions of the expression language. Each may also be called as a method of its first argument.

use std::{cmp::Ordering, rc::Rc};

use super::{
    budget::{Budget, Error},
    operators::{Binary, Unary, compare, contains, find},
    value::{Shared, Value},
};

/// Returns the function with one argument that is called `name`.
pub(crate) fn unary(name: &str) -> Option<Unary> {
    Some(match name {
        "bytes" => bytes,
        "double" => double,
        "int" => int,
        "size" => size,
        "string" => string,
        "uint" => uint,
        _ => return None,
    })
}

/// Returns the function with two arguments that is called `name`.
pub(crate) fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "contains" => |container, item, budget| match (container, item) {
            (Value::Text(text), Value::Text(part)) => {
                budget.spend_bytes(text.len().saturating_add(part.len()))?;
                Ok(Value::Bool(text.contains(&**part)))
            }
            (Value::List(list), item) => contains(list, item, budget),
            (Value::Map(map), key) => Ok(Value::Bool(find(map, key, budget)?.is_some())),
            _ => Err(unsuited("contains", container)),
        },
        "endsWith" => |text, end, budget| match (text, end) {
            (Value::Text(text), Value::Text(end)) => {
                budget.spend_bytes(end.len())?;
                Ok(Value::Bool(text.ends_with(&**end)))
            }
            _ => Err(unsuited("endsWith", text)),
        },
        "startsWith" => |text, start, budget| match (text, start) {
            (Value::Text(text), Value::Text(start)) => {
                budget.spend_bytes(start.len())?;
                Ok(Value::Bool(text.starts_with(&**start)))
            }
            _ => Err(unsuited("startsWith", text)),
        },
        _ => return None,
    })
}

/// Returns the greatest of `values`, or the least if `wanted` is [`Ordering::Less`].
pub(crate) fn extreme<'a>(
    values: impl IntoIterator<Item = Value<'a>>,
    wanted: Ordering,
    budget: &mut Budget,
) -> Result<Value<'a>, Error> {
    let mut best: Option<Value<'a>> = None;
    for value in values {
        budget.spend(1)?;
        let keep = match &best {
            Some(best) => {
                compare(best, &value, budget)?.ok_or_else(|| Error::failed("NaN cannot be compared"))? == wanted
            }
            None => false,
        };
        if !keep {
            best = Some(value);
        }
    }
    best.ok_or_else(|| Error::failed("an empty list has neither min nor max"))
}

fn unsuited(function: &str, value: &Value<'_>) -> Error {
    Error::failed(format!("{function} cannot be called for these types: {}", value.type_name()))
}

fn size<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    let size = match value {
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Text(text) => {
            budget.spend_bytes(text.len())?;
            text.chars().count()
        }
        other => return Err(unsuited("size", other)),
    };
    i64::try_from(size).map(Value::Int).map_err(|_| Error::failed("a number overflows"))
}

fn bytes<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    match value {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::Text(Shared::Borrowed(text)) => Ok(Value::Bytes(Shared::Borrowed(text.as_bytes()))),
        Value::Text(text) => {
            budget.spend_bytes(text.len())?;
            Ok(Value::Bytes(Shared::Created(Rc::from(text.as_bytes()))))
        }
        other => Err(unsuited("bytes", other)),
    }
}

fn string<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    match value {
        Value::Text(text) => Ok(Value::Text(text.clone())),
        Value::Bool(bool) => Ok(Value::text(&bool.to_string())),
        Value::Int(number) => Ok(Value::text(&number.to_string())),
        Value::Uint(number) => Ok(Value::text(&number.to_string())),
        Value::Double(number) => {
            let text = number.to_string();
            budget.spend_bytes(text.len())?;
            Ok(Value::text(&text))
        }
        Value::Bytes(bytes) => {
            budget.spend_bytes(bytes.len())?;
            std::str::from_utf8(bytes).map(Value::text).map_err(|_| Error::failed("these bytes are not valid UTF-8"))
        }
        other => Err(unsuited("string", other)),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "CEL cuts off what follows the point")]
fn int<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        Value::Double(number) if (-LIMIT..LIMIT).contains(number) => Some(*number as i64),
        Value::Double(_) => None,
        Value::Text(text) => {
            budget.spend_bytes(text.len())?;
            text.parse().ok()
        }
        other => return Err(unsuited("int", other)),
    };
    number.map(Value::Int).ok_or_else(|| Error::failed("this is not an int"))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as for int; it is not negative")]
fn uint<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    let number = match value {
        Value::Uint(number) => Some(*number),
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Double(number) if (0.0..LIMIT).contains(number) => Some(*number as u64),
        Value::Double(_) => None,
        Value::Text(text) => {
            budget.spend_bytes(text.len())?;
            text.parse().ok()
        }
        other => return Err(unsuited("uint", other)),
    };
    number.map(Value::Uint).ok_or_else(|| Error::failed("this is not a uint"))
}

#[allow(clippy::cast_precision_loss, reason = "a double is what is asked for")]
fn double<'a>(value: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    let number = match value {
        Value::Double(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Text(text) => {
            budget.spend_bytes(text.len())?;
            text.parse().ok()
        }
        other => return Err(unsuited("double", other)),
    };
    number.map(Value::Double).ok_or_else(|| Error::failed("this is not a double"))
}
