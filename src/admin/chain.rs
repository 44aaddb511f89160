//! The published chain, and its order.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::extract::Body;
use super::fields::{Ask, Fields};
use super::{ApiError, ChangeReport, Gateway};
use crate::chain::{Generation, Member};
use crate::lifecycle::By;
use crate::plugin::Plugin;

/// The order plugins are to have.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"order": ["redact", "translate"]})))]
pub struct Order {
    /// These come first, in this order; the others follow as they are.
    pub order: Vec<String>,
}

impl Ask for Order {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { order: fields.texts("order")? })
    }
}

/// The published generation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(examples(json!({
    "generation": 3, "hash": "9f86d081884c7d65", "since": "Sun, 01 Mar 2026 09:30:00 GMT",
    "sinceUnixMs": 1772357400125_u64,
    "members": [{"name": "redact", "version": "1.0.0", "priority": 100, "hooks": ["onRequest"]}]
})))]
pub struct Chain {
    generation: u64,
    /// Tells two chains apart: their plugins, versions, order and config. Names nothing of them.
    hash: String,
    /// When it was published.
    since: String,
    since_unix_ms: u64,
    /// In the order requests pass them.
    members: Vec<MemberView>,
}

/// A plugin's place in the chain.
#[derive(Serialize, ToSchema)]
pub(super) struct MemberView {
    name: String,
    version: String,
    /// What it is sorted by.
    priority: i64,
    hooks: Vec<&'static str>,
}

impl From<&Member<Plugin>> for MemberView {
    fn from(member: &Member<Plugin>) -> Self {
        Self {
            name: member.name.to_string(),
            version: member.version.to_string(),
            priority: member.priority,
            hooks: member.hooks.iter().map(|hook| hook.spec.name.as_str()).collect(),
        }
    }
}

impl Gateway {
    pub fn chain(&self) -> Chain {
        let generation = self.published.lease();
        let since = generation.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Chain {
            generation: generation.number,
            hash: hash(&generation),
            since: httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since),
            since_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            members: generation.members.iter().map(MemberView::from).collect(),
        }
    }

    pub async fn reorder(&self, asked: Order, by: By) -> Result<ChangeReport, ApiError> {
        Ok(self.lifecycle.reorder(asked.order, by).await?.into())
    }
}

fn hash(generation: &Generation<Plugin>) -> String {
    let mut hash = Sha256::new();
    for member in &generation.members {
        let config = serde_json::to_string(&member.hook.config()).unwrap_or_default();
        for part in [&*member.name, &member.version, &member.priority.to_string(), &config] {
            hash.update(part);
            hash.update([0]);
        }
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The published chain
#[utoipa::path(get, path = "/api/chain", tag = "gateway", responses((status = 200, body = Chain)))]
pub(super) async fn get_chain(State(gateway): State<Arc<Gateway>>) -> Json<Chain> {
    Json(gateway.chain())
}

/// Order the plugins
///
/// The named plugins come first, in this order, whether or not they are active. Managed plugins stay where the
/// configuration has them.
#[utoipa::path(
    put, path = "/api/chain", tag = "gateway",
    request_body = Order,
    responses((status = 200, body = ChangeReport))
)]
pub(super) async fn set_chain(
    State(gateway): State<Arc<Gateway>>,
    by: By,
    Body(asked): Body<Order>,
) -> Result<Json<ChangeReport>, ApiError> {
    gateway.reorder(asked, by).await.map(Json)
}
