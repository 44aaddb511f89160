//! The one shape of an error: `{"error":{"code","message","details"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::lifecycle::LifecycleError;

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

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        let message = format!("Nothing was changed: {error}.");
        let unprocessable = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message.clone());
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, message.clone());
        match error {
            LifecycleError::Unknown { plugin } => Self::not_found(format!("There is no plugin '{plugin}'."))
                .details(json!({ "plugin": plugin })),
            LifecycleError::Managed { plugin } => conflict("managed").details(json!({ "plugin": plugin })),
            LifecycleError::WrongState { plugin, why } => {
                conflict("wrong_state").details(json!({ "plugin": plugin, "message": why }))
            }
            LifecycleError::NotGranted { plugin, permissions } => {
                conflict("not_granted").details(json!({ "plugin": plugin, "permissions": permissions }))
            }
            LifecycleError::Invalid { errors } => {
                unprocessable("invalid_config").details(json!({ "errors": errors }))
            }
            LifecycleError::Config { plugin, problems } => {
                let problems: Vec<Value> = problems
                    .iter()
                    .map(|problem| json!({ "pointer": problem.pointer, "message": problem.message }))
                    .collect();
                unprocessable("invalid_plugin_config")
                    .details(json!({ "plugin": plugin, "problems": problems }))
            }
            LifecycleError::Order { .. } => unprocessable("invalid_order"),
            LifecycleError::Failed { plugin, step, message: why } => unprocessable("plugin_failed")
                .details(json!({ "plugin": plugin, "step": step, "message": why })),
            LifecycleError::Files { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "files_unavailable", message)
            }
            LifecycleError::Store { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message)
            }
            LifecycleError::ShuttingDown => conflict("shutting_down"),
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
