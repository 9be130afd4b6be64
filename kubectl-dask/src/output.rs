//! Prints results: tables for people, JSON for programs, and on standard error what could not be read.

use std::io::{Write as _, stdout};

use serde::Serialize;

use crate::{error::Error, snapshot::Gap};

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    Ok(writeln!(stdout(), "{text}")?)
}

/// Prints JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::other)?;
    line(&text)
}

/// Says on standard error what could not be read.
pub(crate) fn gaps(gaps: &[Gap]) {
    for gap in gaps {
        eprintln!("not seen: {}: {}", gap.resource, gap.why);
    }
}

/// Returns rows below their headings, in columns.
pub(crate) fn render<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let all: Vec<&[String; N]> = std::iter::once(&headings).chain(rows).collect();
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row.iter()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let format_row = |row: &&[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    all.iter().map(format_row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["demo".to_owned(), "1".to_owned()], ["a-long-name".to_owned(), String::new()]];
        assert_eq!(render(["NAME", "N"], &rows), "NAME          N\ndemo          1\na-long-name");
    }
}
