//! Every answer of every column is checked before anything is timed, so that no failure is measured.

use std::time::Duration;

use odd_server::wire::{self, Value as Field};
use serde_json::Value;

use crate::Result;
use crate::client::Reply;
use crate::column::Column;
use crate::exchange::Exchange;
use crate::upstream::Recorder;

const RECORDED_WITHIN: Duration = Duration::from_secs(60);

/// The client has got the right numbers.
pub(crate) fn answer(column: Column, exchange: &Exchange, reply: &Reply) -> Result<()> {
    let numbers = match column {
        Column::Passthrough if reply.body == exchange.answer => return Ok(()),
        Column::Grpc if wire::unframe(&reply.body)?.iter().map(|m| &m.bytes).eq([&exchange.answer]) => {
            return Ok(());
        }
        Column::Passthrough | Column::Grpc => return Err("the answer is not the server's".into()),
        Column::Stock => of_json(&reply.body, "/outputs/0/contents/fp32_contents")?,
        Column::Wasm | Column::Native => match reply.json_length {
            Some(length) => of_bytes(reply.body.get(length..).ok_or("no binary part")?)?,
            None => of_json(&reply.body, "/outputs/0/data")?,
        },
    };
    same(&numbers, &exchange.returned).map_err(|e| format!("the answer: {e}").into())
}

/// The server has got the right numbers, in its one request so far.
pub(crate) fn request(exchange: &Exchange, recorder: &Recorder) -> Result<()> {
    let server = match recorder {
        Recorder::Http(server) if server.last_body() == exchange.body.len() => return Ok(()),
        Recorder::Http(server) => {
            return Err(
                format!("the server got {} of {} bytes", server.last_body(), exchange.body.len()).into()
            );
        }
        Recorder::Grpc(server) => server,
    };
    let requests = server.wait_for(1, RECORDED_WITHIN).map_err(|_| "the server got no whole request")?;
    let messages = requests[0].messages()?;
    let [message] = messages.as_slice() else { return Err(format!("{} messages", messages.len()).into()) };
    let numbers = of_message(&message.bytes)?;
    same(&numbers, &exchange.sent).map_err(|e| format!("the request: {e}").into())
}

fn of_json(body: &[u8], pointer: &str) -> Result<Vec<f32>> {
    let json: Value = serde_json::from_slice(body)?;
    let numbers = json.pointer(pointer).and_then(Value::as_array);
    let numbers = numbers.ok_or_else(|| format!("no {pointer} in {:.300}", String::from_utf8_lossy(body)))?;
    let number = |value: &Value| {
        value.as_f64().map(|x| x as f32).ok_or_else(|| format!("{value} is not a number").into())
    };
    numbers.iter().map(number).collect()
}

fn of_bytes(bytes: &[u8]) -> Result<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(numbers.iter().map(|&b| f32::from_le_bytes(b)).collect())
    } else {
        Err("odd length".into())
    }
}

/// The numbers of a `ModelInferRequest` with one input: raw (field 7), or `contents.fp32_contents` (5, 5, 6), which
/// the stock transcoder writes one by one and others in one packed field.
fn of_message(message: &[u8]) -> Result<Vec<f32>> {
    let raw = wire::fields(message)?.into_iter().find(|field| field.number == 7);
    if let Some(Field::Bytes(raw)) = raw.map(|field| field.value) {
        return of_bytes(raw);
    }
    let mut contents = message;
    for number in [5, 5] {
        let field = wire::fields(contents)?.into_iter().find(|field| field.number == number);
        let Some(Field::Bytes(inner)) = field.map(|field| field.value) else {
            return Err(format!("no field {number} in the request").into());
        };
        contents = inner;
    }
    let mut numbers = Vec::new();
    for field in wire::fields(contents)?.into_iter().filter(|field| field.number == 6) {
        match field.value {
            Field::Bytes(packed) => numbers.extend(of_bytes(packed)?),
            Field::Fixed32(bits) => numbers.push(f32::from_bits(bits)),
            _ => return Err("a number of another wire type".into()),
        }
    }
    Ok(numbers)
}

fn same(got: &[f32], wanted: &[f32]) -> Result<()> {
    if got.len() != wanted.len() {
        return Err(format!("{} numbers instead of {}", got.len(), wanted.len()).into());
    }
    match got.iter().zip(wanted).position(|(got, wanted)| got.to_bits() != wanted.to_bits()) {
        Some(at) => Err(format!("number {at} is {} instead of {}", got[at], wanted[at]).into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Form, Row};
    use crate::tensor::Digits;

    fn exchange(row: Row, column: Column) -> Exchange {
        Exchange::new(row, column, 4, 1000).unwrap()
    }

    #[test]
    fn every_form_of_a_request_is_read() {
        let row = Row::Request(Digits::Nine);
        let raw = exchange(row, Column::Grpc);
        assert_eq!(of_message(&raw.body).unwrap(), raw.sent);

        let packed: Vec<u8> = raw.sent.iter().flat_map(|x| x.to_le_bytes()).collect();
        let packed = wire::Message::new().bytes(6, packed);
        let each = raw.sent.iter().fold(wire::Message::new(), |m, x| m.fixed32(6, x.to_bits()));
        for contents in [packed, each] {
            let tensor = wire::Message::new().bytes(1, "x").message(5, &contents);
            let message = wire::Message::new().message(5, &tensor);
            assert_eq!(of_message(message.as_bytes()).unwrap(), raw.sent);
        }
    }

    #[test]
    fn a_wrong_number_is_found() {
        let exchange = exchange(Row::Response(Form::Raw, Digits::Three), Column::Wasm);
        let mut body = br#"{"outputs":[{"data":["#.to_vec();
        let texts: Vec<String> = exchange.returned.iter().map(|x| format!("{x:?}")).collect();
        body.extend(texts.join(",").into_bytes());
        body.extend(b"]}]}");
        let mut reply = Reply { json_length: None, body };
        answer(Column::Wasm, &exchange, &reply).unwrap();

        let digit = reply.body.iter().rposition(u8::is_ascii_digit).unwrap();
        reply.body[digit] = if reply.body[digit] == b'9' { b'8' } else { b'9' };
        let error = answer(Column::Wasm, &exchange, &reply).unwrap_err().to_string();
        assert!(error.starts_with("the answer: number 47 is "), "{error}");
    }
}
