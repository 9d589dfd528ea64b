//! How rows come about: from descriptor sets, and from a method and one of its rules.

use super::template::{Template, Variable};
use super::{
    Body, FieldPath, OURS, Options, RawAnswers, ResponseBody, Row, RowKind, Rows, Streaming, form, rule,
};
use crate::generic::{has, has_times, is_http_body};
use filter_api::ConfigError;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use std::collections::HashSet;
use std::sync::Arc;

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
            any_verb,
        } = options;
        let mut rows = Self { prefixes, ignored, kserve_v1, raw_answers, any_verb, ..Self::default() };
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
    pub(super) fn add_list_of_models(&mut self, root: &[u8], key: &str) -> Result<(), ConfigError> {
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
    pub(super) fn new(
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
            has_any: has(&output, &["google.protobuf.Any"]),
            input,
            output,
            text,
            template,
            variables: variables.into(),
            model,
            binds_query: false,
            is_shared_with_grpc: false,
            kind: match rpc {
                kserve_proto::MODEL_INFER | kserve_proto::MODEL_STREAM_INFER => RowKind::Infer,
                _ => RowKind::Generic,
            },
            preset: Vec::new(),
        })
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
pub(super) fn pool(set: &[u8]) -> Result<DescriptorPool, String> {
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
