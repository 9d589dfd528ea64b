//! The headers, gRPC metadata to a server, by which ModelMesh knows the model of a request.

use crate::is_same_header;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The headers (gRPC metadata) by which ModelMesh knows a model, in the order in which it asks for them; `true` for
/// those whose values are base64, as gRPC sends binary metadata.
pub const MODELMESH_METADATA: [(&str, bool); 5] = [
    ("mm-vmodel-id", false),
    ("mm-vmodel-id-bin", true),
    ("mm-model-id", false),
    ("mm-model-id-bin", true),
    ("tas-model-id", false),
];

/// Binary metadata comes with padding or without ("ASCII-Header / Binary-Header" in gRPC over HTTP/2).
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The header by which ModelMesh, or a server behind a gateway that reads `_` as `-`, knows a model, and whether its value is
/// base64.
#[must_use]
pub fn modelmesh_header(name: &[u8]) -> Option<(&'static str, bool)> {
    MODELMESH_METADATA.into_iter().find(|(known, _)| is_same_header(known.as_bytes(), name))
}

/// What the copies of a metadata header name together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedModel {
    /// One model; none if it is empty.
    As(Vec<u8>),
    /// Several, or something that is not a name.
    Unclear,
}

impl NamedModel {
    /// What a header's value names. A comma stands between values that a proxy joined.
    #[must_use]
    pub fn by(value: &[u8], binary: bool) -> Self {
        let mut named = None;
        for part in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let part = match binary {
                true => match BINARY.decode(part) {
                    Ok(bytes) if std::str::from_utf8(&bytes).is_ok() => bytes,
                    _ => return Self::Unclear,
                },
                false => part.to_vec(),
            };
            named = Some(Self::As(part).and(named));
        }
        named.unwrap_or(Self::As(Vec::new()))
    }

    /// What a header names whose other copies name `other`. An empty copy says nothing.
    #[must_use]
    pub fn and(self, other: Option<Self>) -> Self {
        match (self, other) {
            (this, None) => this,
            (Self::As(one), Some(Self::As(other))) if one == other || other.is_empty() => Self::As(one),
            (Self::As(one), Some(Self::As(other))) if one.is_empty() => Self::As(other),
            _ => Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn binary_metadata_is_base64_with_or_without_padding() {
        let named = |value: &str| NamedModel::by(value.as_bytes(), true);
        let tf = NamedModel::As(b"tf-1".to_vec());
        for value in ["dGYtMQ==", "dGYtMQ", " dGYtMQ ", "dGYtMQ==,dGYtMQ", "dGYtMQ, dGYtMQ==", "dGYtMQ,"] {
            assert_eq!(named(value), tf, "{value}");
        }
        assert_eq!(named(""), NamedModel::As(Vec::new()));
        for value in ["tf-1", "dGYtMQ,cHQtMQ", "_w", "/w", "dGYt!MQ"] {
            assert_eq!(named(value), NamedModel::Unclear, "{value}");
        }
    }

    #[test]
    fn copies_that_agree_count_as_one_also_where_a_proxy_joined_them() {
        let named = |value: &str| NamedModel::by(value.as_bytes(), false);
        let tf = NamedModel::As(b"tf-1".to_vec());
        for value in ["tf-1", " tf-1 ", "tf-1,tf-1", "tf-1, tf-1", "tf-1,"] {
            assert_eq!(named(value), tf, "{value}");
        }
        assert_eq!(named("tf-1, tf-2"), NamedModel::Unclear);
        assert_eq!(named("a").and(Some(named("a"))), named("a"));
        assert_eq!(named("a").and(Some(named(""))), named("a"));
        assert_eq!(named("").and(Some(named("a"))), named("a"));
        assert_eq!(named("a").and(Some(named("b"))), NamedModel::Unclear);
        assert_eq!(named("a").and(Some(NamedModel::Unclear)), NamedModel::Unclear);
    }

    #[test]
    fn a_header_of_modelmesh_is_known_in_every_spelling() {
        assert_eq!(modelmesh_header(b"MM_Model-id"), Some(("mm-model-id", false)));
        assert_eq!(modelmesh_header(b"mm_vmodel_id_bin"), Some(("mm-vmodel-id-bin", true)));
        assert_eq!(modelmesh_header(b"tas-model-id"), Some(("tas-model-id", false)));
        assert_eq!(modelmesh_header(b"mm-model-ids"), None);
        assert_eq!(modelmesh_header(b"x-mm-model-id"), None);
    }
}
