//! Descriptor sets with any number of rows.

use odd_server::wire::Message;

/// The service of the rows.
pub(crate) const SERVICE: &str = "rows.Rows";

/// The method that answers with a stream, where a set has it.
pub(crate) const STREAM_RPC: &str = "/rows.Rows/Watch";
/// Where JSON requests to it go.
pub(crate) const STREAM_PATH: &str = "/watch";

/// `google.api.http`, an extension of `google.protobuf.MethodOptions` (google/api/annotations.proto).
const HTTP: u32 = 72_295_728;

/// A serialised `google.protobuf.FileDescriptorSet`: the protocol's, and a service with `rows` methods, each at a path of
/// its own, and where `streams` one more that answers with a stream.
pub(crate) fn set(rows: u32, streams: bool) -> Vec<u8> {
    let empty = Message::new().bytes(1, "Empty");
    let mut service = Message::new().bytes(1, "Rows");
    for row in 0..rows {
        // HttpRule.get
        let rule = Message::new().bytes(2, format!("/rows/{row}/{{name}}/get"));
        let method = Message::new()
            .bytes(1, format!("Row{row}"))
            .bytes(2, ".rows.Name")
            .bytes(3, ".rows.Empty")
            .message(4, &Message::new().message(HTTP, &rule));
        service = service.message(2, &method);
    }
    if streams {
        // HttpRule.post and .body
        let rule = Message::new().bytes(4, STREAM_PATH).bytes(7, "*");
        let watch = Message::new()
            .bytes(1, "Watch")
            .bytes(2, ".rows.Name")
            .bytes(3, ".rows.Name")
            .message(4, &Message::new().message(HTTP, &rule))
            // server_streaming
            .varint(6, 1);
        service = service.message(2, &watch);
    }
    // string name = 1; optional, as proto3 has it.
    let field = Message::new().bytes(1, "name").varint(3, 1).varint(4, 1).varint(5, 9).bytes(10, "name");
    let name = Message::new().bytes(1, "Name").message(2, &field);
    let file = Message::new()
        .bytes(1, "rows.proto")
        .bytes(2, "rows")
        .bytes(3, "google/api/annotations.proto")
        .message(4, &empty)
        .message(4, &name)
        .message(6, &service)
        .bytes(12, "proto3");
    [kserve_proto::DESCRIPTOR_SET, Message::new().message(1, &file).into_bytes().as_slice()].concat()
}
