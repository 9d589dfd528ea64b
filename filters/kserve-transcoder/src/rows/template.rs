//! Path templates of HTTP rules, as the comments of `google/api/http.proto` define them.

use crate::problem::Problem;
use filter_api::{EscapedSlash, decode_segment};

/// How many segments a path may have; a longer one matches no template.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// A path template such as `/v2/models/{name}/ready`.
///
/// Templates order as they must be tried: those with a verb first, and then whatever is more specific at the first
/// segment that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Template {
    verb: Verb,
    segments: Vec<Segment>,
}

/// What stands behind the last segment, after a colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Named(Box<[u8]>),
    /// Nothing: a colon in the last segment is part of it.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(Box<[u8]>),
    /// `*`: one segment.
    One,
    /// `**`: all that is left, be it nothing; stands last.
    Rest,
}

/// A variable of a template: the field that it sets, and where its segments begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The field's path, dotted.
    pub(crate) field: String,
    start: usize,
    /// `None`: to the end of the path, wherever that is.
    end: Option<usize>,
}

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("it does not begin with '/'")]
    NotAbsolute,
    #[error("a segment is empty")]
    EmptySegment,
    #[error("it has more than {MAX_SEGMENTS} segments")]
    TooLong,
    #[error("a ':' can only stand after the last segment, with a verb behind it")]
    Verb,
    #[error("'**' is not the last segment")]
    RestNotLast,
    #[error("a variable is not closed, or stands within another one or within a segment")]
    Braces,
    #[error("variable '{0}' is not a field path")]
    FieldPath(String),
    #[error("variable '{0}' occurs twice")]
    SameVariable(String),
    #[error("literal '{0}' has characters that a path cannot have unescaped")]
    Literal(String),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<(Self, Vec<Variable>), TemplateError> {
        let mut segments = Vec::new();
        let mut variables: Vec<Variable> = Vec::new();
        let (mut rest, verb) = Verb::split(text)?;
        while !rest.is_empty() {
            rest = rest.strip_prefix('/').ok_or(match rest.starts_with(':') {
                _ if segments.is_empty() => TemplateError::NotAbsolute,
                true => TemplateError::Verb,
                false => TemplateError::Braces,
            })?;
            let start = segments.len();
            if let Some(opened) = rest.strip_prefix('{') {
                let (inside, after) = opened.split_once('}').ok_or(TemplateError::Braces)?;
                let (field, pattern) = inside.split_once('=').unwrap_or((inside, "*"));
                check_field_path(field)?;
                for segment in pattern.split('/') {
                    segments.push(Segment::parse(segment)?);
                }
                if variables.iter().any(|variable| variable.field == field) {
                    return Err(TemplateError::SameVariable(field.into()));
                }
                let end = (segments.last() != Some(&Segment::Rest)).then_some(segments.len());
                variables.push(Variable { field: field.into(), start, end });
                rest = after;
            } else {
                let (segment, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                segments.push(Segment::parse(segment)?);
                rest = after;
            }
        }
        let last = segments.len().checked_sub(1).ok_or(TemplateError::NotAbsolute)?;
        if segments.len() > MAX_SEGMENTS {
            return Err(TemplateError::TooLong);
        }
        if segments[..last].contains(&Segment::Rest) {
            return Err(TemplateError::RestNotLast);
        }
        Ok((Self { verb, segments }, variables))
    }

    /// Whether the segments of a path fit. None of them may be empty.
    pub(crate) fn matches(&self, path: &[&[u8]]) -> bool {
        match &self.verb {
            Verb::None => self.fits(path),
            Verb::Named(_) => self.without_verb(path, |path| self.fits(path)).unwrap_or(false),
        }
    }

    /// Whether it fits paths without a verb only by taking any verb as a part of the last segment.
    pub(crate) fn takes_verbs_as_text(&self) -> bool {
        self.verb == Verb::None
    }

    /// Whether a variable stands right behind a segment that is always `literal`.
    pub(crate) fn has_before(&self, variable: &Variable, literal: &[u8]) -> bool {
        let before = variable.start.checked_sub(1).and_then(|index| self.segments.get(index));
        matches!(before, Some(Segment::Literal(segment)) if **segment == *literal)
    }

    /// The values of variables in a path that the template matches, in their order.
    ///
    /// # Errors
    /// As for [`Variable::value`].
    pub(crate) fn values<'v>(
        &self,
        variables: impl Iterator<Item = &'v Variable>,
        path: &[&[u8]],
    ) -> Result<Vec<String>, Problem> {
        let values = |path: &[&[u8]]| variables.map(|variable| variable.value(path)).collect();
        match &self.verb {
            Verb::None => values(path),
            Verb::Named(_) => self.without_verb(path, values).unwrap_or_else(|| Ok(Vec::new())),
        }
    }

    /// Hands the path without its verb to `f`; `None` where it does not end in it.
    fn without_verb<R>(&self, path: &[&[u8]], f: impl FnOnce(&[&[u8]]) -> R) -> Option<R> {
        let Verb::Named(verb) = &self.verb else { return None };
        let (last, before) = path.split_last()?;
        let last = last.strip_suffix(&**verb)?.strip_suffix(b":").filter(|last| !last.is_empty())?;
        let mut shortened = [&b""[..]; MAX_SEGMENTS];
        shortened.get_mut(..before.len())?.copy_from_slice(before);
        *shortened.get_mut(before.len())? = last;
        Some(f(shortened.get(..path.len())?))
    }

    fn fits(&self, path: &[&[u8]]) -> bool {
        let fits = |(segment, found): (&Segment, &&[u8])| match segment {
            Segment::Literal(literal) => **literal == **found,
            Segment::One | Segment::Rest => true,
        };
        let length = match self.segments.split_last() {
            Some((Segment::Rest, before)) => path.len() >= before.len(),
            _ => path.len() == self.segments.len(),
        };
        length && self.segments.iter().zip(path).all(fits)
    }
}

