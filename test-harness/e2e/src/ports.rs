//! Ports for programs that cannot be told to take any free one.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::Error;

/// Below Linux's range for outgoing connections, so that none of those takes a port between its choice here
/// and its use.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// `count` unused loopback ports. No two calls in one process return the same port, and
/// processes begin at different places.
///
/// # Errors
/// If all ports of the range are taken.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let start = (std::process::id().wrapping_mul(131) % u32::from(COUNT)) as u16;
    let mut found = Vec::with_capacity(count);
    for _ in 0..COUNT {
        if found.len() == count {
            break;
        }
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    if found.len() == count { Ok(found) } else { Err(Error::Protocol(format!("no {count} free ports"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let mut ports = free_ports(3).unwrap();
        ports.extend(free_ports(3).unwrap());
        for port in &ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap();
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }
}
