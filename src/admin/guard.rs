//! Who is let in: whoever holds the token.
//!
//! A web page that points its own name at this address (DNS rebinding) has no token; it is told so by the name it
//! came with, before anything else is said to it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiError;
use crate::token::Token;

pub(super) struct Guard {
    pub(super) token: Token,
    pub(super) hosts: Vec<String>,
}

/// The layer around every route but the open one.
pub(super) async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Guard {
    fn judge(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if bearer(headers).is_some_and(|presented| self.token.matches(presented)) {
            return Ok(());
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        if host.is_some_and(|host| self.is_own(host)) {
            Err(ApiError::unauthorized())
        } else {
            Err(ApiError::host_not_allowed())
        }
    }

    /// No page can make a browser send an address, `localhost` or a configured name for its own name.
    fn is_own(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The credentials of `authorization: Bearer …`; the scheme's case is free (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, presented) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| presented.trim_ascii())
}
