//! Events that reach the module outside of streams: answers to its calls, ticks, items in queues.

use super::host::{Cx, Host, after_call, call};
use crate::state::abi::Status;
use crate::state::calls::HttpResponse;
use crate::state::grpc::{Event, GrpcCall};
use crate::state::headers::HeaderMap;
use crate::state::single_entry::MapKind;

/// Something that happens once the clock has moved far enough.
pub(crate) enum Due {
    /// A tick of a plugin, by its index.
    Tick(usize),
    /// An HTTP call is late.
    Timeout(u32),
    /// A gRPC call is late.
    GrpcTimeout(u32),
}

/// The earliest thing that is due until then, if any, and when.
pub(crate) fn next(host: &Host, until: u64) -> Option<(u64, Due)> {
    let ticks = host
        .plugins
        .iter()
        .enumerate()
        .filter(|(_, p)| p.tick_period.is_some() && host.failed.is_none())
        .map(|(i, p)| (p.next_tick, Due::Tick(i)));
    let timeouts = host.calls.iter().filter_map(|c| Some((c.deadline?, Due::Timeout(c.token))));
    let grpc = host.grpc_calls.iter().filter_map(|c| Some((c.deadline?, Due::GrpcTimeout(c.token))));
    ticks.chain(timeouts).chain(grpc).filter(|(at, _)| *at <= until).min_by_key(|(at, _)| *at)
}

/// `Context::onHttpCallSuccess` and `onHttpCallFailure`: a failed call has neither headers nor body.
pub(crate) fn answer(cx: &mut Cx<'_>, token: u32, response: Option<HttpResponse>) -> bool {
    let host = cx.data_mut();
    let Some(at) = host.calls.iter().position(|c| c.token == token) else { return false };
    let root = host.calls.remove(at).root;
    let response = response.map(|r| HttpResponse {
        headers: r.headers.into_kind(MapKind::Response),
        trailers: r.trailers.map(|trailers| trailers.into_kind(MapKind::ResponseTrailers)),
        ..r
    });
    let sizes = response.as_ref().map_or((0, 0, 0), |r| {
        (r.headers.len() as u32, r.body.len() as u32, r.trailers.as_ref().map_or(0, HeaderMap::len) as u32)
    });
    if response.is_none() {
        host.statuses.insert(root, (Status::BrokenConnection as u32, "reset".to_owned()));
        host.defer(move |cx| forget_message(cx.data_mut(), root));
    }
    host.call_response = response;
    host.defer(|cx| cx.data_mut().call_response = None);
    call(cx, root, |e| e.call_response.as_ref(), (root, token, sizes.0, sizes.1, sizes.2));
    after_call(cx);
    true
}

/// The code stays, the message goes.
fn forget_message(host: &mut Host, root: u32) {
    if let Some((_, message)) = host.statuses.get_mut(&root) {
        message.clear();
    }
}

/// Something comes back on a gRPC call or stream. False: there is no such call (any more).
pub(crate) fn grpc(cx: &mut Cx<'_>, token: u32, event: Event) -> bool {
    let host = cx.data_mut();
    let Some(at) = host.grpc_calls.iter().position(|c| c.token == token) else { return false };
    let (root, stream) = (host.grpc_calls[at].root, host.grpc_calls[at].stream);
    if matches!(event, Event::Close(..)) || (!stream && matches!(event, Event::Message(_))) {
        let call = host.grpc_calls.remove(at);
        if stream && !call.given_up {
            host.closed_streams.insert(token);
        }
    }
    tell(cx, root, token, event);
    true
}

/// A gRPC call has failed before it got its token (`onGrpcCloseWrapper`, put off until the module has returned).
pub(crate) fn grpc_not_sent(cx: &mut Cx<'_>, failed: &GrpcCall) {
    let message = "Cluster not available".to_owned();
    tell(cx, failed.root, failed.token, Event::Close(14, message));
}

fn tell(cx: &mut Cx<'_>, root: u32, token: u32, event: Event) {
    match event {
        Event::InitialMetadata(headers) => {
            let count = headers.len() as u32;
            cx.data_mut().received.initial = Some(headers.into_kind(MapKind::Response));
            call(cx, root, |e| e.grpc_initial_metadata.as_ref(), (root, token, count));
            after_call(cx);
            cx.data_mut().received.initial = None;
        }
        Event::Message(message) => {
            let size = message.len() as u32;
            let host = cx.data_mut();
            host.received.message = message;
            host.defer(|cx| cx.data_mut().received.message.clear());
            call(cx, root, |e| e.grpc_receive.as_ref(), (root, token, size));
            after_call(cx);
        }
        Event::TrailingMetadata(trailers) => {
            let count = trailers.len() as u32;
            cx.data_mut().received.trailing = Some(trailers.into_kind(MapKind::ResponseTrailers));
            call(cx, root, |e| e.grpc_trailing_metadata.as_ref(), (root, token, count));
            after_call(cx);
            cx.data_mut().received.trailing = None;
        }
        Event::Close(code, message) => {
            let host = cx.data_mut();
            host.statuses.insert(root, (code, message));
            host.defer(move |cx| forget_message(cx.data_mut(), root));
            call(cx, root, |e| e.grpc_close.as_ref(), (root, token, code));
            after_call(cx);
        }
    }
}

/// A plugin's tick.
pub(crate) fn tick(cx: &mut Cx<'_>, plugin: usize) {
    let plugin = &mut cx.data_mut().plugins[plugin];
    let root = plugin.root;
    plugin.next_tick += plugin.tick_period.unwrap_or(0);
    call(cx, root, |e| e.tick.as_ref(), root);
    after_call(cx);
}

/// A queue that a root context has registered has got an item.
pub(crate) fn queue_ready(cx: &mut Cx<'_>, root: u32, queue: u32) {
    if cx.data().plugin_of_root(root).is_some() {
        call(cx, root, |e| e.queue_ready.as_ref(), (root, queue));
        after_call(cx);
    }
}
