//! The life of a request, phase by phase, from its head to the record it leaves.
//!
//! [`Relay::serve`] is the single way in and the single way out: whatever happens inside a phase comes back
//! as a value, the client is told once, and one [`Record`] is written.

mod attempts;
mod client;
mod downstream;
mod hooked;
mod identity;
mod in_flight;
mod intake;
mod models;
mod passthrough;
mod path;
mod plan;
mod pump;
mod reply;
mod target;
mod trace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

pub use downstream::{ClientError, Downstream};
pub use identity::RequestIds;
pub use in_flight::InFlight;

use crate::chain::{Lease, Published};
use crate::fault::{Fault, Kind};
use crate::hook::Hook;
use crate::limits;
use crate::metrics::{Asked, Outcome};
use crate::panics::{self, Panicked};
use crate::record::{HookRun, Record, Recorder, Times, hooks_line};
use crate::room::Room;
use crate::token::Token;
use crate::upstream::Upstream;
use client::{Client, End};
use in_flight::Held;
use target::Target;
use trace::TraceAccess;

/// Serves requests, each from one leased generation.
pub struct Relay<H> {
    published: Arc<Published<H>>,
    recorder: Recorder,
    ids: RequestIds,
    in_flight: InFlight,
    room: Arc<Room>,
    trace: TraceAccess,
}

/// One request while it is served.
struct Request<'a, H> {
    lease: Lease<H>,
    room: &'a Arc<Room>,
    id: String,
    head: &'a Parts,
    started: Instant,
    record: Record,
    trace_wanted: bool,
    /// Time spent waiting for the client's body, upstreams and pauses between attempts.
    waited: Duration,
    /// Its place; none for a health check that came when there was none.
    held: Option<Held<'a>>,
}

impl<H: Hook> Relay<H> {
    pub fn new(published: Arc<Published<H>>, recorder: Recorder, trace_token: Token) -> Self {
        let (ids, in_flight, room) = (RequestIds::new(), InFlight::default(), Arc::default());
        let trace = TraceAccess::new(trace_token);
        Self { published, recorder, ids, in_flight, room, trace }
    }

    /// Requests being served now, and a way to wait for the last.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// How long a request header may be, by the configuration that serves now.
    pub fn header_bytes(&self) -> u64 {
        self.published.lease().config.limits.header_bytes
    }

    /// Serves one request to its end: an answer, an error in OpenAI's form, or a client that left.
    pub async fn serve<D: Downstream>(&self, mut head: Parts, peer: Option<SocketAddr>, down: &mut D) {
        let trace_wanted = self.trace.allows(&head.headers, peer, Instant::now());
        // The value may be the admin token: plugins and upstreams must not see it.
        head.headers.remove(client::TRACE);
        let head = &head;
        let _counted = self.recorder.begin();
        let lease = self.published.lease();
        self.room.limit(lease.config.limits.buffered);
        let id = self.ids.next();
        let mut client = Client::new(down, head, &id);
        let (held, refused) = match self.in_flight.enter() {
            Ok(held) => (Some(held), None),
            // `/healthz` answers 200 also while the gateway drains.
            Err(_) if head.uri.path() == target::HEALTH => (None, None),
            Err(fault) => (None, Some(fault)),
        };
        let mut request = Request {
            record: blank_record(&id, lease.number, head, peer),
            waited: Duration::ZERO,
            trace_wanted,
            started: Instant::now(),
            lease,
            room: &self.room,
            held,
            id,
            head,
        };
        let ended = match refused {
            Some(fault) => Err(End::Fault(fault)),
            None if request.held.is_none() => request.run(&mut client).await,
            None => {
                let ended = tokio::select! {
                    biased;
                    ended = panics::caught(request.run(&mut client)) => ended,
                    cut = self.in_flight.cut() => Ok(Err(End::Fault(cut))),
                };
                ended.unwrap_or_else(|panicked| {
                    client.down.end_after_answer();
                    Err(broken(&panicked).into())
                })
            }
        };
        let told = match &ended {
            Err(End::Fault(fault)) => {
                request.show_trace(&mut client, &request.record.hooks);
                client.refuse(fault).await
            }
            Ok(()) | Err(End::Client(_)) => Ok(()),
        };
        let gone = told.err().or(match ended {
            Err(End::Client(error)) => Some(error),
            _ => None,
        });
        if gone.is_some() {
            client.down.abort().await;
        }
        let fault = match ended {
            Err(End::Fault(fault)) => Some(fault),
            Ok(()) | Err(End::Client(_)) => None,
        };
        // The place is held until the client was told and the record is written: a drain waits for both.
        let _held = request.held.take();
        self.recorder.finished(request.close(&client, gone, fault));
    }
}

