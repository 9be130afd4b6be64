//! The modules of the engine are layers: each uses those above it in the list of `src/lib.rs`, and none below.
#![expect(clippy::unwrap_used, reason = "in tests, what fails must fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The layers, as `src/lib.rs` lists them.
const LAYERS: [&str; 14] = [
    "config", "metrics", "model", "pki", "client", "selector", "finalize", "index", "status", "children", "sync",
    "resource", "engine", "render",
];

/// Returns all source files below `folder`, but for those that only tests use.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if !path.file_stem().unwrap().to_str().unwrap().ends_with("tests") {
            found.push(path);
        }
    }
    found
}

/// Returns the layer that a path below `src` belongs to: its first folder, or the file itself.
fn layer_of(path: &Path) -> Option<usize> {
    let first = path.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    LAYERS.iter().position(|layer| *layer == first)
}

/// Returns the layers that `text` names in paths that start with `root`, outside of comments and of its inline tests.
fn used_layers(text: &str, root: &str) -> Vec<&'static str> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let first = |path: &str| {
        let name = path.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        LAYERS.into_iter().find(|layer| *layer == name)
    };
    code.split(root).skip(1).flat_map(|rest| branches(rest).into_iter().filter_map(first)).collect()
}

/// Returns the paths of a use tree: those in its outer braces, or itself if it has none.
fn branches(tree: &str) -> Vec<&str> {
    let Some(inner) = tree.strip_prefix('{') else { return vec![tree] };
    let (mut depth, mut begin, mut found) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                found.push(&inner[begin..at]);
                begin = at + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

#[test]
fn no_layer_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upward = Vec::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let Some(own) = layer_of(relative) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        // The parent of a module below the root of the crate is that root.
        let is_top =
            relative.components().count() == 1 || relative.ends_with("mod.rs") && relative.components().count() == 2;
        let roots: &[&str] = if is_top { &["crate::", " super::"] } else { &["crate::"] };
        for used in roots.iter().flat_map(|root| used_layers(&text, root)) {
            if LAYERS.iter().position(|layer| *layer == used).unwrap() > own {
                upward.push(format!("{} uses {used}", relative.display()));
            }
        }
    }
    assert_eq!(upward, [""; 0], "a module may use only the layers before it in the list");
}
