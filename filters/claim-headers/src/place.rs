//! Where a request's token is.

use crate::config::TokenPlaces;
use crate::cookies;
use crate::token::Refusal;
use filter_api::{Map, View};

/// The token of a request, looked for in every place of the configuration.
///
/// # Errors
/// There is none, or more than one: whoever could choose which of two tokens is checked could have the other one
/// believed by somebody else.
pub(crate) fn token(places: &TokenPlaces, view: &dyn View) -> Result<Vec<u8>, Refusal> {
    let mut found = None;
    let mut note = |token: Option<Vec<u8>>| match (token, &found) {
        (None, _) => Ok(()),
        (Some(token), Some(other)) if token == *other => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::Ambiguous),
        (Some(token), None) => {
            found = Some(token);
            Ok(())
        }
    };
    if places.authorization {
        note(bearer(&values(view, "authorization"))?)?;
    }
    if let Some(name) = &places.header {
        note(only(values(view, name))?)?;
    }
    if let Some(name) = &places.cookie {
        note(cookies::value(&values(view, "cookie"), name)?)?;
    }
    if let Some(name) = &places.query {
        note(parameter(&view.header(Map::RequestHeaders, ":path").unwrap_or_default(), name)?)?;
    }
    found.filter(|token| !token.is_empty()).ok_or(Refusal::Missing)
}

/// All values of a request header.
pub(crate) fn values(view: &dyn View, name: &str) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    view.each_header(Map::RequestHeaders, &mut |found, value| {
        if found.eq_ignore_ascii_case(name.as_bytes()) {
            values.push(value.to_vec());
        }
    });
    values
}

/// The token of `authorization: Bearer TOKEN` (RFC 6750, section 2.1). Other schemes are somebody else's.
fn bearer(values: &[Vec<u8>]) -> Result<Option<Vec<u8>>, Refusal> {
    let [value] = values else { return if values.is_empty() { Ok(None) } else { Err(Refusal::Ambiguous) } };
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    // Envoy joins two headers of this name by a comma, which no token has.
    let is_another = |part: &[u8]| part.trim_ascii().to_ascii_lowercase().starts_with(b"bearer ");
    if rest.split(|byte| *byte == b',').skip(1).any(is_another) {
        return Err(Refusal::Ambiguous);
    }
    Ok(Some(rest.get(1..).unwrap_or_default().to_vec()))
}

fn only(values: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, Refusal> {
    if values.len() > 1 { Err(Refusal::Ambiguous) } else { Ok(values.into_iter().next()) }
}

/// A parameter of the query. A token has no character that needs an escape, so one with escapes is none.
fn parameter(path: &[u8], name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let Some(start) = path.iter().position(|byte| *byte == b'?') else { return Ok(None) };
    let mut found: Option<&[u8]> = None;
    for pair in path[start + 1..].split(|byte| *byte == b'&') {
        let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            continue;
        };
        if found.replace(value).is_some_and(|before| before != value) {
            return Err(Refusal::Ambiguous);
        }
    }
    Ok(found.map(<[u8]>::to_vec))
}
