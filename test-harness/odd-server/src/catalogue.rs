//! One ready-made script for every odd thing a gRPC server can do to a proxy.

use crate::infer::{Contents, Order, Repeated, Response, Style, Tensor};
use crate::script::Script;
use crate::wire;

/// The message that whole answers of [`all`] carry: model `odd`, one FP32 output `y` of shape `[2]` with the
/// values 1.5 and -2.25, in raw form.
pub fn answer() -> Vec<u8> {
    Response::new("odd").output(Tensor::raw_fp32("y", &[2], &[1.5, -2.25])).encode(Style::default())
}

/// Every script by the name that `x-case` selects it with.
pub fn all() -> Vec<(&'static str, Script)> {
    let whole = answer();
    let framed = wire::frame(&whole);
    let half = &framed[..framed.len() / 2];
    let odd = |style| {
        let tensor = Tensor::typed("y", "FP32", &[2], Contents::Fp32(vec![1.5, -2.25]));
        Script::message(&Response::new("odd").output(tensor).encode(style))
    };
    let reversed = Style { order: Order::Reversed, ..Style::default() };
    vec![
        ("whole", Script::message(&whole)),
        ("byte-by-byte", Script::pieces(framed.chunks(1))),
        ("typed", odd(Style::default())),
        ("unpacked", odd(Style { repeated: Repeated::Each, ..Style::default() })),
        ("half-packed", odd(Style { repeated: Repeated::Mixed, ..Style::default() })),
        ("reversed-fields", odd(reversed)),
        ("unknown-fields", odd(Style { unknown_fields: true, ..Style::default() })),
        ("trailers-only", Script::trailers_only(5, "no such model")),
        ("error-after-headers", Script::error_after_headers(8, "out of memory")),
        ("error-after-message", Script::error_after_message(&whole, 13, "model crashed")),
        ("error-after-empty-message", Script::error_after_empty_message(3, "wrong shape")),
        ("error-mid-message", Script::error_mid_message(half, 13, "model crashed")),
        ("missing-trailers", Script::missing_trailers(&whole)),
        ("end-mid-message", Script::pieces([half])),
        ("reset-at-once", Script::after_request().then(crate::Step::Reset(2))),
        ("reset-after-headers", Script::after_request().grpc_headers().then(crate::Step::Reset(2))),
        ("reset-mid-message", Script::reset_after(half, 2)),
        ("hang-up", Script::hang_up_after(half)),
        ("never", Script::never()),
        ("plain-503", Script::plain(503, "text/plain", "upstream connect error")),
        ("plain-200", Script::plain(200, "text/html", "<p>not gRPC</p>")),
        ("gzip-flagged", Script::gzip_flagged(&whole)),
        ("too-long-prefix", Script::wrong_length(whole.len() as u32 + 1, &whole)),
        ("too-short-prefix", Script::wrong_length(whole.len() as u32 - 1, &whole)),
        ("no-message", Script::after_request().grpc_headers().grpc_trailers(0, "")),
        ("two-messages", Script::pieces([framed.clone(), framed.clone()])),
    ]
}
