//! Requests of which the second half does not come: what Envoy keeps for each.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::client::Prepared;

/// How long Envoy may take to see them all.
const SEEN_WITHIN: Duration = Duration::from_secs(120);
/// Envoy's count of requests that are not answered yet.
const ACTIVE: &str = "http.bench.downstream_rq_active";

/// Sends the first half of the body of so many requests, each on a connection of its own, and waits until Envoy has them
/// all. They end when the result is dropped.
pub(crate) fn send(
    envoy: &mut e2e::Envoy,
    address: SocketAddr,
    request: &Prepared,
    body: usize,
    requests: u32,
) -> Result<Vec<TcpStream>> {
    let Prepared::Http(bytes) = request else { return Err("a request of HTTP/1.1 is wanted".into()) };
    let half = &bytes[..bytes.len() - body / 2];
    let mut connections = Vec::new();
    for number in 0..requests {
        let mut connection = TcpStream::connect(address).map_err(|e| format!("connection {number}: {e}"))?;
        connection.write_all(half)?;
        connections.push(connection);
    }
    envoy.wait_for_stat(ACTIVE, SEEN_WITHIN, |active| active == u64::from(requests))?;
    Ok(connections)
}
