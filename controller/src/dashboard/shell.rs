//! Splits a shell script into commands and words, as far as that is possible without running it.

use std::{iter::Peekable, str::Chars};

use super::variables::Variables;

/// Stands for text that only a running shell knows. It is in no option's valid value.
pub(super) const UNKNOWN: char = '\u{FFFD}';

/// Returns the commands of `script`, each as its words. They may use `variables` and set further ones. `None` if the
/// words have more than `limit` bytes.
pub(super) fn commands(script: &str, variables: &mut Variables, limit: usize) -> Option<Vec<Vec<String>>> {
    let rest = script.chars().peekable();
    let (words, commands) = (Vec::new(), Vec::new());
    let mut reader = Reader { rest, variables, word: None, words, commands, skips: false, left: Some(limit) };
    reader.read();
    reader.end_command();
    reader.left.map(|_| reader.commands)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    variables: &'a mut Variables,
    /// The present word. An empty one is present if it is in quotes.
    word: Option<String>,
    words: Vec<String>,
    commands: Vec<Vec<String>>,
    /// Whether the next word is the file of a redirection.
    skips: bool,
    /// How many bytes the words may still have. `None` if they had more.
    left: Option<usize>,
}

impl Reader<'_> {
    fn read(&mut self) {
        while let Some(next) = self.rest.next() {
            match next {
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '\\' => self.escaped(),
                '$' => self.substitution(true),
                '`' => self.backquoted(),
                '#' if self.word.is_none() => {
                    self.skip_past(|next| next == '\n');
                    self.end_command();
                }
                '\n' | ';' | '|' | '&' | '(' | ')' => self.end_command(),
                '<' | '>' => self.redirection(),
                space if space.is_whitespace() => self.end_word(),
                other => self.push(other),
            }
            if self.left.is_none() {
                return;
            }
        }
    }

    fn push(&mut self, next: char) {
        self.left = self.left.and_then(|left| left.checked_sub(next.len_utf8()));
        if self.left.is_some() {
            self.word.get_or_insert_default().push(next);
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !std::mem::take(&mut self.skips)
        {
            self.words.push(word);
        }
    }

    /// Ends a command. One that only sets variables is carried out.
    fn end_command(&mut self) {
        self.end_word();
        self.skips = false;
        let words = std::mem::take(&mut self.words);
        let assigned = words.strip_prefix(&["export".to_owned()]).unwrap_or(&words);
        if let Some(assignments) = assigned.iter().map(|word| word.split_once('=')).collect::<Option<Vec<_>>>() {
            for (name, value) in assignments {
                self.variables.set(name, Some(value.to_owned()).filter(|value| !value.contains(UNKNOWN)));
            }
        }
        if !words.is_empty() {
            self.commands.push(words);
        }
    }

    fn single_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(next) = self.rest.next_if(|next| *next != '\'') {
            self.push(next);
        }
        self.rest.next();
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(next) = self.rest.next_if(|next| *next != '"') {
            match next {
                '\\' if self.rest.peek().is_some_and(|next| "$`\"\\\n".contains(*next)) => self.escaped(),
                '$' => self.substitution(false),
                '`' => self.backquoted(),
                other => self.push(other),
            }
        }
        self.rest.next();
    }

    /// A backslash before a newline continues the line.
    fn escaped(&mut self) {
        if let Some(next) = self.rest.next()
            && next != '\n'
        {
            self.push(next);
        }
    }

    fn backquoted(&mut self) {
        self.skip_past(|next| next == '`');
        self.push(UNKNOWN);
    }

    /// Reads what follows a dollar sign. Outside of quotes (`splits`), spaces in a value separate words.
    fn substitution(&mut self, splits: bool) {
        match self.rest.peek() {
            Some('(') => self.command_substitution(),
            Some('{') => {
                self.rest.next();
                let mut inner = String::new();
                while let Some(next) = self.rest.next_if(|next| *next != '}') {
                    inner.push(next);
                }
                self.rest.next();
                let (name, default) = match inner.split_once('-') {
                    Some((name, default)) => (name.trim_end_matches(':'), Some(default)),
                    None => (inner.as_str(), None),
                };
                let value = self.variables.get(name).or(default).map(str::to_owned);
                self.push_value(value, splits);
            }
            Some('@' | '*' | '#' | '?' | '!' | '$' | '0'..='9') => {
                self.rest.next();
                self.push(UNKNOWN);
            }
            _ => {
                let mut name = String::new();
                while let Some(next) = self.rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
                    name.push(next);
                }
                let value =
                    if name.is_empty() { Some("$".to_owned()) } else { self.variables.get(&name).map(str::to_owned) };
                self.push_value(value, splits);
            }
        }
    }

    fn push_value(&mut self, value: Option<String>, splits: bool) {
        for next in value.unwrap_or_else(|| UNKNOWN.to_string()).chars() {
            if splits && next.is_whitespace() {
                self.end_word();
            } else {
                self.push(next);
            }
        }
    }

    fn command_substitution(&mut self) {
        let mut depth = 0_usize;
        self.skip_past(|next| {
            match next {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        self.push(UNKNOWN);
    }

    /// A number before it belongs to it, and the word after it.
    fn redirection(&mut self) {
        if self.word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        while self.rest.next_if(|next| "<>&|".contains(*next)).is_some() {}
        self.skips = true;
    }

    /// Skips the characters up to and with the first one that is `last`.
    fn skip_past(&mut self, mut last: impl FnMut(char) -> bool) {
        while self.rest.next_if(|next| !last(*next)).is_some() {}
        self.rest.next();
    }
}

#[cfg(test)]
mod tests;
