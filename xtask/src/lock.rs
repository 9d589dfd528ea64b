//! Locks between commands that make the same files.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::Stop;

/// Waits until this is the only command that makes `what`, and is so until the value is dropped.
pub(crate) fn hold(lock: &Path, what: &str) -> Result<File, Stop> {
    let cannot =
        |verb: &str, path: &Path, e: &io::Error| Stop::new(format!("{verb} {}: {e}", path.display()));
    let folder = lock.parent().unwrap_or(lock);
    fs::create_dir_all(folder).map_err(|e| cannot("make", folder, &e))?;
    let held = File::create(lock).map_err(|e| cannot("make", lock, &e))?;
    if held.try_lock().is_err() {
        eprintln!("    waiting for another xtask to finish {what}");
        held.lock().map_err(|e| cannot("lock", lock, &e))?;
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_command_at_a_time_holds_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("below/lock");
        let holding = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _held = hold(&lock, "the images").unwrap();
                    assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    assert_eq!(holding.fetch_sub(1, Ordering::SeqCst), 1);
                });
            }
        });
    }
}