/// Whether a path ends in what would be a verb, known or not: a colon in its last segment, and something behind it.
pub(crate) fn has_verb(path: &[&[u8]]) -> bool {
    let Some(last) = path.last() else { return false };
    last.iter().rposition(|byte| *byte == b':').is_some_and(|at| at + 1 < last.len())
}

impl Verb {
    /// Cuts the verb off a template.
    fn split(text: &str) -> Result<(&str, Self), TemplateError> {
        let last = text.rfind(['/', '}']).map_or(0, |at| at + 1);
        let Some((_, verb)) = text[last..].split_once(':') else { return Ok((text, Self::None)) };
        match !verb.is_empty() && verb.bytes().all(is_plain) {
            true => Ok((&text[..text.len() - verb.len() - 1], Self::Named(verb.as_bytes().into()))),
            false => Err(TemplateError::Verb),
        }
    }
}

/// Unreserved characters and sub-delimiters of RFC 3986, and '@'. Nothing escaped: paths are compared as they are, as
/// the access rules in front of us compare them.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=@".contains(&byte)
}

impl Segment {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        match text {
            "" => Err(TemplateError::EmptySegment),
            "*" => Ok(Self::One),
            "**" => Ok(Self::Rest),
            _ if text.contains(['{', '}']) => Err(TemplateError::Braces),
            _ if text.contains(':') => Err(TemplateError::Verb),
            _ if text.bytes().all(is_plain) => Ok(Self::Literal(text.as_bytes().into())),
            _ => Err(TemplateError::Literal(text.into())),
        }
    }
}

