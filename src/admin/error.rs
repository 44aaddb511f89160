//! The one shape of an error: `{"error":{"code","message","details"}}`.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::lifecycle::LifecycleError;
use crate::package::ConfigProblem;
use crate::store::StoreError;

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Facts for programs; null if there are none.
    details: Value,
}

/// Something wrong with what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the body. Empty: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// An error as it is answered.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorFacts,
}

#[derive(Serialize, ToSchema)]
struct ErrorFacts {
    /// For programs: one word for each kind of error.
    code: String,
    /// For people.
    message: String,
    /// More for programs; null if there is no more.
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

    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is answered, but for the status.
    pub fn body(&self) -> ErrorBody {
        let (code, details) = (self.code.to_owned(), self.details.clone());
        ErrorBody { error: ErrorFacts { code, message: self.message.clone(), details } }
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

    pub(super) fn too_large(max: usize) -> Self {
        let message = format!("The body is larger than {max} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).details(json!({ "maxBytes": max }))
    }

    pub(super) fn not_json() -> Self {
        let message = "Send JSON, with 'content-type: application/json'.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(super) fn cut_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", "The body did not come whole.")
    }

    pub(super) fn bad_json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        Self::new(StatusCode::BAD_REQUEST, "bad_json", format!("The body is not JSON: {error}."))
            .details(json!({ "line": line, "column": column }))
    }

    pub(super) fn invalid(problems: &[Problem]) -> Self {
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", format!("{}.", told.join("; ")))
            .details(json!({ "problems": problems }))
    }

    pub(super) fn no_plugin(name: &str) -> Self {
        Self::not_found(format!("There is no plugin '{name}'.")).details(json!({ "plugin": name }))
    }

    /// The same, of a reload: what does not hold is the configuration.
    pub(super) fn of_reload(error: LifecycleError) -> Self {
        let is_config = matches!(error, LifecycleError::Invalid { .. });
        let error = Self::from(error);
        if is_config { Self { code: "invalid_config", ..error } } else { error }
    }

    pub(super) fn too_many_streams(max: usize) -> Self {
        let message = format!("{max} event streams are open already; close one, or come back.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
    }
}

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        let message = match &error {
            LifecycleError::NotInForce { .. } => format!("The change is stored, and not in force: {error}."),
            error => format!("Nothing was changed: {error}."),
        };
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, message.as_str());
        let unprocessable = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message.as_str());
        let unavailable = |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message.as_str());
        match error {
            LifecycleError::Unknown { plugin } => Self::no_plugin(&plugin),
            LifecycleError::Managed { plugin } => conflict("managed").details(json!({ "plugin": plugin })),
            LifecycleError::WrongState { plugin, why } => {
                conflict("wrong_state").details(json!({ "plugin": plugin, "message": why }))
            }
            LifecycleError::AlreadyInstalled { plugin, version, is_same } => conflict("wrong_state")
                .details(json!({ "plugin": plugin, "version": version, "sameFiles": is_same })),
            LifecycleError::NotGranted { plugin, permissions } => {
                conflict("not_granted").details(json!({ "plugin": plugin, "permissions": permissions }))
            }
            LifecycleError::Invalid { errors } => {
                unprocessable("invalid").details(json!({ "errors": errors }))
            }
            LifecycleError::Config { plugin, problems } => {
                let problems: Vec<_> = problems.iter().map(Problem::of_config).collect();
                unprocessable("invalid_config").details(json!({ "plugin": plugin, "problems": problems }))
            }
            LifecycleError::Order { .. } => unprocessable("invalid_order"),
            LifecycleError::Failed { plugin, step, message: why } => unprocessable("plugin_failed")
                .details(json!({ "plugin": plugin, "step": step, "message": why })),
            LifecycleError::NotInForce { plugin, why } => {
                unprocessable("not_in_force").details(json!({ "plugin": plugin, "message": why }))
            }
            LifecycleError::Files { .. } => unavailable("files_unavailable"),
            LifecycleError::Store { .. } => unavailable("store_unavailable"),
            LifecycleError::ShuttingDown => unavailable("shutting_down"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", format!("The database: {error}."))
    }
}

impl Problem {
    /// What is wrong with a config, as it stands in the body that brings one.
    fn of_config(problem: &ConfigProblem) -> Self {
        let pointer = format!("/config{}", problem.pointer);
        Self { pointer: Some(pointer), parameter: None, message: problem.message.clone() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.pointer, &self.parameter) {
            (Some(pointer), _) if !pointer.is_empty() => write!(f, "{pointer} {}", self.message),
            (_, Some(parameter)) => write!(f, "parameter {parameter} {}", self.message),
            (Some(_) | None, None) => write!(f, "the body {}", self.message),
        }
    }
}
