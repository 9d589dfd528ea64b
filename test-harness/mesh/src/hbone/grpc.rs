//! One call of gRPC, without a library for it: istiod's certificate service is all that is ever asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;

use super::connection::Connection;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The largest answer, in bytes: a few certificates.
const MAX_ANSWER: usize = 1 << 20;
/// Before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Sends `message` to `path` of the server and returns its answer's message. Errors carry the gRPC status.
pub(super) async fn call(
    server: SocketAddr,
    server_name: &str,
    tls: &Arc<ClientConfig>,
    path: &str,
    metadata: &[(&'static str, &str)],
    message: &[u8],
) -> Result<Bytes> {
    let name = ServerName::try_from(server_name.to_owned()).context("the server's name")?;
    let connection = Connection::open(server, None, name, tls).await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{server_name}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let request = request.body(()).context("make the request's head")?;
    let answer = timeout(ANSWER_WITHIN, exchange(&connection, request, framed(message)?)).await;
    answer
        .unwrap_or_else(|_| Err(anyhow!("no answer within {ANSWER_WITHIN:?}")))
        .with_context(|| format!("call {path}"))
}

async fn exchange(connection: &Connection, request: Request<()>, body: Bytes) -> Result<Bytes> {
    let mut client = connection.client().ready().await.context("open a stream")?;
    let (response, mut send) = client.send_request(request, false).context("send the request")?;
    send.send_data(body, true).context("send the request")?;
    let (head, mut body) = response.await.context("read the answer")?.into_parts();
    ensure!(head.status == 200, "HTTP status {}", head.status);
    // An error without a message has its status in the only header block.
    check_status(&head.headers)?;
    let mut read = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.context("read the answer")?;
        ensure!(read.len() + data.len() <= MAX_ANSWER, "an answer of more than {MAX_ANSWER} bytes");
        read.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).context("read the answer")?;
    }
    let trailers = body.trailers().await.context("read the answer's trailers")?;
    check_status(&trailers.context("the answer ended without a gRPC status")?)?;
    unframed(read.freeze())
}

fn check_status(headers: &HeaderMap) -> Result<()> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status") {
        Some(status) if status != "0" => {
            bail!("gRPC status {status}: {}", percent_decoded(&text("grpc-message").unwrap_or_default()))
        }
        _ => Ok(()),
    }
}

fn framed(message: &[u8]) -> Result<Bytes> {
    let length = u32::try_from(message.len()).context("a message of more than 4 GiB")?;
    Ok([&[0], &length.to_be_bytes()[..], message].concat().into())
}

fn unframed(mut body: Bytes) -> Result<Bytes> {
    ensure!(body.len() >= PREFIX, "an answer of {} bytes without a message", body.len());
    let prefix = body.split_to(PREFIX);
    ensure!(prefix[0] == 0, "a compressed answer, which was not asked for");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    ensure!(usize::try_from(length) == Ok(body.len()), "a message of {length} bytes in {} bytes", body.len());
    Ok(body)
}

/// `grpc-message` as it was before it became a header (gRPC over HTTP/2, "Percent-Encoded").
fn percent_decoded(text: &str) -> String {
    let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_its_frame_comes_out_as_it_went_in() {
        assert_eq!(&framed(b"abc").unwrap()[..], b"\0\0\0\0\x03abc");
        assert_eq!(unframed(framed(b"abc").unwrap()).unwrap(), "abc");
    }

    #[test]
    fn a_frame_that_is_cut_off_or_compressed_is_an_error() {
        for body in [&b"\0\0\0"[..], b"\0\0\0\0\x04abc", b"\x01\0\0\0\x03abc"] {
            assert!(unframed(Bytes::copy_from_slice(body)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_status_comes_with_its_message_in_plain_text() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", "16".parse().unwrap());
        headers.insert("grpc-message", "token 100%25 bad%3a %zz, 1%".parse().unwrap());
        let error = check_status(&headers).unwrap_err();
        assert_eq!(error.to_string(), "gRPC status 16: token 100% bad: %zz, 1%");
    }
}
