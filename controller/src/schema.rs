//! Writes the plugin protocol as an OpenAPI document and JSON Schemas, for plugin authors in other languages.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use plugin_protocol::schema;

/// Why the documents could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written.
    #[error("failed to write {}: {source}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The output is closed.
    #[error("failed to write: {0}")]
    Io(#[from] io::Error),
}

/// Writes the OpenAPI document to `out`.
pub fn print(out: &mut impl Write) -> Result<(), Error> {
    Ok(out.write_all(&pretty(&schema::openapi()))?)
}

/// Writes the OpenAPI document and a JSON Schema for each body into `dir`.
pub fn write_files(dir: &Path) -> Result<(), Error> {
    for (name, document) in schema::files() {
        let path = dir.join(name);
        fs::write(&path, pretty(&document)).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

fn pretty(document: &Value) -> Vec<u8> {
    format!("{document:#}\n").into_bytes()
}
