//! Our definition against those that the protocol and its servers publish.
//!
//! `published/*.json` list the fields of the descriptors that the specification and the Python packages of
//! KServe, MLServer and Triton carry: message and field, then number, type, label (3 is repeated) as in
//! `google.protobuf.FieldDescriptorProto`, and the message type's last name.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use std::collections::BTreeMap;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

type Fields = BTreeMap<String, (u32, i32, i32, String)>;

fn published(json: &str) -> Fields {
    serde_json::from_str(json).unwrap()
}

fn fields(set: &[u8]) -> Fields {
    let pool = DescriptorPool::decode(set).unwrap();
    let mine = |message: &MessageDescriptor| message.package_name() == "inference";
    pool.all_messages()
        .filter(mine)
        .flat_map(|message| message.fields().map(row).collect::<Vec<_>>())
        .collect()
}

fn row(field: FieldDescriptor) -> (String, (u32, i32, i32, String)) {
    let proto = field.field_descriptor_proto();
    let message = match field.kind() {
        Kind::Message(message) => message.name().to_owned(),
        _ => String::new(),
    };
    let name = field.full_name().strip_prefix("inference.").unwrap().to_owned();
    (name, (field.number(), proto.r#type.unwrap(), proto.label.unwrap(), message))
}

#[test]
fn every_field_of_the_specification_is_declared_but_the_one_that_servers_disagree_on() {
    let mut specification = published(include_str!("published/spec.json"));
    for left_out in ["properties", "PropertiesEntry.key", "PropertiesEntry.value"] {
        specification.remove(&format!("ModelMetadataResponse.{left_out}")).unwrap();
    }
    assert_eq!(fields(kserve_proto::DESCRIPTOR_SET), specification);
}

#[test]
fn no_field_means_anything_else_to_a_server() {
    let ours = fields(kserve_proto::DESCRIPTOR_SET);
    for (server, json) in [
        ("kserve", include_str!("published/kserve.json")),
        ("mlserver", include_str!("published/mlserver.json")),
        ("triton", include_str!("published/triton.json")),
    ] {
        let theirs = published(json);
        let mut compared = 0;
        for (name, field) in &ours {
            let message = name.rsplit_once('.').unwrap().0;
            let same_number = theirs.iter().find(|(other, definition)| {
                other.rsplit_once('.').is_some_and(|(of, _)| of == message) && definition.0 == field.0
            });
            if let Some((other, definition)) = same_number {
                assert_eq!((name, field), (other, definition), "{server}");
                compared += 1;
            }
        }
        assert!(compared > 60, "{server}: only {compared} fields have a counterpart");
    }
}

#[test]
fn tritons_extensions_are_declared_to_the_last_field() {
    let mut theirs = published(include_str!("published/triton.json"));
    // The protocol itself, and the streaming call, which has no form over HTTP.
    theirs.retain(|name, _| {
        !published(include_str!("published/spec.json")).contains_key(name)
            && !name.starts_with("ModelStreamInferResponse.")
    });
    assert_eq!(fields(kserve_proto::TRITON_DESCRIPTOR_SET), theirs);
}

#[test]
fn tritons_enums_have_tritons_numbers() {
    let pool = DescriptorPool::decode(kserve_proto::TRITON_DESCRIPTOR_SET).unwrap();
    let published: BTreeMap<String, i32> =
        serde_json::from_str(include_str!("published/triton_enums.json")).unwrap();
    let ours = pool.all_enums().filter(|values| values.package_name() == "inference");
    let ours = ours.flat_map(|values| {
        let of = values.full_name().strip_prefix("inference.").unwrap().to_owned();
        values.values().map(|value| (format!("{of}.{}", value.name()), value.number())).collect::<Vec<_>>()
    });
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), published);
}
