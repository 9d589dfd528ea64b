//! Which gRPC method an HTTP request means: rows read from the HTTP rules of descriptor sets.
//!
//! Method and path alone decide, never the content type, which real clients leave out or get wrong. Query parameters
//! are cut off; they set fields in a user's rows and nothing in ours.

mod form;
mod model_streams;
mod query;
mod rule;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod v1;

pub(crate) use form::{Form, Plain};
pub(crate) use query::{Ignored, Parameter};

use crate::generic::{has_times, is_http_body};
use crate::problem::Problem;
use crate::tensor::StreamMessages;
use filter_api::{ConfigError, PathPrefixes};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use std::collections::HashSet;
use std::sync::Arc;
use template::{MAX_SEGMENTS, Template, Variable};

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
    /// Its body is KServe v1's.
    predicts: bool,
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
    /// Reads the rows of our own descriptor sets and of the user's. Each set stands for itself, so that one may
    /// define methods of a service that another one defines too.
    ///
    /// # Errors
    /// A set that cannot be read or has no rules, a rule that cannot be served, a service that no set has, and two rows
    /// for the same method and path.
    pub(crate) fn load(options: Options) -> Result<Self, ConfigError> {
        let Options {
            sets,
            services,
            prefixes,
            ignored,
            list_models,
            stream_messages,
            kserve_v1,
            auto_mapping,
            raw_answers,
        } = options;
        let mut rows = Self { prefixes, ignored, kserve_v1, raw_answers, ..Self::default() };
        rows.add(kserve_proto::DESCRIPTOR_SET, ".", |_| true)?;
        rows.add(kserve_proto::TRITON_DESCRIPTOR_SET, ".", |_| true)?;
        if list_models {
            rows.add_list_of_models(OURS, "list_models")?;
        }
        if kserve_v1 {
            rows.add_v1()?;
        }
        if let Some(messages) = stream_messages {
            rows.add_model_streams(messages)?;
        }
        let ours = rows.rows.len();
        rows.auto_mapping = auto_mapping;
        let mut found = HashSet::new();
        let mut unwanted = None;
        for (index, set) in sets.iter().enumerate() {
            let key = format!("descriptor_sets[{index}]");
            let any = rows.add(set, &key, |service| {
                found.insert(service.to_owned());
                services.is_empty() || services.iter().any(|wanted| wanted == service)
            })?;
            if !any {
                unwanted = unwanted.or(Some(key));
            }
        }
        if let Some(index) = services.iter().position(|service| !found.contains(service)) {
            let reason = format!("no descriptor set has the service {:?}", services[index]);
            return Err(ConfigError::at(format!("services[{index}]"), reason));
        }
        if let Some(key) = unwanted {
            return Err(ConfigError::at(key, "none of its services is among the configuration's services"));
        }
        for row in &mut rows.rows[ours..] {
            if let Some(row) = Arc::get_mut(row) {
                row.binds_query = true;
            }
        }
        rows.rows.sort_by(|a, b| a.template.cmp(&b.template));
        Ok(rows)
    }

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

    fn find_unprefixed(&self, method: &[u8], path: &[u8], query: &[u8]) -> Result<Found<'_>, Problem> {
        let elsewhere = match path.strip_prefix(OURS) {
            Some([] | [b'/', ..]) => Found::Unknown,
            _ if self.kserve_v1 && v1::has(path) => Found::Unknown,
            _ => Found::NotOurs,
        };
        let mut buffer = [&b""[..]; MAX_SEGMENTS];
        let Some(segments) = split(path, &mut buffer) else { return Ok(elsewhere) };
        let mut matching = self.rows.iter().filter(|row| row.template.matches(segments)).peekable();
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

    /// Adds the rows of those services of a set that are wanted; `false` if it has services, and none of them is.
    fn add(
        &mut self,
        set: &[u8],
        key: &str,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<bool, ConfigError> {
        let error = |reason: String| ConfigError::at(key, reason);
        let pool = pool(set).map_err(error)?;
        let options = pool.get_message_by_name("google.protobuf.MethodOptions");
        let http = options.and_then(|options| options.get_extension(kserve_proto::HTTP_OPTION));
        let http = http.ok_or_else(|| error("it does not define google.api.http".into()))?;
        let form_options = form::Options::of(&pool);
        let mut any = false;
        let services: Vec<_> = pool.services().filter(|service| wanted(service.full_name())).collect();
        if services.is_empty() && pool.services().len() > 0 {
            return Ok(false);
        }
        for method in services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let rpc = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let mut bindings =
                rule::bindings(&method, &http).map_err(|why| error(format!("{rpc}: {why}")))?;
            // A stream has no form as one JSON request and one JSON answer, and gRPC clients use its path.
            let is_unary = !method.is_client_streaming() && !method.is_server_streaming();
            let is_auto = self.auto_mapping && bindings.is_empty() && is_unary;
            if is_auto {
                bindings.push(rule::Binding::of_the_method(&rpc));
            }
            any |= !bindings.is_empty();
            for binding in bindings {
                let mut row = Row::new(&method, &rpc, binding, &form_options)
                    .map_err(|(template, why)| error(format!("{rpc}: {template}: {why}")))?;
                row.is_shared_with_grpc = is_auto;
                let served = match self.raw_answers {
                    RawAnswers::Any => true,
                    RawAnswers::ByCall => row.body == Body::None,
                    RawAnswers::Never => false,
                };
                if row.answers_raw() && !served {
                    let reason = format!(
                        "{rpc}: {} {}: its answer is a google.api.HttpBody, of which only the message tells the type, so it \
                         needs hold_response_headers: true (in proxy-wasm with allow_on_headers_stop_iteration: true beside \
                         it)",
                        row.method, row.text
                    );
                    return Err(error(reason));
                }
                if let Some(other) = self.rows.iter().find(|other| other.same_requests(&row)) {
                    let reason =
                        format!("{rpc}: {} {} is already a path of {}", row.method, row.text, other.rpc_path);
                    return Err(error(reason));
                }
                self.rows.push(Arc::new(row));
            }
        }
        if any { Ok(true) } else { Err(error("none of its methods has a google.api.http rule".into())) }
    }

    /// Adds `GET /v2/models`, or the same under another root: the names of the models that the repository's index calls
    /// ready. `key` is the configuration's that asks for it.
    fn add_list_of_models(&mut self, root: &[u8], key: &str) -> Result<(), ConfigError> {
        let error = |reason: String| ConfigError::at(key, reason);
        let pool = pool(kserve_proto::TRITON_DESCRIPTOR_SET).map_err(error)?;
        let service = pool.get_service_by_name(kserve_proto::SERVICE);
        let method =
            service.and_then(|service| service.methods().find(|method| method.name() == "RepositoryIndex"));
        let method = method.ok_or_else(|| error("there is no RepositoryIndex".into()))?;
        let field = |message: &MessageDescriptor, name: &str| {
            message
                .get_field_by_name(name)
                .ok_or_else(|| error(format!("{} has no {name}", message.full_name())))
        };
        let ready = field(&method.input(), "ready")?;
        let list = field(&method.output(), "models")?;
        let model = list.kind().as_message().cloned().ok_or_else(|| error("it lists no models".into()))?;
        let name = field(&model, "name")?;
        let binding = rule::Binding {
            method: "GET".into(),
            template: format!("{}/models", String::from_utf8_lossy(root)),
            body: String::new(),
            response_body: String::new(),
        };
        let rpc = format!("/{}/{}", kserve_proto::SERVICE, method.name());
        let row = Row::new(&method, &rpc, binding, &form::Options::of(&pool));
        let mut row = row.map_err(|(template, why)| error(format!("{template}: {why}")))?;
        row.answer = ResponseBody::Names { list, name };
        row.preset = vec![(ready, Value::Bool(true))];
        self.rows.push(Arc::new(row));
        Ok(())
    }
}

