//! Requests of OpenAI's API.

use super::Exchange;
use super::request_half::{Reading, is_preflight};
use super::request_headers::{RequestHeaders, RequestLine};
use super::response_half::ResponseHalf;
use crate::codec::RequestCodec;
use crate::compressed::decoded;
use crate::error_form::ErrorForm;
use crate::openai::{Found, OpenAi, Operation, Request, Stamp};
use crate::problem::Problem;
use crate::tensor::{BodyModelName, Target};
use filter_api::{Cx, Map, OnHeaders, Route, is_same_header};
use std::sync::Arc;
use std::time::SystemTime;

/// Of a client's `x-request-id` no more than this becomes a part of the answer's own, in bytes.
const ID_BYTES: usize = 64;

impl Exchange {
    /// The headers of a request to OpenAI's API.
    pub(super) fn openai_headers(
        &mut self,
        openai: &Arc<OpenAi>,
        found: Found,
        line: &RequestLine,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> OnHeaders {
        let plugin = self.plugin.clone();
        let (method, path) = line.parts();
        if is_preflight(method, cx) {
            return OnHeaders::Detach;
        }
        self.errors = ErrorForm::OpenAi;
        let operation = match found {
            Found::Ask(operation) => operation,
            Found::Known(reply) => return OnHeaders::Reply(reply),
            Found::Refused(problem) => return self.refuse(problem, cx),
            Found::MethodNotAllowed { allow } => return self.refuse_method(method, allow.to_owned(), cx),
        };
        let body = match self.openai_body(openai, operation, cx) {
            Ok(_) if end => return self.refuse(Problem::bad_request("the body has no JSON document"), cx),
            Ok(body) => body,
            Err(problem) => return self.refuse(problem, cx),
        };
        self.encode_answer(cx);
        self.inference = plugin.models.begin_unnamed(plugin.settings.describes, || cx.view.now());
        self.rewrite_headers(openai.rpc(operation), method, path, cx);
        self.reading = Reading::Body(body);
        self.response = ResponseHalf::Expected(None);
        let hold = plugin.settings.holds_request_headers || openai.chooses_by_body(operation);
        self.chooses_rpc = openai.chooses_by_body(operation);
        if hold { OnHeaders::Hold } else { OnHeaders::Continue }
    }

    /// The body has asked for a stream: sees to it that the request goes where it gets one, if its headers have waited for that.
    pub(super) fn ask_for_stream(&self, cx: &mut Cx<'_>) {
        if self.chooses_rpc {
            cx.ops.set_header(Map::RequestHeaders, ":path", kserve_proto::MODEL_STREAM_INFER.as_bytes());
            self.select_route(cx);
        }
    }

    /// The body that is to come.
    fn openai_body(
        &self,
        openai: &Arc<OpenAi>,
        operation: Operation,
        cx: &mut Cx<'_>,
    ) -> Result<Box<dyn RequestCodec>, Problem> {
        let options = self.plugin.settings.codec;
        // Whatever a client's own headers say of a model goes: the body names it.
        let headers = RequestHeaders::take(Some(""), BodyModelName::Ignore, cx)?;
        if let Some(name) = &openai.model_header {
            remove_every_spelling(name, cx);
        }
        let charge = self.plugin.account.of_one_owner().charge();
        let held = charge.sibling();
        let codec = Request::new(openai.clone(), operation, stamp(operation, cx), options, charge);
        decoded(codec, headers.encoding.as_deref(), options.max_request_bytes, held)
    }

    /// Says which model a body has named, while the request's headers can still change if they are held.
    pub(super) fn say_model(&self, Target { model, version }: &Target, cx: &mut Cx<'_>) {
        let settings = &self.plugin.settings;
        if settings.describes {
            self.plugin.describe(model, version.as_deref(), cx);
        }
        if let Some(name) = settings.openai.as_ref().and_then(|openai| openai.model_header.as_deref()) {
            cx.ops.set_header(Map::RequestHeaders, name, model.as_bytes());
            self.select_route(cx);
        }
    }

    /// Says how the route is chosen once headers have changed.
    pub(super) fn select_route(&self, cx: &mut Cx<'_>) {
        cx.ops.route(if self.plugin.settings.reselect_route { Route::Reselect } else { Route::Keep });
    }
}

/// Removes a header, also where `_` stands for `-`, as some readers have it.
fn remove_every_spelling(name: &str, cx: &mut Cx<'_>) {
    let (view, ops) = (cx.view, &mut *cx.ops);
    view.each_header(Map::RequestHeaders, &mut |found, _| {
        if is_same_header(found, name.as_bytes())
            && let Ok(found) = std::str::from_utf8(found)
        {
            ops.remove_header(Map::RequestHeaders, found);
        }
    });
}

/// What an answer to this request says of it.
fn stamp(operation: Operation, cx: &Cx<'_>) -> Stamp {
    if operation != Operation::Completions {
        return Stamp::default();
    }
    let since = cx.view.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let given = cx.view.header(Map::RequestHeaders, "x-request-id");
    let given = given.filter(|id| (1..=ID_BYTES).contains(&id.len()) && id.iter().all(plain));
    let id = match given.map(String::from_utf8) {
        Some(Ok(id)) => id,
        _ => format!("{:x}", since.as_nanos()),
    };
    Stamp { id, created: since.as_secs() }
}
