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

/// Returns the layers that `text` names in paths from the root of the crate, outside of its inline tests.
fn used_layers(text: &str) -> Vec<&'static str> {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let statements = text.split("use crate::").skip(1).map(|rest| rest.split(';').next().unwrap_or_default());
    let mut used: Vec<&str> = Vec::new();
    for statement in statements {
        // `{a::x, b::{y, z}}` names a and b: only depth one counts.
        let (mut depth, mut word) = (usize::from(!statement.starts_with('{')), String::new());
        for character in statement.chars().chain([',']) {
            match character {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ if character.is_alphanumeric() || character == '_' => {
                    word.push(character);
                    continue;
                }
                _ => {}
            }
            if depth == 1 {
                used.extend(LAYERS.iter().filter(|layer| **layer == word));
                if character == ':' {
                    depth += 100;
                }
            } else if character == ',' && depth > 100 {
                depth -= 100;
            }
            word.clear();
        }
    }
    used
}

#[test]
fn no_layer_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut upward = Vec::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let Some(own) = layer_of(relative) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for used in used_layers(&text) {
            if LAYERS.iter().position(|layer| *layer == used).unwrap() > own {
                upward.push(format!("{} uses {used}", relative.display()));
            }
        }
    }
    assert_eq!(upward, [""; 0], "a module may use only the layers before it in the list");
}
