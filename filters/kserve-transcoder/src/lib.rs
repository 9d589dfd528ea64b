//! KServe v2 JSON over HTTP in, gRPC out, and back: the pure core.
