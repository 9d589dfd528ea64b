//! Archives that are the same for the same files, on any machine at any time.

use std::collections::BTreeSet;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};

/// A file in an archive. It can be read by all.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// Its path, without a slash in front.
    pub path: &'a str,
    /// Whether it is a program or a library.
    pub executable: bool,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// An archive (POSIX ustar) with no time and no owner's name: nothing of the machine. Directories come before what is in
/// them.
///
/// # Errors
/// If a path or a file is longer than the format can say.
pub fn pack(files: &[File<'_>]) -> std::io::Result<Vec<u8>> {
    let mut files = files.to_vec();
    files.sort_by_key(|file| file.path);
    let above = |file: &File<'_>| {
        let ends: Vec<usize> = file.path.match_indices('/').map(|(at, _)| at + 1).collect();
        ends.into_iter().map(|end| file.path[..end].to_owned()).collect::<Vec<_>>()
    };
    let directories: BTreeSet<String> = files.iter().flat_map(above).collect();
    let mut builder = tar::Builder::new(Vec::new());
    for directory in directories {
        builder.append_data(&mut header(tar::EntryType::Directory, 0, 0o755), directory, &[][..])?;
    }
    for file in files {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let mut header = header(tar::EntryType::Regular, file.bytes.len() as u64, mode);
        builder.append_data(&mut header, file.path, file.bytes)?;
    }
    builder.into_inner()
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// gzip, with no time and no file name in its header.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn compress(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(archive)?;
    encoder.finish()
}
