//! Which gRPC method an HTTP request means: rows read from the HTTP rules of descriptor sets.
//!
//! Method and path alone decide, never the content type, which real clients leave out or get wrong. Query parameters
//! are cut off; they set fields in a user's rows and nothing in ours.

mod form;
mod load;
mod model_streams;
mod query;
mod rule;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod v1;

pub(crate) use form::{Form, Plain};
pub(crate) use query::{Ignored, Parameter};

use crate::problem::Problem;
use crate::tensor::StreamMessages;
use filter_api::PathPrefixes;
use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor, Value};
use std::sync::Arc;
use template::{MAX_SEGMENTS, Template, Variable, has_verb};

/// The root of everything that this filter answers for, whether a row matches or not.
const OURS: &[u8] = b"/v2";

/// All rows of a configuration, most specific template first.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Arc<Row>>,
    prefixes: PathPrefixes,
    ignored: Ignored,
    raw_answers: RawAnswers,
    auto_mapping: bool,
    /// KServe v1 is served.
    kserve_v1: bool,
    /// What stands behind a colon at the end of a path is a verb to the user's rows, also where none has it.
    any_verb: bool,
}

/// What a configuration says about rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The user's descriptor sets.
    pub(crate) sets: Vec<Vec<u8>>,
    /// The services of these sets that are meant; all of them if it is empty.
    pub(crate) services: Vec<String>,
    /// What may stand in front of every row's path.
    pub(crate) prefixes: PathPrefixes,
    /// Query parameters that set no field.
    pub(crate) ignored: Ignored,
    /// Whether `GET /v2/models` lists the models that are ready.
    pub(crate) list_models: bool,
    /// The messages of inferences that answer with a stream; without them there are no paths for such inferences.
    pub(crate) stream_messages: Option<StreamMessages>,
    /// Whether KServe v1 is served.
    pub(crate) kserve_v1: bool,
    /// Whether methods of the user's sets that have no rule are rows of their own paths.
    pub(crate) auto_mapping: bool,
    /// Which rows may have answers of a type that only the message tells.
    pub(crate) raw_answers: RawAnswers,
    /// Whether a verb that no row has is a verb to the user's rows.
    pub(crate) any_verb: bool,
}

/// Which rows may have answers of a type that only the message tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RawAnswers {
    /// All.
    #[default]
    Any,
    /// Those of requests without a body, which are sent by a call beside the route.
    ByCall,
    /// None: headers go out before their messages are here.
    Never,
}

/// One HTTP method and path template, and the gRPC method behind it.
#[derive(Debug)]
pub(crate) struct Row {
    /// What the JSON body is.
    pub(crate) body: Body,
    /// What the JSON answer is.
    pub(crate) answer: ResponseBody,
    /// The fields of the request message whose JSON is not protobuf's own.
    pub(crate) forms: Vec<(FieldDescriptor, Form)>,
    /// The request message.
    pub(crate) input: MessageDescriptor,
    /// The response message.
    pub(crate) output: MessageDescriptor,
    /// There may be times in it.
    pub(crate) has_times: bool,
    /// There may be other messages packed into it.
    pub(crate) has_any: bool,
    method: String,
    rpc_path: String,
    streaming: Streaming,
    text: String,
    template: Template,
    variables: Arc<[(Variable, FieldPath)]>,
    /// The variable with a model's name, where the path names a model of the protocol's.
    model: Option<usize>,
    /// Its query parameters set fields.
    binds_query: bool,
    /// Its path is the gRPC method's own, which gRPC clients use as well.
    pub(crate) is_shared_with_grpc: bool,
    /// The codec.
    pub(crate) kind: RowKind,
    /// Fields of every request message, whatever the client says.
    pub(crate) preset: Vec<(FieldDescriptor, Value)>,
}

/// A field of a message, or of a message in it: every field but the last holds one message.
type FieldPath = Vec<FieldDescriptor>;

/// What a row's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// The request message.
    Whole,
    /// One field of the request message.
    Field(FieldDescriptor),
    /// No JSON, but bytes: of a `google.api.HttpBody` that is this field, or the request message.
    Raw(Option<FieldDescriptor>),
}

