//! Everything of the API that no hook applies to, as it is: streamed up while it is streamed down, of any
//! size and type, WebSocket handshakes included.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::client::{Client, End};
use super::downstream::Downstream;
use super::intake::{self, to_end};
use super::{Request, path, path_and_query};
use crate::fault::Fault;
use crate::hook::{HeaderChanges, Hook};
use crate::metrics::Outcome;
use crate::upstream::{
    AttemptError, Exchange, Length, Outgoing, RequestRules, Upstream, asks_for_web_socket, strip_agreement,
    strip_answer,
};

/// Passes the request to the first upstream. No retry: all but the first part of its body is gone once it was sent.
pub(super) async fn serve<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    suffix: &str,
) -> Result<(), End> {
    refuse_hooked(client.down.body_length(), request.head, suffix)?;
    let lease = request.lease.clone();
    let target = lease.routes.for_model(None);
    let upstream = &lease.upstreams[target.upstreams[0]];
    request.attempting(upstream, &target.route);
    let path_and_query = path_and_query(request.head, suffix);
    let changes = HeaderChanges::default();
    let head = request.head;
    let length = client.down.body_length();
    let outgoing = Outgoing {
        method: &head.method,
        path_and_query: &path_and_query,
        model: None,
        alternative: false,
        headers: &head.headers,
        rules: RequestRules {
            changes: &changes,
            identity: false,
            upgrade: asks_for_web_socket(&head.headers),
            credentials: true,
        },
        length,
    };
    let mut sending = length != Length::None && !upstream.is_echo();
    let mut exchange = if sending {
        request.await_body()?;
        upstream.open(outgoing).await
    } else {
        let body = intake::read_whole(request, client, lease.config.limits.body_bytes).await?;
        tokio::select! {
            biased;
            sent = upstream.send(outgoing, &body) => sent,
            gone = client.down.gone() => return Err(gone.into()),
        }
    }
    .map_err(|error| failed(upstream, &error))?;

    let mut answered = !sending;
    while !answered {
        match until_head(client, &mut exchange, outgoing, sending).await? {
            Some(sent) => sending = sent.map_err(|error| failed(upstream, &error))?,
            None => answered = true,
        }
        if !sending {
            request.keep_place();
        }
    }
    // Until the answer's head is here everything is waiting, for the one side or the other.
    request.waited = request.started.elapsed();
    answer(request, client, exchange, sending).await
}

/// Moves the upload on by one part; `None` once the answer's head is here, else whether more is to send.
async fn until_head<D: Downstream>(
    client: &mut Client<'_, D>,
    exchange: &mut Exchange,
    outgoing: Outgoing<'_>,
    sending: bool,
) -> Result<Option<Result<bool, AttemptError>>, End> {
    tokio::select! {
        biased;
        head = exchange.read_head() => match head {
            Ok(()) => Ok(None),
            Err(error) => Ok(Some(exchange.resend(error, outgoing).await.map(|()| sending))),
        },
        part = client.read_or_gone(sending) => {
            let part = part.map_err(to_end)?;
            let more = part.is_some();
            let Err(error) = upload(exchange, part).await else { return Ok(Some(Ok(more))) };
            // An upstream that refuses early stops reading; what it says is its answer.
            if exchange.read_head().await.is_ok() {
                return Ok(None);
            }
            Ok(Some(exchange.resend(error, outgoing).await.map(|()| more)))
        }
    }
}

/// Sends one part on, or the end.
async fn upload(exchange: &mut Exchange, part: Option<Bytes>) -> Result<(), AttemptError> {
    match part {
        Some(part) => exchange.write(part).await,
        None => exchange.end().await,
    }
}

async fn answer<H: Hook, D: Downstream>(
    request: &mut Request<'_, H>,
    client: &mut Client<'_, D>,
    mut exchange: Exchange,
    mut sending: bool,
) -> Result<(), End> {
    let (status, from_upstream) = exchange.head();
    let mut headers = from_upstream.clone();
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded {
        strip_agreement(&mut headers);
    } else {
        strip_answer(&mut headers);
    }
    request.record.outcome = match status {
        status if status.is_server_error() => Outcome::UpstreamError,
        status if status.is_client_error() => Outcome::UpstreamRefused,
        _ => Outcome::Ok,
    };
    client.start(status, headers, false).await?;
    // A tunnel carries the client's bytes on, whatever its request said.
    sending |= upgraded;
    let mut taken = true;
    loop {
        tokio::select! {
            biased;
            chunk = exchange.chunk() => match chunk {
                Ok(Some(chunk)) => client.write(chunk, false).await?,
                Ok(None) => break,
                Err(error) => return Err(error.broke_off().into()),
            },
            part = client.read_or_gone(sending) => {
                let part = part.map_err(to_end)?;
                let whole = part.is_none();
                sending = !whole;
                if whole {
                    request.keep_place();
                }
                // The answer is here already, so a failed upload does not change it. What is left of it is
                // read all the same, or it would be taken for the client's next request.
                taken = taken && upload(&mut exchange, part).await.is_ok();
                if upgraded && (whole || !taken) {
                    break;
                }
            }
        }
    }
    exchange.release().await;
    Ok(client.finish().await?)
}

fn failed(upstream: &Upstream, error: &AttemptError) -> End {
    error.clone().into_fault(upstream.name()).into()
}

/// A hooked path passes only to list what is stored there. A body, or another protocol, could carry a prompt past the
/// hooks.
fn refuse_hooked(body: Length, head: &Parts, suffix: &str) -> Result<(), Fault> {
    let lists = body == Length::None && !asks_for_web_socket(&head.headers);
    if lists || !path::HOOKED.contains(&suffix) {
        return Ok(());
    }
    let message = format!("/v1{suffix} takes a body by POST only, and no upgrade.");
    Err(Fault::method_not_allowed(message, "GET, POST"))
}
