//! Pictures to upload, and what the engines make of them when they are asked directly.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::application::Parts;
use e2e::repository;
use serde_json::Value;
use tempfile::TempDir;

/// What a colour may be off in the mean, of 1: a 255th is what the picture's own 8 bits are apart.
pub(crate) const BOUND: f64 = 1.0 / 255.0;

/// The pictures of `style_check.py`, and its Python.
pub(crate) struct Pictures {
    python: PathBuf,
    directory: TempDir,
}

impl Pictures {
    pub(crate) fn make(parts: &Parts) -> Self {
        let pictures = Self { python: parts.python.clone(), directory: tempfile::tempdir().unwrap() };
        pictures.run(&["pictures".as_ref(), pictures.directory.path()]);
        pictures
    }

    /// Where a picture is, for a browser.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Asserts that a styled picture, a PNG, is what this group's engines give for the picture of that group.
    pub(crate) fn is_as_the_engines_paint(&self, parts: &Parts, group: &str, styled: &[u8]) {
        let result = self.directory.path().join("result.png");
        std::fs::write(&result, styled).unwrap();
        let models = parts.models.join("models");
        let told = self.run(&["compare".as_ref(), &models, self.directory.path(), group.as_ref(), &result]);
        let told: Value = serde_json::from_str(&told).unwrap();
        for (engine, difference) in told.as_object().unwrap() {
            let mean = difference["mean"].as_f64().unwrap();
            assert!(mean < BOUND, "{group}: {mean} from what {engine} gives; {told}");
        }
    }

    fn run(&self, arguments: &[&Path]) -> String {
        let script = repository().join("test-harness/e2e/python/style_check.py");
        let output = Command::new(&self.python).arg(script).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