/// What a row's answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResponseBody {
    /// The response message.
    Whole,
    /// One field of it: a message, a list of them, or a map of them that has a form.
    Field(FieldDescriptor, Option<Form>),
    /// No JSON, but bytes: of a `google.api.HttpBody` that is this field, or the response message.
    Raw(Option<FieldDescriptor>),
    /// Nothing: the body is empty.
    Empty,
    /// An object with one member, as KServe's own server lists its models: the names in a list of messages, each once.
    Names { list: FieldDescriptor, name: FieldDescriptor },
}

/// The codec of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// The tensor codec: `ModelInfer` and `ModelStreamInfer`.
    Infer,
    /// The same, with bodies of KServe v1's.
    Predict,
    /// `ModelStreamInfer`, with bodies and answers of Triton's `generate`.
    Generate,
    /// The generic codec.
    Generic,
}

/// Which side of a method's calls may have any number of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    Neither,
    Answers,
    Requests,
}

/// What a request is to this filter.
#[derive(Debug)]
pub(crate) enum Found<'r> {
    /// A row's, with what its path and its query say.
    Row { row: &'r Arc<Row>, variables: Variables },
    /// A row's path with another method. `allow` is the value of the `allow` header (RFC 9110, section 10.2.1).
    MethodNotAllowed { allow: String },
    /// Under `/v2`, where nothing else is.
    Unknown,
    /// Not this filter's business.
    NotOurs,
}

/// What a request's path and query say about fields of the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    of: Arc<[(Variable, FieldPath)]>,
    values: Vec<String>,
    /// What the query says, in its order.
    pub(crate) parameters: Vec<Parameter>,
}

impl Rows {
    /// Finds what a request's `:method` and `:path` mean. A HEAD is its path's GET, unless a row has it.
    ///
    /// Literals are compared as they are, without decoding. An empty segment matches nothing, so a trailing
    /// slash makes another path, except that `/v2/` is `/v2`: rules that allow or deny a path by its exact text
    /// in front of this filter must not be by-passed by a slash.
    ///
    /// # Errors
    /// A row's path whose variables are badly escaped or not UTF-8, or a query that a user's row cannot take: 400. A
    /// row of a method that takes a stream of requests, which has no form as one JSON request: 501.
    pub(crate) fn find(&self, method: &[u8], path: &[u8]) -> Result<Found<'_>, Problem> {
        let (path, query) = split_query(path);
        for form in self.prefixes.forms(path) {
            match self.find_unprefixed(method, form, query)? {
                Found::NotOurs => {}
                found => return Ok(found),
            }
        }
        Ok(Found::NotOurs)
    }

    /// The first row's path, as its rule has it, that is under a prefix.
    pub(crate) fn text_under(&self, prefix: &str) -> Option<&str> {
        let is_under = |text: &str| {
            text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.rows.iter().map(|row| row.text.as_str()).find(|text| is_under(text))
    }

    /// The user's descriptor sets.
    pub(crate) fn users_pools(&self) -> Vec<DescriptorPool> {
        let mut pools: Vec<DescriptorPool> = Vec::new();
        for row in self.rows.iter().filter(|row| row.binds_query) {
            let pool = row.output.parent_pool();
            if !pools.contains(pool) {
                pools.push(pool.clone());
            }
        }
        pools
    }

    fn find_unprefixed(&self, method: &[u8], path: &[u8], query: &[u8]) -> Result<Found<'_>, Problem> {
        let elsewhere = match path.strip_prefix(OURS) {
            Some([] | [b'/', ..]) => Found::Unknown,
            _ if self.kserve_v1 && v1::has(path) => Found::Unknown,
            _ => Found::NotOurs,
        };
        let mut buffer = [&b""[..]; MAX_SEGMENTS];
        let Some(segments) = split(path, &mut buffer) else { return Ok(elsewhere) };
        let no_text = self.any_verb && has_verb(segments);
        let fits = |row: &&Arc<Row>| {
            let reads_verb_as_text = no_text && row.binds_query && row.template.takes_verbs_as_text();
            !reads_verb_as_text && row.template.matches(segments)
        };
        let mut matching = self.rows.iter().filter(fits).peekable();
        if matching.peek().is_none() {
            return Ok(elsewhere);
        }
        let of = |method: &[u8]| matching.clone().find(|row| row.method.as_bytes() == method);
        let row = of(method).or_else(|| if method == b"HEAD" { of(b"GET") } else { None });
        if let Some(row) = row {
            if row.streaming == Streaming::Requests {
                return Err(Problem::streaming_method(format!(
                    "{} takes a stream of requests, which one JSON request cannot call",
                    row.rpc_path
                )));
            }
            let values = row.template.values(row.variables.iter().map(|(variable, _)| variable), segments)?;
            let parameters = match row.binds_query {
                true => row.parameters(query, &self.ignored)?,
                false => Vec::new(),
            };
            return Ok(Found::Row {
                row,
                variables: Variables { of: row.variables.clone(), values, parameters },
            });
        }
        let mut methods: Vec<&str> = matching.map(|row| row.method.as_str()).collect();
        methods.sort_unstable();
        methods.dedup();
        Ok(Found::MethodNotAllowed { allow: methods.join(", ") })
    }
}

