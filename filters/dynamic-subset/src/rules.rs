//! The configuration's rules, compiled, and what they select for a request.

use crate::config::{Config, Rule};
use crate::pattern::Pattern;
use crate::text::{as_header_part, header_problem, key_problem, value_problem};
use filter_api::{ConfigError, folded, has_header_prefix, is_same_header};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many pairs are made of a request at most: each is a step of the load balancer's search.
pub(crate) const MAX_PAIRS: usize = 16;

/// So many rules about headers are looked at one by one.
const FEW: usize = 8;

/// All rules.
///
/// What a request costs does not grow with the rules that name a header: of these, each header of the request finds its
/// own.
#[derive(Debug)]
pub(crate) struct Rules {
    /// In order.
    all: Vec<Compiled>,
    /// Those about one header: its name and the rule, sorted.
    by_header: Vec<(Box<[u8]>, usize)>,
    /// Those about headers with a prefix.
    by_prefix: Vec<usize>,
    /// Those about the model.
    by_model: Vec<usize>,
}

#[derive(Debug)]
struct Compiled {
    source: Source,
    target: Target,
    /// The value that is set; without one, what the source has.
    value: Option<String>,
}

#[derive(Debug)]
enum Source {
    Header(String),
    Prefix(String),
    Model(Vec<Pattern>),
}

#[derive(Debug)]
enum Target {
    Key(String),
    /// Followed by the rest of the header's name.
    Prefix(String),
}

/// What the rules found in a request's headers.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// The rule.
    rule: usize,
    /// The rest of the header's name.
    rest: Vec<u8>,
    value: Vec<u8>,
}

/// What the rules make of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection<'a> {
    /// Pairs, in the order of the rules.
    pub(crate) pairs: Vec<Pair<'a>>,
    /// How many keys or values could not be used.
    pub(crate) bad: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Cow<'a, str>,
}

impl Rules {
    /// Checks and compiles the rules of a configuration.
    ///
    /// # Errors
    /// There are no rules, or one says too much, too little or what can never work.
    pub(crate) fn compile(config: &Config) -> Result<Self, ConfigError> {
        let mut rules = Vec::new();
        for (index, rule) in config.rules.iter().enumerate() {
            rules.push(compile(rule, &format!("rules[{index}]"), &config.emit_prefix)?);
        }
        for (index, item) in config.header_to_dynamic_subset_key.iter().enumerate() {
            let rule =
                Rule { header: Some(item.header.clone()), key: Some(item.key.clone()), ..Rule::default() };
            rules.push(compile(&rule, &format!("headerToDynamicSubsetKey[{index}]"), &config.emit_prefix)?);
        }
        if rules.is_empty() {
            return Err(ConfigError::at("rules", "there is no rule, so nothing would ever be selected"));
        }
        no_two_keys_of_one_header(&rules)?;
        Ok(Self::in_order(rules))
    }

    fn in_order(all: Vec<Compiled>) -> Self {
        let (mut by_header, mut by_prefix, mut by_model) = (Vec::new(), Vec::new(), Vec::new());
        for (rule, compiled) in all.iter().enumerate() {
            match &compiled.source {
                Source::Header(name) => by_header.push((name.as_bytes().into(), rule)),
                Source::Prefix(_) => by_prefix.push(rule),
                Source::Model(_) => by_model.push(rule),
            }
        }
        by_header.sort_unstable();
        Self { all, by_header, by_prefix, by_model }
    }

    /// Whether a rule asks for the model.
    pub(crate) fn ask_for_the_model(&self) -> bool {
        !self.by_model.is_empty()
    }

    /// Notes what the rules want of a header. `name` is as the host has it, in lower case.
    pub(crate) fn see(&self, name: &[u8], value: &[u8], found: &mut Found) {
        let mut note = |rule, rest: &[u8]| {
            found.0.push(Entry { rule, rest: rest.to_vec(), value: value.trim_ascii().to_vec() });
        };
        if self.by_header.len() <= FEW {
            // Most differ in their length already, which a search by order cannot use.
            let named = self.by_header.iter().filter(|(wanted, _)| **wanted == *name);
            named.for_each(|(_, rule)| note(*rule, b""));
        } else {
            let first = self.by_header.partition_point(|(wanted, _)| **wanted < *name);
            let named = self.by_header[first..].iter().take_while(|(wanted, _)| **wanted == *name);
            named.for_each(|(_, rule)| note(*rule, b""));
        }
        for rule in &self.by_prefix {
            let Source::Prefix(prefix) = &self.all[*rule].source else { continue };
            if let Some(rest) = name.strip_prefix(prefix.as_bytes()) {
                note(*rule, rest);
            }
        }
    }

