//! Rejects JSON in which an object has the same field twice. The controller must not guess which of two `children`
//! fields counts, because one may be the empty list, which deletes all children.

use std::{collections::HashSet, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

/// Checks that `bytes` is one JSON text without repeated fields. It does not build a tree.
pub(crate) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = access.next_key::<String>()? {
            access.next_value_seed(Self)?;
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the field {twice:?} occurs twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_an_error_at_any_depth() {
        for twice in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": [], "c": 0, "a": null}}]"#, r#"{"a": 1, "\u0061": 2}"#] {
            let error = check(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(r#"the field "a" occurs twice"#), "{error}");
        }
    }

    #[test]
    fn all_else_is_judged_as_serde_json_judges_it() {
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
            assert!(check(text.as_bytes()).is_ok() && serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
        for text in ["", "{", "1e999", "[1,]", "{} {}", "nul", r#""\ud800""#, "{1: 2}"] {
            let (ours, theirs) = (check(text.as_bytes()), serde_json::from_str::<Value>(text));
            assert_eq!(ours.unwrap_err().to_string(), theirs.unwrap_err().to_string(), "{text}");
        }
    }
}
