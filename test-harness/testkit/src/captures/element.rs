//! The elements of a tensor as bytes, written the obvious way.

use serde_json::Value;

/// The elements in `data` (nested or flat) as the protocol's raw contents: little-endian, BYTES with their lengths in
/// front.
pub(crate) fn raw(datatype: &str, data: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write(datatype, data, &mut out)?;
    Ok(out)
}

fn write(datatype: &str, data: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    if let Value::Array(items) = data {
        return items.iter().try_for_each(|item| write(datatype, item, out));
    }
    let wrong = || format!("{data} is no {datatype}");
    let signed = || data.as_i64().ok_or_else(wrong);
    let unsigned = || data.as_u64().ok_or_else(wrong);
    let float = || float(data).ok_or_else(wrong);
    match datatype {
        "BOOL" => out.push(u8::from(data.as_bool().ok_or_else(wrong)?)),
        "INT8" => out.extend(i8::try_from(signed()?).map_err(|_| wrong())?.to_le_bytes()),
        "INT16" => out.extend(i16::try_from(signed()?).map_err(|_| wrong())?.to_le_bytes()),
        "INT32" => out.extend(i32::try_from(signed()?).map_err(|_| wrong())?.to_le_bytes()),
        "INT64" => out.extend(signed()?.to_le_bytes()),
        "UINT8" => out.extend(u8::try_from(unsigned()?).map_err(|_| wrong())?.to_le_bytes()),
        "UINT16" => out.extend(u16::try_from(unsigned()?).map_err(|_| wrong())?.to_le_bytes()),
        "UINT32" => out.extend(u32::try_from(unsigned()?).map_err(|_| wrong())?.to_le_bytes()),
        "UINT64" => out.extend(unsigned()?.to_le_bytes()),
        "FP16" => out.extend(pattern(float()?, half).ok_or_else(wrong)?.to_le_bytes()),
        "BF16" => {
            let wide = |bits: u16| f64::from(f32::from_bits(u32::from(bits) << 16));
            out.extend(pattern(float()?, wide).ok_or_else(wrong)?.to_le_bytes());
        }
        "FP32" => out.extend((float()? as f32).to_le_bytes()),
        "FP64" => out.extend(float()?.to_le_bytes()),
        "BYTES" => {
            let text = data.as_str().ok_or_else(wrong)?;
            out.extend(u32::try_from(text.len()).map_err(|_| wrong())?.to_le_bytes());
            out.extend(text.as_bytes());
        }
        _ => return Err(format!("datatype {datatype}")),
    }
    Ok(())
}

/// A number, or one of the words that stand for what JSON has no number for.
fn float(data: &Value) -> Option<f64> {
    match data.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => data.as_f64(),
    }
}

/// The bits of the 16-bit float that is `value`, as exactly as an FP32 can tell, found by trying them all.
fn pattern(value: f64, wide: impl Fn(u16) -> f64) -> Option<u16> {
    (0..=u16::MAX).find(|bits| (wide(*bits) as f32).to_bits() == (value as f32).to_bits())
}

/// An IEEE 754 binary16 number as a double, by its definition.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}