impl Variable {
    /// The variable's value in a path that the template matches: its segments, percent-decoded (RFC 3986,
    /// section 2.1).
    ///
    /// The path was split first, so `%2F` is data within one segment. In a variable of several segments it stays
    /// as it is, or it could not be told from the slash between two of them.
    ///
    /// # Errors
    /// A segment that access rules in front of this filter may read otherwise ([`filter_api::BadSegment`]), or bytes
    /// that are not UTF-8: 400.
    fn value(&self, path: &[&[u8]]) -> Result<String, Problem> {
        let segments = path.get(self.start..self.end.unwrap_or(path.len())).unwrap_or_default();
        let slashes = match self.end == Some(self.start + 1) {
            true => EscapedSlash::Decode,
            false => EscapedSlash::Keep,
        };
        let mut value = Vec::with_capacity(segments.iter().map(|segment| segment.len() + 1).sum());
        for (index, segment) in segments.iter().enumerate() {
            if index > 0 {
                value.push(b'/');
            }
            let decoded = decode_segment(segment, slashes)
                .map_err(|why| Problem::bad_request(format!("path: in {}, {why}", self.field)))?;
            value.extend_from_slice(&decoded);
        }
        String::from_utf8(value)
            .map_err(|_| Problem::bad_request(format!("path: {} is not valid UTF-8", self.field)))
    }
}

