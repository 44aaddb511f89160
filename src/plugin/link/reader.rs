//! The task that reads a link: frames to their calls, and a watch over the plugin's silence.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hookway_wire::{CreditMeta, FrameType, Head, LogMeta};
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::calls::error_text;
use super::inbox::{Inbox, Incoming};
use super::{Link, LinkEnd};
use crate::limits;
use crate::plugin::logs::{Logs, Source};

/// What a period of [`limits::LINK_SILENCE`] without a byte asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Ping,
    Hung,
}

/// Counts silent periods. Any byte from the plugin is a sign of life.
#[derive(Debug, Default)]
struct Silence {
    /// Something came in this period.
    heard: bool,
    periods: u32,
    pings: u32,
}

impl Silence {
    fn broken(&mut self) {
        self.heard = true;
    }

    /// A period is over. `idle` says that no call waits, or went unanswered.
    fn period(&mut self, idle: bool) -> Check {
        if self.heard {
            *self = Self::default();
            return Check::Nothing;
        }
        self.periods += 1;
        if self.pings == limits::PINGS_MISSED_MAX {
            return Check::Hung;
        }
        if idle && self.pings == 0 && self.periods < limits::LINK_IDLE_PERIODS {
            return Check::Nothing;
        }
        self.pings += 1;
        Check::Ping
    }
}

/// Reads until the link ends, and then makes sure it has.
pub(super) async fn read(
    link: Arc<Link>,
    socket: AsyncFd<Arc<UnixStream>>,
    mut inbox: Inbox,
    logs: Arc<Logs>,
) {
    let mut silence = Silence::default();
    let mut periods = periods();
    let end = loop {
        // A plugin that always has more to say must not keep the thread from the requests on it.
        tokio::task::consume_budget().await;
        if let Err(breach) = take_all(&link, &mut inbox, &logs) {
            break LinkEnd::Protocol(breach);
        }
        tokio::select! {
            biased;
            read = inbox.fill(&socket) => match read {
                Ok(0) | Err(_) => break LinkEnd::Closed,
                Ok(_) => silence.broken(),
            },
            _ = periods.tick() => match silence.period(link.calls().is_idle()) {
                Check::Nothing => {}
                Check::Ping => link.tell(Head::link(FrameType::Ping)),
                Check::Hung => break LinkEnd::Unhealthy,
            },
        }
    };
    link.end(end);
}

fn periods() -> Interval {
    let first = tokio::time::Instant::now() + limits::LINK_SILENCE;
    let mut periods = interval_at(first, limits::LINK_SILENCE);
    // After a stall of the gateway itself, one look is enough.
    periods.set_missed_tick_behavior(MissedTickBehavior::Delay);
    periods
}

/// Every whole frame in hand to whom it concerns.
fn take_all(link: &Link, inbox: &mut Inbox, logs: &Logs) -> Result<(), String> {
    while let Some(frame) = inbox.next().map_err(|error| error.to_string())? {
        take(link, &frame, logs)?;
    }
    Ok(())
}

fn take(link: &Link, frame: &Incoming<'_>, logs: &Logs) -> Result<(), String> {
    let kind = frame.header.kind;
    match kind {
        FrameType::Error if frame.header.id == 0 => {
            Err(format!("the plugin gave up the link: {}", error_text(frame.meta)))
        }
        FrameType::Result | FrameType::Data | FrameType::Error => {
            let effect = link.calls().take(frame)?;
            link.apply(effect);
            Ok(())
        }
        FrameType::Credit => {
            link.calls().check_given(frame)?;
            let CreditMeta { bytes } = meta(frame)?;
            let mut outbox = link.outbox();
            outbox.grant(frame.header.id, usize::try_from(bytes).unwrap_or(usize::MAX));
            link.flush(outbox);
            Ok(())
        }
        FrameType::Log => log(frame, logs),
        FrameType::Pong => Ok(()),
        FrameType::Ready => Err("a second READY".to_owned()),
        FrameType::Hello
        | FrameType::Call
        | FrameType::Cancel
        | FrameType::Ping
        | FrameType::Configure
        | FrameType::Drain
        | FrameType::Shutdown => Err(format!("a {kind} frame, which only the gateway sends")),
    }
}

/// A LOG frame's line, with its fields behind it.
pub(super) fn log(frame: &Incoming<'_>, logs: &Logs) -> Result<(), String> {
    let LogMeta { level, mut text, fields } = meta(frame)?;
    for (name, value) in &fields {
        text.push_str(&format!(" {name}={value}"));
    }
    let end = (0..=limits::PLUGIN_LOG_LINE_BYTES).rev().find(|&at| text.is_char_boundary(at.min(text.len())));
    text.truncate(end.unwrap_or(0));
    logs.line(Source::Log(level), text);
    Ok(())
}

pub(super) fn meta<T: serde::de::DeserializeOwned>(frame: &Incoming<'_>) -> Result<T, String> {
    serde_json::from_slice(frame.meta)
        .map_err(|error| format!("meta of a {} frame: {error}", frame.header.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_calls_pending_each_silent_period_is_a_ping_and_the_third_is_the_end() {
        let mut silence = Silence::default();
        assert_eq!(silence.period(false), Check::Ping);
        assert_eq!(silence.period(false), Check::Ping);
        assert_eq!(silence.period(false), Check::Hung);
    }

    #[test]
    fn an_idle_link_is_pinged_after_thirty_seconds() {
        let mut silence = Silence::default();
        for _ in 0..5 {
            assert_eq!(silence.period(true), Check::Nothing);
        }
        assert_eq!(silence.period(true), Check::Ping);
        silence.broken();
        for _ in 0..6 {
            assert_eq!(silence.period(true), Check::Nothing);
        }
        assert_eq!(silence.period(true), Check::Ping);
    }

    #[test]
    fn a_link_that_is_heard_is_not_pinged() {
        let mut silence = Silence::default();
        for _ in 0..10 {
            silence.broken();
            assert_eq!(silence.period(false), Check::Nothing);
        }
    }
}
