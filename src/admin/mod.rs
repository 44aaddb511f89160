//! The control listener: who holds the token sees what runs and may change it.
//!
//! Every route but `/healthz` asks for the token, by one layer around the router: a route cannot be added without
//! it, nor without standing in the OpenAPI document; `/mcp` alone describes itself. Nothing is decided here: what
//! is asked goes to [`Gateway`], whose operations return what the routes answer, so that whoever else speaks for an
//! operator says the same.

mod chain;
mod error;
mod events;
mod executions;
mod extract;
mod fields;
mod gateway;
mod guard;
mod listen;
mod logs;
mod mcp;
mod openapi;
mod plugins;
mod requests;
mod rfc3339;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use chain::{Chain, Order};
pub use error::{ApiError, ErrorBody, Problem};
pub use executions::{AuditList, ExecutionList, RowPage};
pub use fields::{Ask, Fields};
pub use gateway::Gateway;
pub use listen::serve;
pub use logs::{LogList, LogPage};
pub use plugins::{
    Activate, Change, ChangeReport, ConfigView, Configure, Install, Installation, ListPlugins, PluginList,
    PluginView, Scan,
};
pub use requests::{Recent, RequestList};
pub use status::Status;

use guard::Guard;
use openapi::Document;

use crate::limits;
use crate::token::Token;

/// The routes. `hosts` are names, beside `localhost` and addresses, under which browsers may reach them.
pub fn router(gateway: Arc<Gateway>, token: Token, hosts: Vec<String>) -> Router {
    let guard = Arc::new(Guard { token, hosts });
    let (open, mut document) = OpenApiRouter::default().routes(routes!(status::healthz)).split_for_parts();
    let (guarded, documented) = guarded().split_for_parts();
    document.merge(documented);
    let (own, documented) = OpenApiRouter::default().routes(routes!(openapi::get_openapi)).split_for_parts();
    document.merge(documented);
    let document = Document::of(document);
    let mcp = mcp::service(gateway.clone(), &document.json());
    let guarded = guarded
        .with_state(gateway)
        .route_service("/mcp", mcp)
        .merge(own.with_state(document))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, guard::admit));
    guarded.merge(open.method_not_allowed_fallback(method_not_allowed))
}

fn guarded() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .merge(plugins::routes())
        .routes(routes!(chain::get_chain, chain::set_chain))
        .routes(routes!(requests::list_requests))
        .routes(routes!(events::stream_events))
        .routes(routes!(executions::list_audit))
        .routes(routes!(status::get_status))
        .routes(routes!(status::reload))
        .routes(routes!(status::readyz))
        .routes(routes!(status::metrics))
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::not_found(format!("There is no '{}' here.", uri.path()))
}

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::method_not_allowed(format!("{method} is not allowed here."))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