/// Checks `identifier.identifier...`.
fn check_field_path(path: &str) -> Result<(), TemplateError> {
    let identifier = |name: &str| {
        name.bytes()
            .enumerate()
            .all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || i > 0 && b.is_ascii_digit())
            && !name.is_empty()
    };
    match path.split('.').all(identifier) {
        true => Ok(()),
        false => Err(TemplateError::FieldPath(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn segments(path: &str) -> Vec<&[u8]> {
        path.split('/').skip(1).map(str::as_bytes).collect()
    }

    fn values(template: &str, path: &str) -> Option<Vec<(String, Result<String, String>)>> {
        let (template, variables) = Template::parse(template).unwrap();
        let path = segments(path);
        template.matches(&path).then(|| {
            let value = |v: &Variable| {
                let value = template.values(std::iter::once(v), &path).map(|mut values| values.remove(0));
                (v.field.clone(), value.map_err(|problem| problem.message.into_owned()))
            };
            variables.iter().map(value).collect()
        })
    }

    fn value(template: &str, path: &str) -> Result<String, String> {
        values(template, path).unwrap().remove(0).1
    }

    #[test]
    fn a_variable_takes_one_segment_and_every_other_one_must_be_equal() {
        let template = "/v2/models/{name}/versions/{version}/ready";
        let name = |name: &str, value: &str| (name.to_owned(), Ok(value.to_owned()));
        assert_eq!(
            values(template, "/v2/models/m/versions/1/ready"),
            Some(vec![name("name", "m"), name("version", "1")])
        );
        for other in [
            "/v2/models/m/versions/1",
            "/v2/models/m/versions/1/ready/x",
            "/v2/models/m/version/1/ready",
            "/V2/models/m/versions/1/ready",
            "/v2/%6dodels/m/versions/1/ready",
        ] {
            assert_eq!(values(template, other), None, "{other}");
        }
    }

    #[test]
    fn a_value_is_decoded_after_the_split_so_that_a_slash_can_be_data() {
        assert_eq!(value("/v2/models/{name}", "/v2/models/a%2Fb").unwrap(), "a/b");
        assert_eq!(value("/v2/models/{name}", "/v2/models/%e2%82%ac+%25").unwrap(), "\u{20ac}+%");
        assert_eq!(value("/v1/{name=**}", "/v1/a%2Fb/c%20d").unwrap(), "a%2Fb/c d");
    }

    #[test]
    fn a_bad_escape_or_bad_utf_8_is_named() {
        let error = |path| value("/v2/models/{name}", path).unwrap_err();
        assert_eq!(error("/v2/models/a%2"), "path: in name, '%2' is not a percent escape");
        assert_eq!(error("/v2/models/%zzb"), "path: in name, '%zz' is not a percent escape");
        assert_eq!(error("/v2/models/%"), "path: in name, '%' is not a percent escape");
        assert_eq!(error("/v2/models/%ff"), "path: name is not valid UTF-8");
    }

    #[test]
    fn a_value_that_a_rule_on_the_path_would_not_recognise_is_refused() {
        let error = |path: &str| value("/v2/models/{name}/infer", path).unwrap_err();
        assert_eq!(error("/v2/models/%73ecret/infer"), "path: in name, '%73' must be written as 's'");
        for name in ["public;x=", "..", "a%2F..%2Fsecret", "%2573ecret", "a%5cb", "secret%00"] {
            let error = error(&format!("/v2/models/{name}/infer"));
            assert!(error.starts_with("path: in name, "), "{name}: {error}");
        }
        assert!(value("/v1/{name=**}", "/v1/a/../b").is_err());
        assert!(value("/v1/{name=**}", "/v1/a/%62").is_err());
    }

    #[test]
    fn a_variable_of_several_segments_takes_what_its_pattern_covers() {
        assert_eq!(value("/v1/{name=shelves/*}/books", "/v1/shelves/7/books").unwrap(), "shelves/7");
        assert_eq!(values("/v1/{name=shelves/*}/books", "/v1/racks/7/books"), None);
        assert_eq!(value("/v1/{name=files/**}", "/v1/files/a/b/c").unwrap(), "files/a/b/c");
        assert_eq!(value("/v1/{name=**}", "/v1").unwrap(), "");
        assert_eq!(values("/v1/*/x", "/v1/anything/x"), Some(vec![]));
    }

    #[test]
    fn a_verb_stands_behind_the_last_segment_and_is_part_of_no_variable() {
        assert_eq!(value("/v1/{name}:archive", "/v1/a:archive").unwrap(), "a");
        assert_eq!(value("/v1/{name}:archive", "/v1/a:b:archive").unwrap(), "a:b");
        assert_eq!(value("/v1/{name=files/**}:undo", "/v1/files/a/b:undo").unwrap(), "files/a/b");
        assert_eq!(values("/v1/x:verb", "/v1/x:verb"), Some(vec![]));
        for path in
            ["/v1/a", "/v1/:archive", "/v1/a:Archive", "/v1/a%3Aarchive", "/v1/a:archive/b", "/v1/archive"]
        {
            assert_eq!(values("/v1/{name}:archive", path), None, "{path}");
        }
        // Where a template has no verb, a colon is a character like any other.
        assert_eq!(value("/v1/{name}", "/v1/a:archive").unwrap(), "a:archive");
    }

    #[test]
    fn templates_that_cannot_be_served_are_refused_with_the_reason() {
        let long = "/a".repeat(MAX_SEGMENTS + 1);
        for (text, error) in [
            ("", TemplateError::NotAbsolute),
            ("v2", TemplateError::NotAbsolute),
            ("/v2/", TemplateError::EmptySegment),
            ("/v2//x", TemplateError::EmptySegment),
            ("/v2/models/{name}:", TemplateError::Verb),
            ("/v2/models/{name}:a:b", TemplateError::Verb),
            ("/v2:list/models", TemplateError::Verb),
            ("/v2/{name}:list/models", TemplateError::Verb),
            ("/:list", TemplateError::EmptySegment),
            ("/v2/**/x", TemplateError::RestNotLast),
            ("/v2/{a=**}/x", TemplateError::RestNotLast),
            ("/v2/{name", TemplateError::Braces),
            ("/v2/{a={b}}", TemplateError::Braces),
            ("/v2/a{b}", TemplateError::Braces),
            ("/v2/{a}b", TemplateError::Braces),
            ("/v2/{}", TemplateError::FieldPath(String::new())),
            ("/v2/{a..b}", TemplateError::FieldPath("a..b".into())),
            ("/v2/{a}/{a}", TemplateError::SameVariable("a".into())),
            ("/v2/a b", TemplateError::Literal("a b".into())),
            ("/v2/%41", TemplateError::Literal("%41".into())),
            (&long, TemplateError::TooLong),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn the_more_specific_template_comes_first() {
        let sorted = [
            "/v2/models/{name}:x",
            "/v2",
            "/v2/models/stats",
            "/v2/models/{name}",
            "/v2/models/{name}/x",
            "/v2/models/**",
            "/v2/**",
        ];
        let parse = |text: &&str| Template::parse(text).unwrap().0;
        let parsed: Vec<_> = sorted.iter().map(parse).collect();
        let mut shuffled = parsed.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, parsed);
    }
}
