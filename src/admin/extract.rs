//! What handlers take from a request. Whatever is wrong with it comes back in the one shape of an error.

use std::convert::Infallible;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;

use super::ApiError;
use super::fields::{Ask, Fields};
use crate::lifecycle::By;
use crate::limits;

/// A JSON body. An empty one is `{}`.
pub(super) struct Body<T>(pub(super) T);

/// The query.
pub(super) struct Parameters<T>(pub(super) T);

/// The plugin a path names.
pub(super) struct Name(pub(super) String);

impl<T: Ask, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let body = Bytes::from_request(request, state).await.map_err(|error| refused(&error))?;
        if body.is_empty() {
            return Fields::of_json(serde_json::json!({})).map(Self);
        }
        if !is_json {
            return Err(ApiError::not_json());
        }
        let value = serde_json::from_slice(&body).map_err(|error| ApiError::bad_json(&error))?;
        Fields::of_json(value).map(Self)
    }
}

fn refused(error: &BytesRejection) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::too_large(limits::ADMIN_BODY_BYTES_MAX)
    } else {
        ApiError::cut_body()
    }
}

/// `application/json`, or another type that is written in it (RFC 6839), whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl<T: Ask, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // An error of these would be a bug: any query is a list of names and values.
        let Query(pairs) = Query::from_request_parts(parts, state).await.unwrap_or_default();
        Fields::of_query(pairs).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            // Not UTF-8, so no plugin's name.
            Err(_) => Err(ApiError::not_found("There is no plugin of that name.".to_owned())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let is_cli = agent.is_some_and(|agent| agent.starts_with(CLI_AGENT));
        Ok(if is_cli { Self::Cli } else { Self::Api })
    }
}

/// How Hookway's own commands name themselves.
const CLI_AGENT: &str = "hookway-cli/";