    /// What is selected for a request with these headers, for this model if it is known.
    pub(crate) fn select<'a>(&'a self, found: &'a Found, model: Option<&'a [u8]>) -> Selection<'a> {
        let mut selection = Selection::default();
        // In the order of the rules, and of the headers for each of them.
        let mut entries: Vec<&Entry> = found.0.iter().collect();
        entries.sort_by_key(|entry| entry.rule);
        let mut of_headers = entries.chunk_by(|one, other| one.rule == other.rule).peekable();
        let mut of_model =
            model.into_iter().flat_map(|name| self.by_model.iter().map(move |rule| (*rule, name)));
        let mut next_of_model = of_model.next();
        loop {
            let by_header = of_headers.peek().map(|entries| entries[0].rule);
            match next_of_model {
                Some((rule, name)) if by_header.is_none_or(|other| rule < other) => {
                    selection.offer_model(&self.all[rule], name);
                    next_of_model = of_model.next();
                }
                _ => match of_headers.next() {
                    Some(entries) => selection.offer_headers(&self.all[entries[0].rule], entries),
                    None => break,
                },
            }
        }
        selection
    }
}

/// Two keys that differ, but not as header names, would take each other's header.
fn no_two_keys_of_one_header(rules: &[Compiled]) -> Result<(), ConfigError> {
    let mut known: HashMap<Vec<u8>, &String> = HashMap::new();
    for rule in rules {
        let Target::Key(key) = &rule.target else { continue };
        let other = known.entry(folded(as_header_part(key).as_bytes()).collect()).or_insert(key);
        if *other != key {
            let reason = format!("the keys {other:?} and {key:?} would have the same header");
            return Err(ConfigError::at("rules", reason));
        }
    }
    Ok(())
}

impl Compiled {
    /// The rule's own value, or that.
    fn value_or<'a>(&'a self, found: &'a [u8]) -> &'a [u8] {
        self.value.as_deref().map_or(found, str::as_bytes)
    }
}

impl<'a> Selection<'a> {
    /// Sets what a rule about the model says of a model.
    fn offer_model(&mut self, rule: &'a Compiled, name: &'a [u8]) {
        if let (Source::Model(patterns), Target::Key(key)) = (&rule.source, &rule.target)
            && patterns.iter().any(|pattern| pattern.matches(name))
        {
            self.offer(key.into(), rule.value_or(name));
        }
    }

    /// Sets what a rule about headers says of those that it found.
    fn offer_headers(&mut self, rule: &'a Compiled, entries: &[&'a Entry]) {
        let entries = entries.iter().copied();
        match (&rule.source, &rule.target) {
            (Source::Prefix(_), Target::Key(key)) => {
                self.offer_one_of(key.into(), entries.map(|entry| rule.value_or(&entry.rest)));
            }
            (_, Target::Key(key)) => {
                self.offer_one_of(key.into(), entries.map(|entry| rule.value_or(&entry.value)));
            }
            (_, Target::Prefix(prefix)) => self.offer_each(rule, prefix, entries),
        }
    }

    /// Sets a key that no earlier rule has set, if the value can be one. An empty value counts as missing.
    fn offer(&mut self, key: Cow<'a, str>, value: &'a [u8]) {
        if value.is_empty() || self.pairs.iter().any(|pair| is_same_key(&pair.key, &key)) {
            return;
        }
        let text = std::str::from_utf8(value).ok().filter(|_| value_problem(value).is_none());
        match text {
            Some(value) if self.pairs.len() < MAX_PAIRS => {
                self.pairs.push(Pair { key, value: value.into() });
            }
            _ => self.bad += 1,
        }
    }

    /// Sets a key to the value that all copies of a header agree on.
    fn offer_one_of(&mut self, key: Cow<'a, str>, mut values: impl Iterator<Item = &'a [u8]>) {
        let first = values.next().unwrap_or_default();
        match values.all(|value| value == first) {
            true => self.offer(key, first),
            false => self.bad += 1,
        }
    }

    /// Sets a key for each header.
    fn offer_each(&mut self, rule: &'a Compiled, prefix: &str, entries: impl Iterator<Item = &'a Entry>) {
        let entries: Vec<&Entry> = entries.collect();
        for (index, entry) in entries.iter().enumerate() {
            if entries[..index].iter().any(|other| other.rest == entry.rest) {
                continue;
            }
            let rest = std::str::from_utf8(&entry.rest).ok().filter(|rest| !rest.is_empty());
            let key = rest.map(|rest| format!("{prefix}{rest}"));
            match key.filter(|key| key_problem(key.as_bytes()).is_none()) {
                Some(key) => {
                    let same = entries[index..].iter().filter(|other| other.rest == entry.rest);
                    self.offer_one_of(key.into(), same.map(|entry| rule.value_or(&entry.value)));
                }
                None => self.bad += 1,
            }
        }
    }
}

