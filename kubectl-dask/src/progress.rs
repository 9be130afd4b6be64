//! A line on a terminal that says what takes long.

use std::io::{IsTerminal as _, Write as _, stderr};

/// Shows its line until it is dropped.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    /// Shows `text`, if standard error is a terminal.
    pub(crate) fn start(text: &str) -> Self {
        let shown = stderr().is_terminal();
        if shown {
            show(&format!("{text} …"));
        }
        Self { shown }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            show("");
        }
    }
}

/// Replaces the line.
fn show(text: &str) {
    let mut terminal = stderr();
    // A terminal that is gone needs no progress.
    let _ = write!(terminal, "\r\x1b[K{text}").and_then(|()| terminal.flush());
}
