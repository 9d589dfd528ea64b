//! Messages in `google.protobuf.Any`s, which are decoded only as they are printed.

use super::times;
use super::weight;
use filter_api::{Charge, OverBudget};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

pub(super) const ANY: &str = "google.protobuf.Any";

/// Why a message cannot be printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Budget(#[from] OverBudget),
    #[error("{0}")]
    Bad(String),
}

/// Checks a message with whatever is packed into it, which could else nest as deep as it likes and take as much as it likes:
/// `depth` is how many messages may be in one another, and `charge` pays for what is unpacked.
pub(super) fn check(message: &DynamicMessage, depth: usize, charge: &mut Charge) -> Result<(), Fault> {
    let too_deep = || Fault::Bad("its messages are nested too deep".into());
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    if message.descriptor().full_name() == ANY {
        let inner = unpacked(message, charge)?;
        return match times::out_of_range(&inner) {
            Some(why) => Err(Fault::Bad(why.into())),
            None => check(&inner, depth, charge),
        };
    }
    let mut of_value = |value: &Value| match value {
        Value::Message(message) => check(message, depth, charge),
        _ => Ok(()),
    };
    message.fields().try_for_each(|(_, value)| match value {
        Value::List(items) => items.iter().try_for_each(&mut of_value),
        Value::Map(entries) => entries.values().try_for_each(&mut of_value),
        single => of_value(single),
    })
}

/// The message in a `google.protobuf.Any`.
fn unpacked(any: &DynamicMessage, charge: &mut Charge) -> Result<DynamicMessage, Fault> {
    let bad = |why: String| Fault::Bad(why);
    let (url, value) = (any.get_field_by_number(1), any.get_field_by_number(2));
    let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let value = value.as_deref().and_then(Value::as_bytes).map_or(&b""[..], |bytes| bytes);
    let (_, name) = url.rsplit_once('/').ok_or_else(|| bad(format!("unsupported type url '{url}'")))?;
    let descriptor = any.descriptor().parent_pool().get_message_by_name(name);
    let descriptor = descriptor.ok_or_else(|| bad(format!("message '{name}' not found")))?;
    charge.grow(weight::of_message(&descriptor, value))?;
    DynamicMessage::decode(descriptor, value).map_err(|why| bad(why.to_string()))
}
