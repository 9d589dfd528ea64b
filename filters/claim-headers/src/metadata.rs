//! Claims that another filter has verified (Envoy's `envoy.extensions.filters.http.jwt_authn.v3`), which leaves them in
//! dynamic metadata (`payload_in_metadata`) and, if told so, in a header (`forward_payload_header`).

use crate::config::{self, Kind, Rule};
use crate::guard;
use crate::json::{self, Value};
use crate::mapping::{Claim, Mapped};
use crate::place;
use crate::token::{MAX_DEPTH, Refusal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use filter_api::{Caps, View};
use std::cell::OnceCell;

/// Claims that another filter verifies.
#[derive(Debug)]
pub(crate) struct Behind {
    from: config::Metadata,
    /// The property by which an instance in front of the verifying filter says that it has taken a client's payload
    /// header off.
    mark: Option<String>,
    /// Whether claims can be read in the metadata.
    nested: bool,
}

/// The claims of a request, as far as they were verified.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) mapped: Result<Vec<Mapped>, Refusal>,
    /// The request has a payload header that is not believed.
    pub(crate) ignored: bool,
}

impl Behind {
    /// Claims where the configuration says, for a host with these capabilities.
    pub(crate) fn new(from: &config::Metadata, caps: Caps) -> Self {
        let mark = from.payload_header.as_deref().map(guard::mark);
        Self { from: from.clone(), mark, nested: caps.nested_metadata }
    }

    /// Maps the claims that were verified for a request.
    ///
    /// A payload header is read only if an instance in front of the verifying filter took the client's off. Metadata
    /// alone does not vouch for it: one of the filter's providers may leave its claims there and write no header, and
    /// the client's own stays. Where claims can be read in the metadata, they are then.
    pub(crate) fn verified(&self, view: &dyn View, map: &[Rule]) -> Found {
        let Some((name, mark)) = self.from.payload_header.as_deref().zip(self.mark.as_deref()) else {
            return Found { mapped: self.in_metadata(view, map), ignored: false };
        };
        let values = place::values(view, name);
        if !values.is_empty() && view.property(&[mark]).is_some() {
            let mapped = self.is_verified(view).and_then(|()| {
                let payload = payload(&values)?;
                Ok(map.iter().map(|rule| rule.apply(Claim::in_payload(&payload, rule))).collect())
            });
            return Found { mapped, ignored: false };
        }
        let mapped = match self.nested {
            true => self.in_metadata(view, map),
            false => Err(self.is_verified(view).err().unwrap_or(Refusal::NoPayload)),
        };
        Found { mapped, ignored: !values.is_empty() }
    }

    fn in_metadata(&self, view: &dyn View, map: &[Rule]) -> Result<Vec<Mapped>, Refusal> {
        let whole = OnceCell::new();
        let in_property = |rule| in_property(&self.from, view, &whole, rule);
        let claims: Vec<Claim> = map.iter().map(in_property).collect();
        // A claim that is there is below the key. To ask for the key itself has the host write all claims out.
        if claims.iter().all(|claim| *claim == Claim::Absent) {
            self.is_verified(view)?;
        }
        Ok(map.iter().zip(claims).map(|(rule, claim)| rule.apply(claim)).collect())
    }

    fn is_verified(&self, view: &dyn View) -> Result<(), Refusal> {
        match view.has_metadata(&self.from.filter, &self.from.key) {
            true => Ok(()),
            false => Err(Refusal::Missing),
        }
    }
}

/// The claims in the header that the verifying filter adds. A client's own was taken off; so two of them mean that
/// another filter than the one which verified wrote there.
fn payload(values: &[Vec<u8>]) -> Result<Value, Refusal> {
    let [value] = values else { return Err(Refusal::Ambiguous) };
    // Padded where `pad_forward_payload_header` is set.
    let text = value.strip_suffix(b"==").or_else(|| value.strip_suffix(b"=")).unwrap_or(value);
    let payload = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)?;
    match json::parse(&payload, MAX_DEPTH)? {
        claims @ Value::Object(_) => Ok(claims),
        _ => Err(Refusal::Malformed),
    }
}

/// A claim in the metadata that proxy-wasm hands out. By its path a claim is bytes that do not say what they are: the
/// string `\u{1}` and `true` are the same, and so are a list of names and an object with these members. So only what
/// can be nothing but a string is read that way; everything else is looked up in the metadata as a whole, which has
/// types.
fn in_property(
    from: &config::Metadata,
    view: &dyn View,
    whole: &OnceCell<Option<Vec<u8>>>,
    rule: &Rule,
) -> Claim {
    let steps = || rule.claim.iter().map(String::as_str);
    if rule.kind == Kind::String {
        let mut path = vec!["metadata", "filter_metadata", &from.filter, &from.key];
        path.extend(steps());
        match view.property(&path).map(String::from_utf8) {
            None => return Claim::Absent,
            Some(Ok(text)) if can_only_be_a_string(&text) => return Claim::Text(text),
            Some(Ok(_)) => {}
            Some(Err(_)) => return Claim::Other,
        }
    }
    let Some(metadata) = whole.get_or_init(|| view.property(&["metadata"])) else { return Claim::Absent };
    match typed::find(metadata, &from.filter, [from.key.as_str()].into_iter().chain(steps())) {
        Some(value) => Claim::of(rule.kind, &value),
        None => Claim::Absent,
    }
}

/// Whether bytes that are text cannot be another type's: a number has eight bytes, a boolean is a control character,
/// and lists and objects begin with a length, in which there are zeros.
fn can_only_be_a_string(text: &str) -> bool {
    text.len() != 8 && !text.bytes().any(|byte| byte.is_ascii_control())
}

mod typed;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_could_be_a_number_a_boolean_or_a_list_is_not_taken_for_a_string() {
        for text in ["premium", "premium plus", "Zoë", "x", "0"] {
            assert!(can_only_be_a_string(text), "{text:?}");
        }
        for text in ["standard", "\0", "\u{1}", "\0\0\0\0", "\u{1}\0\0\0\u{1}\0\0\0\0\0\0\0a\0\0", "a\u{7f}"]
        {
            assert!(!can_only_be_a_string(text), "{text:?}");
        }
    }
}
