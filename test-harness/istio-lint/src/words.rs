//! Errors of other libraries in plain words.

use std::io::{self, ErrorKind};

/// Why a file cannot be read or written.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a folder, not a file".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        ErrorKind::InvalidData => "is not UTF-8 text".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

/// Why a text is not the YAML that it has to be, without the place, which [`serde_saphyr::Error::location`] has.
#[must_use]
pub fn reason(error: &serde_saphyr::Error) -> String {
    // The first line is the reason; below it the library shows the text around it.
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let text = text.split(" at line ").next().unwrap_or_default();
    // What the library tells those who program with it.
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
    if let Some(what) = text.strip_prefix("budget breached: ") {
        return match what.split([' ', '{']).next() {
            Some("Depth") => "nested too deeply".into(),
            Some("ScalarBytes") => "too large".into(),
            _ => "too large, or its aliases expand to more than this command reads".into(),
        };
    }
    if text.contains("recursion limit") { "nested too deeply".into() } else { text.to_owned() }
}
