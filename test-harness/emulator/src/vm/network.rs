//! Envoy's wasm network filter, in front of `tcp_proxy`.
//!
//! Follows `source/extensions/common/wasm/context.cc` and `source/common/network/filter_manager_impl.cc`: what the
//! filter stops stays in the connection's buffer, and it sees all of it again with the next piece.

use super::host::{Cx, after_call, call};
use crate::state::abi::Direction;
use crate::state::connection::{ConnectionState, Peer};

fn connection<'a>(cx: &'a mut Cx<'_>, id: u32) -> &'a mut ConnectionState {
    cx.data_mut().connections.entry(id).or_default()
}

/// A client connects.
pub(crate) fn open(cx: &mut Cx<'_>, id: u32) {
    let c = connection(cx, id);
    if c.bypassed {
        c.initialized = true;
        return;
    }
    let root = c.root;
    if cx.data().is_dead(id) {
        close(cx, id, Peer::Local);
        return;
    }
    call(cx, id, |e| e.context_create.as_ref(), (id, root));
    after_call(cx);
    let status = call(cx, id, |e| e.new_connection.as_ref(), id);
    settle(cx, id);
    if status.unwrap_or(0) == 0 && !cx.data().is_dead(id) {
        connection(cx, id).initialized = true;
    }
}

/// Bytes come from the client, or from the upstream.
pub(crate) fn data(cx: &mut Cx<'_>, id: u32, dir: Direction, bytes: &[u8], end: bool) {
    let c = connection(cx, id);
    if c.over || c.closed.is_some() || c.flow(dir).ended {
        return;
    }
    let flow = c.flow(dir);
    flow.held.extend_from_slice(bytes);
    flow.held_end |= end;
    if c.bypassed {
        pass_on(cx, id, dir);
        both_ended(cx, id, dir);
        return;
    }
    if dir == Direction::Request && !c.initialized {
        return;
    }
    if cx.data().is_dead(id) {
        close(cx, id, Peer::Local);
        return;
    }
    let flow = connection(cx, id).flow(dir);
    flow.open = true;
    let (size, end) = (flow.held.len() as u32, flow.held_end);
    let status = call(cx, id, |e| e.connection_data[dir.index()].as_ref(), (id, size, u32::from(end)));
    let continues = status.unwrap_or(0) == 0 && !cx.data().is_dead(id);
    if continues {
        connection(cx, id).flow(dir).open = false;
    }
    settle(cx, id);
    // What the module closed in the callback takes the bytes with it.
    if continues && connection(cx, id).closed.is_none() {
        pass_on(cx, id, dir);
    }
    if dir == Direction::Response && end {
        upstream_closes(cx, id);
    }
    both_ended(cx, id, dir);
}

/// Once both sides have sent their last byte, `tcp_proxy` closes the connection: the side that was last, if it is the
/// client, has closed it.
fn both_ended(cx: &mut Cx<'_>, id: u32, last: Direction) {
    let c = connection(cx, id);
    if c.flow(Direction::Request).ended && c.flow(Direction::Response).ended {
        close(cx, id, if last == Direction::Request { Peer::Remote } else { Peer::Local });
    }
}

/// What was held goes on to the next filter, or to the client.
fn pass_on(cx: &mut Cx<'_>, id: u32, dir: Direction) {
    let flow = connection(cx, id).flow(dir);
    let held = std::mem::take(&mut flow.held);
    flow.out.extend_from_slice(&held);
    flow.ended |= flow.held_end;
}

/// `proxy_continue_stream` for the client's side, once the module has returned: what is held goes past the filter.
pub(crate) fn continue_reading(cx: &mut Cx<'_>, id: u32) {
    let c = connection(cx, id);
    if c.over || c.closed.is_some() {
        return;
    }
    c.initialized = true;
    pass_on(cx, id, Direction::Request);
    both_ended(cx, id, Direction::Request);
}

/// The upstream has sent its last byte.
fn upstream_closes(cx: &mut Cx<'_>, id: u32) {
    let c = connection(cx, id);
    if c.upstream_closed || c.bypassed {
        return;
    }
    c.upstream_closed = true;
    call(cx, id, |e| e.connection_close[Direction::Response.index()].as_ref(), (id, Peer::Unknown as u32));
    settle(cx, id);
}

/// The connection to the client is closed, by the client (remote) or by the proxy (local).
pub(crate) fn close(cx: &mut Cx<'_>, id: u32, by: Peer) {
    let c = connection(cx, id);
    if c.closed.is_some() {
        return;
    }
    c.closed = Some(by);
    if c.bypassed {
        c.over = true;
        return;
    }
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.connection_close[Direction::Request.index()].as_ref(), (id, by as u32));
        after_call(cx);
    }
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.done.as_ref(), id);
        after_call(cx);
        call(cx, id, |e| e.log.as_ref(), id);
        after_call(cx);
    }
    if !cx.data().is_dead(id) {
        call(cx, id, |e| e.delete.as_ref(), id);
        after_call(cx);
    }
    connection(cx, id).over = true;
}

/// After a callback: what it asked for is done, and a VM that died in it takes the connection with it.
fn settle(cx: &mut Cx<'_>, id: u32) {
    after_call(cx);
    if cx.data().is_dead(id) {
        close(cx, id, Peer::Local);
    }
}
