//! Runs all filter cores in one native Envoy dynamic module.
