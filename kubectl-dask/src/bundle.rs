//! Writes the files of a support bundle into an archive or a directory.

use std::{fs, path::Path};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use crate::error::Error;

/// What the names of archives end with.
const ENDINGS: [&str; 2] = [".tar.gz", ".tgz"];

/// A file of the bundle.
pub(crate) struct File {
    /// Its path in the bundle.
    pub(crate) path: String,
    pub(crate) content: String,
}

/// Writes `files` to `to`: an archive if its name ends with `.tar.gz` or `.tgz`, a new directory otherwise.
pub(crate) fn write(to: &Path, files: &[File]) -> Result<(), Error> {
    let name = to.to_string_lossy();
    let is_archive = ENDINGS.iter().any(|ending| name.ends_with(ending));
    let written = if is_archive { archive(to, files) } else { directory(to, files) };
    written.map_err(Error::io(format!("{name} cannot be written")))
}

fn directory(to: &Path, files: &[File]) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for file in files {
        let path = to.join(&file.path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, &file.content)?;
    }
    Ok(())
}

fn archive(to: &Path, files: &[File]) -> std::io::Result<()> {
    let root = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let root = ENDINGS.iter().find_map(|ending| root.strip_suffix(ending)).unwrap_or(&root);
    let output = fs::File::create_new(to)?;
    let mut archive = Builder::new(GzEncoder::new(output, Compression::default()));
    for file in files {
        let mut header = Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, format!("{root}/{}", file.path), file.content.as_bytes())?;
    }
    archive.into_inner()?.finish()?;
    Ok(())
}
