//! What the host keeps per connection that passes a network filter.

use super::abi::Direction;
use super::properties::{FilterState, Properties};

/// Who closed a connection (`proxy_peer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Nothing is known about it.
    Unknown = 0,
    /// The proxy.
    Local = 1,
    /// The other side.
    Remote = 2,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// What the filter has not let through yet.
    pub(crate) held: Vec<u8>,
    pub(crate) held_end: bool,
    /// What it has let through.
    pub(crate) out: Vec<u8>,
    pub(crate) ended: bool,
    /// Whether the buffer functions reach `held`.
    pub(crate) open: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    pub(crate) plugin: usize,
    pub(crate) root: u32,
    pub(crate) generation: u32,
    /// FAIL_OPEN with a dead VM: there is no filter at all.
    pub(crate) bypassed: bool,
    /// The filters behind this one have been told of the connection.
    pub(crate) initialized: bool,
    pub(crate) flows: [Flow; 2],
    pub(crate) upstream_closed: bool,
    pub(crate) closed: Option<Peer>,
    pub(crate) over: bool,
    pub(crate) properties: Properties,
    pub(crate) filter_state: FilterState,
}

impl ConnectionState {
    pub(crate) fn flow(&mut self, dir: Direction) -> &mut Flow {
        &mut self.flows[dir.index()]
    }
}
