//! Stock Envoy, real servers and real clients, started on loopback.
