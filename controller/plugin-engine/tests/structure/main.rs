//! The structure of the crates: which of their files import one another. It is read from the source
//! text.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

mod graph;
mod imports;

use std::{fs, path::PathBuf};

use graph::Siblings;
use imports::{Import, SourceTree};

/// The layers of this crate, as `src/lib.rs` lists them.
const LAYERS: [&str; 14] = [
    "config", "model", "metrics", "pki", "client", "selector", "finalize", "index", "status", "children", "sync",
    "resource", "engine", "render",
];

/// Returns the directory of the workspace.
fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the directories of all crates, as the workspace lists them.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    members
        .split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect()
}

/// Returns the imports between the files of a crate. `directory` is its directory in the workspace.
fn imports_of(directory: &str) -> Vec<Import> {
    SourceTree::read(&workspace().join(directory).join("src")).imports()
}

fn layer_of(module: &[String]) -> Option<usize> {
    LAYERS.iter().position(|layer| module.first().is_some_and(|first| first == layer))
}

#[test]
fn no_layer_uses_one_above_it() {
    let imports = imports_of("controller/plugin-engine");
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
    let (mut circles, mut imports) = (Vec::new(), 0);
    for directory in crates() {
        let found = imports_of(&directory);
        imports += found.len();
        circles.extend(Siblings::of(&found).circles().iter().map(|circle| format!("{directory}: {circle}")));
    }
    assert!(imports > 1000, "only {imports} imports were found: are the crates read?");
    assert_eq!(circles, [""; 0], "only a parent and its own child may import each other");
}
