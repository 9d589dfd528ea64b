//! The tensor datatypes of the Open Inference Protocol.

/// The datatype of a tensor, as the protocol's table of tensor data types names it, plus BF16, which Triton
/// and `tritonclient` add to it.
///
/// | name | element in JSON | element in raw contents | field of typed contents |
/// |---|---|---|---|
/// | `BOOL` | `true`, `false`, `1`, `0` | 1 byte, 0 or 1 | `bool_contents` |
/// | `UINT8` | integer | 1 byte | `uint_contents` |
/// | `UINT16` | integer | 2 bytes | `uint_contents` |
/// | `UINT32` | integer | 4 bytes | `uint_contents` |
/// | `UINT64` | integer | 8 bytes | `uint64_contents` |
/// | `INT8` | integer | 1 byte | `int_contents` |
/// | `INT16` | integer | 2 bytes | `int_contents` |
/// | `INT32` | integer | 4 bytes | `int_contents` |
/// | `INT64` | integer | 8 bytes | `int64_contents` |
/// | `FP16` | number | 2 bytes, IEEE 754 binary16 | none: raw only |
/// | `BF16` | number | 2 bytes, the upper half of an FP32 | none: raw only |
/// | `FP32` | number | 4 bytes, IEEE 754 binary32 | `fp32_contents` |
/// | `FP64` | number | 8 bytes, IEEE 754 binary64 | `fp64_contents` |
/// | `BYTES` | string | 4 bytes of length, then the bytes | `bytes_contents` |
///
/// Raw contents are little-endian and row-major, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// The fields of `InferTensorContents`; the value is the field's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Bool = 1,
    Int = 2,
    Int64 = 3,
    Uint = 4,
    Uint64 = 5,
    Fp32 = 6,
    Fp64 = 7,
    Bytes = 8,
}

const NAMES: [(Datatype, &str); 14] = [
    (Datatype::Bool, "BOOL"),
    (Datatype::Uint8, "UINT8"),
    (Datatype::Uint16, "UINT16"),
    (Datatype::Uint32, "UINT32"),
    (Datatype::Uint64, "UINT64"),
    (Datatype::Int8, "INT8"),
    (Datatype::Int16, "INT16"),
    (Datatype::Int32, "INT32"),
    (Datatype::Int64, "INT64"),
    (Datatype::Fp16, "FP16"),
    (Datatype::Bf16, "BF16"),
    (Datatype::Fp32, "FP32"),
    (Datatype::Fp64, "FP64"),
    (Datatype::Bytes, "BYTES"),
];

/// The fields by their names in the proto definition and in protobuf's JSON, which both may be used there.
const FIELDS: [(Typed, &str, &str); 8] = [
    (Typed::Bool, "bool_contents", "boolContents"),
    (Typed::Int, "int_contents", "intContents"),
    (Typed::Int64, "int64_contents", "int64Contents"),
    (Typed::Uint, "uint_contents", "uintContents"),
    (Typed::Uint64, "uint64_contents", "uint64Contents"),
    (Typed::Fp32, "fp32_contents", "fp32Contents"),
    (Typed::Fp64, "fp64_contents", "fp64Contents"),
    (Typed::Bytes, "bytes_contents", "bytesContents"),
];

impl Datatype {
    /// The datatype of a name, which is case-sensitive as everything in the protocol.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(datatype, _)| *datatype)
    }

    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(datatype, _)| *datatype == self).map_or("", |(_, name)| name)
    }

    /// The size of an element in raw contents, in bytes; `None` for BYTES, whose elements have lengths.
    pub(crate) fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The field of typed contents that carries its elements; FP16 and BF16 have none.
    pub(crate) fn typed(self) -> Option<Typed> {
        match self {
            Self::Bool => Some(Typed::Bool),
            Self::Int8 | Self::Int16 | Self::Int32 => Some(Typed::Int),
            Self::Int64 => Some(Typed::Int64),
            Self::Uint8 | Self::Uint16 | Self::Uint32 => Some(Typed::Uint),
            Self::Uint64 => Some(Typed::Uint64),
            Self::Fp32 => Some(Typed::Fp32),
            Self::Fp64 => Some(Typed::Fp64),
            Self::Bytes => Some(Typed::Bytes),
            Self::Fp16 | Self::Bf16 => None,
        }
    }
}

impl Typed {
    /// The field of a number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        FIELDS.iter().map(|(field, ..)| *field).find(|field| *field as u32 == number)
    }

    /// The field of a name, in either spelling.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        let known =
            |(_, proto, json): &&(Self, &str, &str)| [proto, json].iter().any(|own| own.as_bytes() == name);
        FIELDS.iter().find(known).map(|(field, ..)| *field)
    }

    /// Its name in the proto definition.
    pub(crate) fn name(self) -> &'static str {
        FIELDS.iter().find(|(field, ..)| *field == self).map_or("", |(_, name, _)| name)
    }
}

/// The largest rank of a tensor.
pub(crate) const MAX_RANK: usize = 64;

/// How many elements a shape has; `None` if that is more than a `u64` counts.
pub(crate) fn elements(shape: &[u64]) -> Option<u64> {
    // A zero anywhere makes the tensor empty, whatever the other dimensions multiply to.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_datatype_is_found_by_its_name_and_has_a_size_or_lengths() {
        for (datatype, name) in NAMES {
            assert_eq!(Datatype::from_name(name.as_bytes()), Some(datatype));
            assert_eq!(datatype.name(), name);
            assert_eq!(datatype.size().is_none(), datatype == Datatype::Bytes);
        }
        assert_eq!(Datatype::from_name(b"fp32"), None);
        for (field, name, json_name) in FIELDS {
            assert_eq!(Typed::from_name(name.as_bytes()), Some(field));
            assert_eq!(Typed::from_name(json_name.as_bytes()), Some(field));
            assert_eq!(Typed::from_number(field as u32), Some(field));
        }
    }

    #[test]
    fn a_shape_with_a_zero_is_empty_and_one_that_overflows_is_none() {
        assert_eq!(elements(&[]), Some(1));
        assert_eq!(elements(&[2, 3]), Some(6));
        assert_eq!(elements(&[u64::MAX, u64::MAX, 0]), Some(0));
        assert_eq!(elements(&[u64::MAX, 2]), None);
    }
}
