//! The control listener: who holds the token sees what runs and may change it.
//!
//! Every route but `/healthz` asks for the token, by one layer around the router: a route cannot be added without
//! it. Nothing is decided here; what is asked goes to [`Control`], and its words come back as JSON.

mod error;
mod gateway;
mod guard;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router, middleware};
use serde_json::Value;

pub use error::ApiError;
pub use gateway::Gateway;
use guard::Guard;

use crate::lifecycle::{LifecycleError, Readiness, Report};
use crate::limits;
use crate::metrics::Metrics;
use crate::token::Token;

/// What the control listener asks of the gateway.
pub trait Control: Send + Sync + 'static {
    /// Versions, uptime, sandbox level, plugins and their state.
    fn status(&self) -> impl Future<Output = Value> + Send;
    /// The published generation: number, hash, members, since when.
    fn chain(&self) -> impl Future<Output = Value> + Send;
    fn ready(&self) -> Readiness;
    /// Reads the configuration again and publishes what it says, or changes nothing.
    fn reload(&self) -> impl Future<Output = Result<Report, LifecycleError>> + Send;
}

/// The routes. `hosts` are names, beside `localhost` and addresses, under which browsers may reach them.
pub fn router<C: Control>(
    control: Arc<C>,
    metrics: Arc<Metrics>,
    token: Token,
    hosts: Vec<String>,
) -> Router {
    let guard = Arc::new(Guard { token, hosts });
    let guarded = Router::new()
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/chain", get(chain))
        .route("/api/reload", post(reload))
        .with_state(control)
        .route("/metrics", get(self::metrics).with_state(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::admit));
    let open = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .method_not_allowed_fallback(method_not_allowed);
    guarded.merge(open)
}

/// Serves `router` until `shutdown` resolves, then ends what is still answered, in a bounded time.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
        // Costs a delay if it fails, nothing else.
        let _ = stream.set_nodelay(true);
    });
    let (told, mut is_told) = tokio::sync::watch::channel(());
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        drop(told);
    });
    let cut = async {
        // An error says that the sender is gone: the shutdown began.
        while is_told.changed().await.is_ok() {}
        tokio::time::sleep(limits::ADMIN_GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = cut => Ok(()),
    }
}

async fn readyz<C: Control>(State(control): State<Arc<C>>) -> Response {
    let readiness = control.ready();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn status<C: Control>(State(control): State<Arc<C>>) -> Json<Value> {
    Json(control.status().await)
}

async fn chain<C: Control>(State(control): State<Arc<C>>) -> Json<Value> {
    Json(control.chain().await)
}

async fn reload<C: Control>(State(control): State<Arc<C>>) -> Result<Json<Report>, ApiError> {
    Ok(Json(control.reload().await?))
}

async fn metrics(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::not_found(format!("There is no '{}' here.", uri.path()))
}

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::method_not_allowed(format!("{method} is not allowed here."))
}
