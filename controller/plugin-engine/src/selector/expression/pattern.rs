//! Regular expressions of `matches`. A search takes time proportional to the length of the text times the compiled size
//! of the pattern.

use regex::{Error as Refused, Regex, RegexBuilder};

use super::{
    budget::{Budget, Error},
    value::Value,
};

/// The maximum compiled size of one pattern, in KiB.
const MAX_SIZE: usize = 256;
/// The smaller size classes, in KiB. Each one requires another compilation, which takes time.
const SIZES: [usize; 4] = [1, 4, 16, 64];
/// The cache that the regex engine may use during a search, in KiB.
const CACHE: usize = 64;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// The cost of one byte of the text. The regex engine may visit the whole pattern for each byte.
    weight: u64,
}

impl Pattern {
    /// Compiles `pattern`. An error says in a few words what is wrong with it.
    pub(crate) fn compile(pattern: &str) -> Result<Self, String> {
        let within = |size: usize| {
            let regex = RegexBuilder::new(pattern).size_limit(size << 10).dfa_size_limit(CACHE << 10).build()?;
            Ok(Self { regex, weight: size as u64 })
        };
        let largest = within(MAX_SIZE).map_err(|error| refusal(&error))?;
        Ok(SIZES.iter().find_map(|size| within(*size).ok()).unwrap_or(largest))
    }

    /// Returns the memory that the pattern takes as long as the plugin exists, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.weight + CACHE as u64
    }

    pub(crate) fn matches<'a>(&self, value: &Value<'_>, budget: &mut Budget) -> Result<Value<'a>, Error> {
        let Value::Text(text) = value else {
            return Err(Error::failed(format!("matches cannot be called for {}", value.type_name())));
        };
        budget.spend((text.len() as u64).saturating_mul(self.weight))?;
        Ok(Value::Bool(self.regex.is_match(text)))
    }
}

fn refusal(error: &Refused) -> String {
    match error {
        Refused::CompiledTooBig(_) => "a pattern is too large: repeat less, and use [a-z] rather than \\w".to_owned(),
        // The preceding lines of the message quote the pattern.
        error => format!("a pattern is invalid: {}", error.to_string().lines().last().unwrap_or_default()),
    }
}
