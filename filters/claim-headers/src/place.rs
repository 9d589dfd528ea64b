//! Where a request's token is.

use crate::config::TokenPlaces;
use crate::cookies;
use crate::header::is_blank;
use crate::token::Refusal;
use filter_api::{Map, Octet, View, is_same_header, octets};

/// The token of a request, looked for in every place of the configuration.
///
/// # Errors
/// There is none, or more than one: a client that could choose which of two tokens is checked here could have another
/// server believe the other.
pub(crate) fn token(places: &TokenPlaces, view: &dyn View) -> Result<Vec<u8>, Refusal> {
    let mut found = None;
    let mut note = |token: Option<Vec<u8>>| match (token.filter(|token| !is_blank(token)), &found) {
        (None, _) => Ok(()),
        (Some(token), Some(other)) if token == *other => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::Ambiguous),
        (Some(token), None) => {
            found = Some(token);
            Ok(())
        }
    };
    if places.authorization {
        note(bearer(values(view, "authorization"))?)?;
    }
    if let Some(name) = &places.header {
        note(only(in_every_spelling(view, name))?)?;
    }
    if let Some(name) = &places.cookie {
        note(cookies::value(&values(view, "cookie"), name)?)?;
    }
    if let Some(name) = &places.query {
        note(parameter(&view.header(Map::RequestHeaders, ":path").unwrap_or_default(), name)?)?;
    }
    found.ok_or(Refusal::Missing)
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

/// All values of a request header, also of those whose names a server may take for it: a token in another spelling is a
/// second one to that server.
fn in_every_spelling(view: &dyn View, name: &str) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    view.each_header(Map::RequestHeaders, &mut |found, value| {
        if is_same_header(found, name.as_bytes()) {
            values.push(value.to_vec());
        }
    });
    values
}

