//! A server's status as the JSON of a `google.rpc.Status`, as Envoy's own transcoder answers with `convert_grpc_status`
//! (`envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder.convert_grpc_status`).
//!
//! The status itself is the one in `grpc-status-details-bin`, where a server sends one, and otherwise made from `grpc-status` and
//! `grpc-message`. A detail is a `google.protobuf.Any` of a type in the configuration's descriptor sets. One of another type, or
//! one that cannot be read, is left out: Envoy's own transcoder leaves out the whole body then.

use super::packed::ANY;
use super::print::Print;
use super::weight::{self, MAX_DEPTH};
use super::writer::RopeWriter;
use super::{Printed, packed};
use crate::rows::Row;
use crate::status::Status;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use filter_api::{Account, Charge, ConfigError, Rope};
use prost_reflect::prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::prost_types::Any;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions,
};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::io;

/// Metadata whose names end in `-bin` may be padded or not ("gRPC over HTTP2", "Custom-Metadata").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What prints statuses.
#[derive(Debug)]
pub(crate) struct Statuses {
    print: Print,
    /// The user's descriptor sets, each with its own `google.protobuf.Any`.
    sets: Vec<(DescriptorPool, MessageDescriptor)>,
    /// For what a status takes while it is printed.
    account: Account,
}

impl Statuses {
    /// # Errors
    /// A set defines something else by the name of `google.protobuf.Any`'s file.
    pub(crate) fn new(
        pools: impl IntoIterator<Item = DescriptorPool>,
        print: Print,
        account: Account,
    ) -> Result<Self, ConfigError> {
        let with_any = |pool: DescriptorPool| any_of(&pool).map(|any| (pool, any));
        let sets = pools.into_iter().map(with_any).collect::<Result<_, _>>()?;
        Ok(Self { print, sets, account })
    }

    /// The JSON of a status that a method of this row has ended with.
    pub(crate) fn json(&self, status: &Status, row: &Row) -> Vec<u8> {
        let print = if row.streams() { self.print.of_stream() } else { self.print };
        self.of_details(status, row, print).unwrap_or_else(|| {
            let (code, message, details) = (i32::from(status.code()), status.message(), &[][..]);
            let mut json = Vec::new();
            // Numbers and texts, into memory: nothing of it can fail.
            let printed =
                PrintedStatus { code, message, details, print, options: &print.serialize_options() };
            print.write(&mut json, &printed).unwrap_or_default();
            json
        })
    }

    /// The status that `grpc-status-details-bin` has; `None` if there is none, if it cannot be read, or if there is no room
    /// for it.
    fn of_details(&self, status: &Status, row: &Row, print: Print) -> Option<Vec<u8>> {
        let mut charge = self.account.charge();
        // Decoded, and where each of its details begins, which takes two bytes at least.
        charge.grow(status.details().len().saturating_mul(1 + size_of::<&[u8]>())).ok()?;
        let bytes = BASE64.decode(status.details()).ok().filter(|bytes| !bytes.is_empty())?;
        let RpcStatus { code, message, details } = RpcStatus::read(&bytes)?;
        let options = &print.serialize_options();
        let details: Vec<_> =
            details.into_iter().filter_map(|any| self.detail(any, row, options, &mut charge)).collect();
        let mut json = RopeWriter::new(Rope::new(charge.sibling()));
        print.write(&mut json, &PrintedStatus { code, message, details: &details, print, options }).ok()?;
        let mut bytes = Vec::new();
        json.finish().ok()?.drain_to(&mut bytes);
        Some(bytes)
    }

    /// A detail, as far as there is a descriptor set that can print it: the row's own, if it has one, or the first.
    fn detail(
        &self,
        any: &[u8],
        row: &Row,
        options: &SerializeOptions,
        charge: &mut Charge,
    ) -> Option<DynamicMessage> {
        let own = row.output.parent_pool();
        let (own, others): (Vec<_>, Vec<_>) = self.sets.iter().partition(|(pool, _)| pool == own);
        own.into_iter().chain(others).find_map(|(_, descriptor)| {
            charge.grow(weight::of_message(descriptor, any)).ok()?;
            let any = DynamicMessage::decode(descriptor.clone(), any).ok()?;
            let prints = packed::check(&any, MAX_DEPTH, charge).is_ok()
                && serde_json::to_writer(io::sink(), &Printed(&any, options)).is_ok();
            prints.then_some(any)
        })
    }
}

/// The `google.protobuf.Any` through which a descriptor set's types are found, which the set need not use itself.
fn any_of(pool: &DescriptorPool) -> Result<MessageDescriptor, ConfigError> {
    let error = |why: &dyn std::fmt::Display| {
        ConfigError::at("convert_grpc_status", format!("a descriptor set has no {ANY}, and cannot: {why}"))
    };
    if let Some(any) = pool.get_message_by_name(ANY) {
        return Ok(any);
    }
    let mut pool = pool.clone();
    let file = Any::default().descriptor().parent_file().file_descriptor_proto().clone();
    pool.add_file_descriptor_proto(file).map_err(|why| error(&why))?;
    pool.get_message_by_name(ANY).ok_or_else(|| error(&"its file is another one"))
}

/// A `google.rpc.Status` (`google/rpc/status.proto`), whose details are still as they came.
struct RpcStatus<'b> {
    code: i32,
    message: &'b str,
    details: Vec<&'b [u8]>,
}

impl<'b> RpcStatus<'b> {
    /// Reads a message; `None` if it is none.
    fn read(mut bytes: &'b [u8]) -> Option<Self> {
        let mut status = Self { code: 0, message: "", details: Vec::new() };
        while !bytes.is_empty() {
            match decode_key(&mut bytes).ok()? {
                // As protobuf's readers take an int32: its low bits.
                (1, WireType::Varint) => status.code = decode_varint(&mut bytes).ok()? as i32,
                (2, WireType::LengthDelimited) => {
                    status.message = std::str::from_utf8(delimited(&mut bytes)?).ok()?;
                }
                (3, WireType::LengthDelimited) => status.details.push(delimited(&mut bytes)?),
                (tag, wire_type) => {
                    skip_field(wire_type, tag, &mut bytes, DecodeContext::default()).ok()?;
                }
            }
        }
        Some(status)
    }
}

fn delimited<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

struct PrintedStatus<'a> {
    code: i32,
    message: &'a str,
    details: &'a [DynamicMessage],
    print: Print,
    options: &'a SerializeOptions,
}

impl Serialize for PrintedStatus<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let always = self.print.prints_defaults();
        let mut members = serializer.serialize_map(None)?;
        if always || self.code != 0 {
            members.serialize_entry("code", &self.code)?;
        }
        if always || !self.message.is_empty() {
            members.serialize_entry("message", self.message)?;
        }
        if always || !self.details.is_empty() {
            let details: Vec<_> = self.details.iter().map(|any| Printed(any, self.options)).collect();
            members.serialize_entry("details", &details)?;
        }
        members.end()
    }
}
