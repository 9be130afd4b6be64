//! Finds the options of Dask's programs in a container's command, which may be one of a shell.

use serde_json::Value;

use super::{shell, variables::Variables};

/// How many bytes a command may have, before and after its variables are replaced. A longer one is not read.
const MAX_TEXT: usize = 64 * 1024;
/// How many shells may start one another.
const MAX_SHELLS: usize = 3;
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// A program of Dask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Scheduler,
    Worker,
}

/// A container's command, as far as it is about the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The words after the program.
    Program(Vec<String>),
    /// All words of a command that does not name the program. The image may start it.
    Other(Vec<String>),
}

impl Program {
    /// Returns the number of words that start the program at the beginning of `words`.
    fn starts(self, words: &[String]) -> Option<usize> {
        // Workers with GPUs have a program of their own with the same options.
        let (commands, subcommands, module): (&[&str], &[&[&str]], _) = match self {
            Self::Scheduler => (&["dask-scheduler"], &[&["scheduler"]], "distributed.cli.dask_scheduler"),
            Self::Worker => (
                &["dask-worker", "dask-cuda-worker"],
                &[&["worker"], &["cuda", "worker"]],
                "distributed.cli.dask_worker",
            ),
        };
        let first = words.first()?;
        let file = first.rsplit('/').next().unwrap_or(first);
        if commands.contains(&file) || first == module {
            return Some(1);
        }
        let has = |subcommand: &&&[&str]| {
            words[1..].iter().map(String::as_str).take(subcommand.len()).eq(subcommand.iter().copied())
        };
        subcommands.iter().find(has).filter(|_| file == "dask").map(|subcommand| 1 + subcommand.len())
    }
}

/// Returns the command of `container` as words, without those before the options of `program`. `None` if it is too long.
pub(super) fn found(container: &Value, program: Program) -> Option<Found> {
    let mut variables = Variables::of(container);
    let mut left = MAX_TEXT;
    let mut words = Vec::new();
    let given = ["command", "args"].into_iter().flat_map(|field| container[field].as_array().into_iter().flatten());
    for word in given.filter_map(Value::as_str) {
        let word = variables.expanded(word, left)?;
        left = left.checked_sub(word.len() + 1)?;
        words.push(word);
    }
    if let Some(options) = after_program(&words, program, &mut variables, MAX_SHELLS) {
        return Some(Found::Program(options));
    }
    // A script that does not name the program may start anything.
    if script_of(&words).is_some() {
        words.clear();
    }
    Some(Found::Other(words))
}

fn after_program(words: &[String], program: Program, variables: &mut Variables, shells: usize) -> Option<Vec<String>> {
    if let Some(script) = script_of(words) {
        let shells = shells.checked_sub(1)?;
        let commands = shell::commands(&words[script], variables, MAX_TEXT)?;
        // The last one is the one that stays. A script may also run its arguments.
        let in_script = commands.iter().rev().find_map(|words| after_program(words, program, variables, shells));
        return in_script.or_else(|| after_program(&words[script + 1..], program, variables, shells));
    }
    let starts = |at: usize| program.starts(&words[at..]).map(|length| at + length);
    let first = (0..words.len()).find_map(starts)?;
    Some(words[first..].to_vec())
}

/// Returns the index of the script, if `words` start a shell with one: `sh -c`, `bash -euo pipefail -c`.
fn script_of(words: &[String]) -> Option<usize> {
    let shell = words.iter().position(|word| SHELLS.contains(&word.rsplit('/').next().unwrap_or(word)))?;
    let is_flag = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let flag = shell + 1 + words[shell + 1..].iter().position(is_flag)?;
    (flag + 1 < words.len()).then_some(flag + 1)
}

/// Returns the value of an option. As in Python's click, the last one counts, and `--` ends the options.
pub(super) fn option<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let mut value = None;
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == name {
            value = words.next().map(String::as_str);
        } else if let Some(given) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            value = Some(given);
        }
    }
    value
}