impl Row {
    /// Whether the client gets a stream of messages.
    pub(crate) fn streams(&self) -> bool {
        self.streaming == Streaming::Answers
    }

    /// Whether the method answers with a stream of messages, of which there must be one: the client's answer.
    pub(crate) fn answers_once(&self) -> bool {
        self.kind == RowKind::Generate && !self.streams()
    }

    /// Whether answers are compressed where that is configured: those to inferences, as Triton does, and those of the user's
    /// rows. Triton's own clients accept an encoding for other answers as well, and cannot read it there.
    pub(crate) fn answers_may_be_compressed(&self) -> bool {
        !matches!(self.kind, RowKind::Generic | RowKind::Generate) || self.binds_query
    }

    /// Whether `convert_grpc_status` concerns it: every path that Envoy's own transcoder could serve as well.
    pub(crate) fn errors_are_statuses(&self) -> bool {
        let is_plain = matches!(self.kind, RowKind::Infer | RowKind::Generic);
        self.binds_query || is_plain && self.text.as_bytes().starts_with(OURS)
    }

    /// Whether only the message of an answer says of which type its body is.
    pub(crate) fn answers_raw(&self) -> bool {
        matches!(self.answer, ResponseBody::Raw(_))
    }

    /// The gRPC request's `:path`: `/package.Service/Method`.
    pub(crate) fn rpc_path(&self) -> &str {
        &self.rpc_path
    }

    /// The model that a path of this row names.
    pub(crate) fn model<'v>(&self, variables: &'v Variables) -> Option<&'v str> {
        variables.values.get(self.model?).map(String::as_str)
    }

    fn same_requests(&self, other: &Self) -> bool {
        self.method == other.method && self.template == other.template
    }
}

impl Variables {
    /// What the path says about a field (a dotted path, as the template names it).
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.iter().find(|(name, ..)| *name == field).map(|(.., value)| value)
    }

    /// Everything that the path says: dotted field path, the fields along it, value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[FieldDescriptor], &str)> {
        let named = self.of.iter().zip(&self.values);
        named.map(|((variable, path), value)| (variable.field.as_str(), path.as_slice(), value.as_str()))
    }
}

/// Cuts `:path` into its path and its query, without the question mark; a fragment is dropped.
pub(crate) fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

/// Splits a path into its segments; `None` for a path that no template can match.
fn split<'b, 'p>(path: &'p [u8], buffer: &'b mut [&'p [u8]; MAX_SEGMENTS]) -> Option<&'b [&'p [u8]]> {
    let path = if path == b"/v2/" { OURS } else { path };
    let mut count = 0;
    for segment in path.strip_prefix(b"/")?.split(|byte| *byte == b'/') {
        if segment.is_empty() {
            return None;
        }
        *buffer.get_mut(count)? = segment;
        count += 1;
    }
    Some(&buffer[..count])
}