impl Row {
    /// An error is the template, and why it cannot be a row.
    fn new(
        method: &MethodDescriptor,
        rpc: &str,
        binding: rule::Binding,
        options: &form::Options,
    ) -> Result<Self, (String, String)> {
        let rule::Binding { method: http_method, template: text, body, response_body } = binding;
        let refused = |why: String| (text.clone(), why);
        let (template, variables) = Template::parse(&text).map_err(|why| refused(why.to_string()))?;
        let input = method.input();
        let variables = variables
            .into_iter()
            .map(|variable| Ok((resolve(&input, &variable.field)?, variable)))
            .map(|resolved| resolved.map(|(path, variable)| (variable, path)))
            .collect::<Result<Vec<_>, String>>()
            .map_err(refused)?;
        let body = request_body(&input, &body, &variables).map_err(refused)?;
        let output = method.output();
        let answer = match response_body.as_str() {
            "" if is_http_body(&output) => ResponseBody::Raw(None),
            "" if options.no_body(&output) => ResponseBody::Empty,
            "" => ResponseBody::Whole,
            name => answer_field(&output, name, options).map_err(refused)?,
        };
        let forms = options.forms(&input).map_err(refused)?;
        // What the paths of other services name is for them to say.
        let ours = method.parent_service().full_name() == kserve_proto::SERVICE;
        let names_model = |(variable, _): &(Variable, _)| ours && template.has_before(variable, b"models");
        let model = variables.iter().position(names_model);
        Ok(Self {
            method: http_method,
            rpc_path: rpc.to_owned(),
            streaming: match (method.is_client_streaming(), method.is_server_streaming()) {
                (true, _) => Streaming::Requests,
                (false, true) => Streaming::Answers,
                (false, false) => Streaming::Neither,
            },
            body,
            answer,
            forms,
            has_times: has_times(&output),
            input,
            output,
            text,
            template,
            variables: variables.into(),
            model,
            binds_query: false,
            is_shared_with_grpc: false,
            predicts: false,
            preset: Vec::new(),
        })
    }

