//! Claims become values of headers.

use crate::config::{Kind, Rule};
use crate::header;
use crate::json::Value;

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
        match (rule.kind, value) {
            (_, Value::Null) => Self::Absent,
            (Kind::String, Value::String(text)) => Self::Text(text.clone()),
            (Kind::Bool, Value::Bool(value)) => Self::Text(value.to_string()),
            (Kind::Integer, Value::Number(text)) if is_whole(text) => Self::Text(text.clone()),
            (Kind::List, Value::String(text)) => Self::Texts(vec![text.clone()]),
            (Kind::List, Value::Array(items)) => {
                let texts = items.iter().map(|item| item.text().map(str::to_owned));
                texts.collect::<Option<_>>().map_or(Self::Other, Self::Texts)
            }
            _ => Self::Other,
        }
    }
}

impl Rule {
    /// What the header is set to for a claim's value.
    pub(crate) fn apply(&self, claim: Claim) -> Mapped {
        let value = match claim {
            Claim::Absent => return Mapped::Missing(self.default.clone()),
            // An empty text or list says as much as none.
            Claim::Text(text) if text.is_empty() => return Mapped::Missing(self.default.clone()),
            Claim::Texts(texts) if texts.is_empty() => return Mapped::Missing(self.default.clone()),
            Claim::Text(text) => self.text(&text).filter(|text| self.table.is_some() || !text.contains(',')),
            Claim::Texts(texts) => self.list(&texts),
            Claim::Other => None,
        };
        let value = value.filter(|value| header::is_value(value));
        value.map_or_else(|| Mapped::Bad(self.default.clone()), Mapped::Value)
    }

    /// What is passed on for one text.
    fn text(&self, text: &str) -> Option<String> {
        if self.allow.as_ref().is_some_and(|allowed| !allowed.iter().any(|allowed| allowed == text)) {
            return None;
        }
        match &self.table {
            Some(table) => table.get(text).cloned(),
            None => Some(text.to_owned()),
        }
    }

    /// Items that are not passed on are left out where the rule names those that are; otherwise one bad item spoils the
    /// list, because nobody can tell what a shorter one means.
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
}

/// Whether a number's text is nothing but an integer's digits. A zero with a sign is none: readers differ about it.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
