//! Measures JSON before it is parsed. A tree of [`serde_json::Value`] takes up to 90 times as much memory as its text,
//! so limits have to be checked on the bytes.

use serde_json::Value;

/// The most memory that one node takes in a tree. An object with one field takes 632 bytes for the map, and counts as
/// three nodes.
const NODE_BYTES: usize = 256;

/// The size of a JSON text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Length of the text.
    pub bytes: usize,
    /// Number of values, plus the number of field names.
    pub nodes: usize,
    /// Nesting depth of arrays and objects. A scalar has depth 0.
    pub depth: usize,
}

/// The largest JSON text that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text.
    pub bytes: usize,
    /// Number of values, plus the number of field names.
    pub nodes: usize,
    /// Nesting depth of arrays and objects.
    pub depth: usize,
}

/// The limit that a JSON text exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// The text is too long.
    #[error("it has {found} bytes, and may have {limit}")]
    Bytes {
        /// The measured number.
        found: usize,
        /// The accepted number.
        limit: usize,
    },
    /// The text has too many values.
    #[error("it has {found} values and names of fields, and may have {limit}")]
    Nodes {
        /// The measured number.
        found: usize,
        /// The accepted number.
        limit: usize,
    },
    /// The text is nested too deep.
    #[error("it is nested deeper than {limit}")]
    Depth {
        /// The accepted depth.
        limit: usize,
    },
}

impl Measure {
    /// Returns the most memory that a tree parsed from the text takes.
    pub fn tree_bytes(&self) -> usize {
        self.bytes.saturating_add(self.nodes.saturating_mul(NODE_BYTES))
    }

    /// Checks the measure against `limits`.
    ///
    /// # Errors
    /// Returns the first limit that is exceeded.
    pub fn check(&self, limits: &Limits) -> Result<(), Excess> {
        if self.bytes > limits.bytes {
            return Err(Excess::Bytes { found: self.bytes, limit: limits.bytes });
        }
        if self.depth > limits.depth {
            return Err(Excess::Depth { limit: limits.depth });
        }
        if self.nodes > limits.nodes {
            return Err(Excess::Nodes { found: self.nodes, limit: limits.nodes });
        }
        Ok(())
    }
}

/// Measures a JSON text in one pass, without allocation and without recursion. The text need not be valid: that is for
/// the parser to check.
///
/// ```
/// use json_measure::{Measure, measure};
///
/// let text = br#"{"a": [1, "two", {}]}"#;
/// assert_eq!(measure(text), Measure { bytes: 21, nodes: 6, depth: 3 });
/// ```
pub fn measure(bytes: &[u8]) -> Measure {
    let mut measure = Measure { bytes: bytes.len(), ..Measure::default() };
    let (mut open, mut in_scalar) = (0_usize, false);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        let was_in_scalar = std::mem::take(&mut in_scalar);
        match byte {
            b'{' | b'[' => {
                open += 1;
                measure.depth = measure.depth.max(open);
                measure.nodes += 1;
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b'"' => {
                measure.nodes += 1;
                skip_string(&mut rest);
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            // Numbers, `true`, `false` and `null` are counted at their first byte.
            _ => {
                measure.nodes += usize::from(!was_in_scalar);
                in_scalar = true;
            }
        }
    }
    measure
}

/// Measures a tree that exists already. Only texts and field names count as bytes.
pub fn measure_value(value: &Value) -> Measure {
    let mut measure = Measure::default();
    add_value(value, 0, &mut measure);
    measure
}

fn add_value(value: &Value, above: usize, measure: &mut Measure) {
    measure.nodes += 1;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => measure.depth = measure.depth.max(above),
        Value::String(text) => {
            measure.depth = measure.depth.max(above);
            measure.bytes += text.len();
        }
        Value::Array(items) => {
            measure.depth = measure.depth.max(above + 1);
            for item in items {
                add_value(item, above + 1, measure);
            }
        }
        Value::Object(fields) => {
            measure.depth = measure.depth.max(above + 1);
            for (name, field) in fields {
                measure.nodes += 1;
                measure.bytes += name.len();
                add_value(field, above + 1, measure);
            }
        }
    }
}

/// Moves past the end of a string whose opening quote has been read.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_names_and_depth_are_counted_whatever_strings_contain() {
        let table: [(&str, usize, usize); 12] = [
            ("", 0, 0),
            ("null", 1, 0),
            ("-1.5e3", 1, 0),
            (r#""a\"b[{,:\\""#, 1, 0),
            ("[]", 1, 1),
            ("[1,2 , 3]", 4, 1),
            (r#"{"a":0}"#, 3, 1),
            (r#"{"{[": "]}", "b": [true, null]}"#, 7, 2),
            ("[[[[]]]]", 4, 4),
            (r#"[{"a":0},{"a":0}]"#, 7, 2),
            ("]]]]", 0, 0),
            (r#"["never closed \"#, 2, 1),
        ];
        for (text, nodes, depth) in table {
            let expected = Measure { bytes: text.len(), nodes, depth };
            assert_eq!(measure(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_tree_has_as_many_nodes_as_its_text() {
        for text in ["null", "[]", r#"{"a":{"b":[1,"x",{}]},"c":null}"#, r#"[[1],[2,[3]],"\u0041"]"#] {
            let (of_text, of_tree) = (measure(text.as_bytes()), measure_value(&serde_json::from_str(text).unwrap()));
            assert_eq!((of_tree.nodes, of_tree.depth), (of_text.nodes, of_text.depth), "{text}");
            assert!(of_tree.bytes <= of_text.bytes);
        }
    }

    #[test]
    fn nesting_of_any_depth_is_measured() {
        let text = "[".repeat(4_000_000);
        assert_eq!(measure(text.as_bytes()).depth, 4_000_000);
    }

    #[test]
    fn each_limit_is_checked_and_named() {
        let (limits, fits) = (Limits { bytes: 10, nodes: 3, depth: 2 }, Measure { bytes: 10, nodes: 3, depth: 2 });
        assert_eq!(fits.check(&limits), Ok(()));
        let table = [
            (Measure { bytes: 11, ..fits }, "it has 11 bytes, and may have 10"),
            (Measure { nodes: 4, ..fits }, "it has 4 values and names of fields, and may have 3"),
            (Measure { depth: 3, ..fits }, "it is nested deeper than 2"),
        ];
        for (measure, message) in table {
            assert_eq!(measure.check(&limits).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_memory_of_small_maps_is_not_underestimated() {
        let text = format!("[{}]", vec![r#"{"a":0}"#; 1000].join(","));
        // A map of one entry is one B-tree node of 632 bytes.
        assert!(measure(text.as_bytes()).tree_bytes() > 1000 * (632 + size_of::<Value>()));
    }
}
