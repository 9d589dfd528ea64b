//! The bytes of an exchange in each column.

use odd_server::infer::{Contents, Response, Style, Tensor as Output, Values};
use odd_server::wire::Message;

use crate::claims::Claims;
use crate::column::Column;
use crate::row::{Form, Job, Row};
use crate::tensor::{Digits, Tensor};

/// Where JSON requests go.
pub(crate) const JSON_PATH: &str = "/v2/models/m/infer";
/// The length of the JSON part of a body with binary tensors behind it.
pub(crate) const JSON_LENGTH: &str = "inference-header-content-length";

/// The header that picks the subset in [`Row::Subset`].
pub(crate) const SUBSET_HEADER: &str = "x-model-format-tensorflow";
/// The key of the subset that it picks.
pub(crate) const SUBSET_KEY: &str = "model.format.tensorflow";

/// What a client sends, what the server behind Envoy answers, and what numbers are in both.
pub(crate) struct Exchange {
    /// Headers of the request beyond those that every request has.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The request's body; for [`Column::Grpc`] the message, without its frame.
    pub(crate) body: Vec<u8>,
    /// What the server answers: a gRPC message without its frame, or for [`Column::Passthrough`] a body.
    pub(crate) answer: Vec<u8>,
    /// The numbers in the request.
    pub(crate) sent: Vec<f32>,
    /// The numbers in the answer.
    pub(crate) returned: Vec<f32>,
}

