//! The head of a request as it goes upstream: path, fields, credentials and length.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use pingora_http::RequestHeader;

use super::attempt::AttemptError;
use super::credentials;
use super::fields::{self, RequestRules};
use super::remote::Remote;
use crate::hook::{Phase, UpstreamCause};

/// A request as it goes upstream, borrowed from the client's, so that an attempt copies no header map.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub method: &'a Method,
    /// What follows the upstream's own path: begins with `/`, query included.
    pub path_and_query: &'a str,
    /// The model asked for. Its failures are its own, not those of the other models.
    pub model: Option<&'a str>,
    /// If this attempt is refused by the breaker, the request goes to another upstream.
    pub alternative: bool,
    pub headers: &'a HeaderMap,
    pub rules: RequestRules<'a>,
    pub length: Length,
}

/// How the end of the request body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    None,
    Bytes(u64),
    Chunked,
}

impl Remote {
    pub(super) fn request_header(
        &self,
        request: Outgoing<'_>,
        http2: bool,
    ) -> Result<RequestHeader, AttemptError> {
        let credentials = request.rules.credentials && !self.has_own_key;
        let path_and_query = if credentials {
            Cow::Borrowed(request.path_and_query)
        } else {
            credentials::without_parameters(request.path_and_query)
        };
        let path = format!("{}{path_and_query}", self.settings.path);
        let mut header = RequestHeader::build_no_case(
            request.method.clone(),
            path.as_bytes(),
            Some(request.headers.len() + 4),
        )
        .map_err(|error| AttemptError::from_pingora(&error, Phase::Send))?;
        if http2 {
            header.set_version(Version::HTTP_2);
            header.set_uri(self.uri(&path)?);
        } else {
            header.set_version(Version::HTTP_11);
            append(&mut header, &HOST, &self.host)?;
        }
        let own = self.authorization.as_ref();
        let client = fields::for_upstream(request.headers, request.rules, credentials);
        for (name, value) in client.filter(|(name, _)| !self.sets(name)) {
            if credentials || *name != SEC_WEBSOCKET_PROTOCOL {
                append(&mut header, name, value)?;
            } else if let Some(value) = credentials::without_protocols(value) {
                append(&mut header, name, &value)?;
            }
        }
        for (name, value) in &self.settings.headers {
            append(&mut header, name, value)?;
        }
        if let Some(authorization) = own {
            append(&mut header, &AUTHORIZATION, authorization)?;
        }
        match request.length {
            // Some servers want to be told that there is nothing (RFC 9110 section 8.6).
            Length::None if expects_content(request.method) && !request.rules.upgrade => {
                append(&mut header, &CONTENT_LENGTH, &HeaderValue::from_static("0"))?;
            }
            Length::None => {}
            Length::Bytes(length) => append(&mut header, &CONTENT_LENGTH, &HeaderValue::from(length))?,
            Length::Chunked if http2 => {}
            Length::Chunked => {
                append(&mut header, &TRANSFER_ENCODING, &HeaderValue::from_static("chunked"))?;
            }
        }
        Ok(header)
    }

    /// HTTP/2 carries scheme and authority in the URI (RFC 9113 section 8.3.1).
    fn uri(&self, path_and_query: &str) -> Result<Uri, AttemptError> {
        let scheme = if self.settings.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.host.as_bytes())
            .path_and_query(path_and_query)
            .build()
            .map_err(|error| AttemptError::new(UpstreamCause::Connect, Phase::Send, error.to_string()))
    }
}

fn expects_content(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn append(
    header: &mut RequestHeader,
    name: &http::HeaderName,
    value: &HeaderValue,
) -> Result<(), AttemptError> {
    header
        .append_header(name, value)
        .map(|_| ())
        .map_err(|error| AttemptError::from_pingora(&error, Phase::Send))
}
