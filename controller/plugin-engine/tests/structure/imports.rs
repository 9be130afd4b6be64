//! Reads which files of a crate import which other ones, from their text. Tests and modules that only tests use are
//! left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use regex::Regex;

/// Comments, strings and characters.
static TEXT: LazyLock<Regex> = LazyLock::new(|| {
    let raw_strings = r##"\bb?r#+".*?"#+|\bb?r"[^"]*""##;
    let strings = r#"b?"(?:\\.|[^"\\])*"|'(?:\\[^']*|[^'\\])'"#;
    Regex::new(&format!(r"(?s)//[^\n]*|/\*.*?\*/|{raw_strings}|{strings}")).unwrap()
});
/// A module in a file of its own, with its attributes.
static MODULE_WITH_ATTRIBUTES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"((?:#\[[^\]]*\]\s*)+)(?:pub(?:\([^)]*\))? )?mod (\w+);").unwrap());
/// A condition under which a module is compiled.
static CONDITION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"#\[cfg\(([^\]]*)\)\]").unwrap());
/// A module in a file of its own.
static MODULE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bmod (\w+);").unwrap());
/// The definition of an item.
static ITEM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!|mod) (\w+)").unwrap());
static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+|::|\S").unwrap());

/// The path of a module below the root of its crate.
pub(crate) type Module = Vec<String>;

/// One file that uses something of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: Module,
    pub(crate) to: Module,
}

/// The files of a crate by module.
pub(crate) struct SourceTree(BTreeMap<Module, SourceFile>);

/// What a file of a crate says about other ones.
#[derive(Default)]
struct SourceFile {
    /// All paths that the file names, without what `use` has shortened.
    paths: Vec<Vec<String>>,
    /// What a name that the file imports stands for.
    aliases: BTreeMap<String, Vec<String>>,
    /// The modules that the file imports all names of.
    globs: Vec<Vec<String>>,
    /// The items that the file defines.
    items: BTreeSet<String>,
    /// The modules that are compiled for tests only.
    test_modules: BTreeSet<String>,
}

impl SourceTree {
    /// Reads a crate. `source` is the directory of its root.
    pub(crate) fn read(source: &Path) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.read_folder(source, &[]);
        let only_tests: Vec<Module> = tree.0.keys().filter(|module| tree.is_for_tests(module)).cloned().collect();
        for module in only_tests {
            tree.0.remove(&module);
        }
        tree
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let child = [module, std::slice::from_ref(&name)].concat();
            if path.is_dir() {
                self.read_folder(&path, &child);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let is_parent = name == "mod" || module.is_empty() && ["lib", "main"].contains(&name.as_str());
                let file = SourceFile::read(&fs::read_to_string(&path).unwrap());
                self.0.entry(if is_parent { module.to_vec() } else { child }).or_default().add(file);
            }
        }
    }

    fn is_for_tests(&self, module: &[String]) -> bool {
        (0..module.len()).any(|depth| {
            let parent = self.0.get(&module[..depth]);
            parent.is_some_and(|parent| parent.test_modules.contains(&module[depth]))
        })
    }

    /// Returns all imports, each once.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut found = BTreeSet::new();
        for (from, file) in &self.0 {
            let targets = file.paths.iter().filter_map(|path| self.resolve(from, path, 0));
            found.extend(targets.filter(|to| to != from).map(|to| Import { from: from.clone(), to }));
        }
        found.into_iter().collect()
    }

    /// Returns the module that defines what `path` names in `module`. Returns `None` if it is not in this crate.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Module> {
        let mut current = module.to_vec();
        let mut rest = path;
        while let Some((first, behind)) = rest.split_first() {
            match first.as_str() {
                "crate" => current.clear(),
                "self" => {}
                "super" => drop(current.pop()?),
                name => {
                    let child = [current.as_slice(), &[name.to_owned()]].concat();
                    if !self.0.contains_key(&child) {
                        break;
                    }
                    current = child;
                }
            }
            rest = behind;
        }
        match rest.first() {
            Some(_) if rest.len() == path.len() => None,
            Some(name) if depth < 8 => self.reexported(&current, name, rest, depth).or(Some(current)),
            _ => Some(current),
        }
    }

    /// Returns the module that defines `name` if `module` only imports it.
    fn reexported(&self, module: &[String], name: &str, path: &[String], depth: usize) -> Option<Module> {
        let file = self.0.get(module)?;
        if let Some(alias) = file.aliases.get(name) {
            return self.resolve(module, &[alias.as_slice(), &path[1..]].concat(), depth + 1);
        }
        if file.items.contains(name) {
            return None;
        }
        let defines = |target: &Module| self.0.get(target).is_some_and(|file| file.items.contains(name));
        file.globs.iter().filter_map(|glob| self.resolve(module, glob, depth + 1)).find(defines)
    }
}

