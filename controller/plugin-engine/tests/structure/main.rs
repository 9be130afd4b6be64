//! The structure of the crates: which of their files import one another. It is read from the source
//! text.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod graph;
mod imports;

use std::path::PathBuf;

use graph::Siblings;
use imports::{Import, SourceTree};

/// The layers of this crate, as `src/lib.rs` lists them.
const LAYERS: [&str; 14] = [
    "config", "model", "metrics", "pki", "client", "selector", "finalize", "index", "status", "children", "sync",
    "resource", "engine", "render",
];

/// The directories of the crates, from `controller/`.
const CRATES: [&str; 9] = [
    "api",
    "json-measure",
    "plugin-engine",
    "runtime",
    "scheduler-client",
    ".",
    "../bench",
    "../plugin-protocol",
    "../plugin-sanity",
];

/// Returns the imports between the files of a crate. `directory` is its directory, from `controller/`.
fn imports_of(directory: &str) -> Vec<Import> {
    let controller = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    SourceTree::read(&controller.join(directory).join("src")).imports()
}

fn layer_of(module: &[String]) -> Option<usize> {
    LAYERS.iter().position(|layer| module.first().is_some_and(|first| first == layer))
}

#[test]
fn no_layer_uses_one_above_it() {
    let imports = imports_of("plugin-engine");
    let is_upward = |import: &&Import| {
        layer_of(&import.from).is_some_and(|own| layer_of(&import.to).is_some_and(|used| used > own))
    };
    let upward = imports.iter().filter(is_upward);
    let upward: Vec<String> =
        upward.map(|import| format!("{} uses {}", import.from.join("::"), import.to.join("::"))).collect();
    assert_eq!(upward, [""; 0], "a module may use only the layers before it in the list");
}

#[test]
fn files_import_one_another_without_circles() {
    let mut found = Vec::new();
    for directory in CRATES {
        let siblings = Siblings::of(&imports_of(directory));
        found.extend(siblings.circles().iter().map(|circle| format!("{directory}: {circle}")));
    }
    assert_eq!(found, [""; 0], "only a parent and its own child may import each other");
}
