//! Claims become values of headers.

use crate::config::{Encoding, Kind, Rule};
use crate::header;
use crate::json::Value;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::borrow::Cow;
use std::fmt::Write as _;

/// What a verified token has to say about a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mapped {
    /// It is set to this.
    Value(String),
    /// There is no such claim; the default, if there is one, stands in.
    Missing(Option<String>),
    /// The claim is not what the rule says it must be; the default, if there is one, stands in.
    Bad(Option<String>),
}

/// A claim's value, whichever form the source has it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There is none, or it is null.
    Absent,
    /// One text: a string, `true`, or the digits of a whole number.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// It is of another type than the rule wants.
    Other,
}

impl Claim {
    /// The claim at a rule's path in a token's payload.
    pub(crate) fn in_payload(payload: &Value, rule: &Rule) -> Self {
        let mut value = payload;
        for step in &rule.claim {
            match value.get(step) {
                Some(next) => value = next,
                None => return Self::Absent,
            }
        }
        Self::of(rule.kind, value)
    }

    /// What a value is to a rule that wants this kind.
    pub(crate) fn of(kind: Kind, value: &Value) -> Self {
        match (kind, value) {
            (_, Value::Null) => Self::Absent,
            (Kind::String, Value::String(text)) => Self::Text(text.clone()),
            (Kind::Bool, Value::Bool(value)) => Self::Text(value.to_string()),
            (Kind::Bool, Value::String(text)) if text == "true" || text == "false" => {
                Self::Text(text.clone())
            }
            (Kind::Integer, Value::Number(text)) if is_whole(text) => Self::Text(text.clone()),
            (Kind::List, Value::String(text)) => Self::Texts(vec![text.clone()]),
            (Kind::List, Value::Array(items)) => list(items).map_or(Self::Other, Self::Texts),
            _ => Self::Other,
        }
    }
}

/// The items of a list, all of which are strings, or all of them whole numbers.
fn list(items: &[Value]) -> Option<Vec<String>> {
    let strings = || items.iter().map(|item| item.text().map(str::to_owned)).collect::<Option<_>>();
    let number = |item: &Value| match item {
        Value::Number(text) if is_whole(text) => Some(text.clone()),
        _ => None,
    };
    strings().or_else(|| items.iter().map(number).collect())
}

impl Rule {
    /// What the header is set to for a claim's value.
    pub(crate) fn apply(&self, claim: Claim) -> Mapped {
        let default =
            || self.default.as_deref().and_then(|default| self.written(default)).map(Cow::into_owned);
        let value = match claim {
            Claim::Absent => return Mapped::Missing(default()),
            // An empty text or list says as much as none.
            Claim::Text(text) if text.is_empty() => return Mapped::Missing(default()),
            Claim::Texts(texts) if texts.is_empty() => return Mapped::Missing(default()),
            Claim::Text(text) => {
                self.text(&text).filter(|value| self.table.is_some() || !value.contains(','))
            }
            Claim::Texts(texts) => self.list(&texts),
            Claim::Other => None,
        };
        let value = value.filter(|value| value.len() <= self.max_bytes && header::is_value(value));
        value.map_or_else(|| Mapped::Bad(default()), Mapped::Value)
    }

    /// What is passed on for one text, as it is written in the header.
    fn text(&self, text: &str) -> Option<String> {
        if self.allow.as_ref().is_some_and(|allowed| !allowed.iter().any(|allowed| allowed == text)) {
            return None;
        }
        let text = match &self.table {
            Some(table) => table.get(text)?,
            None => text,
        };
        self.written(text).map(Cow::into_owned)
    }

    /// Items that are not passed on are left out where the rule names those that are; otherwise one bad item spoils the
    /// list, because nothing says what a shorter one means.
    fn list(&self, texts: &[String]) -> Option<String> {
        let join = self.join.as_deref().unwrap_or(",");
        let selective = self.allow.is_some() || self.table.is_some();
        let mut items = Vec::new();
        for text in texts {
            match self.text(text) {
                Some(item) if header::is_value(&item) && !item.contains(join) && !item.contains(',') => {
                    items.push(item);
                }
                _ if selective => {}
                _ => return None,
            }
        }
        Some(items.join(join))
    }

    /// A text as it is written in the header. With an encoding every text can be written, but one with control
    /// characters, which no name or group has, is not: to its reader, who undoes the encoding, they would be a line
    /// break.
    pub(crate) fn written<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        match self.encode {
            None => Some(Cow::Borrowed(text)),
            Some(_) if text.chars().any(char::is_control) => None,
            Some(Encoding::Percent) => Some(Cow::Owned(percent_encoded(text))),
            Some(Encoding::Base64url) => Some(Cow::Owned(URL_SAFE_NO_PAD.encode(text))),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether a number's text is nothing but an integer's digits. A zero with a sign is not one: readers differ about it.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
