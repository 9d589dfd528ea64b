//! The KServe v2 (Open Inference Protocol) gRPC service with its HTTP rules, as a descriptor set.
