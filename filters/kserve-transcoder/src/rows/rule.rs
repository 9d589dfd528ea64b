//! `google.api.http` rules, read from a descriptor pool.

use prost_reflect::{DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};

/// One way to reach a method over HTTP, as its rule says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// The HTTP method.
    pub(super) method: String,
    /// The path's template.
    pub(super) template: String,
    /// `*`, a field's name, or empty for no body.
    pub(super) body: String,
    /// A field's name, or empty for the whole response.
    pub(super) response_body: String,
}

impl Binding {
    /// The one of a method without a rule: a POST of the whole message to the gRPC path.
    pub(super) fn of_the_method(rpc: &str) -> Self {
        Self { method: "POST".into(), template: rpc.into(), body: "*".into(), response_body: String::new() }
    }
}

// Numbers of the fields of `google.api.HttpRule`, and of `CustomHttpPattern`.
const PATTERNS: [(u32, &str); 5] = [(2, "GET"), (3, "PUT"), (4, "POST"), (5, "DELETE"), (6, "PATCH")];
const BODY: u32 = 7;
const CUSTOM: u32 = 8;
const ADDITIONAL_BINDINGS: u32 = 11;
const RESPONSE_BODY: u32 = 12;
const CUSTOM_KIND: u32 = 1;
const CUSTOM_PATH: u32 = 2;

/// The bindings of a method, those of its rule and those that the rule adds; none where it has no rule.
///
/// # Errors
/// A rule that is not understood, in words.
pub(super) fn bindings(
    method: &MethodDescriptor,
    http: &ExtensionDescriptor,
) -> Result<Vec<Binding>, String> {
    let options = method.options();
    if !options.has_extension(http) {
        return Ok(Vec::new());
    }
    let rule = options.get_extension(http);
    let rule = rule.as_message().ok_or("its google.api.http option is not a message")?;
    let mut bindings = vec![binding(rule)?];
    for additional in list(rule, ADDITIONAL_BINDINGS) {
        let additional =
            additional.as_message().ok_or("additional_bindings holds something else than rules")?;
        if !list(additional, ADDITIONAL_BINDINGS).is_empty() {
            return Err("additional_bindings stand within additional_bindings".into());
        }
        bindings.push(binding(additional)?);
    }
    Ok(bindings)
}

fn binding(rule: &DynamicMessage) -> Result<Binding, String> {
    let (method, template) = pattern(rule)?;
    Ok(Binding { method, template, body: text(rule, BODY), response_body: text(rule, RESPONSE_BODY) })
}

fn pattern(rule: &DynamicMessage) -> Result<(String, String), String> {
    if let Some((number, method)) = PATTERNS.into_iter().find(|(number, _)| rule.has_field_by_number(*number))
    {
        return Ok((method.into(), text(rule, number)));
    }
    let custom = rule.get_field_by_number(CUSTOM).filter(|_| rule.has_field_by_number(CUSTOM));
    let custom = custom.as_deref().and_then(Value::as_message).ok_or("its rule names no path")?;
    let kind = text(custom, CUSTOM_KIND);
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("custom method '{kind}' is not supported"));
    }
    Ok((kind, text(custom, CUSTOM_PATH)))
}

/// A field that holds text; empty where it holds something else.
pub(super) fn text(message: &DynamicMessage, number: u32) -> String {
    let value = message.get_field_by_number(number);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A field that holds a list; empty where it holds something else.
pub(super) fn list(message: &DynamicMessage, number: u32) -> Vec<Value> {
    let value = message.get_field_by_number(number);
    value.as_deref().and_then(Value::as_list).unwrap_or_default().to_vec()
}
