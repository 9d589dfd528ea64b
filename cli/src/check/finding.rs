//! One thing that is wrong.

use istio_lint::Level;
use serde_json::{Value, json};

use crate::input::{Located, Skipped};

/// What is wrong, and where.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// How sure it is.
    pub(crate) level: Level,
    /// Which rule found it.
    pub(crate) rule: &'static str,
    /// The file.
    pub(crate) file: String,
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// The field, as a JSON pointer; empty for the whole resource.
    pub(crate) pointer: String,
    /// `Kind namespace/name`.
    pub(crate) resource: String,
    /// Why.
    pub(crate) reason: String,
}

impl Finding {
    /// A certain one.
    pub(crate) fn error(rule: &'static str, located: &Located, pointer: &str, reason: &str) -> Self {
        Self {
            level: Level::Error,
            rule,
            file: located.file.clone(),
            line: located.line_of(pointer),
            pointer: pointer.to_owned(),
            resource: located.resource.id(),
            reason: reason.to_owned(),
        }
    }

    /// A document of a folder that was not checked.
    pub(crate) fn skipped(skipped: &Skipped) -> Self {
        Self {
            level: if skipped.broken { Level::Error } else { Level::Note },
            rule: "not-checked",
            file: skipped.file.clone(),
            line: skipped.line,
            pointer: String::new(),
            resource: "document".to_owned(),
            reason: skipped.reason.clone(),
        }
    }

    /// `error`, `warning` or `note`, as SARIF has them too.
    pub(crate) fn level_name(&self) -> &'static str {
        match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "level": self.level_name(),
            "rule": self.rule,
            "file": self.file,
            "line": self.line,
            "path": self.pointer,
            "resource": self.resource,
            "reason": self.reason,
        })
    }
}
