//! Foreign functions that a test gives to a module.

use std::cell::RefCell;
use std::rc::Rc;

use super::abi::{Direction, Status};
use super::connection::ConnectionState;
use super::headers::HeaderMap;
use super::stream::StreamState;

/// What a foreign function can reach: the context that it is called from.
pub struct ForeignCall<'a> {
    pub(crate) context: u32,
    pub(crate) now: u64,
    pub(crate) stream: Option<&'a mut StreamState>,
    pub(crate) connection: Option<&'a mut ConnectionState>,
}

impl ForeignCall<'_> {
    /// The id of the context: a stream's, a connection's or a root context's.
    #[must_use]
    pub fn context(&self) -> u32 {
        self.context
    }

    /// The clock, in nanoseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The headers that came in one direction of the stream, if the call comes from a stream that has them.
    #[must_use]
    pub fn headers(&mut self, direction: Direction) -> Option<&mut HeaderMap> {
        self.stream.as_mut()?.half(direction).headers.as_mut()
    }

    /// Makes Envoy forget the route that it has selected.
    pub fn clear_route_cache(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.route.clears += 1;
        }
    }

    /// Selects the cluster, as filters do that set `envoy.upstream...` or change the route. Without effect outside of
    /// a stream.
    pub fn set_cluster(&mut self, cluster: &str) {
        if let Some(stream) = &mut self.stream {
            stream.selected_cluster = Some(cluster.to_owned());
        }
    }

    /// An object of filter state by its name; those of `proxy_set_property` have `wasm.` in front.
    #[must_use]
    pub fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        let connection = self.connection.as_ref().map(|c| &c.filter_state);
        let state = self.stream.as_ref().map(|s| &s.filter_state).or(connection)?;
        state.get(name.as_bytes()).map(<[u8]>::to_vec)
    }

    /// Sets an object of filter state by its name. False outside of a stream or a connection.
    pub fn set_filter_state(&mut self, name: &str, value: impl Into<Vec<u8>>) -> bool {
        let state = match (&mut self.stream, &mut self.connection) {
            (Some(stream), _) => &mut stream.filter_state,
            (None, Some(connection)) => &mut connection.filter_state,
            (None, None) => return false,
        };
        state.set(name.as_bytes(), value.into());
        true
    }
}

type Function = dyn FnMut(&mut ForeignCall<'_>, &[u8]) -> Result<Vec<u8>, Status>;

/// A foreign function given by the test: arguments in, result or status out. Clones are the same function.
#[derive(Clone)]
pub struct ForeignFunction(Rc<RefCell<Function>>);

impl ForeignFunction {
    /// Makes one of a closure. It must not use the VM that it is called from.
    pub fn new(
        function: impl FnMut(&mut ForeignCall<'_>, &[u8]) -> Result<Vec<u8>, Status> + 'static,
    ) -> Self {
        Self(Rc::new(RefCell::new(function)))
    }

    /// One that is not there: the module gets [`Status::NotFound`].
    #[must_use]
    pub fn absent() -> Self {
        Self::new(|_, _| Err(Status::NotFound))
    }

    pub(crate) fn call(&self, call: &mut ForeignCall<'_>, arguments: &[u8]) -> Result<Vec<u8>, Status> {
        (*self.0.borrow_mut())(call, arguments)
    }
}
