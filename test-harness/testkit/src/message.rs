//! gRPC messages, as text in a case and as bytes on the wire.

use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use std::sync::LazyLock;

/// The protocol, and Triton's extensions of it: both define methods of the same service.
static POOLS: LazyLock<[DescriptorPool; 2]> = LazyLock::new(|| {
    [kserve_proto::DESCRIPTOR_SET, kserve_proto::TRITON_DESCRIPTOR_SET]
        .map(|set| DescriptorPool::decode(set).expect("the built-in descriptor sets are well formed"))
});

/// Which message of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

/// Encodes a message of the gRPC method at `rpc_path` (`/package.Service/Method`) from protobuf's text format.
pub(crate) fn encode(rpc_path: &str, side: Side, text: &str) -> Result<Vec<u8>, String> {
    let method = method(rpc_path)?;
    let descriptor = match side {
        Side::Input => method.input(),
        Side::Output => method.output(),
    };
    DynamicMessage::parse_text_format(descriptor, text)
        .map(|message| message.encode_to_vec())
        .map_err(|error| format!("{error:?}"))
}

/// A `ModelInferResponse` as Triton's `ModelStreamInferResponse` has it.
pub(crate) fn wrap(message: &[u8]) -> Vec<u8> {
    kserve_proto::wire::Message::new().bytes(2, message).into_bytes()
}

/// A message as text, for people who read a failure; in hexadecimal where it is not a message of this type.
pub(crate) fn describe(rpc_path: &str, bytes: &[u8]) -> String {
    let decoded = method(rpc_path).ok().and_then(|method| DynamicMessage::decode(method.input(), bytes).ok());
    match decoded {
        Some(message) => message.to_string(),
        None => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Puts a message in its gRPC frame.
///
/// # Panics
/// The message is larger than a frame can be.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message of less than 4 GiB");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// Takes the one message out of its frame; `None` if the bytes are not exactly one uncompressed message.
#[must_use]
pub fn unframe(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    (prefix[0] == 0 && message.len() == length).then_some(message)
}

fn method(rpc_path: &str) -> Result<MethodDescriptor, String> {
    // Its requests are the same, and so are the answers, which servers wrap in different ways or not at all.
    let rpc_path =
        if rpc_path == kserve_proto::MODEL_STREAM_INFER { kserve_proto::MODEL_INFER } else { rpc_path };
    let (service, method) = rpc_path.trim_start_matches('/').split_once('/').ok_or("not a gRPC path")?;
    let services = POOLS.iter().filter_map(|pool| pool.get_service_by_name(service));
    let mut methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods
        .find(|candidate| candidate.name() == method)
        .ok_or_else(|| format!("no method {service}/{method}"))
}
