//! The operators of the expression language, except those that may skip an operand.

use std::{cmp::Ordering, rc::Rc};

use cel::common::ast::operators as names;

use super::{
    budget::{Budget, Error},
    value::{Key, List, Map, Shared, Value},
};

/// An operation on one value.
pub(crate) type Unary = for<'a> fn(&Value<'a>, &mut Budget) -> Result<Value<'a>, Error>;
/// An operation on two values.
pub(crate) type Binary = for<'a> fn(&Value<'a>, &Value<'a>, &mut Budget) -> Result<Value<'a>, Error>;

/// Returns the operator with one operand that is called `name` in a parsed expression.
pub(crate) fn unary(name: &str) -> Option<Unary> {
    match name {
        names::LOGICAL_NOT => Some(not),
        names::NEGATE => Some(negate),
        _ => None,
    }
}

/// Returns the operator with two operands that is called `name` in a parsed expression.
pub(crate) fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        names::EQUALS => |left, right, budget| left.equals(right, budget).map(Value::Bool),
        names::NOT_EQUALS => |left, right, budget| left.equals(right, budget).map(|equal| Value::Bool(!equal)),
        names::LESS => |left, right, budget| ordered(left, right, budget, Ordering::is_lt),
        names::LESS_EQUALS => |left, right, budget| ordered(left, right, budget, Ordering::is_le),
        names::GREATER => |left, right, budget| ordered(left, right, budget, Ordering::is_gt),
        names::GREATER_EQUALS => |left, right, budget| ordered(left, right, budget, Ordering::is_ge),
        names::ADD => add,
        names::SUBSTRACT => |left, right, _| match (left, right) {
            (Value::Int(left), Value::Int(right)) => left.checked_sub(*right).map(Value::Int).ok_or(OVERFLOW),
            (Value::Uint(left), Value::Uint(right)) => left.checked_sub(*right).map(Value::Uint).ok_or(OVERFLOW),
            (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left - right)),
            _ => Err(no_overload("-", left, right)),
        },
        names::MULTIPLY => |left, right, _| match (left, right) {
            (Value::Int(left), Value::Int(right)) => left.checked_mul(*right).map(Value::Int).ok_or(OVERFLOW),
            (Value::Uint(left), Value::Uint(right)) => left.checked_mul(*right).map(Value::Uint).ok_or(OVERFLOW),
            (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left * right)),
            _ => Err(no_overload("*", left, right)),
        },
        names::DIVIDE => |left, right, _| match (left, right) {
            (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(BY_ZERO),
            (Value::Int(left), Value::Int(right)) => left.checked_div(*right).map(Value::Int).ok_or(OVERFLOW),
            (Value::Uint(left), Value::Uint(right)) => left.checked_div(*right).map(Value::Uint).ok_or(OVERFLOW),
            (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left / right)),
            _ => Err(no_overload("/", left, right)),
        },
        names::MODULO => |left, right, _| match (left, right) {
            (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(BY_ZERO),
            (Value::Int(left), Value::Int(right)) => left.checked_rem(*right).map(Value::Int).ok_or(OVERFLOW),
            (Value::Uint(left), Value::Uint(right)) => left.checked_rem(*right).map(Value::Uint).ok_or(OVERFLOW),
            _ => Err(no_overload("%", left, right)),
        },
        names::IN => |item, container, budget| match container {
            Value::List(list) => contains(list, item, budget),
            Value::Map(map) => Ok(Value::Bool(find(map, item, budget)?.is_some())),
            _ => Err(no_overload("in", item, container)),
        },
        names::INDEX => index,
        _ => return None,
    })
}

const OVERFLOW: Error = Error::Failed(std::borrow::Cow::Borrowed("a number overflows"));
const BY_ZERO: Error = Error::Failed(std::borrow::Cow::Borrowed("a number is divided by zero"));

fn no_overload(operator: &str, left: &Value<'_>, right: &Value<'_>) -> Error {
    Error::failed(format!("there is no operator {operator} for {} and {}", left.type_name(), right.type_name()))
}

