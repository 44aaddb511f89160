//! A JSON request: read whole, shown to the chain, routed by its model, attempted, answered.

use std::time::Instant;

use bytes::Bytes;

use super::attempts::{self, Outcome};
use super::client::{Client, End};
use super::downstream::Downstream;
use super::{Request, identity, intake, pump, reply};
use crate::chain::{self, Draft, Facts, Ruling};
use crate::fault::{Fault, Kind};
use crate::hook::{Endpoint, Hook, HookName};

pub(super) async fn serve<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    endpoint: Endpoint,
    suffix: &str,
) -> Result<(), End> {
    request.record.asked = endpoint.into();
    let head = request.head;
    let began = Instant::now();
    let (room, bytes_max) = (request.room, request.lease.config.limits.body_bytes);
    let body = intake::read_json(request, client, bytes_max).await?;
    request.waited += began.elapsed();
    let read = Draft::read(room, endpoint, body, bytes_max).await;
    let draft = read.map_err(|error| intake::bad_body(&error))?;
    let Noting { request, draft } = &mut Noting { request, draft };
    if endpoint == Endpoint::ChatCompletions && draft.model.is_none() {
        return Err(Fault::new(Kind::BadRequest, "You must provide a 'model'.").param("model").into());
    }
    let (id, lease) = (request.id.clone(), request.lease.clone());
    let hooked = lease.has_hook(HookName::OnRequest, endpoint) || lease.has_hook(HookName::OnError, endpoint);
    let key_id = if hooked { identity::key_id(&head.headers) } else { None };
    let facts = Facts {
        request_id: &id,
        generation: lease.number,
        endpoint,
        method: head.method.as_str(),
        path: head.uri.path(),
        headers: &head.headers,
        key_id: key_id.as_deref(),
        client: identity::client_id(request.record.client),
    };
    run(request, client, &facts, suffix, draft).await
}

/// Tells the request's record what became of the draft when the phases end, also where they are cut short: the
/// client left, the gateway shuts down, or code panicked.
struct Noting<'r, 'a, H> {
    request: &'r mut Request<'a, H>,
    draft: Draft,
}

impl<H> Drop for Noting<'_, '_, H> {
    fn drop(&mut self) {
        let record = &mut self.request.record;
        record.model = self.draft.model.take();
        record.stream = self.draft.stream;
        record.hooks = std::mem::take(&mut self.draft.runs);
    }
}

async fn run<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    facts: &Facts<'_>,
    suffix: &str,
    draft: &mut Draft,
) -> Result<(), End> {
    let lease = request.lease.clone();
    let ruling = tokio::select! {
        biased;
        ruling = chain::on_request(&lease, facts, draft) => ruling,
        gone = client.down.gone() => return Err(gone.into()),
    };
    match ruling {
        Ruling::Proceed => {}
        Ruling::Answer(answer) => return reply::give(request, client, draft, answer).await,
        Ruling::Refuse(fault) => return Err(fault.into()),
    }
    match attempts::run(request, client, facts, suffix, draft).await? {
        Outcome::Answered(exchange) => {
            if !lease.has_hook(HookName::OnError, facts.endpoint) {
                // Nobody asks for the body again, and a stream may go on for long.
                draft.body = Bytes::new();
            }
            pump::run(request, client, facts, draft, exchange).await
        }
        Outcome::Failed(failed) => reply::pass_failure(request, client, draft, failed).await,
        Outcome::Plugin(answer) => reply::give(request, client, draft, answer).await,
    }
}