impl Exchange {
    /// The exchange of `row` with a large tensor of 1x3x`side`x`side`, or of as many megabytes of `megabyte` bytes as
    /// the row says; or why `column` cannot serve it.
    pub(crate) fn new(row: Row, column: Column, side: usize, megabyte: usize) -> Result<Self, &'static str> {
        let tiny = Tensor::tiny;
        if let (Row::Idle(_), Column::Grpc) = (row, column) {
            return Err("its message is not kept back");
        }
        if let (Row::Least(Job::Transcode | Job::Claim), Column::Native | Column::Grpc) = (row, column) {
            return Err("the filter is in wasm");
        }
        match row.exchange() {
            Row::Nothing(_) if matches!(column, Column::Stock | Column::Grpc) => {
                Err("the filter is in wasm, or native")
            }
            Row::Nothing(_) => Ok(Self::json(Column::Passthrough, &tiny(), &tiny(), Form::Raw)),
            Row::Subset if column == Column::Grpc => {
                Err("the subset is picked by a header, whatever the body")
            }
            Row::Subset => Ok(Self::subset()),
            Row::Claims(_) if column == Column::Grpc => Err("the claim is in a header, whatever the body"),
            Row::Claims(claims) => Ok(Self::claims(claims)),
            Row::Tiny => Ok(Self::json(column, &tiny(), &tiny(), form_for(column, Form::Raw))),
            Row::Request(digits) => {
                let form = form_for(column, Form::Raw);
                Ok(Self::json(column, &Tensor::image(side, digits), &tiny(), form))
            }
            Row::Response(form, digits) => {
                let form = form_for(column, form);
                Ok(Self::json(column, &tiny(), &Tensor::image(side, digits), form))
            }
            Row::Application => {
                let (colours, styled) =
                    (Tensor::image(side, Digits::Three), Tensor::image(side, Digits::Nine));
                Ok(Self::json(column, &colours, &styled, form_for(column, Form::Raw)))
            }
            Row::GrowingRequest(size) => {
                let large = Tensor::of_length(size.number() * megabyte);
                Ok(Self::json(column, &large, &tiny(), form_for(column, Form::Raw)))
            }
            Row::GrowingResponse(size) => {
                let large = Tensor::of_length(size.number() * megabyte);
                Ok(Self::json(column, &tiny(), &large, form_for(column, Form::Raw)))
            }
            Row::BinaryRequest | Row::BinaryResponse if column == Column::Stock => {
                Err("it has no binary tensor extension: it answers 400")
            }
            Row::BinaryRequest => Ok(Self::binary_request(column, &Tensor::image(side, Digits::Nine))),
            Row::BinaryResponse => Ok(Self::binary_response(column, &Tensor::image(side, Digits::Nine))),
            Row::Workers(..) | Row::Least(_) | Row::Idle(_) | Row::Rules(_) | Row::Descriptors(_) => {
                Err("it has another row's exchange")
            }
            Row::Streams(_) => Err("its answer is not one message"),
        }
    }

    /// What memory is measured above: a 1x4 tensor both ways, as [`Row::Tiny`] has it, or what `row` has itself.
    pub(crate) fn tiny(row: Row, column: Column) -> Self {
        match row.exchange() {
            Row::Nothing(_) => Self::json(Column::Passthrough, &Tensor::tiny(), &Tensor::tiny(), Form::Raw),
            Row::Subset => Self::subset(),
            Row::Claims(claims) => Self::claims(claims),
            _ => Self::json(column, &Tensor::tiny(), &Tensor::tiny(), form_for(column, Form::Raw)),
        }
    }

    fn subset() -> Self {
        let mut exchange = Self::json(Column::Passthrough, &Tensor::tiny(), &Tensor::tiny(), Form::Raw);
        exchange.headers.push((SUBSET_HEADER, "true".to_owned()));
        exchange
    }

    fn claims(claims: Claims) -> Self {
        let mut exchange = Self::json(Column::Passthrough, &Tensor::tiny(), &Tensor::tiny(), Form::Raw);
        exchange.headers.push(("authorization", format!("Bearer {}", claims.token())));
        exchange
    }

    fn json(column: Column, input: &Tensor, output: &Tensor, form: Form) -> Self {
        let body = match column {
            Column::Passthrough | Column::Wasm | Column::Native => json_request(input, "data", None),
            Column::Stock => json_request(input, "contents", None),
            Column::Grpc => message_request(input),
        };
        Self {
            headers: Vec::new(),
            body,
            answer: match column {
                Column::Passthrough => json_answer(output),
                _ => message_answer(output, form),
            },
            sent: input.values.clone(),
            returned: output.values.clone(),
        }
    }

    fn binary_request(column: Column, input: &Tensor) -> Self {
        let mut exchange = Self::json(column, input, &Tensor::tiny(), Form::Raw);
        if column != Column::Grpc {
            let json = format!(
                r#"{{"inputs":[{{"name":"x","shape":{},"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}]}}"#,
                input.shape_text(),
                input.values.len() * 4,
            );
            exchange.headers.push((JSON_LENGTH, json.len().to_string()));
            exchange.body = [json.into_bytes(), input.bytes()].concat();
        }
        exchange
    }

    fn binary_response(column: Column, output: &Tensor) -> Self {
        let mut exchange = Self::json(column, &Tensor::tiny(), output, Form::Raw);
        if column != Column::Grpc {
            exchange.body = json_request(&Tensor::tiny(), "data", Some(r#""binary_data_output":true"#));
        }
        if column == Column::Passthrough {
            let json = format!(
                r#"{{"model_name":"m","outputs":[{{"name":"y","shape":{},"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}]}}"#,
                output.shape_text(),
                output.values.len() * 4,
            );
            exchange.answer = [json.into_bytes(), output.bytes()].concat();
        }
        exchange
    }
}

/// The stock transcoder prints raw contents as one base64 string, so it always gets the form whose numbers it
/// prints as numbers.
fn form_for(column: Column, form: Form) -> Form {
    if column == Column::Stock { Form::Typed } else { form }
}

/// A request with its numbers as KServe's REST protocol has them (`data`) or as the stock transcoder needs them
/// (`contents`).
fn json_request(input: &Tensor, form: &str, parameters: Option<&str>) -> Vec<u8> {
    let (shape, text) = (input.shape_text(), &input.text);
    let data = match form {
        "data" => format!(r#""data":[{text}]"#),
        _ => format!(r#""contents":{{"fp32_contents":[{text}]}}"#),
    };
    let parameters = parameters.map(|p| format!(r#","parameters":{{{p}}}"#)).unwrap_or_default();
    format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP32",{data}}}]{parameters}}}"#)
        .into_bytes()
}

fn json_answer(output: &Tensor) -> Vec<u8> {
    let (shape, text) = (output.shape_text(), &output.text);
    format!(
        r#"{{"model_name":"m","outputs":[{{"name":"y","shape":{shape},"datatype":"FP32","data":[{text}]}}]}}"#
    )
    .into_bytes()
}

fn message_request(input: &Tensor) -> Vec<u8> {
    let shape = input.shape.iter().map(|&dimension| dimension as u64);
    let tensor = Message::new().bytes(1, "x").bytes(2, "FP32").packed_varints(3, shape);
    Message::new().bytes(1, "m").message(5, &tensor).bytes(7, input.bytes()).into_bytes()
}

fn message_answer(output: &Tensor, form: Form) -> Vec<u8> {
    let shape: Vec<i64> = output.shape.iter().map(|&dimension| dimension as i64).collect();
    let values = match form {
        Form::Raw => Values::Raw(output.bytes()),
        Form::Typed => Values::Contents(Contents::Fp32(output.values.clone())),
    };
    Response::new("m").output(Output::new("y", "FP32", &shape, values)).encode(Style::default())
}
