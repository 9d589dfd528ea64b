//! The account of a migration: what became of every field.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::input::Located;

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// It cannot be taken over.
    Refused,
    /// A fault that the vendor's mesh tolerates.
    Fault,
    /// Something that the input does not say.
    Assumed,
    /// Something that is left to do by hand.
    Todo,
    /// It does nothing on stock parts, or nothing is needed for it.
    Dropped,
    /// It became something else.
    Mapped,
    /// It is stock already.
    Passed,
    /// It is left as it is, because something of it is refused.
    Kept,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Fault => "fault",
            Self::Assumed => "assumed",
            Self::Todo => "to do",
            Self::Dropped => "dropped",
            Self::Mapped => "mapped",
            Self::Passed => "passed",
            Self::Kept => "kept",
        }
    }
}

/// A line of the account.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) action: Action,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// Its document.
    place: Place,
    pub(crate) pointer: String,
    pub(crate) resource: String,
    pub(crate) what: String,
}

/// A document: its file, and the line at which it begins. An item of a List counts as one, by its number.
pub(super) type Place = (String, usize, usize);

pub(super) fn place(located: &Located) -> Place {
    (located.file.clone(), located.line, located.index)
}

/// The account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) entries: Vec<Entry>,
}

impl Account {
    /// Adds a line about a field; an empty pointer is the whole resource.
    pub(super) fn add(&mut self, action: Action, located: &Located, pointer: &str, what: impl Into<String>) {
        self.entries.push(Entry {
            action,
            file: located.file.clone(),
            line: located.line_of(pointer),
            place: place(located),
            pointer: pointer.to_owned(),
            resource: located.resource.id(),
            what: what.into(),
        });
    }

    /// Adds a line about a whole file.
    pub(super) fn note(&mut self, action: Action, file: String, what: impl Into<String>) {
        let (pointer, resource) = (String::new(), String::new());
        let place = (file.clone(), 1, 0);
        self.entries.push(Entry { action, file, line: 1, place, pointer, resource, what: what.into() });
    }

    pub(super) fn refuse(&mut self, located: &Located, pointer: &str, why: impl Into<String>) {
        self.add(Action::Refused, located, pointer, why);
    }

    /// Whether something could not be taken over.
    pub(super) fn has_refused(&self) -> bool {
        self.entries.iter().any(|entry| entry.action == Action::Refused)
    }

    /// The documents of which something is refused.
    pub(super) fn refused(&self) -> BTreeSet<Place> {
        self.entries
            .iter()
            .filter(|entry| entry.action == Action::Refused)
            .map(|entry| entry.place.clone())
            .collect()
    }

    /// Takes out the first `decided` entries about documents that stay as they are, except what is refused of them.
    pub(super) fn take_back(&mut self, kept: &BTreeSet<Place>, decided: usize) {
        let mut index = 0;
        self.entries.retain(|entry| {
            index += 1;
            index > decided || entry.action == Action::Refused || !kept.contains(&entry.place)
        });
    }

    /// Writes a line for each entry, in the order of files and lines, and the numbers of all.
    pub(super) fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.sort();
        for Entry { action, file, line, pointer, resource, what, .. } in &self.entries {
            let field = if pointer.is_empty() { String::new() } else { format!(" {pointer}") };
            let of = if resource.is_empty() { String::new() } else { format!("{resource}{field}: ") };
            writeln!(out, "{file}:{line}: {}: {of}{what}", action.name())?;
        }
        let all = [
            Action::Mapped,
            Action::Passed,
            Action::Kept,
            Action::Dropped,
            Action::Assumed,
            Action::Todo,
            Action::Fault,
            Action::Refused,
        ];
        let count = |action: Action| self.entries.iter().filter(|entry| entry.action == action).count();
        let numbers: Vec<_> = all
            .into_iter()
            .filter(|action| count(*action) > 0)
            .map(|action| format!("{} {}", count(action), action.name()))
            .collect();
        writeln!(out, "{}", numbers.join(", "))
    }

    pub(super) fn json(&mut self) -> Value {
        self.sort();
        let entry = |e: &Entry| json!({"action": e.action.name(), "file": e.file, "line": e.line, "path": e.pointer, "resource": e.resource, "what": e.what});
        json!({"account": self.entries.iter().map(entry).collect::<Vec<_>>()})
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| {
            (&a.file, a.line, &a.pointer, a.action, &a.what)
                .cmp(&(&b.file, b.line, &b.pointer, b.action, &b.what))
        });
        self.entries.dedup_by(|a, b| {
            (&a.file, a.line, &a.pointer, a.action, &a.what)
                == (&b.file, b.line, &b.pointer, b.action, &b.what)
        });
    }
}
