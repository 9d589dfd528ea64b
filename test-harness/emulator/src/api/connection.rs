//! One connection through a plugin's network filter, driven by a test from both ends.

use super::plugin::Plugin;
use super::vm::Vm;
use crate::state::abi::Direction;
use crate::state::connection::{ConnectionState, Peer};
use crate::state::options::FailPolicy;
use crate::state::properties::Properties;
use crate::state::value::PropertyValue;
use crate::vm::network;

/// What is particular to a connection.
#[derive(Clone, Default)]
pub struct ConnectionOptions {
    /// Properties that the module can read. They go before those that the emulator makes itself.
    pub properties: Properties,
}

impl ConnectionOptions {
    /// Sets a property by its path, whose parts are joined by dots: `source.address`, ...
    #[must_use]
    pub fn property(mut self, path: &str, value: impl Into<PropertyValue>) -> Self {
        self.properties.set_dotted(path, value);
        self
    }
}

/// An open connection. Dropping it does nothing to the connection.
pub struct Connection {
    vm: Vm,
    id: u32,
}

impl Plugin {
    /// A client connects to a listener that has this plugin as a network filter.
    #[must_use]
    pub fn connect(&self, options: ConnectionOptions) -> Connection {
        let vm = self.vm.clone();
        let policy = vm.with_host(|h| h.plugins[self.index].options.fail_policy);
        vm.instance.borrow_mut().reload_if_due(policy);
        let id = vm.with_host(|host| {
            let id = host.new_context_id();
            let state = ConnectionState {
                plugin: self.index,
                root: host.plugins[self.index].root,
                generation: host.generation,
                bypassed: host.failed.is_some() && policy == FailPolicy::Open,
                properties: options.properties,
                ..ConnectionState::default()
            };
            host.connections.insert(id, state);
            id
        });
        vm.with(|cx| network::open(cx, id));
        Connection { vm, id }
    }
}

impl Connection {
    /// The id of the connection's context in the VM.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The client sends bytes, its last ones or not.
    pub fn client_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        self.vm.with(|cx| network::data(cx, self.id, Direction::Request, bytes.as_ref(), end));
    }

    /// The upstream sends bytes, its last ones or not.
    pub fn upstream_data(&self, bytes: impl AsRef<[u8]>, end: bool) {
        self.vm.with(|cx| network::data(cx, self.id, Direction::Response, bytes.as_ref(), end));
    }

    /// The client goes away at once, as with a TCP reset. One that closes its socket in good order sends its end first,
    /// [`client_data`](Self::client_data) with `end`, and the connection lives until the upstream has sent its own.
    pub fn client_closes(&self) {
        self.vm.with(|cx| network::close(cx, self.id, Peer::Remote));
    }

    /// What has gone to the upstream so far.
    #[must_use]
    pub fn to_upstream(&self) -> Vec<u8> {
        self.state(|c| c.flow(Direction::Request).out.clone())
    }

    /// What has gone to the client so far.
    #[must_use]
    pub fn to_client(&self) -> Vec<u8> {
        self.state(|c| c.flow(Direction::Response).out.clone())
    }

    /// Bytes in a direction that the filter has not let through.
    #[must_use]
    pub fn held(&self, direction: Direction) -> usize {
        self.state(|c| c.flow(direction).held.len())
    }

    /// Who closed the connection, if it is closed.
    #[must_use]
    pub fn closed_by(&self) -> Option<Peer> {
        self.state(|c| c.closed)
    }

    /// An object of filter state by its whole name: `envoy.tcp_proxy.cluster`, `wasm.my_property`, ...
    #[must_use]
    pub fn filter_state(&self, name: &str) -> Option<Vec<u8>> {
        self.state(|c| c.filter_state.get(name.as_bytes()).map(<[u8]>::to_vec))
    }

    fn state<T>(&self, f: impl FnOnce(&mut ConnectionState) -> T) -> T {
        self.vm.with_host(|host| f(host.connections.entry(self.id).or_default()))
    }
}
