//! What stands in front of the paths of a protocol where one gateway serves many of its servers.

use crate::{ConfigError, EscapedSlash, decode_segment};

/// How many prefixes a configuration may name. Each is tried on every request that begins otherwise.
const MAX_PREFIXES: usize = 16;

/// A configuration's `path_prefixes`: what is taken off a request's path before it is read.
///
/// A prefix is a list of whole segments, such as `/serving/{namespace}/{service}`: a name in braces stands for any one
/// segment. KServe's own proxies know such prefixes as `prefix_rewrite`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefixes(Vec<Vec<Segment>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<[u8]>),
    /// `{name}`: one segment, whatever it is.
    Any,
}

impl PathPrefixes {
    /// Reads the prefixes under a configuration's `key`.
    ///
    /// # Errors
    /// A prefix that no path can begin with, one that is there twice, or too many of them.
    pub fn parse(key: &str, prefixes: &[String]) -> Result<Self, ConfigError> {
        if prefixes.len() > MAX_PREFIXES {
            let reason = format!("{} are too many: at most {MAX_PREFIXES} can be given", prefixes.len());
            return Err(ConfigError::at(key, reason));
        }
        let mut parsed: Vec<Vec<Segment>> = Vec::new();
        for (index, text) in prefixes.iter().enumerate() {
            let refused = |why: &str| ConfigError::at(format!("{key}[{index}]"), format!("{text:?}: {why}"));
            let segments = segments(text).map_err(refused)?;
            if parsed.contains(&segments) {
                return Err(refused("another prefix matches the same paths"));
            }
            parsed.push(segments);
        }
        // The longer one says more.
        parsed.sort_by_key(|segments| std::cmp::Reverse(segments.len()));
        Ok(Self(parsed))
    }

    /// The forms of a path, in the order in which they are tried: as it is, and then what is left behind each prefix
    /// that it begins with. What is left begins with a slash.
    pub fn forms<'p>(&self, path: &'p [u8]) -> impl Iterator<Item = &'p [u8]> + use<'p, '_> {
        std::iter::once(path).chain(self.0.iter().filter_map(move |prefix| strip(prefix, path)))
    }
}

fn segments(text: &str) -> Result<Vec<Segment>, &'static str> {
    let inside = text.strip_prefix('/').ok_or("it must begin with a slash")?;
    if inside.ends_with('/') {
        return Err("it must not end with a slash");
    }
    inside.split('/').map(segment).collect()
}

fn segment(text: &str) -> Result<Segment, &'static str> {
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        return match !name.is_empty() && name.bytes().all(is_name) {
            true => Ok(Segment::Any),
            false => Err("a variable part is a name in braces, of letters, digits, '_' and '-'"),
        };
    }
    // Unreserved characters and sub-delimiters of RFC 3986, ':' and '@'. Nothing escaped: paths are compared as they
    // are, as the access rules in front of a filter compare them.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte);
    match text {
        "" => Err("a segment is empty"),
        "." | ".." => Err("a path cannot have the segments '.' and '..'"),
        _ if text.contains(['{', '}']) => Err("a variable part must be a whole segment"),
        _ if text.bytes().all(plain) => Ok(Segment::Literal(text.as_bytes().into())),
        _ => Err("it has characters that a path cannot have unescaped"),
    }
}

fn strip<'p>(prefix: &[Segment], path: &'p [u8]) -> Option<&'p [u8]> {
    let mut rest = path;
    for segment in prefix {
        let inside = rest.strip_prefix(b"/")?;
        let end = inside.iter().position(|byte| *byte == b'/')?;
        let (found, after) = inside.split_at(end);
        let fits = match segment {
            Segment::Literal(literal) => **literal == *found,
            // One that an access rule on the path would read otherwise is not taken for it.
            Segment::Any => decode_segment(found, EscapedSlash::Decode)
                .is_ok_and(|name| !name.is_empty() && !name.contains(&b'/')),
        };
        if !fits {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(prefixes: &[&str]) -> Result<PathPrefixes, String> {
        let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        PathPrefixes::parse("path_prefixes", &prefixes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_prefix_comes_off_in_whole_segments_and_the_path_as_it_is_comes_first() {
        let prefixes = parse(&["/serving", "/serving/{namespace}/{service}"]).unwrap();
        let forms = |path: &'static str| -> Vec<&str> {
            prefixes.forms(path.as_bytes()).map(|form| std::str::from_utf8(form).unwrap()).collect()
        };
        let path = "/serving/ns/isvc/v2/models/m/infer";
        assert_eq!(forms(path), [path, "/v2/models/m/infer", "/ns/isvc/v2/models/m/infer"]);
        assert_eq!(forms("/v2/models/m"), ["/v2/models/m"]);
        for path in ["/servings/ns/isvc/v2", "/Serving/a/b/v2", "serving/a/b", "", "/serving"] {
            assert_eq!(forms(path), [path], "{path}");
        }
        // A variable part is one segment that says something.
        for path in [
            "/serving//isvc/v2",
            "/serving/../isvc/v2",
            "/serving/ns/isvc",
            "/serving/n;s/isvc/v2",
            "/serving/%6es/isvc/v2",
            "/serving/n%2Fs/isvc/v2",
        ] {
            assert!(!forms(path).contains(&"/v2"), "{path}");
        }
    }

    #[test]
    fn a_prefix_that_no_path_can_begin_with_is_refused_with_its_place() {
        for (prefix, why) in [
            ("serving", "it must begin with a slash"),
            ("", "it must begin with a slash"),
            ("/", "a segment is empty"),
            ("/serving/", "it must not end with a slash"),
            ("/a//b", "a segment is empty"),
            ("/a/../b", "a path cannot have the segments '.' and '..'"),
            ("/a/{b}c", "a variable part must be a whole segment"),
            ("/a/{}", "a variable part is a name in braces, of letters, digits, '_' and '-'"),
            ("/a/{b=**}", "a variable part is a name in braces, of letters, digits, '_' and '-'"),
            ("/a?b", "it has characters that a path cannot have unescaped"),
            ("/%61", "it has characters that a path cannot have unescaped"),
        ] {
            let found = parse(&["/ok", prefix]).unwrap_err();
            assert_eq!(found, format!("configuration key path_prefixes[1]: {prefix:?}: {why}"));
        }
        let twice = parse(&["/a/{b}", "/a/{c}"]).unwrap_err();
        assert!(
            twice.ends_with("path_prefixes[1]: \"/a/{c}\": another prefix matches the same paths"),
            "{twice}"
        );
        assert!(parse(&["/a"; MAX_PREFIXES + 1]).unwrap_err().contains("17 are too many"));
    }
}
