//! A request body becomes whole and valid, or the client learns why not. Nothing reaches a plugin or an
//! upstream before.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::client::{Client, End};
use super::downstream::{ClientError, Downstream};
use crate::chat::Refusal;
use crate::fault::{Fault, Kind};
use crate::upstream::Length;

/// Reads a JSON body of at most `bytes_max` bytes.
///
/// A body that comes in one part is kept as it came; one of several parts is joined into a buffer of the
/// announced size, so that no byte is copied twice.
pub(super) async fn read_json<D: Downstream>(
    client: &mut Client<'_, D>,
    headers: &HeaderMap,
    bytes_max: u64,
) -> Result<Bytes, End> {
    check_content(headers)?;
    read_whole(client, bytes_max).await
}

/// Reads a body of any type, of at most `bytes_max` bytes.
pub(super) async fn read_whole<D: Downstream>(
    client: &mut Client<'_, D>,
    bytes_max: u64,
) -> Result<Bytes, End> {
    let announced = match client.down.body_length() {
        Length::Bytes(length) => Some(length),
        Length::None | Length::Chunked => None,
    };
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max).into());
    }
    let Some(first) = client.read().await.map_err(to_end)? else { return Ok(Bytes::new()) };
    if announced == Some(first.len() as u64) {
        return Ok(first);
    }
    let Some(second) = client.read().await.map_err(to_end)? else { return Ok(first) };
    let room = announced.unwrap_or((first.len() + second.len()) as u64);
    let mut body = BytesMut::with_capacity(usize::try_from(room).unwrap_or(usize::MAX));
    body.extend_from_slice(&first);
    body.extend_from_slice(&second);
    while let Some(part) = client.read().await.map_err(to_end)? {
        body.extend_from_slice(&part);
        if body.len() as u64 > bytes_max {
            break;
        }
    }
    if body.len() as u64 > bytes_max {
        return Err(too_large(bytes_max).into());
    }
    Ok(body.freeze())
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let kind = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn check_content(headers: &HeaderMap) -> Result<(), Fault> {
    if !is_json(headers) {
        return Err(Fault::new(
            Kind::UnsupportedMediaType,
            "The content type must be application/json for this endpoint.",
        ));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Fault::new(
            Kind::UnsupportedMediaType,
            "Compressed request bodies are not supported; send the body without content-encoding.",
        ));
    }
    Ok(())
}

fn too_large(bytes_max: u64) -> Fault {
    Fault::new(
        Kind::BodyTooLarge,
        format!("The request body is larger than {bytes_max} bytes, the limit of this gateway."),
    )
}

/// A client that is slow or broken while its body is read can still be told so.
pub(super) fn to_end(error: ClientError) -> End {
    match error {
        ClientError::Gone => End::Client(error),
        ClientError::Slow => {
            Fault::new(Kind::RequestTimeout, "The request body did not arrive in time.").into()
        }
        ClientError::Malformed => {
            Fault::new(Kind::BadRequest, "The request body is not framed as HTTP requires.").into()
        }
    }
}

pub(super) fn bad_body(refusal: &Refusal) -> Fault {
    let fault = Fault::new(Kind::BadRequest, refusal.to_string());
    match refusal.param() {
        Some(param) => fault.param(param.to_owned()),
        None => fault,
    }
}
