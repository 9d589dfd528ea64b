//! HBONE as a caller speaks it: one mutual-TLS connection to a waypoint, on it one CONNECT stream per TCP connection.
//!
//! In a cluster ztunnel does this for every enrolled pod. Here a [`Tunnel`] is a listener on loopback: whatever a
//! client sends to it reaches the Service, by way of the waypoint, under the workload identity that istiod signed
//! ([`Identity`]), from the pod's address.

mod connection;
mod grpc;
mod identity;
mod tls;
mod tunnel;

pub use identity::Identity;
pub use tunnel::Tunnel;
