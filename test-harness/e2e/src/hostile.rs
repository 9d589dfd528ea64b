//! Hostile requests, each different, and the same for the same seed.

use std::net::SocketAddr;

use crate::answer::Answer;
use crate::error::Error;
use crate::request::{Body, Protocol, Request, send};
use crate::uploads::gzip;
use crate::{h1, h2c};

/// A request that the transcoder has to refuse with a status from 400 to 499 and an `{"error"}` body.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// What is wrong with it.
    pub kind: &'static str,
    /// The request.
    pub request: Request,
    /// The number of bytes of its body after which the client disconnects, without an answer.
    pub cut: Option<usize>,
}

/// Numbers that look random (xorshift64*, Vigna 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    /// One of `choices`.
    pub fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// How many kinds there are: rounds one behind the other go through all of them.
pub const KINDS: u64 = 24;

const INFER: &str = "/v2/models/m/infer";
const SMALL: &str = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1.5,2.5]}]}"#;

impl Hostile {
    /// The request of a round. `limit` is the transcoder's `max_request_bytes`.
    pub fn new(round: u64, limit: usize) -> Self {
        let mut random = Random::new(round);
        let (kind, mut request, cut) = make(round % KINDS, &mut random, limit);
        // Bytes that are not text, in headers that no filter has to read.
        if random.below(2) == 0 {
            request = request
                .header("x-odd", [0xff, 0xfe, b'a' + random.below(26) as u8])
                .header("user-agent", b"\xc3\x28".as_slice());
        }
        if random.below(3) == 0 {
            request = request.in_pieces_of(1 + random.below(4000));
        }
        if random.below(3) == 0 {
            request = request.chunked();
        }
        Self { kind, request, cut }
    }

    /// Sends it; there is no answer to one that is cut.
    ///
    /// # Errors
    /// If the connection cannot be made.
    pub fn send(&self, protocol: Protocol, address: SocketAddr) -> Result<Option<Answer>, Error> {
        let Some(cut) = self.cut else { return send(protocol, address, &self.request).map(Some) };
        match protocol {
            Protocol::Http1 => {
                h1::Connection::open(address, self.request.patience)?.send_part(&self.request, cut)?;
            }
            Protocol::Http2 => {
                let connection = h2c::Connection::open(address, self.request.patience)?;
                let mut stream = connection.begin(&self.request, false)?;
                let body = body_bytes(&self.request);
                stream.data(&body[..cut.min(body.len())], false)?;
                // CANCEL (RFC 9113 section 7).
                stream.reset(8);
            }
        }
        Ok(None)
    }
}

fn body_bytes(request: &Request) -> Vec<u8> {
    match &request.body {
        Body::None => Vec::new(),
        Body::Length(pieces) | Body::Chunked(pieces) => pieces.concat(),
    }
}

