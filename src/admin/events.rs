//! The live stream: state changes, requests and log lines as they happen, as server-sent events.
//!
//! A reader that does not keep up loses the oldest events and is told how many; nobody waits for it. There is a
//! bound on readers, and all of them end with the listener.

use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::ToSchema;

use super::extract::Parameters;
use super::fields::{Ask, Fields};
use super::logs::LogLineView;
use super::requests::RequestView;
use super::{ApiError, Gateway, rfc3339};
use crate::limits;
use crate::record::{Event, Happening, Heard, Listener};

/// What can be listened to; the names of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    Request,
    Plugin,
    Log,
    Chain,
}

impl EventKind {
    const ALL: [Self; 4] = [Self::Request, Self::Plugin, Self::Log, Self::Chain];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Plugin => "plugin",
            Self::Log => "log",
            Self::Chain => "chain",
        }
    }

    const fn of(happening: &Happening) -> Self {
        match happening {
            Happening::Request(_) => Self::Request,
            Happening::Plugin { .. } => Self::Plugin,
            Happening::Log { .. } => Self::Log,
            Happening::Chain { .. } => Self::Chain,
        }
    }
}

/// Which events are wanted.
pub(super) struct Listen {
    pub kinds: Vec<EventKind>,
}

impl Ask for Listen {
    fn read(fields: &mut Fields) -> Option<Self> {
        let words = EventKind::ALL.map(|kind| (kind.as_str(), kind));
        let kinds = fields.words("kinds", &words).unwrap_or_else(|| EventKind::ALL.to_vec());
        Some(Self { kinds })
    }
}

/// `event: plugin`: it is in another state.
#[derive(Serialize, ToSchema)]
pub(super) struct PluginEvent {
    #[schema(format = DateTime)]
    at: String,
    plugin: String,
    state: &'static str,
    reason: Option<String>,
}

/// `event: log`: a plugin printed a line.
#[derive(Serialize, ToSchema)]
pub(super) struct LogEvent {
    plugin: String,
    #[serde(flatten)]
    line: LogLineView,
}

/// `event: chain`: another generation is published.
#[derive(Serialize, ToSchema)]
pub(super) struct ChainEvent {
    #[schema(format = DateTime)]
    at: String,
    generation: u64,
    changes: Vec<String>,
}

/// `event: lagged`: the reader was too slow, and so many events are lost to it.
#[derive(Serialize, ToSchema)]
pub(super) struct LaggedEvent {
    missed: u64,
}

/// One reader of the stream.
struct Reader {
    listener: Listener,
    kinds: Vec<EventKind>,
    ending: watch::Receiver<bool>,
    /// Held while it reads.
    _place: OwnedSemaphorePermit,
}

impl Gateway {
    /// What happens from now on, until the listener ends. An error says that too many read already.
    fn events(
        &self,
        asked: Listen,
    ) -> Result<impl Stream<Item = Result<sse::Event, axum::Error>> + use<>, ApiError> {
        let place = self.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| ApiError::too_many_streams(limits::EVENT_STREAMS_MAX))?;
        let (listener, ending) = (self.live.subscribe(), self.ending.subscribe());
        let reader = Reader { listener, kinds: asked.kinds, ending, _place: place };
        Ok(stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader))))
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        loop {
            let heard = tokio::select! {
                biased;
                _ = self.ending.wait_for(|ending| *ending) => None,
                heard = self.listener.next() => heard,
            };
            match heard? {
                Heard::Lagged(missed) => {
                    return Some(sse::Event::default().event("lagged").json_data(LaggedEvent { missed }));
                }
                Heard::Event(event) if self.kinds.contains(&EventKind::of(&event.happening)) => {
                    return Some(written(&event));
                }
                Heard::Event(_) => {}
            }
        }
    }
}

fn written(event: &Event) -> Result<sse::Event, axum::Error> {
    let kind = EventKind::of(&event.happening).as_str();
    let written = sse::Event::default().event(kind).id(event.id.to_string());
    let at = || rfc3339::written(event.at);
    match &event.happening {
        Happening::Request(record) => written.json_data(RequestView::from(&**record)),
        Happening::Plugin { plugin, state, reason } => written.json_data(PluginEvent {
            at: at(),
            plugin: plugin.to_string(),
            state,
            reason: reason.clone(),
        }),
        Happening::Log { plugin, line } => {
            written.json_data(LogEvent { plugin: plugin.to_string(), line: LogLineView::from(line) })
        }
        Happening::Chain { generation, changes } => {
            written.json_data(ChainEvent { at: at(), generation: *generation, changes: changes.clone() })
        }
    }
}

/// What happens, as it happens
///
/// Server-sent events: `event` names the kind (`request`, `plugin`, `log`, `chain`), `data` is its JSON
/// (`RequestView`, `PluginEvent`, `LogEvent`, `ChainEvent`), and `id` counts what was told. A reader that is too slow
/// gets `event: lagged` with the number of events it missed (`LaggedEvent`). A comment comes every 15 seconds in which
/// nothing happens. Nothing is told twice: who reconnects gets what happens from then on.
#[utoipa::path(
    get, path = "/api/events", tag = "traffic",
    params(("kinds" = Option<String>, Query,
        description = "Only these kinds, separated by commas.", example = "plugin,chain")),
    responses(
        (status = 200, description = "Events until the reader leaves or the gateway ends", body = String,
            content_type = "text/event-stream",
            example = "event: chain\nid: 7\ndata: {\"at\":\"2026-03-01T09:30:00.125Z\",\"generation\":4,\"changes\":[\"plugin 'redact' activated\"]}\n\n"),
        (status = 503, description = "Too many streams are open", body = super::error::ErrorBody)
    )
)]
pub(super) async fn stream_events(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<Listen>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, ApiError> {
    let keep_alive = KeepAlive::new().interval(limits::EVENT_KEEP_ALIVE);
    Ok(Sse::new(gateway.events(asked)?).keep_alive(keep_alive))
}
