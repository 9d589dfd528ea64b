//! `cp SOURCE... DESTINATION`, for an image that has no shell and no C library.
//!
//! An init container copies the native library with it into a volume that Envoy's container mounts too. An Envoy may
//! have the file mapped that is replaced, after its init container was started once more: the new one is written beside
//! it and takes its name at once, and the old one's bytes stay as they were.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cp: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), String> {
    const USAGE: &str = "usage: cp SOURCE DESTINATION, or cp SOURCE... DIRECTORY; there are no options";
    if let Some(option) = arguments.iter().find(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
        return Err(format!("unknown option {}\n{USAGE}", option.display()));
    }
    let Some((destination, sources @ [_, ..])) = arguments.split_last() else {
        return Err(USAGE.to_owned());
    };
    let (destination, slash) = (Path::new(destination), destination.as_encoded_bytes().ends_with(b"/"));
    if !destination.is_dir() && (slash || sources.len() > 1) {
        return Err(format!("{} is not a directory; mount the volume there", destination.display()));
    }
    sources.iter().try_for_each(|source| copy(Path::new(source), destination))
}

/// Copies a file to a place or, under its name, into a directory. The copy has the permissions of the source.
fn copy(source: &Path, destination: &Path) -> Result<(), String> {
    let cannot = |place: &Path| {
        let place = place.display().to_string();
        move |error: io::Error| format!("cannot copy {} to {place}: {error}", source.display())
    };
    let mut from =
        File::open(source).map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let metadata = from.metadata().map_err(cannot(destination))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", source.display()));
    }
    let place = match source.file_name() {
        Some(name) if destination.is_dir() => destination.join(name),
        _ => destination.to_owned(),
    };
    let next = beside(&place);
    let written = File::create(&next).and_then(|mut to| {
        io::copy(&mut from, &mut to)?;
        to.set_permissions(metadata.permissions())?;
        // A full volume may say so only now.
        to.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&next, &place));
    renamed.map_err(|error| {
        // There may be nothing to remove, and the first error is the one to report.
        let _ = fs::remove_file(&next);
        cannot(&place)(error)
    })
}

/// A name in the same directory, where a file can be given another's name. Two copies at a time have two.
fn beside(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    place.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn cp(arguments: &[&Path]) -> Result<(), String> {
        run(&arguments.iter().map(|&argument| argument.into()).collect::<Vec<_>>())
    }

    /// What a directory has, by name.
    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    struct Volume {
        folder: tempfile::TempDir,
        library: PathBuf,
        modules: PathBuf,
    }

    fn volume() -> Volume {
        let folder = tempfile::tempdir().unwrap();
        let (library, modules) = (folder.path().join("lib.so"), folder.path().join("modules"));
        fs::write(&library, "new").unwrap();
        fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&modules).unwrap();
        Volume { folder, library, modules }
    }

    #[test]
    fn a_file_is_copied_into_a_directory_or_to_a_name_with_its_permissions() {
        let Volume { folder: _folder, library, modules } = volume();
        cp(&[&library, &modules]).unwrap();
        cp(&[&library, &modules.join("other.so")]).unwrap();
        assert_eq!(names(&modules), ["lib.so", "other.so"]);
        for name in ["lib.so", "other.so"] {
            let copy = modules.join(name);
            assert_eq!(fs::read(&copy).unwrap(), b"new");
            assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o755, "{name}");
        }
    }

    #[test]
    fn who_has_the_old_file_open_keeps_it() {
        let Volume { folder: _folder, library, modules } = volume();
        let place = modules.join("lib.so");
        fs::write(&place, "old").unwrap();
        let mut open = File::open(&place).unwrap();
        cp(&[&library, &modules]).unwrap();
        assert_eq!(io::read_to_string(&mut open).unwrap(), "old");
        assert_eq!(fs::read(&place).unwrap(), b"new");
        assert_eq!(names(&modules), ["lib.so"]);
    }

    #[test]
    fn what_cannot_be_copied_is_named_and_nothing_half_written_stays() {
        let Volume { folder, library, modules } = volume();
        let missing = folder.path().join("missing.so");
        let refused = |arguments: &[&Path], words: &[&str]| {
            let why = cp(arguments).unwrap_err();
            assert!(words.iter().all(|word| why.contains(word)), "{why}");
        };
        refused(&[&missing, &modules], &["cannot read", "missing.so"]);
        refused(&[&modules, &library], &["modules is not a file"]);
        refused(&[&library, Path::new("/no/such/place/")], &["/no/such/place/ is not a directory", "mount"]);
        refused(&[&library, Path::new("/no/such/place")], &["cannot copy", "/no/such/place"]);
        refused(&[&library, &library, &missing], &["missing.so is not a directory"]);
        refused(&[Path::new("-r"), &modules, &library], &["unknown option -r", "usage: cp SOURCE"]);
        refused(&[&library], &["usage: cp SOURCE"]);
        refused(&[], &["usage: cp SOURCE"]);
        // A directory cannot be replaced by a file.
        fs::create_dir(modules.join("lib.so")).unwrap();
        refused(&[&library, &modules], &["cannot copy", "modules/lib.so"]);
        assert_eq!(names(&modules), ["lib.so"]);
    }
}
