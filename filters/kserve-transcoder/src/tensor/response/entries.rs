//! Parameters of an answer, as members of a JSON object.

use super::print::{Float, Print, Signed, Special, Unsigned, escape};
use crate::tensor::charged::ChargedList;
use crate::tensor::number::slot::{SLOT, put};
use crate::tensor::{AnswerForm, NonFinite, Options};
use filter_api::{Buffer, Charge, OverBudget};
use std::ops::Range;

/// The value of an `InferParameter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int64(i64),
    /// Text that is held elsewhere.
    Text,
    Double(f64),
    Uint64(u64),
}

/// Entries of a map, written as they come. Of those with the same key the last one counts, as everywhere in protobuf.
#[derive(Debug)]
pub(super) struct Entries {
    /// Each with a comma behind it.
    text: Buffer,
    entries: ChargedList<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The key within the text, escaped.
    key: Range<usize>,
    /// Where the entry ends; it begins a quote before its key.
    end: usize,
    /// An entry without a value is not printed, and undoes one that has a value.
    has_value: bool,
}

impl Entries {
    pub(super) fn new(charge: &Charge) -> Self {
        Self { text: Buffer::new(charge.sibling()), entries: ChargedList::new(charge.sibling()) }
    }

    /// Adds an entry; `text` is the value if it is one.
    pub(super) fn push(
        &mut self,
        key: &[u8],
        value: Value,
        text: &[u8],
        options: &Options,
    ) -> Result<(), OverBudget> {
        self.text.push(b"\"")?;
        let start = self.text.len();
        push_escaped(&mut self.text, key)?;
        let key = start..self.text.len();
        self.text.push(b"\":")?;
        push_value(&mut self.text, value, text, options)?;
        self.text.push(b",")?;
        let end = self.text.len();
        self.entries.push(Entry { key, end, has_value: value != Value::None })
    }

    /// No more entries come: drops those that do not count.
    pub(super) fn settle(&mut self) -> Result<(), OverBudget> {
        let text = self.text.as_slice();
        let key = |entry: &Entry| &text[entry.key.clone()];
        // Entries of one key next to each other, the last one first.
        self.entries.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(b.end.cmp(&a.end)));
        let twice = self.entries.windows(2).any(|pair| key(&pair[0]) == key(&pair[1]));
        if !twice && self.entries.iter().all(|entry| entry.has_value) {
            return Ok(());
        }
        let mut before = None;
        for entry in self.entries.iter_mut() {
            let own = &text[entry.key.clone()];
            entry.has_value &= before.replace(own) != Some(own);
        }
        self.entries.sort_unstable_by_key(|entry| entry.end);
        // What counts moves to the front; it never overtakes what it is copied from.
        let mut kept = 0;
        for entry in self.entries.iter().filter(|entry| entry.has_value) {
            kept = self.text.move_down(entry.key.start - 1..entry.end, kept);
        }
        self.text.truncate(kept);
        Ok(())
    }

    /// The members, each with a comma behind it, once they are [settled](Self::settle).
    pub(super) fn as_slice(&self) -> &[u8] {
        self.text.as_slice()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }
}

fn push_escaped(out: &mut Buffer, text: &[u8]) -> Result<(), OverBudget> {
    let mut result = Ok(());
    escape(text, |piece| {
        if result.is_ok() {
            result = out.push(piece);
        }
    });
    result
}

fn push_value(out: &mut Buffer, value: Value, text: &[u8], options: &Options) -> Result<(), OverBudget> {
    let proto = options.answer_form == AnswerForm::Proto;
    let mut slot = [0; SLOT];
    let (field, len) = match value {
        Value::None => return Ok(()),
        Value::Bool(value) => ("bool_param", put(&mut slot, if value { b"true" } else { b"false" })),
        Value::Int64(value) => ("int64_param", Signed.print(value.to_le_bytes(), &mut slot)),
        Value::Uint64(value) => ("uint64_param", Unsigned.print(value.to_le_bytes(), &mut slot)),
        Value::Double(value) => {
            let form = if proto { NonFinite::String } else { options.non_finite };
            ("double_param", Special::new(Float, form).print(value.to_le_bytes(), &mut slot))
        }
        Value::Text => ("string_param", 0),
    };
    // Protobuf's JSON puts quotes around 64-bit integers.
    let quoted = matches!(value, Value::Text) || proto && matches!(value, Value::Int64(_) | Value::Uint64(_));
    if proto {
        for part in ["{\"", field, "\":"] {
            out.push(part.as_bytes())?;
        }
    }
    let quote: &[u8] = if quoted { b"\"" } else { b"" };
    out.push(quote)?;
    match value {
        Value::Text => push_escaped(out, text)?,
        _ => out.push(&slot[..len])?,
    }
    out.push(quote)?;
    if proto { out.push(b"}") } else { Ok(()) }
}
