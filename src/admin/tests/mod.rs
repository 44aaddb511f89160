//! What a caller of the control listener reads. The gateway is real, and has no plugins.

mod contract;
mod errors;
mod letting_in;
mod mcp;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::config::{Config, Environment};
use crate::lifecycle::{Ground, Lifecycle, Source};
use crate::metrics::Metrics;
use crate::package::Search;
use crate::plugin::launch::Launcher;
use crate::record::Live;
use crate::store::{Entry, Store};

const TOKEN: &str = "let-me-in-to-this-one";

/// A gateway with its control listener's routes, in a folder of its own.
struct Stage {
    gateway: Arc<Gateway>,
    live: Live,
    routes: Router,
    /// What [`Gateway`] does not hold on to.
    lifecycle: Lifecycle,
    _folder: TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let environment = Environment::from([("HOME".to_owned(), home)]);
        let config = Config::built_in(&environment).unwrap();
        let (metrics, live) = (Arc::new(Metrics::new()), Live::default());
        let store = Arc::new(Store::open(folder.path(), Entry::Alone).unwrap());
        let runtime = tokio::runtime::Handle::current();
        let ground = Ground {
            metrics: metrics.clone(),
            live: live.clone(),
            store: store.clone(),
            launcher: Launcher::start(PathBuf::from("/proc/self/exe")).unwrap(),
            search: Search::of_this_process(),
            sdk: folder.path().to_owned(),
            environment: environment.clone(),
            data: runtime.clone(),
            control: runtime,
        };
        let source = Source { path: None, environment };
        let (lifecycle, published) = Lifecycle::start(source, config, ground).await.unwrap();
        let gateway = Arc::new(Gateway::new(lifecycle.clone(), published, store, metrics, live.clone()));
        let (token, _) = crate::token::load(Some(TOKEN), None, "/nowhere".as_ref()).unwrap();
        let routes = router(gateway.clone(), token, vec!["hookway.internal".to_owned()]);
        Self { gateway, live, routes, lifecycle, _folder: folder }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let (head, body) = self.routes.clone().oneshot(request).await.unwrap().into_parts();
        (head.status, head.headers, axum::body::to_bytes(body, 4 << 20).await.unwrap().to_vec())
    }

    /// With the token; the answer is JSON.
    async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = with_token(method, path).header(CONTENT_TYPE, "application/json");
        let (status, _, body) = self.ask(request.body(Body::from(body.to_owned())).unwrap()).await;
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, "127.0.0.1:8081")
}

fn with_token(method: &str, path: &str) -> axum::http::request::Builder {
    request(method, path).header(AUTHORIZATION, format!("Bearer {TOKEN}"))
}
