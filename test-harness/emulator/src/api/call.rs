//! Calls that the module has made, and the test's answers to them.

use std::ops::Deref;

use super::vm::Vm;
use crate::state::calls::{HttpCall, HttpResponse};
use crate::state::grpc::{Event, GrpcCall};
use crate::state::headers::HeaderMap;
use crate::vm::events;

/// An [`HttpCall`] that can be answered.
#[derive(Clone)]
pub struct Call {
    vm: Vm,
    call: HttpCall,
}

impl Call {
    /// Answers it. False: it has been answered meanwhile, or the VM is dead.
    pub fn answer(&self, response: HttpResponse) -> bool {
        self.vm.answer_call(self.call.token, response)
    }

    /// Fails it as a response does that breaks off after its headers: the module gets no headers and no body. Where there
    /// is no connection at all, or the upstream resets the stream earlier, Envoy answers the call with 503 instead. False:
    /// it has been answered meanwhile, or the VM is dead.
    pub fn fail(&self) -> bool {
        self.vm.fail_call(self.call.token)
    }
}

impl Deref for Call {
    type Target = HttpCall;

    fn deref(&self) -> &HttpCall {
        &self.call
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(f)
    }
}

/// A [`GrpcCall`] as it was when it was looked at, which can be answered. Each answer is false where the call has ended
/// meanwhile or the VM is dead.
#[derive(Clone)]
pub struct GrpcHandle {
    vm: Vm,
    call: GrpcCall,
}

impl GrpcHandle {
    /// The other side's initial metadata. Modules see those of streams alone.
    pub fn initial_metadata(&self, metadata: impl Into<HeaderMap>) -> bool {
        self.event(Event::InitialMetadata(metadata.into()))
    }

    /// A message, without the five bytes in front. It ends a call; a stream may have many.
    pub fn message(&self, message: impl Into<Vec<u8>>) -> bool {
        self.event(Event::Message(message.into()))
    }

    /// The other side's trailing metadata. Modules see those of streams alone.
    pub fn trailing_metadata(&self, metadata: impl Into<HeaderMap>) -> bool {
        self.event(Event::TrailingMetadata(metadata.into()))
    }

    /// Ends it with a status of gRPC and its message: a call that failed, or a stream in any case. Envoy's message often
    /// says more than `grpc-message`: `via_upstream` after a good end, for instance.
    pub fn close(&self, status: u32, message: &str) -> bool {
        self.event(Event::Close(status, message.to_owned()))
    }

    fn event(&self, event: Event) -> bool {
        self.vm.with(|cx| events::grpc(cx, self.call.token, event))
    }
}

impl Deref for GrpcHandle {
    type Target = GrpcCall;

    fn deref(&self) -> &GrpcCall {
        &self.call
    }
}

impl std::fmt::Debug for GrpcHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(f)
    }
}

impl Vm {
    /// HTTP calls that were not yet answered, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.with_host(|host| host.calls.clone());
        calls.into_iter().map(|call| Call { vm: self.clone(), call }).collect()
    }

    /// gRPC calls and streams that have not ended, oldest first.
    #[must_use]
    pub fn grpc_calls(&self) -> Vec<GrpcHandle> {
        let calls = self.with_host(|host| host.grpc_calls.clone());
        calls.into_iter().map(|call| GrpcHandle { vm: self.clone(), call }).collect()
    }

    /// Answers a call. False: there is no such call (any more).
    pub fn answer_call(&self, token: u32, response: HttpResponse) -> bool {
        self.with(|cx| events::answer(cx, token, Some(response)))
    }

    /// Fails a call as [`Call::fail`] does. False: there is no such call (any more).
    pub fn fail_call(&self, token: u32) -> bool {
        self.with(|cx| events::answer(cx, token, None))
    }
}
