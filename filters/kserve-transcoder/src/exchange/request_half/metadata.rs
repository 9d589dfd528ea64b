//! Bodies that only the model's own inputs explain: the headers wait until it is known what these are, and the body is read
//! after that.

use super::super::request_headers::{is_about_the_http_message, is_misspelt_path};
use super::super::response_half::{self, ResponseHalf};
use super::{Exchange, MODEL, VERSION, beside_route};
use crate::frame;
use crate::problem::Problem;
use crate::rows::Variables;
use crate::signatures::{
    Fetch, Flight, Lookup, MODEL_METADATA, Outcome, Place, cannot_be_had, metadata_request,
};
use crate::tensor::Signature;
use filter_api::{Account, Call, CallEnd, CallId, Cx, OnHeaders, modelmesh_header};
use std::borrow::Cow;
use std::sync::Arc;

/// The call for a model's metadata.
pub(in crate::exchange) const METADATA: CallId = CallId(1);

/// What the headers of a request wait for.
#[derive(Debug)]
pub(in crate::exchange) struct Awaiting {
    what: Awaited,
    /// The request has headers only.
    end: bool,
}

#[derive(Debug)]
enum Awaited {
    /// The end of a call of their own.
    Answer(Fetch),
    /// That of another exchange's.
    Flight(Arc<Flight>),
    /// Nothing any more.
    Known(Arc<Signature>),
}

impl Exchange {
    /// What the inputs of the model are that a request names; an error is the verdict on its headers where that is not known
    /// yet.
    pub(super) fn signature(
        &mut self,
        variables: &Variables,
        path: &[u8],
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Arc<Signature>, OnHeaders> {
        if let Some(Awaiting { what: Awaited::Known(signature), .. }) = self.awaiting.take().map(|it| *it) {
            return Ok(signature);
        }
        let Some(signatures) = &self.plugin.settings.signatures else {
            // Its rows are there only where it is.
            return Err(OnHeaders::Detach);
        };
        let model = variables.get(MODEL).unwrap_or_default();
        if let Some(signature) = signatures.given(model) {
            return Ok(signature);
        }
        let Some(cluster) = self.cluster(cx) else {
            // As for a request without a body: Envoy's own answer is the right one.
            self.response = ResponseHalf::Expected(None);
            return Err(OnHeaders::Continue);
        };
        let version = variables.get(VERSION).map(str::to_owned);
        let place = Place { cluster, model: model.to_owned(), version };
        let what = match signatures.look_up(place, cx.view.now()) {
            Lookup::Known(signature) => return Ok(signature),
            Lookup::Wait(flight) => Awaited::Flight(flight),
            Lookup::Ask(mut fetch) => {
                let call = question(fetch.place(), path, cx);
                fetch.begun(call.clone());
                cx.ops.call(call);
                Awaited::Answer(fetch)
            }
        };
        self.awaiting = Some(Box::new(Awaiting { what, end }));
        Err(OnHeaders::Wait)
    }

    /// The call for a model's metadata has ended.
    pub(in crate::exchange) fn metadata_ended(&mut self, end: &CallEnd, cx: &mut Cx<'_>) -> OnHeaders {
        let Some(Awaiting { what: Awaited::Answer(fetch), end: headers_only }) =
            self.awaiting.take().map(|it| *it)
        else {
            return OnHeaders::Continue;
        };
        let limit = self.plugin.settings.codec.max_response_bytes;
        let answer = metadata_of(&fetch.place().model, end, limit, &self.plugin.account);
        let signature = fetch.end(answer.as_deref().map_err(Clone::clone), cx.view.now());
        self.known(signature, headers_only, cx)
    }

    /// Sees whether another exchange's call has ended that this one waits for.
    pub(in crate::exchange) fn look_for_metadata(&mut self, cx: &mut Cx<'_>) -> OnHeaders {
        let Some(awaiting) = self.awaiting.take() else { return OnHeaders::Continue };
        let outcome = match &awaiting.what {
            Awaited::Flight(flight) => flight.outcome(),
            Awaited::Answer(_) | Awaited::Known(_) => Outcome::UnderWay,
        };
        match outcome {
            Outcome::UnderWay => {
                self.awaiting = Some(awaiting);
                OnHeaders::Wait
            }
            Outcome::Answered(signature) => self.known(Ok(signature), awaiting.end, cx),
            Outcome::Failed(problem) => self.known(Err(problem), awaiting.end, cx),
        }
    }

    /// Goes on with headers that have waited.
    fn known(&mut self, signature: Result<Arc<Signature>, Problem>, end: bool, cx: &mut Cx<'_>) -> OnHeaders {
        match signature {
            Ok(signature) => {
                self.awaiting = Some(Box::new(Awaiting { what: Awaited::Known(signature), end }));
                self.request_headers(end, cx)
            }
            Err(problem) => self.refuse(problem, cx),
        }
    }
}

/// The call that asks the server of a model for its metadata.
fn question(place: &Place, path: &[u8], cx: &Cx<'_>) -> Call {
    let message = metadata_request(&place.model, place.version.as_deref());
    // A URL's name is never as long as a message can be.
    let prefix = frame::prefix(message.len()).unwrap_or_default();
    let body = [&prefix[..], &message].concat();
    let stays_behind = |name: &str| {
        let name = name.as_bytes();
        is_about_the_http_message(name) || is_misspelt_path(name) || modelmesh_header(name).is_some()
    };
    let paths = (MODEL_METADATA, path);
    beside_route(METADATA, place.cluster.clone(), paths, body, stays_behind, cx.view)
}

/// The message with a model's metadata, or what a client is told where there is none.
pub(in crate::exchange) fn metadata_of<'e>(
    model: &str,
    end: &'e CallEnd,
    max_bytes: usize,
    account: &Account,
) -> Result<Cow<'e, [u8]>, Problem> {
    response_half::message_of_call(end, max_bytes, account)
        .map_err(|problem| without_metadata(model, problem))
}

/// What a client is told whose model's metadata could not be had. Of what a model server says, it learns that there is no
/// such model, and what it may not do or not now; everything else is a fault behind the filter.
fn without_metadata(model: &str, problem: Problem) -> Problem {
    match (problem.details, problem.status) {
        ("kserve_grpc_error", 401 | 403 | 404 | 429) => problem,
        (response_half::WITHOUT_SUBSET, _) => cannot_be_had(
            model,
            "no healthy upstream. The model server is asked for them by a call beside the route, which finds no subset: \
             if the route's cluster picks endpoints by subset, give the model's inputs in kserve_v1.models",
        ),
        _ => cannot_be_had(model, &problem.message),
    }
}