/// The token of `authorization: Bearer TOKEN` (RFC 6750, section 2.1). Other schemes are left alone.
fn bearer(mut values: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, Refusal> {
    values.retain(|value| !is_blank_bearer(value));
    let (value, None) = (values.pop(), values.pop()) else { return Err(Refusal::Ambiguous) };
    let Some(mut value) = value else { return Ok(None) };
    // Envoy joins two headers of this name by a comma, which no token has.
    if value.contains(&b',') {
        return one_of_several(&value);
    }
    let Some(token) = bearer_token(value.trim_ascii()) else { return Ok(None) };
    // Most requests have one: it is not copied again.
    let end = value.trim_ascii_end().len();
    let start = end - token.len();
    value.truncate(end);
    value.drain(..start);
    Ok(Some(value))
}

/// The token of several schemes that are joined.
fn one_of_several(value: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let mut parts =
        value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !is_blank_bearer(part));
    let token = parts.next().and_then(bearer_token);
    match parts.next() {
        None => Ok(token.map(<[u8]>::to_vec)),
        Some(part) if parts.chain([part]).any(|part| bearer_token(part).is_some()) => Err(Refusal::Ambiguous),
        // Parameters of another scheme.
        Some(_) if token.is_none() => Ok(None),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// What follows the scheme and one or more spaces.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    scheme.eq_ignore_ascii_case(b"bearer").then(|| &rest[start..])
}

fn is_blank_bearer(value: &[u8]) -> bool {
    is_blank(bearer_token(value.trim_ascii()).unwrap_or(value))
}

fn only(values: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut values = values.into_iter().filter(|value| !is_blank(value));
    let (value, None) = (values.next(), values.next()) else { return Err(Refusal::Ambiguous) };
    Ok(value)
}

/// A parameter of the query, whose name is compared without its escapes, as servers do. A token has no character that
/// needs an escape, so a value with escapes is taken as it stands, and is not a valid token.
///
/// Some servers take `;` for `&`. A token behind one is not a token here, but to them it is the first or a second one.
fn parameter(path: &[u8], ours: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let Some(start) = path.iter().position(|byte| *byte == b'?') else { return Ok(None) };
    let mut found: Option<&[u8]> = None;
    let is_empty = |value: &[u8]| is_blank(&unescaped(value).collect::<Vec<_>>());
    for pair in path[start + 1..].split(|byte| *byte == b'&') {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let is_ours = |name: &[u8]| unescaped(name).eq(ours.bytes());
        let is_behind = |part: &[u8]| {
            let at = part.iter().position(|byte| *byte == b'=');
            at.is_some_and(|at| is_ours(&part[..at]) && !is_empty(&part[at + 1..]))
        };
        if pair.split(|byte| *byte == b';').skip(1).any(is_behind) {
            return Err(Refusal::Ambiguous);
        }
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        if !is_ours(name) || is_empty(value) {
            continue;
        }
        if found.replace(value).is_some_and(|before| before != value) {
            return Err(Refusal::Ambiguous);
        }
    }
    Ok(found.map(<[u8]>::to_vec))
}

/// A part of a query without its escapes (`application/x-www-form-urlencoded`); what only looks like one stays.
fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> {
    octets(text).map(|octet| match octet {
        Octet::Plain(b'+') => b' ',
        other => other.byte(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn of(values: &[&str]) -> Result<Option<String>, Refusal> {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        Ok(bearer(values)?.map(|token| String::from_utf8(token).unwrap()))
    }

    #[test]
    fn a_bearer_token_follows_one_or_more_spaces() {
        for value in ["Bearer a.b.c", "bearer  a.b.c", "BEARER     a.b.c"] {
            assert_eq!(of(&[value]).unwrap().as_deref(), Some("a.b.c"), "{value:?}");
        }
        for value in ["Bearera.b.c", "Bearer\ta.b.c", "x Bearer a.b.c", "a.b.c", "Basic a.b.c"] {
            assert_eq!(of(&[value]).unwrap(), None, "{value:?}");
        }
        assert_eq!(of(&["Bearer \ta"]).unwrap().as_deref(), Some("\ta"), "it is malformed, and not nothing");
    }

    #[test]
    fn an_empty_bearer_is_no_token_and_two_are_too_many() {
        for values in [
            &["Bearer", "Bearer a"][..],
            &["Bearer  ", "Bearer a"],
            &["", "Bearer a"],
            &["Bearer,Bearer a"],
            &["Bearer a,Bearer"],
            &["Bearer a, bearer "],
            &[",Bearer a"],
        ] {
            assert_eq!(of(values).unwrap().as_deref(), Some("a"), "{values:?}");
        }
        for values in [&["Bearer"][..], &["Bearer ", "bearer"], &[" "], &["Bearer,Bearer"], &[]] {
            assert_eq!(of(values).unwrap(), None, "{values:?}");
        }
        for values in [
            &["Bearer a", "Bearer a"][..],
            &["Bearer a,Bearer b"],
            &["Bearer a,Bearer, bearer b"],
            &["Basic a", "Bearer a"],
            &["Basic a,Bearer b"],
            &["Basic a, Negotiate c,bearer b"],
        ] {
            assert_eq!(of(values), Err(Refusal::Ambiguous), "{values:?}");
        }
        assert_eq!(of(&["Bearer a,b"]), Err(Refusal::Malformed));
        assert_eq!(of(&[r#"Digest username="Bearer", realm="a", uri="/""#]).unwrap(), None);
    }

    #[test]
    fn parameters_are_the_same_however_their_names_are_written() {
        let of = |path: &str| {
            parameter(path.as_bytes(), "access_token")
                .map(|value| value.map(|value| String::from_utf8(value).unwrap()))
        };
        for query in ["access%5ftoken", "access%5Ftoken", "%61%63cess_token", "%61ccess%5Ftoken"] {
            assert_eq!(of(&format!("/?{query}=a")).unwrap().as_deref(), Some("a"), "{query}");
            assert_eq!(of(&format!("/?access_token=a&{query}=b")), Err(Refusal::Ambiguous), "{query}");
            assert_eq!(of(&format!("/?{query}=b&x=y&access_token=a")), Err(Refusal::Ambiguous), "{query}");
        }
        for query in [
            "access%255ftoken=b",
            "access%5token=b",
            "access%token=b",
            "access+token=b",
            "access_token%20=b",
            "ACCESS_TOKEN=b",
            "access_token=",
            "access_token",
            "access_token=+",
            "access_token=%20%09",
            "=b",
            "%=b",
        ] {
            assert_eq!(of(&format!("/?{query}&access_token=a")).unwrap().as_deref(), Some("a"), "{query}");
        }
        for query in [
            "x=y;access_token=b",
            "x;access%5ftoken=b",
            "x=y;z;access_token=b;q",
            "access_token=a;access_token=b",
        ] {
            assert_eq!(of(&format!("/?{query}&access_token=a")), Err(Refusal::Ambiguous), "{query}");
            assert_eq!(of(&format!("/?{query}")), Err(Refusal::Ambiguous), "{query}");
        }
        assert_eq!(of("/?x=y;access_token=&access_token=a").unwrap().as_deref(), Some("a"));
        assert_eq!(of("/?access_token=a.b%2Ec").unwrap().as_deref(), Some("a.b%2Ec"));
        assert_eq!(of("/access_token=a#?access_token=a").unwrap(), None);
    }
}