    /// The codec.
    pub(crate) fn kind(&self) -> RowKind {
        match self.rpc_path.as_str() {
            kserve_proto::MODEL_INFER if self.predicts => RowKind::Predict,
            kserve_proto::MODEL_INFER | kserve_proto::MODEL_STREAM_INFER => RowKind::Infer,
            _ => RowKind::Generic,
        }
    }

    /// Whether the method answers with a stream of messages.
    pub(crate) fn streams(&self) -> bool {
        self.streaming == Streaming::Answers
    }

    /// Whether answers are compressed where that is configured: those to inferences, as Triton does, and those of the user's
    /// rows. Triton's own clients accept an encoding for other answers as well, and cannot read it there.
    pub(crate) fn answers_may_be_compressed(&self) -> bool {
        self.kind() == RowKind::Infer || self.binds_query
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

/// What the body of a request is.
fn request_body(
    input: &MessageDescriptor,
    name: &str,
    variables: &[(Variable, FieldPath)],
) -> Result<Body, String> {
    let body = match name {
        "" => return Ok(Body::None),
        "*" if is_http_body(input) => Body::Raw(None),
        "*" => return Ok(Body::Whole),
        name => {
            let field = input.get_field_by_name(name);
            let field =
                field.ok_or_else(|| format!("body '{name}' is not a field of {}", input.full_name()))?;
            match is_one_http_body(&field) {
                true => Body::Raw(Some(field)),
                false => return Ok(Body::Field(field)),
            }
        }
    };
    // All of it is the body, whatever the path says.
    let is_in_body = |path: &FieldPath| match &body {
        Body::Raw(Some(field)) => path.first() == Some(field),
        _ => true,
    };
    match variables.iter().find(|(_, path)| is_in_body(path)) {
        Some((variable, _)) => {
            Err(format!("'{}' is in a google.api.HttpBody, which is the body of the request", variable.field))
        }
        None => Ok(body),
    }
}

/// Whether a field holds one `google.api.HttpBody`.
fn is_one_http_body(field: &FieldDescriptor) -> bool {
    !field.is_list() && field.kind().as_message().is_some_and(is_http_body)
}

/// Finds the field that is an answer.
fn answer_field(
    output: &MessageDescriptor,
    name: &str,
    options: &form::Options,
) -> Result<ResponseBody, String> {
    let field = output.get_field_by_name(name).filter(|field| field.kind().as_message().is_some());
    if let Some(field) = field.as_ref().filter(|field| is_one_http_body(field)) {
        return Ok(ResponseBody::Raw(Some(field.clone())));
    }
    let with_form = field.map(|field| options.form(&field).map(|form| (field, form))).transpose()?;
    match with_form.filter(|(field, form)| form.is_some() || !field.is_map()) {
        Some((field, form)) => Ok(ResponseBody::Field(field, form)),
        None => Err(format!(
            "response_body '{name}' is not a message or a list of messages in {}",
            output.full_name()
        )),
    }
}

/// Reads a descriptor set.
fn pool(set: &[u8]) -> Result<DescriptorPool, String> {
    let refused = |cause: &dyn std::fmt::Display| {
        format!("not a FileDescriptorSet with all of its imports (--include_imports): {cause}")
    };
    // The pool panics at a syntax that it does not know, as every file with an edition has one.
    let files = FileDescriptorSet::decode(set).map_err(|cause| refused(&cause))?.file;
    if let Some(file) = files.iter().find(|file| !matches!(file.syntax(), "" | "proto2" | "proto3")) {
        let (name, syntax) = (file.name(), file.syntax());
        return Err(format!("{name} has syntax '{syntax}'; only proto2 and proto3 are supported"));
    }
    DescriptorPool::decode(set).map_err(|cause| refused(&cause))
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

/// Finds the field that a variable sets.
fn resolve(message: &MessageDescriptor, dotted: &str) -> Result<FieldPath, String> {
    let mut fields = FieldPath::new();
    let mut within = Some(message.clone());
    for name in dotted.split('.') {
        let message =
            within.take().ok_or_else(|| format!("'{dotted}' leads through a field without fields"))?;
        let field = message
            .get_field_by_name(name)
            .ok_or_else(|| format!("'{name}' is not a field of {}", message.full_name()))?;
        if field.is_list() || field.is_map() {
            return Err(format!("'{dotted}' leads through a repeated field"));
        }
        within = field.kind().as_message().cloned();
        fields.push(field);
    }
    match fields.last().map(FieldDescriptor::kind) {
        Some(Kind::Message(_) | Kind::Bytes) | None => {
            Err(format!("'{dotted}' is neither text nor a number"))
        }
        Some(_) => Ok(fields),
    }
}
