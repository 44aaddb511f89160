//! The routes under `/api/plugins`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    Activate, Change, ChangeReport, ConfigView, Configure, Install, Installation, ListPlugins, PluginList,
    PluginView, Scan,
};
use crate::admin::error::ErrorBody;
use crate::admin::extract::{Body, Name, Parameters};
use crate::admin::{ApiError, Gateway, executions, logs};
use crate::lifecycle::By;

type Gate = State<Arc<Gateway>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(in crate::admin) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(list_plugins, install_plugin))
        .routes(routes!(scan_plugins))
        .routes(routes!(get_plugin, uninstall_plugin))
        .routes(routes!(activate_plugin))
        .routes(routes!(deactivate_plugin))
        .routes(routes!(restart_plugin))
        .routes(routes!(get_config, set_config))
        .routes(routes!(logs::list_logs))
        .routes(routes!(executions::list_executions))
}

/// The plugins
///
/// In chain order, each with what is wanted of it, what it is doing, and its counters.
#[utoipa::path(
    get, path = "/api/plugins", tag = "plugins",
    params(("status" = Option<String>, Query,
        description = "Only those in this state: installed, starting, active, degraded, broken or stopped.",
        example = "active")),
    responses((status = 200, body = PluginList))
)]
async fn list_plugins(State(gateway): Gate, Parameters(asked): Parameters<ListPlugins>) -> Json<PluginList> {
    Json(gateway.plugins(&asked))
}

/// Install a plugin
///
/// Copies a plugin's folder, or each of several in one folder, and checks them. Another version of an installed plugin
/// takes its place and keeps its config, order and grants; so do other files of the same version, with `force`. A new
/// plugin is not active until it is activated, unless it wants to be (`enabledByDefault`) and what it asks for is
/// granted.
#[utoipa::path(
    post, path = "/api/plugins", tag = "plugins",
    request_body = Install,
    responses(
        (status = 200, description = "Other versions of plugins that were there", body = Installation),
        (status = 201, description = "New plugins", body = Installation,
            headers(("location" = Option<String>, description = "The plugin, if it is one"))),
        (status = 409, description = "It is managed, the same version is there, or permissions are missing", body = ErrorBody),
    )
)]
async fn install_plugin(
    State(gateway): Gate,
    by: By,
    Body(asked): Body<Install>,
) -> Result<(StatusCode, Option<[(HeaderName, String); 1]>, Json<Installation>), ApiError> {
    let installed = gateway.install(asked, by).await?;
    let status = if installed.has_new() { StatusCode::CREATED } else { StatusCode::OK };
    // Names of plugins are of letters, digits and hyphens.
    let location = installed.single_new().map(|name| [(LOCATION, format!("/api/plugins/{name}"))]);
    Ok((status, location, Json(installed)))
}

/// Scan the plugin folders
///
/// Adds plugins that are new in the folders of the configuration, takes note of changed ones, and tells which are gone.
#[utoipa::path(post, path = "/api/plugins/scan", tag = "plugins", responses((status = 200, body = Scan)))]
async fn scan_plugins(State(gateway): Gate, by: By) -> Answer<Scan> {
    gateway.scan(by).await.map(Json)
}

/// One plugin
#[utoipa::path(
    get, path = "/api/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    responses((status = 200, body = PluginView))
)]
async fn get_plugin(State(gateway): Gate, Name(name): Name) -> Answer<PluginView> {
    gateway.plugin(&name).map(Json)
}

/// Uninstall a plugin
///
/// Deactivates it, and removes what is known of it and the folder that its installation made. A folder that a scan
/// found stays where it is, and the answer says so.
#[utoipa::path(
    delete, path = "/api/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    responses(
        (status = 200, body = ChangeReport),
        (status = 409, description = "It is managed", body = ErrorBody),
    )
)]
async fn uninstall_plugin(State(gateway): Gate, by: By, Name(name): Name) -> Answer<ChangeReport> {
    gateway.uninstall(&name, by).await.map(Json)
}

/// Activate a plugin
///
/// Starts it, waits until it is ready, and publishes the chain with it. If anything fails nothing changed, and the
/// answer says why. One that is active stays as it is. A plugin that asks for something, to see or change a part of the
/// requests for example, is refused with the list of it (409, `not_granted`) until that is granted with `grant`.
#[utoipa::path(
    post, path = "/api/plugins/{name}/activate", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    request_body(content = Option<Activate>, content_type = "application/json"),
    responses(
        (status = 200, body = Change),
        (status = 409, description = "It is managed, or asks for permissions that were not granted", body = ErrorBody),
    )
)]
async fn activate_plugin(
    State(gateway): Gate,
    by: By,
    Name(name): Name,
    Body(asked): Body<Activate>,
) -> Answer<Change> {
    gateway.activate(&name, &asked, by).await.map(Json)
}

/// Deactivate a plugin
///
/// Publishes the chain without it, and stops it once the requests that use it are over. One that is not active stays so.
#[utoipa::path(
    post, path = "/api/plugins/{name}/deactivate", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    responses(
        (status = 200, body = Change),
        (status = 409, description = "It is managed", body = ErrorBody),
    )
)]
async fn deactivate_plugin(State(gateway): Gate, by: By, Name(name): Name) -> Answer<Change> {
    gateway.deactivate(&name, by).await.map(Json)
}

/// Restart a plugin
///
/// Starts a new process, waits until it is ready, and lets it take the place of the old one. Managed plugins too.
#[utoipa::path(
    post, path = "/api/plugins/{name}/restart", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    responses(
        (status = 200, body = Change),
        (status = 409, description = "It is not active, or asks for permissions that were not granted", body = ErrorBody),
        (status = 422, description = "It did not become ready", body = ErrorBody),
    )
)]
async fn restart_plugin(State(gateway): Gate, by: By, Name(name): Name) -> Answer<Change> {
    gateway.restart(&name, by).await.map(Json)
}

/// A plugin's config
///
/// With the defaults of its schema. A secret that is set is shown as null.
#[utoipa::path(
    get, path = "/api/plugins/{name}/config", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    responses((status = 200, body = ConfigView))
)]
async fn get_config(State(gateway): Gate, Name(name): Name) -> Answer<ConfigView> {
    gateway.config(&name).map(Json)
}

/// Configure a plugin
///
/// Puts a config in the place of the one it had. It is checked against the plugin's schema first; what is wrong is told
/// with JSON pointers into the config.
#[utoipa::path(
    put, path = "/api/plugins/{name}/config", tag = "plugins",
    params(("name" = String, Path, description = "The plugin.", example = "redact")),
    request_body = Configure,
    responses(
        (status = 200, body = Change),
        (status = 409, description = "It is managed, or its manifest does not hold any more", body = ErrorBody),
    )
)]
async fn set_config(
    State(gateway): Gate,
    by: By,
    Name(name): Name,
    Body(asked): Body<Configure>,
) -> Answer<Change> {
    gateway.configure(&name, asked, by).await.map(Json)
}
