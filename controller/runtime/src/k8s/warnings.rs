//! Warnings of the API server about an object that it accepts: fields that it does not know and drops, fields that are
//! given twice, deprecated fields. They are in `Warning` headers (RFC 7234, section 5.5) with the code 299.

use std::collections::BTreeSet;

use http::{HeaderMap, header::WARNING};
use serde::{Deserialize, Serialize};

/// The most warnings that are kept of one write.
const MAX_COUNT: usize = 16;
/// The longest text that is kept of one warning, in bytes. It is the limit of the API server for one header, too.
const MAX_TEXT: usize = 256;
/// The code of warnings for users. The others are about caches and transformations by proxies.
const PERSISTENT: &str = "299";

/// The texts of warnings, without duplicates and in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Warnings(BTreeSet<String>);

/// An object that was created with warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warned {
    /// The uid of the object.
    pub uid: String,
    /// What the API server warned about.
    pub warnings: Warnings,
}

impl Warnings {
    /// Reads the warnings in the headers of a response.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut warnings = Self::default();
        for value in headers.get_all(WARNING) {
            for text in texts_of(&String::from_utf8_lossy(value.as_bytes())) {
                warnings.insert(&text);
            }
        }
        warnings
    }

    /// Returns the warnings that were recorded as JSON. A text that is no such record has none.
    pub fn from_json(text: &str) -> Self {
        let recorded: Vec<String> = serde_json::from_str(text).unwrap_or_default();
        Self::collected(recorded.iter().map(String::as_str))
    }

    /// Returns the warnings as JSON.
    pub fn to_json(&self) -> String {
        // Serializing a list of strings cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds the warnings of another write.
    pub fn extend(&mut self, others: &Self) {
        for text in others.iter() {
            self.insert(text);
        }
    }

    /// Returns the warnings with `change` applied to each text.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        let changed: Vec<String> = self.iter().map(change).collect();
        Self::collected(changed.iter().map(String::as_str))
    }

    /// Returns whether the API server dropped a part of what was written.
    pub fn name_dropped_fields(&self) -> bool {
        self.iter().any(|text| text.starts_with("unknown field ") || text.starts_with("duplicate field "))
    }

    fn collected<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut warnings = Self::default();
        for text in texts {
            warnings.insert(text);
        }
        warnings
    }

    fn insert(&mut self, text: &str) {
        let text = text[..text.floor_char_boundary(MAX_TEXT)].trim();
        if self.0.len() < MAX_COUNT && !text.is_empty() {
            self.0.insert(text.replace(char::is_control, " "));
        }
    }
}

/// Returns the texts of the warnings in one header: `code agent "text" ["date"]`, separated by commas.
fn texts_of(header: &str) -> impl Iterator<Item = String> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let (code, after) = rest.take()?.trim_start().split_once(' ')?;
        let (_agent, after) = after.trim_start().split_once(' ')?;
        let (text, after) = quoted(after)?;
        let after = quoted(after).map_or(after, |(_date, after)| after);
        rest = after.trim_start().strip_prefix(',');
        Some((code == PERSISTENT).then_some(text))
    })
    .flatten()
}

/// Returns the content of the quoted string at the beginning of `text`, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix('"')?;
    let (mut content, mut escaped) = (String::new(), false);
    for (place, character) in text.char_indices() {
        match character {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '"' if !escaped => return Some((content, &text[place + 1..])),
            other => content.push(other),
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[&str]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WARNING, http::HeaderValue::from_bytes(header.as_bytes()).unwrap());
        }
        Warnings::of(&map).iter().map(str::to_owned).collect()
    }

    #[test]
    fn warnings_for_users_are_read_whatever_form_their_headers_have() {
        let table: [(&[&str], &[&str]); 9] = [
            (&[], &[]),
            (&[r#"299 - "unknown field \"spec.x\"""#], &[r#"unknown field "spec.x""#]),
            (&[r#"299 - "b""#, r#"299 - "a""#, r#"299 - "b""#], &["a", "b"]),
            (&[r#"299 - "a, b", 299 kube "c""#], &["a, b", "c"]),
            (&[r#"299 - "a" "Mon, 30 Nov 2026 09:00:00 GMT" , 299 - "b""#], &["a", "b"]),
            (&[r#"110 - "stale", 299 - "a""#], &["a"]),
            (&[r#"299 - "a \\ ü""#], &[r"a \ ü"]),
            (&["299 - unquoted", "299", "", r#"299 - "open"#], &[]),
            (&["299 - \"a\tb\""], &["a b"]),
        ];
        for (headers, expected) in table {
            assert_eq!(of(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn neither_number_nor_length_is_without_limit_and_no_character_is_cut() {
        let many: Vec<String> = (0..100).map(|number| format!("299 - \"{number}{}\"", "ü".repeat(200))).collect();
        let kept = of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(kept.len(), MAX_COUNT);
        assert!(kept.iter().all(|text| text.len() <= MAX_TEXT && text.contains('ü')));
    }

    #[test]
    fn a_record_gives_what_was_recorded_and_a_forged_one_no_more_than_fits() {
        let warnings = Warnings::collected(["b", "a"].into_iter());
        assert_eq!(warnings.to_json(), r#"["a","b"]"#);
        assert_eq!(Warnings::from_json(&warnings.to_json()), warnings);
        assert!(Warnings::from_json("{}").is_empty() && Warnings::from_json("[1]").is_empty());
        let forged = serde_json::to_string(&vec!["x".repeat(9999); 1]).unwrap();
        assert!(Warnings::from_json(&forged).iter().all(|text| text.len() == MAX_TEXT));
    }

    #[test]
    fn fields_that_are_dropped_are_distinguished_from_such_that_are_deprecated() {
        let of = |text: &str| Warnings::from_json(&serde_json::to_string(&[text]).unwrap()).name_dropped_fields();
        assert!(of(r#"unknown field "spec.x""#) && of(r#"duplicate field "spec.x""#));
        assert!(!of("spec.x: deprecated since v1.20") && !of("would violate PodSecurity"));
    }
}