impl<H: Hook> Request<'_, H> {
    async fn run<D: Downstream>(&mut self, client: &mut Client<'_, D>) -> Result<(), End> {
        self.check_header_size()?;
        let head = self.head;
        let (target, suffix) = target::classify(&head.method, head.uri.path())?;
        match target {
            Target::Health => {
                self.record.asked = Asked::Health;
                client.answer_json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)).await?;
                Ok(())
            }
            Target::Models => models::list(self, client).await,
            Target::Model(id) => models::one(self, client, &id, suffix).await,
            Target::Hooked(endpoint) => hooked::serve(self, client, endpoint, suffix).await,
            Target::PassThrough => {
                self.record.asked = Asked::Other;
                passthrough::serve(self, client, suffix).await
            }
        }
    }

    fn check_header_size(&self) -> Result<(), Fault> {
        const FRAMING: usize = ": \r\n".len();
        let fields = self.head.headers.iter();
        let size: usize =
            fields.map(|(name, value)| name.as_str().len() + value.len() + FRAMING).sum::<usize>()
                + self.head.uri.path().len();
        let max = self.lease.config.limits.header_bytes;
        if size as u64 > max {
            let message =
                format!("The request header is larger than {max} bytes, the limit of this gateway.");
            return Err(Fault::new(Kind::HeaderTooLarge, message));
        }
        Ok(())
    }

    /// The request's body is on its way.
    fn await_body(&mut self) -> Result<(), Fault> {
        self.held.as_mut().map_or(Ok(()), |held| held.await_body(&self.lease.config.limits))
    }

    /// The request is whole.
    fn take_place(&mut self) -> Result<(), Fault> {
        self.held.as_mut().map_or(Ok(()), |held| held.take_place(&self.lease.config.limits))
    }

    /// The request is whole, and what it began goes on.
    fn keep_place(&mut self) {
        if let Some(held) = &mut self.held {
            held.keep_place();
        }
    }

    /// An attempt at an upstream begins.
    fn attempting(&mut self, upstream: &Upstream, route: &Arc<str>) {
        self.record.attempts += 1;
        self.record.upstream = Some(upstream.name().clone());
        self.record.route = Some(route.clone());
    }

    /// Adds what the hooks did so far to the answer, if its reader may see it.
    fn show_trace<D: Downstream>(&self, client: &mut Client<'_, D>, runs: &[HookRun]) {
        if !self.trace_wanted {
            return;
        }
        let trace = hooks_line(runs).unwrap_or_default();
        if let Ok(trace) = HeaderValue::from_str(&trace) {
            client.own.push((client::TRACE, trace));
        }
    }

    fn close<D: Downstream>(
        mut self,
        client: &Client<'_, D>,
        gone: Option<ClientError>,
        fault: Option<Fault>,
    ) -> Record {
        let record = &mut self.record;
        record.status = client.started.map(|started| started.status);
        record.bytes_in = client.bytes_received;
        record.bytes_out = client.bytes_sent;
        record.times.total = self.started.elapsed();
        record.times.first_byte = client.started.map(|started| started.at.duration_since(self.started));
        let own = record.times.first_byte.unwrap_or(record.times.total);
        record.times.overhead = own.saturating_sub(self.waited);
        if gone.is_some() {
            record.outcome = Outcome::ClientGone;
        } else if let Some(fault) = fault {
            record.outcome = Outcome::from(fault.kind);
            record.fault = Some(if fault.detail.is_empty() {
                fault.message.into_owned()
            } else {
                fault.detail.into_string()
            });
        }
        self.record
    }

    /// The longest this request may still take attempts for.
    fn may_attempt(&self) -> bool {
        self.started.elapsed() < limits::TOTAL_TIMEOUT
    }
}

/// What a client is told when the gateway's own code failed on its request.
fn broken(panicked: &Panicked) -> Fault {
    let message = "The gateway failed on this request because of a fault of its own.";
    Fault::new(Kind::Internal, message).detail(panicked.to_string())
}

/// A record of a request that has only begun.
fn blank_record(id: &str, generation: u64, head: &Parts, client: Option<SocketAddr>) -> Record {
    Record {
        request_id: id.to_owned(),
        traceparent: head.headers.get("traceparent").and_then(|v| v.to_str().ok()).map(str::to_owned),
        client,
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        asked: Asked::Unknown,
        model: None,
        route: None,
        upstream: None,
        attempts: 0,
        status: None,
        outcome: Outcome::Ok,
        stream: false,
        bytes_in: 0,
        bytes_out: 0,
        usage: None,
        times: Times {
            received: SystemTime::now(),
            first_byte: None,
            total: Duration::ZERO,
            overhead: Duration::ZERO,
        },
        generation,
        hooks: Vec::new(),
        fault: None,
    }
}

/// The path and query to ask an upstream for.
fn path_and_query(head: &Parts, suffix: &str) -> String {
    match head.uri.query() {
        Some(query) => format!("{suffix}?{query}"),
        None => suffix.to_owned(),
    }
}
