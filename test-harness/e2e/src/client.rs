//! Sending a request over either protocol.

use std::net::SocketAddr;

use crate::answer::Answer;
use crate::error::Error;
use crate::request::Request;
use crate::{h1, h2c};

/// The protocol that a request is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, a connection per request.
    Http1,
    /// HTTP/2 in clear text with prior knowledge, a connection per request.
    Http2,
}

impl Protocol {
    /// Both, for tests that must hold over either.
    pub const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

/// Sends a request over a new connection and reads what comes back, however broken.
///
/// # Errors
/// If the connection cannot be made, or the request is one the protocol cannot carry.
pub fn send(protocol: Protocol, address: SocketAddr, request: &Request) -> Result<Answer, Error> {
    match protocol {
        Protocol::Http1 => h1::Connection::open(address, request.patience)?.send(request),
        Protocol::Http2 => h2c::Connection::open(address, request.patience)?.send(request),
    }
}