/// Whether two keys are one, because their headers would be.
fn is_same_key(a: &str, b: &str) -> bool {
    a == b || is_same_header(as_header_part(a).as_bytes(), as_header_part(b).as_bytes())
}

fn compile(rule: &Rule, path: &str, emit_prefix: &str) -> Result<Compiled, ConfigError> {
    let at = |key: &str, reason: String| Err(ConfigError::at(format!("{path}.{key}"), reason));
    let source = match (&rule.header, &rule.header_prefix, &rule.model) {
        (Some(header), None, None) => {
            let header = header.to_ascii_lowercase();
            if let Some(what) = header_problem(header.as_bytes()) {
                return at("header", format!("it must be {what}"));
            }
            if has_header_prefix(header.as_bytes(), emit_prefix.as_bytes()) {
                return at("header", format!("clients' headers that begin with {emit_prefix} are removed"));
            }
            Source::Header(header)
        }
        (None, Some(prefix), None) => {
            let prefix = prefix.to_ascii_lowercase();
            if let Some(what) = header_problem(prefix.as_bytes()) {
                return at("header_prefix", format!("it must be {what}"));
            }
            if has_header_prefix(prefix.as_bytes(), emit_prefix.as_bytes()) {
                let reason = format!("clients' headers that begin with {emit_prefix} are removed");
                return at("header_prefix", reason);
            }
            Source::Prefix(prefix)
        }
        (None, None, Some(names)) if names.is_empty() => {
            return at("model", "it must have a name".to_owned());
        }
        (None, None, Some(names)) => Source::Model(names.iter().map(|name| Pattern::new(name)).collect()),
        _ => {
            let reason = "a rule has exactly one of header, header_prefix and model";
            return Err(ConfigError::at(path, reason));
        }
    };
    let target = match (&rule.key, &rule.key_prefix, &source) {
        (Some(key), None, _) => match key_problem(key.as_bytes()) {
            Some(what) => return at("key", format!("it must be {what}")),
            None => Target::Key(key.clone()),
        },
        (None, Some(prefix), Source::Prefix(_)) => {
            // It may be empty: the rest of the header's name is then the key.
            match key_problem(prefix.as_bytes()).filter(|_| !prefix.is_empty()) {
                Some(what) => return at("key_prefix", format!("it must be {what}")),
                None => Target::Prefix(prefix.clone()),
            }
        }
        (None, None, Source::Prefix(_)) | (Some(_), Some(_), Source::Prefix(_)) => {
            return Err(ConfigError::at(path, "a rule with header_prefix has either key or key_prefix"));
        }
        (_, Some(_), _) => return at("key_prefix", "only a rule with header_prefix has it".to_owned()),
        (None, None, _) => return at("key", "it is missing".to_owned()),
    };
    if let Some(value) = &rule.value
        && let Some(what) = value_problem(value.as_bytes())
    {
        return at("value", format!("it must be {what}"));
    }
    Ok(Compiled { source, target, value: rule.value.clone() })
}

#[cfg(test)]
mod tests;
