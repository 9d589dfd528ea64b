//! The vocabulary between filter cores and the hosts that run them.
