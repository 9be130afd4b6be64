//! Warnings of plugins, as far as they are shown.

use std::collections::BTreeSet;

/// The maximum number of warnings, and of conditions, that are shown per plugin.
pub(crate) const MAX_SHOWN: usize = 8;
/// The maximum length of a warning, in bytes.
const MAX_WARNING: usize = 256;

/// Returns the warnings that can be shown, shortened where necessary.
pub(crate) fn fit_warnings(warnings: &[String]) -> BTreeSet<String> {
    let cut = |warning: &String| warning[..warning.floor_char_boundary(MAX_WARNING)].to_owned();
    warnings.iter().filter(|warning| !warning.is_empty()).take(MAX_SHOWN).map(cut).collect()
}
