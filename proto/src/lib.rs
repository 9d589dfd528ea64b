//! The KServe v2 (Open Inference Protocol) gRPC service with its HTTP rules, as a descriptor set.
//!
//! Triton's extensions of the service are a set of their own, because no set may define a service twice.
//!
//! [`wire`] reads messages without a schema, for filters that look into them as they pass.
//!
//! The `.proto` files under `proto/` are our own writing of the protocol's definition; they are compiled when
//! this crate is built, without `protoc`.
//!
//! ```
//! let pool = prost_reflect::DescriptorPool::decode(kserve_proto::DESCRIPTOR_SET).unwrap();
//! let service = pool.get_service_by_name(kserve_proto::SERVICE).unwrap();
//! assert_eq!(service.methods().count(), 6);
//! ```

pub mod wire;

/// A `google.protobuf.FileDescriptorSet`, encoded: the service, and everything that its file imports. Methods
/// carry their `google.api.http` options.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.binpb"));

/// A `google.protobuf.FileDescriptorSet`, encoded: Triton's extensions of the service, with HTTP rules and with the
/// options of `kserve/rest.proto`, which say how their JSON looks.
pub const TRITON_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/triton.binpb"));

/// The full name of the field option that says how a field's JSON looks (`kserve/rest.proto`).
pub const FORM_OPTION: &str = "kserve.rest.form";

/// The full name of the message option that makes an answer an empty body (`kserve/rest.proto`).
pub const NO_BODY_OPTION: &str = "kserve.rest.no_body";

/// The full name of the service.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// The number of the method option `google.api.http`, an extension of `google.protobuf.MethodOptions`.
pub const HTTP_OPTION: u32 = 72_295_728;

/// `:path` of a gRPC request that asks whether the server is live.
pub const SERVER_LIVE: &str = "/inference.GRPCInferenceService/ServerLive";

/// `:path` of a gRPC request that asks whether the server is ready.
pub const SERVER_READY: &str = "/inference.GRPCInferenceService/ServerReady";

/// `:path` of a gRPC request that asks whether a model is ready.
pub const MODEL_READY: &str = "/inference.GRPCInferenceService/ModelReady";

/// `:path` of a gRPC request for an inference.
pub const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// `:path` of a gRPC request for inferences whose answers are a stream. It is in neither descriptor set, because model
/// servers answer it with messages of different types.
pub const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
