//! The lanes of requests.

use super::{ELEMENTS, Lane, base64, signed, small, uniform, wide};
use crate::tensor::TensorEncoding;

/// An input's members before its data; its shape differs from how the data is nested, which is not compared.
fn head(datatype: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":[1,3,128,128],"datatype":"{datatype}","#)
}

fn data(datatype: &str, text: &str) -> String {
    format!(r#"{}"data":{text}}}]}}"#, head(datatype))
}

/// `data` before `datatype`.
fn datatype_last(datatype: &str, text: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":[1,3,128,128],"data":{text},"datatype":"{datatype}"}}]}}"#)
}

fn proto(datatype: &str, field: &str, text: &str) -> String {
    format!(r#"{}"contents":{{"{field}":{text}}}}}]}}"#, head(datatype))
}

fn flat(texts: &[String], separator: &str) -> String {
    format!("[{}]", texts.join(separator))
}

/// Rows of so many elements, with this between elements and that between rows.
fn rows(texts: &[String], row: usize, between: &str, between_rows: &str) -> String {
    let rows: Vec<String> = texts.chunks(row).map(|row| row.join(between)).collect();
    format!("[[{}]]", rows.join(between_rows))
}

/// Everything that a request with [`ELEMENTS`] elements can look like.
pub fn requests() -> Vec<Lane> {
    let mut lanes = layouts();
    lanes.extend(floats());
    lanes.extend(integers());
    lanes.extend(bytes());
    lanes
}

fn layouts() -> Vec<Lane> {
    let values: Vec<f32> = uniform().map(|value| value as f32).collect();
    let texts: Vec<String> = values.iter().map(f32::to_string).collect();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dense = flat(&texts, ",");
    let pretty = flat(&texts, ",\n      ");
    let pixels = rows(&texts, 3, ", ", "], [");
    let lane = |name: &str, text: &str| Lane::request(name, "fp32", data("FP32", text));
    let last = |name: &str, text: &str| Lane::request(name, "fp32", datatype_last("FP32", text));
    let tail = format!(r#"{}"parameters":{{"binary_data_size":{}}}}}]}}"#, head("FP32"), raw.len());
    let raw_contents = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1,3,128,128],"datatype":"FP32"}}],"raw_input_contents":["{}"]}}"#,
        base64(&raw)
    );
    vec![
        lane("fp32", &dense),
        lane("fp32_blanks", &flat(&texts, ", ")),
        lane("fp32_blanks_around", &flat(&texts, " , ")),
        lane("fp32_pretty", &pretty),
        lane("fp32_pretty_deep", &flat(&texts, &format!(",\n{}", " ".repeat(28)))),
        lane("fp32_pretty_crlf", &flat(&texts, ",\r\n\t\t\t")),
        lane("fp32_rows_of_128", &rows(&texts, 128, ",", "],[")),
        lane("fp32_rows_of_3", &pixels),
        lane("fp32_rows_of_1", &rows(&texts, 1, ",", "],[")),
        lane("fp32_rows_of_3_pretty", &rows(&texts, 3, ",\n        ", "\n      ],\n      [\n        ")),
        last("fp32_datatype_last", &dense),
        last("fp32_datatype_last_blanks", &flat(&texts, ", ")),
        last("fp32_datatype_last_pretty", &pretty),
        last("fp32_datatype_last_rows_of_3", &pixels),
        Lane::request("fp32_proto", "fp32", proto("FP32", "fp32_contents", &dense)),
        lane("fp32_as_contents", &dense).encoding(TensorEncoding::Contents),
        Lane::request("fp32_binary", "fp32", tail).with_tail(&raw),
        Lane::request("fp32_raw_contents", "fp32", raw_contents),
    ]
}

fn floats() -> Vec<Lane> {
    let texts = |print: &dyn Fn(f64) -> String| uniform().map(print).collect::<Vec<_>>();
    let short = flat(&texts(&|value| format!("{value:.3}")), ",");
    let usual = flat(&texts(&|value| (value as f32).to_string()), ",");
    let long = flat(&texts(&|value| f64::from(value as f32).to_string()), ",");
    let full = flat(&texts(&|value| value.to_string()), ",");
    let powers = flat(&texts(&|value| format!("{value:e}")), ",");
    let lane = |name: &str, beside: &str, datatype: &str, text: &str| {
        Lane::request(name, beside, data(datatype, text))
    };
    vec![
        lane("fp32_short", "fp32_short", "FP32", &short),
        lane("fp16_short", "fp32_short", "FP16", &short),
        lane("bf16_short", "fp32_short", "BF16", &short),
        lane("fp64_short", "fp32_short", "FP64", &short),
        lane("fp16", "fp32", "FP16", &usual),
        lane("bf16", "fp32", "BF16", &usual),
        lane("fp64", "fp32", "FP64", &usual),
        lane("fp32_long", "fp32_long", "FP32", &long),
        lane("fp16_long", "fp32_long", "FP16", &long),
        lane("bf16_long", "fp32_long", "BF16", &long),
        lane("fp64_full", "fp64_full", "FP64", &full),
        lane("fp64_powers", "fp64_full", "FP64", &powers),
        Lane::request("fp64_proto", "fp64_full", proto("FP64", "fp64_contents", &full)),
    ]
}

