//! A gRPC server that answers exactly as a test asks, however odd.
