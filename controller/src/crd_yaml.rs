//! Prints the CustomResourceDefinitions as the chart ships them.

use std::io::{self, Write};

/// Why the definitions could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition could not be written as YAML.
    #[error("failed to write a definition as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
    /// The output is closed.
    #[error("failed to write: {0}")]
    Io(#[from] io::Error),
}

/// Writes all definitions to `out` as one YAML stream.
pub fn print(out: &mut impl Write) -> Result<(), Error> {
    for definition in dask_operator_api::all() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&definition)?.trim_end())?;
    }
    Ok(())
}