impl SourceFile {
    fn read(text: &str) -> Self {
        let code = without_comments_and_strings(text);
        let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let mut file = Self::default();
        for found in MODULE_WITH_ATTRIBUTES.captures_iter(code) {
            let mut conditions = CONDITION.captures_iter(&found[1]);
            if conditions.any(|condition| condition[1].split(|c: char| !c.is_alphanumeric()).any(|word| word == "test"))
            {
                file.test_modules.insert(found[2].to_owned());
            }
        }
        file.items = ITEM.captures_iter(code).map(|found| found[1].to_owned()).collect();
        let children: BTreeSet<&str> = MODULE.captures_iter(code).map(|found| found.get(1).unwrap().as_str()).collect();
        let tokens: Vec<&str> = TOKEN.find_iter(code).map(|found| found.as_str()).collect();
        let (mut at, mut is_use) = (0, false);
        while at < tokens.len() {
            let starts_path = tokens.get(at + 1) == Some(&"::") && (at == 0 || tokens[at - 1] != "::");
            let is_local = ["crate", "self", "super"].contains(&tokens[at]) || children.contains(tokens[at]);
            match tokens[at] {
                "use" => is_use = true,
                ";" => is_use = false,
                _ if starts_path && is_local => {
                    at = file.add_tree(&tokens, at, &[], is_use);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        file
    }

    /// Adds the paths of the use tree that starts at `at`, below `prefix`. Returns where it ends.
    fn add_tree(&mut self, tokens: &[&str], mut at: usize, prefix: &[String], is_use: bool) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens.get(at) {
                Some(&"{") => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| *token != "}") {
                        // Text that is no use tree, such as the marks of a merge conflict, must not stop the reader.
                        at = if tokens[at] == "," {
                            at + 1
                        } else {
                            self.add_tree(tokens, at, &path, is_use).max(at + 1)
                        };
                    }
                    return at + 1;
                }
                Some(&"*") => {
                    self.globs.push(path.clone());
                    self.paths.push(path);
                    return at + 1;
                }
                Some(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                    path.push((*name).to_owned());
                    at += 1;
                }
                _ => break,
            }
            if tokens.get(at) != Some(&"::") {
                break;
            }
            at += 1;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if is_use && name == "self" {
            path.pop();
            name = path.last().cloned().unwrap_or_default();
        }
        if is_use && tokens.get(at) == Some(&"as") {
            name = tokens.get(at + 1).map(|alias| (*alias).to_owned()).unwrap_or_default();
            at += 2;
        }
        if is_use {
            self.aliases.insert(name, path.clone());
        }
        self.paths.push(path);
        at
    }

    /// Adds what another file of the same module says: a crate may have both `lib.rs` and `main.rs`.
    fn add(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.aliases.extend(other.aliases);
        self.globs.extend(other.globs);
        self.items.extend(other.items);
        self.test_modules.extend(other.test_modules);
    }
}

/// Returns the code of a file without comments, and with empty strings.
fn without_comments_and_strings(text: &str) -> String {
    TEXT.replace_all(text, "\"\"").into_owned()
}
