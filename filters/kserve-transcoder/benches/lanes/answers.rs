//! The lanes of answers.

use super::{Lane, signed, small, uniform, wide};
use crate::tensor::AnswerForm;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A `ModelInferResponse` with one output and these contents, and raw ones.
fn message(datatype: &str, contents: Option<&[u8]>, raw: Option<&[u8]>) -> Vec<u8> {
    let mut output = Vec::new();
    field(&mut output, 1, b"y");
    field(&mut output, 2, datatype.as_bytes());
    field(&mut output, 3, b"\x01\x03\x80\x01\x80\x01");
    if let Some(contents) = contents {
        field(&mut output, 5, contents);
    }
    let mut message = Vec::new();
    field(&mut message, 1, b"m");
    field(&mut message, 5, &output);
    if let Some(raw) = raw {
        field(&mut message, 6, raw);
    }
    message
}

fn raw(datatype: &str, raw: &[u8]) -> Vec<u8> {
    message(datatype, None, Some(raw))
}

fn packed(datatype: &str, number: u8, content: &[u8]) -> Vec<u8> {
    let mut contents = Vec::new();
    field(&mut contents, number, content);
    message(datatype, Some(&contents), None)
}

fn varints(values: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    values.for_each(|value| varint(&mut out, value));
    out
}

/// Everything that an answer with [`super::ELEMENTS`] elements can look like.
pub fn answers() -> Vec<Lane> {
    let mut lanes = floats();
    lanes.extend(integers());
    lanes.extend(bytes());
    lanes
}

fn floats() -> Vec<Lane> {
    let of32 =
        |values: &dyn Fn(f64) -> f32| uniform().flat_map(|v| values(v).to_le_bytes()).collect::<Vec<u8>>();
    let full = of32(&|value| value as f32);
    let short = of32(&|value| (value * 1e3).round() as f32 / 1e3);
    let wide = of32(&|value| (value * 20.0 - 10.0) as f32);
    let whole = of32(&|value| (value * 256.0).floor() as f32);
    let unpacked: Vec<u8> = full.chunks(4).flat_map(|four| [&[0x35], four].concat()).collect();
    let full64: Vec<u8> = uniform().flat_map(f64::to_le_bytes).collect();
    let bf16: Vec<u8> = full.chunks(4).flat_map(|four| [four[2], four[3]]).collect();
    // From 2^-14 to 1, each exponent as often.
    let fp16: Vec<u8> = uniform().flat_map(|value| ((value * 14336.0) as u16 + 1024).to_le_bytes()).collect();
    let lane = |name: &str, beside: &str, message| Lane::answer(name, beside, message);
    vec![
        lane("fp32", "fp32", raw("FP32", &full)),
        lane("fp32_typed", "fp32", packed("FP32", 6, &full)),
        lane("fp32_typed_unpacked", "fp32", message("FP32", Some(&unpacked), None)),
        lane("fp32_proto", "fp32", packed("FP32", 6, &full)).form(AnswerForm::Proto),
        lane("fp32_proto_raw", "fp32", raw("FP32", &full)).form(AnswerForm::Proto),
        lane("fp32_short", "fp32", raw("FP32", &short)),
        lane("fp32_around_0", "fp32", raw("FP32", &wide)),
        lane("fp32_whole", "fp32", raw("FP32", &whole)),
        lane("fp16", "fp32", raw("FP16", &fp16)),
        lane("bf16", "fp32", raw("BF16", &bf16)),
        lane("fp64", "fp64", raw("FP64", &full64)),
        lane("fp64_typed", "fp64", packed("FP64", 7, &full64)),
        lane("fp64_proto", "fp64", packed("FP64", 7, &full64)).form(AnswerForm::Proto),
    ]
}

fn integers() -> Vec<Lane> {
    let typed = [
        ("UINT8", 1, 4),
        ("UINT16", 2, 4),
        ("UINT32", 4, 4),
        ("UINT64", 8, 5),
        ("INT8", 1, 2),
        ("INT16", 2, 2),
        ("INT32", 4, 2),
        ("INT64", 8, 3),
    ];
    let mut lanes = Vec::new();
    for (datatype, size, number) in typed {
        let name = datatype.to_lowercase();
        let bytes: Vec<u8> =
            small().flat_map(|value| (value as u64).to_le_bytes()[..size].to_vec()).collect();
        let content = varints(small().map(u64::from));
        lanes.push(Lane::answer(&name, "uint8", raw(datatype, &bytes)));
        lanes.push(Lane::answer(&format!("{name}_typed"), &name, packed(datatype, number, &content)));
        if size == 8 {
            let message = packed(datatype, number, &content);
            lanes.push(Lane::answer(&format!("{name}_proto"), &name, message).form(AnswerForm::Proto));
        }
    }
    let signed32: Vec<u8> = signed().flat_map(|value| (value as i32).to_le_bytes()).collect();
    lanes.push(Lane::answer("int32_signed", "int32_signed", raw("INT32", &signed32)));
    let content = varints(signed().map(|value| value as u64));
    lanes.push(Lane::answer("int32_signed_typed", "int32_signed", packed("INT32", 2, &content)));
    let wide64: Vec<u8> = wide().flat_map(i64::to_le_bytes).collect();
    lanes.push(Lane::answer("int64_wide", "int64_wide", raw("INT64", &wide64)));
    let content = varints(wide().map(|value| value as u64));
    lanes.push(Lane::answer("int64_wide_typed", "int64_wide", packed("INT64", 3, &content)));
    let unpacked: Vec<u8> = small().flat_map(|value| [0x10, value]).collect();
    lanes.push(Lane::answer("int32_typed_unpacked", "int32", message("INT32", Some(&unpacked), None)));
    let bools: Vec<u8> = uniform().map(|value| u8::from(value < 0.5)).collect();
    lanes.push(Lane::answer("bool", "uint8", raw("BOOL", &bools)));
    lanes.push(Lane::answer("bool_typed", "bool", packed("BOOL", 1, &bools)));
    lanes
}

fn bytes() -> Vec<Lane> {
    let raw_of = |strings: &[Vec<u8>]| {
        let with_length = |text: &Vec<u8>| [&(text.len() as u32).to_le_bytes(), &text[..]].concat();
        raw("BYTES", &strings.iter().flat_map(with_length).collect::<Vec<u8>>())
    };
    let strings: Vec<Vec<u8>> = uniform().map(|value| value.to_string().into_bytes()).collect();
    let typed = |strings: &[Vec<u8>]| {
        let mut contents = Vec::new();
        strings.iter().for_each(|text| field(&mut contents, 8, text));
        message("BYTES", Some(&contents), None)
    };
    let with = |last: &str| -> Vec<Vec<u8>> {
        strings.iter().map(|text| [&text[..], last.as_bytes()].concat()).collect()
    };
    let binary: Vec<Vec<u8>> = strings.iter().map(|text| [&text[1..], b"\xff"].concat()).collect();
    let words: Vec<Vec<u8>> = small().map(|value| format!("w{value}").into_bytes()).collect();
    vec![
        Lane::answer("bytes", "bytes", raw_of(&strings)),
        Lane::answer("bytes_typed", "bytes", typed(&strings)),
        Lane::answer("bytes_words", "bytes", raw_of(&words)),
        Lane::answer("bytes_escaped", "bytes", raw_of(&with("\n"))),
        Lane::answer("bytes_utf8", "bytes", raw_of(&with("\u{e9}"))),
        Lane::answer("bytes_base64", "bytes", raw_of(&binary)),
        Lane::answer("bytes_proto", "bytes", typed(&strings)).form(AnswerForm::Proto),
    ]
}