fn integers() -> Vec<Lane> {
    let texts: Vec<String> = small().map(|value| value.to_string()).collect();
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    let dense = flat(&texts, ",");
    let signed = flat(&signed().map(|value| value.to_string()).collect::<Vec<_>>(), ",");
    let wide: Vec<String> = wide().map(|value| value.to_string()).collect();
    let wide_quoted: Vec<String> = wide.iter().map(|text| format!("\"{text}\"")).collect();
    let (wide, wide_quoted) = (flat(&wide, ","), flat(&wide_quoted, ","));
    let fields = [
        ("UINT8", "uint_contents"),
        ("UINT16", "uint_contents"),
        ("UINT32", "uint_contents"),
        ("UINT64", "uint64_contents"),
        ("INT8", "int_contents"),
        ("INT16", "int_contents"),
        ("INT32", "int_contents"),
        ("INT64", "int64_contents"),
    ];
    let mut lanes = Vec::new();
    for (datatype, field) in fields {
        let name = datatype.to_lowercase();
        let is_long = datatype.ends_with("64");
        let proto_text = if is_long { flat(&quoted, ",") } else { dense.clone() };
        lanes.push(Lane::request(&name, "uint8", data(datatype, &dense)));
        lanes.push(Lane::request(&format!("{name}_proto"), &name, proto(datatype, field, &proto_text)));
        lanes.push(
            Lane::request(&format!("{name}_as_contents"), &name, data(datatype, &dense))
                .encoding(TensorEncoding::Contents),
        );
    }
    lanes.push(Lane::request("uint8_pretty", "uint8", data("UINT8", &flat(&texts, ",\n      "))));
    lanes.push(Lane::request("uint8_rows_of_3", "uint8", data("UINT8", &rows(&texts, 3, ", ", "], ["))));
    lanes.push(Lane::request("uint8_datatype_last", "uint8", datatype_last("UINT8", &dense)));
    lanes.push(Lane::request("int32_signed", "int32_signed", data("INT32", &signed)));
    lanes.push(
        Lane::request("int32_signed_as_contents", "int32_signed", data("INT32", &signed))
            .encoding(TensorEncoding::Contents),
    );
    lanes.push(Lane::request("int64_wide", "int64_wide", data("INT64", &wide)));
    lanes.push(Lane::request(
        "int64_wide_proto",
        "int64_wide",
        proto("INT64", "int64_contents", &wide_quoted),
    ));
    lanes.push(
        Lane::request("int64_wide_as_contents", "int64_wide", data("INT64", &wide))
            .encoding(TensorEncoding::Contents),
    );
    let bools = flat(&uniform().map(|value| (value < 0.5).to_string()).collect::<Vec<_>>(), ",");
    let bits = flat(&uniform().map(|value| u8::from(value < 0.5).to_string()).collect::<Vec<_>>(), ",");
    lanes.push(Lane::request("bool", "uint8", data("BOOL", &bools)));
    lanes.push(Lane::request("bool_digits", "uint8", data("BOOL", &bits)));
    lanes.push(Lane::request("bool_proto", "bool", proto("BOOL", "bool_contents", &bools)));
    lanes.push(
        Lane::request("bool_as_contents", "bool", data("BOOL", &bools)).encoding(TensorEncoding::Contents),
    );
    lanes
}

fn bytes() -> Vec<Lane> {
    let strings: Vec<String> = uniform().map(|value| value.to_string()).collect();
    let quoted: Vec<String> = strings.iter().map(|text| format!("\"{text}\"")).collect();
    let encoded: Vec<String> =
        strings.iter().map(|text| format!("\"{}\"", base64(text.as_bytes()))).collect();
    let escaped: Vec<String> = strings.iter().map(|text| format!("\"{text}\\n\"")).collect();
    let accented: Vec<String> = strings.iter().map(|text| format!("\"{text}\u{e9}\"")).collect();
    let words: Vec<String> = small().map(|value| format!("\"w{value}\"")).collect();
    let (dense, encoded) = (flat(&quoted, ","), flat(&encoded, ","));
    let parameters = r#""parameters":{"content_type":"base64"}"#;
    let with_type = format!(r#"{}{parameters},"data":{encoded}}}]}}"#, head("BYTES"));
    let with_type_last = format!(r#"{}"data":{encoded},{parameters}}}]}}"#, head("BYTES"));
    let lane = |name: &str, text: &str| Lane::request(name, "bytes", data("BYTES", text));
    vec![
        lane("bytes", &dense),
        lane("bytes_pretty", &flat(&quoted, ",\n      ")),
        lane("bytes_rows_of_3", &rows(&quoted, 3, ", ", "], [")),
        lane("bytes_words", &flat(&words, ",")),
        lane("bytes_escaped", &flat(&escaped, ",")),
        lane("bytes_utf8", &flat(&accented, ",")),
        Lane::request("bytes_base64", "bytes", with_type),
        Lane::request("bytes_base64_said_last", "bytes_base64", with_type_last),
        Lane::request("bytes_proto", "bytes", proto("BYTES", "bytes_contents", &encoded)),
        Lane::request("bytes_datatype_last", "bytes", datatype_last("BYTES", &dense)),
        lane("bytes_as_contents", &dense).encoding(TensorEncoding::Contents),
    ]
}

const _: () = assert!(ELEMENTS.is_multiple_of(3 * 128));
