//! Warnings of plugins, as far as they are shown.

use std::collections::BTreeSet;

/// How many warnings are shown.
const MAX_SHOWN: usize = 8;
const MAX_WARNING: usize = 256;

/// Returns the warnings that can be shown, shortened where necessary.
pub(crate) fn fit_warnings(warnings: &[String]) -> BTreeSet<String> {
    let cut = |warning: &String| warning[..warning.floor_char_boundary(MAX_WARNING)].to_owned();
    warnings.iter().filter(|warning| !warning.is_empty()).take(MAX_SHOWN).map(cut).collect()
}
