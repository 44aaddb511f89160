//! The one shape of an error: `{"error":{"code","message","details"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ReloadError;

/// An answer that says no.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Facts for programs; null if there are none.
    details: Value,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Value::Null }
    }

    fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Send the admin token as 'authorization: Bearer <token>'.",
        )
    }

    pub(super) fn host_not_allowed() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "This host name is not one of the admin listener's.",
        )
    }

    pub(super) fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn method_not_allowed(message: String) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }
}

impl From<ReloadError> for ApiError {
    fn from(error: ReloadError) -> Self {
        let message = format!("Nothing was changed: {error}.");
        match error {
            ReloadError::Invalid { errors } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", message)
                    .details(json!({ "errors": errors }))
            }
            ReloadError::Plugin { plugin, step, message: why } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "plugin_failed", message)
                    .details(json!({ "plugin": plugin, "step": step, "message": why }))
            }
            ReloadError::ShuttingDown => Self::new(StatusCode::CONFLICT, "shutting_down", message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": {"code": self.code, "message": self.message, "details": self.details}});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
