//! Reads JSON in which no field of an object is there twice. Which of two `children` counts is for nobody to
//! guess: one may be the empty list, which deletes.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The value of `bytes`, which may hold nothing else.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field {name:?} is there twice")));
            }
            fields.insert(name, access.next_value_seed(Self)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_an_error_at_any_depth() {
        for twice in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": [], "c": 0, "a": null}}]"#, r#"{"a": 1, "\u0061": 2}"#] {
            let error = parse(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(r#"the field "a" is there twice"#), "{error}");
        }
    }

    #[test]
    fn all_else_is_read_as_serde_json_reads_it() {
        let good = [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "18446744073709551616",
            "1.5e3",
            "-0.0",
            r#""a\n\u00e4\ud83d\ude00""#,
            r#" {"a": {"b": [1, {"a": []}]}, "": {}} "#,
        ];
        for text in good {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        for text in ["", "{", "1e999", "[1,]", "{} {}", "nul", r#""\ud800""#, "{1: 2}"] {
            let (ours, theirs) = (parse(text.as_bytes()), serde_json::from_str::<Value>(text));
            assert_eq!(ours.unwrap_err().to_string(), theirs.unwrap_err().to_string(), "{text}");
        }
    }
}