fn not<'a>(value: &Value<'a>, _: &mut Budget) -> Result<Value<'a>, Error> {
    match value {
        Value::Bool(bool) => Ok(Value::Bool(!bool)),
        other => Err(Error::failed(format!("there is no operator ! for {}", other.type_name()))),
    }
}

fn negate<'a>(value: &Value<'a>, _: &mut Budget) -> Result<Value<'a>, Error> {
    match value {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(OVERFLOW),
        Value::Double(number) => Ok(Value::Double(-number)),
        other => Err(Error::failed(format!("there is no operator - for {}", other.type_name()))),
    }
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.checked_add(*right).map(Value::Int).ok_or(OVERFLOW),
        (Value::Uint(left), Value::Uint(right)) => left.checked_add(*right).map(Value::Uint).ok_or(OVERFLOW),
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(left + right)),
        (Value::Text(left), Value::Text(right)) => {
            budget.spend_bytes(left.len().saturating_add(right.len()))?;
            Ok(Value::text(&[&**left, &**right].concat()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.spend_bytes(left.len().saturating_add(right.len()))?;
            Ok(Value::Bytes(Shared::Created(Rc::from([&**left, &**right].concat()))))
        }
        (Value::List(left), Value::List(right)) => {
            budget.spend_elements(left.len().saturating_add(right.len()))?;
            Ok(Value::list(left.iter().chain(right.iter()).collect()))
        }
        _ => Err(no_overload("+", left, right)),
    }
}

fn ordered<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    budget: &mut Budget,
    holds: fn(Ordering) -> bool,
) -> Result<Value<'a>, Error> {
    Ok(Value::Bool(compare(left, right, budget)?.is_some_and(holds)))
}

/// Returns the order of two values, or `None` if one of them is NaN.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<Option<Ordering>, Error> {
    use Value::{Bool, Bytes, Double, Int, Text, Uint};
    match (left, right) {
        (Int(_) | Uint(_) | Double(_), Int(_) | Uint(_) | Double(_)) => Ok(left.compare_numbers(right)),
        (Bool(left), Bool(right)) => Ok(Some(left.cmp(right))),
        (Text(left), Text(right)) => {
            budget.spend_bytes(left.len().min(right.len()))?;
            Ok(Some(left.cmp(right)))
        }
        (Bytes(left), Bytes(right)) => {
            budget.spend_bytes(left.len().min(right.len()))?;
            Ok(Some(left.cmp(right)))
        }
        _ => Err(Error::failed(format!("{} and {} cannot be compared", left.type_name(), right.type_name()))),
    }
}

/// Returns whether `list` has an element that equals `item`.
pub(crate) fn contains<'a>(list: &List<'a>, item: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    for element in list.iter() {
        if element.equals(item, budget)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// Returns the value of `key` in `map`, if there is one.
pub(crate) fn find<'a>(map: &Map<'a>, key: &Value<'a>, budget: &mut Budget) -> Result<Option<Value<'a>>, Error> {
    let key = key.as_key()?;
    if let Key::Text(key) = &key {
        budget.spend_bytes(key.len())?;
    }
    Ok(map.get(&key))
}

fn index<'a>(container: &Value<'a>, index: &Value<'a>, budget: &mut Budget) -> Result<Value<'a>, Error> {
    match (container, index) {
        (Value::Map(map), key) => {
            find(map, key, budget)?.ok_or_else(|| Error::failed("there is no such key".to_owned() + &shown(key)))
        }
        (Value::List(list), Value::Int(_) | Value::Uint(_)) => {
            let Ok(Key::Number(number)) = index.as_key() else { return Err(no_overload("[]", container, index)) };
            let found = usize::try_from(number).ok().and_then(|index| list.get(index));
            found.ok_or_else(|| Error::failed(format!("there is no element {number} in a list of {}", list.len())))
        }
        _ => Err(no_overload("[]", container, index)),
    }
}

/// Returns a key in the form for error messages. Texts are cut to the length that fits a message.
fn shown(key: &Value<'_>) -> String {
    match key {
        Value::Text(key) => format!(": {}", key.chars().take(64).collect::<String>()),
        Value::Int(key) => format!(": {key}"),
        _ => String::new(),
    }
}
