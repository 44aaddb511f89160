//! A request body becomes whole and valid, or the client learns why not. Nothing reaches a plugin or an
//! upstream before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Request;
use super::client::{Client, End};
use super::downstream::{ClientError, Downstream};
use crate::chat::Refusal;
use crate::fault::{Fault, Kind};
use crate::hook::Hook;
use crate::room::{Growing, NoRoom, Room};
use crate::upstream::Length;

/// Reads a JSON body of at most `bytes_max` bytes.
///
/// A body that comes in one part is kept as it came; several parts are joined. What arrives takes memory of `room`,
/// what is announced takes none.
pub(super) async fn read_json<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    bytes_max: u64,
) -> Result<Bytes, End> {
    check_content(&request.head.headers)?;
    read_whole(request, client, bytes_max).await
}

/// Reads a body of any type, of at most `bytes_max` bytes. From then on the request has its place.
pub(super) async fn read_whole<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    bytes_max: u64,
) -> Result<Bytes, End> {
    if client.down.body_length() != Length::None {
        request.await_body()?;
    }
    let body = collect(client, request.room, bytes_max).await?;
    request.take_place()?;
    Ok(body)
}

async fn collect<D: Downstream>(
    client: &mut Client<'_, D>,
    room: &Arc<Room>,
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
    check_size(first.len(), bytes_max)?;
    let mut claim = room.for_request();
    if announced == Some(first.len() as u64) {
        claim.cover(first.len()).map_err(no_room)?;
        return Ok(claim.bind(first));
    }
    let most = usize::try_from(announced.unwrap_or(bytes_max)).unwrap_or(usize::MAX);
    let mut body = Growing::new(claim, most);
    body.add(&first).map_err(no_room)?;
    drop(first);
    while let Some(part) = client.read().await.map_err(to_end)? {
        check_size(body.len() + part.len(), bytes_max)?;
        body.add(&part).map_err(no_room)?;
    }
    Ok(body.whole())
}

fn check_size(bytes: usize, bytes_max: u64) -> Result<(), Fault> {
    if bytes as u64 > bytes_max { Err(too_large(bytes_max)) } else { Ok(()) }
}

fn no_room(no_room: NoRoom) -> Fault {
    let message = "The gateway holds as many bytes of requests as it may; try again shortly.";
    let fault = Fault::new(Kind::Overloaded, message).retry_after(Duration::from_secs(1));
    fault.detail(no_room.to_string())
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let kind = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// A reader of another charset, or of another of several fields, would see another text than plugins do.
fn is_read_one_way(headers: &HeaderMap) -> bool {
    let once = |name| headers.get_all(name).iter().count() <= 1;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let utf8 = |value: &str| ["utf-8", "utf8"].iter().any(|name| value.eq_ignore_ascii_case(name));
    once(CONTENT_TYPE)
        && once(CONTENT_ENCODING)
        && charsets.all(|(_, value)| utf8(value.trim().trim_matches('"')))
}

fn check_content(headers: &HeaderMap) -> Result<(), Fault> {
    if !is_read_one_way(headers) {
        return Err(Fault::new(
            Kind::UnsupportedMediaType,
            "The body must be UTF-8, with one content-type and at most one content-encoding.",
        ));
    }
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
