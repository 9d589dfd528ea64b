//! Where the output goes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::files::{self, File};
use super::wrong;
use crate::{Error, input};

/// The output's folder must not be one of the input: what it drops would stay there, and what it changes be lost.
pub(super) fn apart(folder: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    let whole = std::path::absolute(folder)
        .map_err(|source| Error::Input(input::Error::Io { path: folder.display().to_string(), source }))?;
    // A folder that is not there yet is where the nearest one around it is.
    let there = whole.ancestors().find_map(|around| around.canonicalize().ok()).unwrap_or_default();
    let is_there = whole.exists();
    for (shown, input) in inputs.iter().filter_map(|input| Some((input, input.canonicalize().ok()?))) {
        let inside = input.is_dir() && there.starts_with(&input);
        if inside || is_there && input.is_file() && input.parent() == Some(&there) {
            let (folder, shown) = (folder.display(), shown.display());
            let why = if inside {
                format!(
                    "{folder} is in the input {shown}, where what is dropped would stay: name another folder"
                )
            } else {
                format!("{folder} has the input {shown}, which would be lost: name another folder")
            };
            return Err(wrong("--out", why));
        }
    }
    Ok(())
}

/// The output's folder must have no manifests but those of this output: `kubectl apply` would take the others along, such
/// as the vendor's that an earlier run or a copy left there.
pub(super) fn alone(folder: &Path, files: &[File], report: Option<&Path>) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    let written: BTreeSet<PathBuf> =
        files.iter().filter(|file| is_written(&file.text())).map(|file| folder.join(&file.name)).collect();
    let known = |path: &PathBuf| written.contains(path) || Some(path.as_path()) == report;
    let left: Vec<PathBuf> = files::manifests(folder)?.into_iter().filter(|path| !known(path)).collect();
    let Some(first) = left.first() else { return Ok(()) };
    let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
    let why = format!(
        "{} has {}{more} already, which this output does not have and which would be applied with it: name an empty folder, \
         or take that out",
        folder.display(),
        first.strip_prefix(folder).unwrap_or(first).display()
    );
    Err(wrong("--out", why))
}

/// Whether a file comes out at all: one of which only comments are left does not.
fn is_written(text: &str) -> bool {
    !text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// Writes the files that are left below a folder, or all of them as one stream.
pub(super) fn write(files: &[File], folder: Option<&Path>, out: &mut dyn Write) -> Result<(), Error> {
    let mut first = true;
    for file in files {
        let text = file.text();
        match folder {
            _ if !is_written(&text) => {}
            Some(folder) => saved(&folder.join(&file.name), text.as_bytes())?,
            None => {
                if !first && !text.starts_with("---") {
                    writeln!(out, "---")?;
                }
                out.write_all(text.as_bytes())?;
                if !text.ends_with('\n') {
                    writeln!(out)?;
                }
                first = false;
            }
        }
    }
    Ok(())
}

/// Writes a file, and the folders it is in.
pub(super) fn saved(path: &Path, text: &[u8]) -> Result<(), Error> {
    let io = |source| Error::Input(input::Error::Io { path: path.display().to_string(), source });
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(io)?;
    }
    fs::write(path, text).map_err(io)
}
