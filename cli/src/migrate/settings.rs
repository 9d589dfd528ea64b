//! What the command line says of a migration.

use std::collections::BTreeMap;

use super::sign_on::{self, SignOn};
use super::wrong;
use crate::Error;
use crate::arguments::{Fallback, Groups, Migrate, Shape};

/// What the input does not say.
pub(super) struct Settings {
    pub(super) form: Shape,
    pub(super) groups: Groups,
    pub(super) registry: String,
    /// What a request of no group gets.
    pub(super) fallback: Fallback,
    /// Values of labels that no pod of the input has.
    pub(super) values: BTreeMap<String, Vec<String>>,
    /// The labels of the pods with a value, where they are others.
    pub(super) pods: BTreeMap<(String, String), (String, String)>,
    pub(super) sign_on: Option<SignOn>,
}

/// Reads the options.
pub(super) fn read(options: &Migrate) -> Result<Settings, Error> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for value in &options.values {
        let (key, value) =
            value.split_once('=').ok_or_else(|| wrong("--value", format!("{value:?} is not KEY=VALUE")))?;
        is_label("--value", key, value)?;
        values.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    let mut pods = BTreeMap::new();
    for one in &options.pods {
        let parts = one
            .split_once(':')
            .and_then(|(group, label)| Some((group.split_once('=')?, label.split_once('=')?)));
        let ((key, value), (label, of)) =
            parts.ok_or_else(|| wrong("--pods", format!("{one:?} is not KEY=VALUE:LABEL=VALUE")))?;
        is_label("--pods", key, value)?;
        is_label("--pods", label, of)?;
        let group = values.entry(key.to_owned()).or_default();
        if !group.iter().any(|known| known == value) {
            group.push(value.to_owned());
        }
        pods.insert((key.to_owned(), value.to_owned()), (label.to_owned(), of.to_owned()));
    }
    let registry = |letter: char| letter.is_ascii_alphanumeric() || ".-_/:".contains(letter);
    if options.registry.is_empty()
        || options.registry.contains("://")
        || !options.registry.chars().all(registry)
    {
        let why = format!(
            "{:?} is not HOST/PATH, without a scheme, such as registry.example/mesh",
            options.registry
        );
        return Err(wrong("--registry", why));
    }
    Ok(Settings {
        form: options.form,
        groups: options.groups,
        sign_on: sign_on::read(options)?,
        registry: options.registry.clone(),
        fallback: options.fallback,
        values,
        pods,
    })
}

/// Whether a key and a value can be those of a label (Kubernetes, labels and selectors), as pods of a group have one.
fn is_label(option: &str, key: &str, value: &str) -> Result<(), Error> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let part = |text: &str| {
        let ends = [text.bytes().next(), text.bytes().next_back()];
        text.len() <= 63
            && text.bytes().all(inner)
            && ends.into_iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
    };
    let prefix = |text: &str| !text.is_empty() && text.split('.').all(part);
    let named = match key.split_once('/') {
        Some((before, name)) => prefix(before) && part(name),
        None => part(key),
    };
    if !named {
        return Err(wrong(option, format!("{key:?} cannot be the key of a label")));
    }
    if !part(value) {
        return Err(wrong(option, format!("{value:?} cannot be the value of a label")));
    }
    Ok(())
}