fn make(kind: u64, random: &mut Random, limit: usize) -> (&'static str, Request, Option<usize>) {
    let post = |body: Vec<u8>| Request::post(INFER, body);
    let mut cut = None;
    let (kind, request) = match kind {
        0 => ("random bytes", post(noise(random, 300))),
        1 => {
            let length = 1 + random.below(SMALL.len() - 1);
            ("a document that is cut", post(SMALL.as_bytes()[..length].to_vec()))
        }
        2 => {
            let open = random.one_of(&["[", r#"{"inputs":"#, r#"{"x":["#, r#"{"inputs":[{"data":["#]);
            ("deep nesting", post(open.repeat(1 + random.below(3000)).into()))
        }
        3 => {
            let depth = 65 + random.below(3000);
            let data = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            ("deep data", post(tensor("FP32", "[1]", &data)))
        }
        4 => ("an absurd shape", post(tensor("FP32", &absurd_shape(random), "[1,2]"))),
        5 => {
            let datatype =
                random.one_of(&["INT8", "UINT8", "INT64", "UINT64", "INT32", "FP32", "FP16", "BOOL"]);
            ("a number that is invalid", post(tensor(datatype, "[1]", &format!("[{}]", bad_number(random)))))
        }
        6 => {
            let bad = random.one_of(&[
                &b"\xff"[..],
                b"\xc0\x80",
                b"\xed\xa0\x80",
                b"\xf5\x80\x80\x80",
                b"\xe2\x82",
            ]);
            let (before, after) = *random.one_of(&[
                &(r#"{"id":""#, r#"","inputs":[]}"#),
                &(r#"{"inputs":[{"name":""#, r#"","shape":[1],"datatype":"FP32","data":[1]}]}"#),
                &(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":[""#, r#""]}]}"#),
                &(r#"{"parameters":{"p":""#, r#""},"inputs":[]}"#),
            ]);
            ("bytes that are no UTF-8", post([before.as_bytes(), bad, after.as_bytes()].concat()))
        }
        7 => {
            let mut body = SMALL.as_bytes().to_vec();
            body.extend(std::iter::repeat_n(b' ', random.below(5)));
            body.push(b'!' + random.below(90) as u8);
            ("more behind the document", post(body))
        }
        8 => {
            let more = 1 + random.below(limit / 4);
            let mut body = br#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":["#.to_vec();
            body.resize(limit + more, b' ');
            ("a body over the limit", post(body))
        }
        9 => {
            let pieces = 2 + random.below(200);
            let blanks = vec![b' '; limit];
            let body = gzip(br#"{"inputs":["#, &blanks, pieces, b"]}");
            ("a gzip bomb", post(body).header("content-encoding", "gzip"))
        }
        10 => {
            let mut body = gzip(SMALL.as_bytes(), b"", 0, b"");
            match random.below(3) {
                0 => body.truncate(random.below(body.len())),
                1 => {
                    let sum = body.len() - 8;
                    body[sum] ^= 1;
                }
                _ => body = noise(random, 200),
            }
            let encoding = random.one_of(&["gzip", "x-gzip", "deflate"]);
            ("compression that is broken", post(body).header("content-encoding", encoding))
        }
        11 => {
            let encoding = random.one_of(&[&b"br"[..], b"gzip, gzip", b"\xff\xfe", b"zstd", b"compress"]);
            ("an encoding that is unknown", post(SMALL.into()).header("content-encoding", encoding))
        }
        12 => {
            let body = binary(8, 8);
            let length = random.one_of(&[
                "-1",
                "",
                "x",
                "1e3",
                "0x10",
                "3",
                "1000",
                "18446744073709551616",
                "9223372036854775807",
            ]);
            ("a JSON length that lies", post(body).header("inference-header-content-length", length))
        }
        13 => {
            let size = random.number() % 100 + if random.below(2) == 0 { 9 } else { u64::from(u32::MAX) };
            let body = binary(size, 8);
            let length = body.len() - 8;
            let request = post(body).header("inference-header-content-length", length.to_string());
            ("a binary size that lies", request)
        }
        14 => {
            let data: Vec<String> = (0..random.below(50)).map(|i| i.to_string()).collect();
            let shape = format!("[{}]", data.len() + 1 + random.below(1000));
            (
                "fewer elements than the shape has",
                post(tensor("INT32", &shape, &format!("[{}]", data.join(",")))),
            )
        }
        15 => {
            let escape =
                random.one_of(&[r"\ud800", r"\udc00", r"\u12", r"\x41", r"\ud800\ud800", "\u{1}", r"\"]);
            ("a string that is invalid", post(tensor("BYTES", "[1]", &format!("[\"{escape}\"]"))))
        }
        16 => {
            let path = match random.below(5) {
                0 => format!("/v2/{}", "a/".repeat(1 + random.below(200))),
                1 => "/v2/models/%ff%fe/infer".to_owned(),
                2 => "/v2/models/%zz/infer".to_owned(),
                3 => format!("/v2/models/m/versions/{}/infer/more", random.number()),
                _ => format!("/v2/models/m/{}", random.number()),
            };
            ("an unknown path", Request::post(&path, SMALL))
        }
        17 => {
            let method = random.one_of(&["DELETE", "PUT", "PATCH", "GET"]);
            ("a method that is not allowed", Request { method: method.into(), ..post(SMALL.into()) })
        }
        18 => {
            let again =
                random.one_of(&[r#""name":"y""#, r#""shape":[1]"#, r#""datatype":"FP32""#, r#""data":[1]"#]);
            let body =
                format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":[1],{again}}}]}}"#);
            ("a key that comes twice", post(body.into()))
        }
        19 => {
            let body = format!(r#"{{"model_name":"m{}","inputs":[]}}"#, random.number());
            ("another model than the URL's", post(body.into()))
        }
        20 => {
            let count = 1 + random.below(1500);
            let one = r#"{"name":"x","shape":[1],"datatype":"INT8","data":[1]},"#;
            let body = format!(r#"{{"inputs":[{}{{"name":"x"}}]}}"#, one.repeat(count));
            ("many inputs, of which the last is wrong", post(body.into()))
        }
        21 => {
            cut = Some(random.below(SMALL.len()));
            ("a chunked body whose client goes away", post(SMALL.into()).chunked())
        }
        22 => {
            let body = tensor("FP32", "[100000]", &format!("[{}", "1.5,".repeat(5000)));
            cut = Some(random.below(body.len()));
            ("a body of known length whose client goes away", post(body))
        }
        _ => ("no document", post(vec![b' '; random.below(3)])),
    };
    (kind, request, cut)
}

/// A request with one input.
fn tensor(datatype: &str, shape: &str, data: &str) -> Vec<u8> {
    format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#).into()
}

/// A document whose input claims `size` bytes, and `bytes` of them.
fn binary(size: u64, bytes: usize) -> Vec<u8> {
    let parameters = format!(r#"{{"binary_data_size":{size}}}"#);
    let mut body: Vec<u8> =
        format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32","parameters":{parameters}}}]}}"#)
            .into();
    body.resize(body.len() + bytes, 1);
    body
}

fn noise(random: &mut Random, most: usize) -> Vec<u8> {
    let length = 1 + random.below(most);
    (0..length).map(|_| random.number() as u8).chain([0xff]).collect()
}

fn absurd_shape(random: &mut Random) -> String {
    match random.below(8) {
        0 => format!("[{}]", random.number()),
        1 => "[18446744073709551616]".into(),
        2 => "[-1]".into(),
        3 => "[2.5]".into(),
        4 => format!("[{}1]", "4294967296,".repeat(2 + random.below(60))),
        5 => format!("[{}2]", "1,".repeat(64 + random.below(5000))),
        6 => r#"["2"x]"#.into(),
        _ => format!("[{}]", 3 + random.below(1 << 40)),
    }
}

fn bad_number(random: &mut Random) -> String {
    match random.below(8) {
        0 => "1e999".into(),
        1 => format!("{}e400", random.number()),
        2 => "--1".into(),
        3 => "0x10".into(),
        4 => "7".repeat(3000),
        5 => "01".into(),
        6 => "1.5e".into(),
        _ => random.one_of(&["nul", "NaNo", "\"x\"", "{}", "+1", ".5", "-"]).into(),
    }
}
