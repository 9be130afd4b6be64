//! Reads the fields of a JSON object in the same way as Metacontroller, which uses Go's JSON libraries.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::config::ResponseMode;

/// The fields of an object in their order, with duplicates.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The fields of a response.
#[derive(Debug, Default)]
pub(crate) struct KnownFields {
    /// The known fields under their exact names.
    pub(crate) known: Map<String, Value>,
    /// The names of the other fields.
    pub(crate) unknown: Vec<String>,
}

/// The error for a body that is not an object with the known fields.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FieldsError {
    /// The body is not a JSON object.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Fields are not allowed in strict mode.
    #[error("unknown or duplicate fields: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// Reads the fields with these names. `null` is an object without fields, and invalid UTF-8 is replaced, as in Go.
///
/// In loose mode, the case of letters does not matter: older releases of Metacontroller ignore it. A field with the exact
/// name has priority. Of several others, the last one counts.
pub(crate) fn read(body: &[u8], names: &[&str], mode: ResponseMode) -> Result<KnownFields, FieldsError> {
    let fields: Option<Fields> = serde_json::from_str(&String::from_utf8_lossy(body))?;
    let fields = fields.map_or_else(Vec::new, |Fields(fields)| fields);
    let (exact, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| names.contains(&name.as_str()));
    let mut read = KnownFields::default();
    let mut refused = Vec::new();
    for (name, value) in others {
        let similar = names.iter().find(|known| known.eq_ignore_ascii_case(&name));
        match (similar, mode) {
            (_, ResponseMode::Strict) => refused.push(name),
            (Some(known), ResponseMode::Loose) => {
                read.known.insert((*known).to_owned(), value);
            }
            (None, ResponseMode::Loose) => read.unknown.push(name),
        }
    }
    for (name, value) in exact {
        if read.known.insert(name.clone(), value).is_some() && mode == ResponseMode::Strict {
            refused.push(name);
        }
    }
    if refused.is_empty() { Ok(read) } else { Err(FieldsError::Strict(refused)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(body: &str, mode: ResponseMode) -> Result<Value, String> {
        let fields = read(body.as_bytes(), &["attachments", "finalized"], mode);
        fields.map(|fields| json!([fields.known, fields.unknown])).map_err(|error| error.to_string())
    }

    #[test]
    fn in_loose_mode_the_case_of_letters_and_unknown_and_duplicate_fields_do_not_matter() {
        let table = [
            ("null", json!([{}, []])),
            ("{\"Attachments\": 1, \"FINALIZED\": 2}", json!([{"attachments": 1, "finalized": 2}, []])),
            ("{\"attachments\": 1, \"Attachments\": 2}", json!([{"attachments": 1}, []])),
            ("{\"attachments\": 1, \"attachments\": 2}", json!([{"attachments": 2}, []])),
            ("{\"aTTachments\": 1, \"Attachments\": null}", json!([{"attachments": null}, []])),
            ("{\"msg\": 1, \"a\": 2}\n", json!([{}, ["msg", "a"]])),
        ];
        for (body, expected) in table {
            assert_eq!(known(body, ResponseMode::Loose), Ok(expected), "{body}");
        }
    }

    #[test]
    fn in_strict_mode_unknown_and_duplicate_fields_are_errors() {
        assert_eq!(known("{\"attachments\": 1}", ResponseMode::Strict), Ok(json!([{"attachments": 1}, []])));
        for (body, field) in [
            ("{\"Attachments\": 1}", "Attachments"),
            ("{\"msg\": 1}", "msg"),
            ("{\"attachments\": 1, \"attachments\": 1}", "attachments"),
        ] {
            let error = known(body, ResponseMode::Strict).unwrap_err();
            assert_eq!(error, format!("unknown or duplicate fields: {field}"));
        }
    }

    #[test]
    fn what_is_not_one_object_is_an_error() {
        for body in ["", " ", "[]", "\"registered\"", "1", "{}{}", "{} ok", "<html>", "{\"a\": NaN}", "\u{feff}{}"] {
            assert!(known(body, ResponseMode::Loose).is_err(), "{body}");
        }
        let replaced = read(b"{\"msg\": \"\xff\"}", &[], ResponseMode::Loose).unwrap();
        assert_eq!(replaced.unknown, ["msg"]);
    }
}
