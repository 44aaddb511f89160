//! `GET /v1/models`: one list of what all upstreams offer.

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use http::{Method, StatusCode};

use super::client::{Client, End};
use super::downstream::Downstream;
use super::{Request, intake, passthrough};
use crate::chat::models::ModelList;
use crate::fault::{Fault, Kind};
use crate::hook::{HeaderChanges, Hook, UpstreamCause};
use crate::limits;
use crate::metrics::Asked;
use crate::upstream::{Length, Outgoing, RequestRules, Upstream};

/// The merged list. An upstream that does not answer is left out, unless none does.
pub(super) async fn list<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
) -> Result<(), End> {
    request.record.asked = Asked::Models;
    let bodies = ask_all(request, client).await?;
    let merged = merge(&bodies);
    client.answer_json(StatusCode::OK, merged.to_body()).await?;
    Ok(())
}

/// One model of the merged list. One that is in no list may still be known to the upstream it is routed to.
pub(super) async fn one<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    id: &str,
    suffix: &str,
) -> Result<(), End> {
    request.record.asked = Asked::Models;
    let bodies = ask_all(request, client).await?;
    match merge(&bodies).pick(id) {
        Some(model) => Ok(client.answer_json(StatusCode::OK, model).await?),
        None => passthrough::serve(request, client, suffix).await,
    }
}

fn merge(bodies: &[Bytes]) -> ModelList<'_> {
    ModelList::merge(bodies.iter().filter_map(|body| ModelList::parse(body).ok()))
}

async fn ask_all<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
) -> Result<Vec<Bytes>, End> {
    intake::read_whole(request, client, limits::MODELS_REQUEST_BYTES_MAX).await?;
    // The client's key is for the upstream that models without a route go to. The others are asked without it: a
    // list that gathers from all must not hand a key of one to the rest.
    let lease = &request.lease;
    let first = lease.routes.for_model(None).upstreams[0];
    let asked = lease.upstreams.iter().enumerate().map(|(at, upstream)| ask(request, upstream, at == first));
    let answers = tokio::select! {
        biased;
        answers = join_all(asked) => answers,
        gone = client.down.gone() => return Err(gone.into()),
    };
    request.waited = request.started.elapsed();
    let bodies: Vec<Bytes> = answers.into_iter().flatten().collect();
    if bodies.is_empty() {
        let message = "No upstream answered with a list of models.";
        return Err(Fault::new(Kind::Upstream(UpstreamCause::Connect), message).into());
    }
    Ok(bodies)
}

/// One upstream's list, if it answers with one in time.
async fn ask<H>(request: &Request<'_, H>, upstream: &Upstream, credentials: bool) -> Option<Bytes> {
    let answer = tokio::time::timeout(limits::MODELS_TIMEOUT, fetch(request, upstream, credentials)).await;
    match answer {
        Ok(Ok(body)) => Some(body),
        Ok(Err(reason)) => {
            tracing::warn!(upstream = %upstream.name(), reason, "models.failed");
            None
        }
        Err(_) => {
            tracing::warn!(upstream = %upstream.name(), reason = "no answer in time", "models.failed");
            None
        }
    }
}

async fn fetch<H>(request: &Request<'_, H>, upstream: &Upstream, credentials: bool) -> Result<Bytes, String> {
    let changes = HeaderChanges::default();
    let outgoing = Outgoing {
        method: &Method::GET,
        path_and_query: "/models",
        model: None,
        alternative: false,
        headers: &request.head.headers,
        rules: RequestRules { changes: &changes, identity: true, upgrade: false, credentials },
        length: Length::None,
    };
    let sent = upstream.send(outgoing, &Bytes::new()).await;
    let mut exchange = sent.map_err(|error| error.to_string())?;
    let status = exchange.head().0;
    if status != StatusCode::OK {
        return Err(format!("status {status}"));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = exchange.chunk().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(&chunk);
        if body.len() > limits::MODELS_BODY_BYTES_MAX {
            return Err(format!("more than {} bytes", limits::MODELS_BODY_BYTES_MAX));
        }
    }
    exchange.release().await;
    Ok(body.freeze())
}
