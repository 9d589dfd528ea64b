//! Inputs to begin with.

use crate::message::{Choice, Contents, Entry, ModelInferResponse, Tensor};
use crate::{BINARY, GOLDEN, HAS_JSON_LENGTH, LARGE, TYPED};
use prost::Message as _;
use testkit::unframe;

/// Every datatype with elements in JSON and in raw form.
const TENSORS: [(&str, &str, &[u8]); 14] = [
    ("BOOL", "true,0", &[1, 0]),
    ("UINT8", "0,255", &[0, 255]),
    ("UINT16", "1,65535", &[1, 0, 255, 255]),
    ("UINT32", "1e3,4294967295", &[232, 3, 0, 0, 255, 255, 255, 255]),
    ("UINT64", "7,18446744073709551615", &[7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
    ("INT8", "-128,1.0", &[128, 1]),
    ("INT16", "-1,32767", &[255, 255, 255, 127]),
    ("INT32", "-2147483648,3", &[0, 0, 0, 128, 3, 0, 0, 0]),
    ("INT64", "-9223372036854775808,5", &[0, 0, 0, 0, 0, 0, 0, 128, 5, 0, 0, 0, 0, 0, 0, 0]),
    ("FP16", "0.1,-Infinity", &[102, 46, 0, 252]),
    ("BF16", "3.14,NaN", &[73, 64, 192, 127]),
    ("FP32", "1.17549435e-38,16777217", &[0, 0, 128, 0, 0, 0, 128, 75]),
    (
        "FP64",
        "123456789012345678901234567890.5,-0.0",
        &[184, 127, 79, 147, 229, 238, 248, 69, 0, 0, 0, 0, 0, 0, 0, 128],
    ),
    ("BYTES", r#""a\u00e9\n","""#, &[2, 0, 0, 0, 195, 169, 0, 0, 0, 0]),
];

/// From which length on an answer is too long for a seed, in bytes: mutations would be many and slow, and mostly in its
/// numbers.
const LONG: usize = 16 * 1024;

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |flags: u8, json_length: usize, body: &[u8]| {
        for flags in [flags, flags | TYPED] {
            let [low, high] = u16::try_from(json_length).unwrap_or(0).to_le_bytes();
            seeds.push([&[flags, 1, low, high], body].concat());
        }
    };
    for case in GOLDEN.iter().filter(|case| case.request.path.ends_with("/infer")) {
        let header =
            |wanted: &str| case.request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let (Ok(body), None) = (case.request.body.bytes(), header("content-encoding")) else { continue };
        match header("inference-header-content-length").and_then(|(_, length)| length.parse().ok()) {
            Some(length) => add(HAS_JSON_LENGTH, length, &body),
            None => add(0, 0, &body),
        }
    }
    for (datatype, json, raw) in TENSORS {
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x","shape":[2],{rest}}}],"id":"7"}}"#);
        add(0, 0, input(&format!(r#""datatype":"{datatype}","data":[{json}]"#)).as_bytes());
        add(0, 0, input(&format!(r#""data":[[{json}]],"datatype":"{datatype}""#)).as_bytes());
        // The same layout again and again is guessed; long enough for that.
        for between in [",\n      ", " , ", "],\n  [", "]],[["] {
            let (open, close) = if between.contains(']') { ("[[", "]]") } else { ("", "") };
            let data = [json; 8].join(between);
            let members = format!(r#""datatype":"{datatype}","data":[{open}{data}{close}]"#);
            add(0, 0, input(&members).replace("[2]", "[16]").as_bytes());
        }
        let size = raw.len();
        let header = input(&format!(r#""datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}"#));
        add(HAS_JSON_LENGTH, header.len(), &[header.as_bytes(), raw].concat());
    }
    for body in [
        r#"{"inputs":[{"name":"x","shape":["1"],"datatype":"INT64","contents":{"int64_contents":["7"],"fp32_contents":[]}}]}"#,
        r#"{"inputs":[{"name":"x","shape":[6],"datatype":"INT64","contents":{"int64_contents":["7", "-8", "900000000000", "7","-9223372036854775808", "0"]}}]}"#,
        r#"{"inputs":[{"name":"x","shape":[3],"datatype":"BYTES","data":["a\n\"b\\", "\u00e9x", "éy]["]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[3],"data":["a\"]b\\", "[\\\"", "éy]["],"datatype":"BYTES"}]}"#,
        r#"{"inputs":[{"name":"x","shape":[12],"datatype":"INT32","data":[1,-1,300,-300,70000,-70000,2147483647,-2147483648,0,127,128,255]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"contents":{"bytes_contents":["-_8="]},"datatype":"BYTES"}]}"#,
        r#"{"inputs":[{"name":"x","shape":[2],"datatype":"UINT16"}],"raw_input_contents":["AQACAA=="]}"#,
        r#"{"inputs":[{"name":"x","shape":[9],"datatype":"FP32","parameters":{"shared_memory_region":"r","shared_memory_byte_size":{"int64_param":"36"}}}],"outputs":[{"name":"y","parameters":{"classification":3,"binary_data":false}}],"parameters":{"p":null,"d":0.5,"b":true,"u":18446744073709551615}}"#,
        r#"{"modelName":"m","modelVersion":"2","inputs":[{"name":"x","shape":[2],"datatype":"FP32","contents":{"fp32Contents":["NaN",null]}}]}"#,
        r#"{"inputs":[{"name":"x","shape":[4],"datatype":"FP64","data":[null,"NaN","Infinity","-Infinity"]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"data":["3q2+7w=="],"datatype":"BYTES","parameters":{"a":1,"content_type":"base64","b":1}}]}"#,
        r#"{"inputs":[],"parameters":{"a":1,"b":{"int64Param":"1"},"a":{"bool_param":true,"string_param":null}},"rawInputContents":[]}"#,
    ] {
        add(0, 0, body.as_bytes());
    }
    seeds
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |message: &[u8]| {
        for flags in 0..6 {
            seeds.push([&[flags, 1], message].concat());
            seeds.push([&[flags | LARGE, 1], message].concat());
        }
    };
    for case in GOLDEN.iter().filter(|case| case.request.path.ends_with("/infer")) {
        if let Ok(data) = case.answer_data()
            && data.len() < LONG
            && let Some(message) = unframe(&data)
        {
            add(message);
        }
    }
    for (datatype, _, raw) in TENSORS {
        let mut output =
            Tensor { name: "y".into(), datatype: datatype.into(), shape: vec![2], ..Tensor::default() };
        output.parameters = vec![
            Entry::new("content_type", Choice::String("np".into())),
            Entry::new("n", Choice::Double(0.1)),
        ];
        let mut message = ModelInferResponse { model_name: "m".into(), id: "7".into(), ..Default::default() };
        message.outputs = vec![output.clone()];
        message.raw_output_contents = vec![raw.to_vec()];
        add(&message.encode_to_vec());
        message.raw_output_contents.clear();
        message.parameters = vec![Entry::new("a\"", Choice::Int64(-1)), Entry::new("b", Choice::Bool(true))];
        message.outputs[0].contents = Some(Contents {
            bool_contents: if datatype == "BOOL" { vec![true, false] } else { Vec::new() },
            int_contents: if datatype.starts_with("INT") && datatype != "INT64" {
                vec![-1, 7]
            } else {
                Vec::new()
            },
            int64_contents: if datatype == "INT64" { vec![i64::MIN, 7] } else { Vec::new() },
            uint_contents: if datatype.starts_with("UINT") && datatype != "UINT64" {
                vec![1, 7]
            } else {
                Vec::new()
            },
            uint64_contents: if datatype == "UINT64" { vec![u64::MAX, 7] } else { Vec::new() },
            fp32_contents: if datatype == "FP32" { vec![0.1, f32::NAN] } else { Vec::new() },
            fp64_contents: if datatype == "FP64" { vec![1e300, f64::INFINITY] } else { Vec::new() },
            bytes_contents: if datatype == "BYTES" { vec![vec![0xff], b"x".to_vec()] } else { Vec::new() },
        });
        add(&message.encode_to_vec());
    }
    for (datatype, contents) in many_elements() {
        let shape = vec![MANY as i64];
        let output = Tensor { name: "y".into(), datatype: datatype.into(), shape, ..Tensor::default() };
        let output = [output.encode_to_vec(), field(5, &contents)].concat();
        add(&[field(1, b"m"), field(5, &output)].concat());
    }
    seeds
}

/// How many elements a seed has of which runs are read.
const MANY: usize = 200;

/// Typed contents with numbers of all lengths one after the other and long runs of short ones, packed and not, and strings.
fn many_elements() -> Vec<(&'static str, Vec<u8>)> {
    let varint = |value: u64| {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(value, &mut bytes);
        bytes
    };
    // Runs of small numbers, now and then one of up to so many bits, negative if that is possible.
    let numbers = |bits: u32, negative: bool| -> Vec<u64> {
        let number = |at: usize| match at % 9 {
            2 => (1_u64 << (at as u32 % bits)).wrapping_sub(at as u64 % 2),
            5 if negative => (at as u64).wrapping_neg(),
            _ => at as u64 % 100,
        };
        (0..MANY).map(number).collect()
    };
    let mut all = Vec::new();
    for (datatype, number, values) in [
        ("BOOL", 1, numbers(1, false).iter().map(|value| value % 2).collect()),
        ("INT32", 2, numbers(31, true)),
        ("INT64", 3, numbers(63, true)),
        ("UINT32", 4, numbers(32, false)),
        ("UINT64", 5, numbers(64, false)),
    ] {
        let texts: Vec<Vec<u8>> = values.into_iter().map(varint).collect();
        all.push((datatype, field(number, &texts.concat())));
        all.push((datatype, texts.iter().flat_map(|text| [&[number << 3], &text[..]].concat()).collect()));
    }
    for (datatype, number, wire_type, size) in [("FP32", 6, 5, 4), ("FP64", 7, 1, 8)] {
        let value = |at: usize| {
            let value = at as f64 / 7.0;
            if size == 4 { (value as f32).to_le_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
        };
        let values: Vec<Vec<u8>> = (0..MANY).map(value).collect();
        all.push((datatype, field(number, &values.concat())));
        let key = number << 3 | wire_type;
        all.push((datatype, values.iter().flat_map(|value| [&[key], &value[..]].concat()).collect()));
    }
    // A few longer than a byte counts, a few with escapes.
    let text = |at: usize| match at % 50 {
        49 => vec![b'x'; 130],
        40 => b"a\n\"\x01".to_vec(),
        _ => vec![b'a'; at % 40 / 3],
    };
    all.push(("BYTES", (0..MANY).flat_map(|at| field(8, &text(at))).collect()));
    all
}

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

pub(crate) fn exchanges() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (index, case) in GOLDEN.iter().enumerate() {
        let (Ok(index), Ok(body), Ok(data)) =
            (u16::try_from(index), case.request.body.bytes(), case.answer_data())
        else {
            continue;
        };
        if data.len() >= LONG {
            continue;
        }
        let [low, high] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes();
        let [a, b] = index.to_le_bytes();
        for setup in 0..5 {
            seeds.push([&[a, b, setup, 1, low, high], &body[..], &data[..]].concat());
        }
    }
    seeds
}

// What the flags mean is known to the targets alone; a wrong bit would make all seeds alike.
const _: () = assert!(TYPED != HAS_JSON_LENGTH && BINARY == 1 && LARGE > 12);
