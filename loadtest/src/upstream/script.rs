//! What the scripted upstream does with a request, told in one line of text. Pure: text in, `Script` out.
//!
//! ```text
//! body=1024                                  200 with a JSON body of 1 KiB
//! delay=20ms,status=429                      an error after 20 ms
//! events=36,gap=2ms                          a stream: 35 chunks and [DONE], 2 ms apart
//! events=36,gap=2ms,truncate=2000            the stream ends (FIN) after 2000 bytes, as if it were over
//! body=1024,reset=0   body=1024,stall=300    the connection is reset; the answer stops and stays open
//! flap=2s/1s,down=503                        2 s up, 1 s down, over and over (down=reset resets instead)
//! ```

use std::str::FromStr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Before the first byte of the answer.
    pub(crate) delay: Duration,
    pub(crate) status: u16,
    pub(crate) form: Form,
    pub(crate) ending: Ending,
    pub(crate) flap: Option<Flap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON body of so many bytes, with its `content-length`.
    Whole { bytes: usize },
    /// Server-sent events, the closing `[DONE]` among them, each written on its own.
    Stream { events: u32, gap: Duration, event_bytes: usize },
}

/// How an answer ends. The numbers are bytes of the whole answer, its head included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    /// The connection is closed in good order, too early.
    Truncate(usize),
    Reset(usize),
    /// Nothing more comes, and the connection stays open.
    Stall(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flap {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
    pub(crate) as_what: Down,
}

/// What a request meets while the upstream is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    Status(u16),
    Reset,
}

impl Flap {
    pub(crate) fn is_down(&self, since_start: Duration) -> bool {
        let cycle = (self.up + self.down).as_nanos().max(1);
        since_start.as_nanos() % cycle >= self.up.as_nanos()
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            status: 200,
            form: Form::Whole { bytes: 1024 },
            ending: Ending::Complete,
            flap: None,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadScript {
    #[error("`{0}` is not key=value")]
    Pair(String),
    #[error(
        "`{0}` is no key of a script; there are delay, status, body, events, gap, event, truncate, reset, stall, flap, down"
    )]
    Key(String),
    #[error("`{value}` is no value for {key}")]
    Value { key: String, value: String },
}

impl FromStr for Script {
    type Err = BadScript;

    fn from_str(text: &str) -> Result<Self, BadScript> {
        let mut script = Self::default();
        let mut stream = Streaming::default();
        let mut down = Down::Status(503);
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| BadScript::Pair(pair.to_owned()))?;
            let bad = || BadScript::Value { key: key.to_owned(), value: value.to_owned() };
            match key {
                "delay" => script.delay = duration(value).ok_or_else(bad)?,
                "status" => script.status = value.parse().ok().filter(is_status).ok_or_else(bad)?,
                "body" => script.form = Form::Whole { bytes: value.parse().map_err(|_| bad())? },
                "events" => stream.events = Some(value.parse().ok().filter(|&n| n > 0).ok_or_else(bad)?),
                "gap" => stream.gap = duration(value).ok_or_else(bad)?,
                "event" => stream.event_bytes = value.parse().map_err(|_| bad())?,
                "truncate" => script.ending = Ending::Truncate(value.parse().map_err(|_| bad())?),
                "reset" => script.ending = Ending::Reset(value.parse().map_err(|_| bad())?),
                "stall" => script.ending = Ending::Stall(value.parse().map_err(|_| bad())?),
                "flap" => script.flap = Some(flap(value).ok_or_else(bad)?),
                "down" if value == "reset" => down = Down::Reset,
                "down" => down = Down::Status(value.parse().ok().filter(is_status).ok_or_else(bad)?),
                _ => return Err(BadScript::Key(key.to_owned())),
            }
        }
        if let Some(events) = stream.events {
            script.form = Form::Stream { events, gap: stream.gap, event_bytes: stream.event_bytes };
        }
        if let Some(flap) = &mut script.flap {
            flap.as_what = down;
        }
        Ok(script)
    }
}

/// The keys of a stream, which may come in any order.
struct Streaming {
    events: Option<u32>,
    gap: Duration,
    event_bytes: usize,
}

impl Default for Streaming {
    fn default() -> Self {
        Self { events: None, gap: Duration::ZERO, event_bytes: 200 }
    }
}

fn is_status(status: &u16) -> bool {
    (200..=599).contains(status)
}

fn flap(value: &str) -> Option<Flap> {
    let (up, down) = value.split_once('/')?;
    Some(Flap { up: duration(up)?, down: duration(down)?, as_what: Down::Status(503) })
}

/// A whole number with `us`, `ms` or `s`.
fn duration(value: &str) -> Option<Duration> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &value[digits.len()..] {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_empty_script_is_a_plain_answer_of_one_kibibyte() {
        assert_eq!("".parse(), Ok(Script::default()));
    }

    #[test]
    fn a_stream_takes_its_keys_in_any_order() {
        let form = Form::Stream { events: 36, gap: 2 * MS, event_bytes: 300 };
        for text in ["events=36,gap=2ms,event=300", "event=300, gap=2ms, events=36"] {
            assert_eq!(text.parse(), Ok(Script { form, ..Script::default() }), "{text}");
        }
    }

    #[test]
    fn failures_are_told_by_one_key() {
        let ending = |text: &str| text.parse::<Script>().unwrap().ending;
        assert_eq!(ending("truncate=10"), Ending::Truncate(10));
        assert_eq!(ending("reset=0"), Ending::Reset(0));
        assert_eq!(ending("stall=300"), Ending::Stall(300));
        assert_eq!(
            "delay=20ms,status=429".parse::<Script>().map(|s| (s.delay, s.status)),
            Ok((20 * MS, 429))
        );
    }

    #[test]
    fn a_flapping_upstream_is_up_first_and_down_after() {
        let script: Script = "down=reset,flap=2s/1s".parse().unwrap();
        let flap = script.flap.unwrap();
        assert_eq!(flap.as_what, Down::Reset);
        let down: Vec<bool> = (0..6).map(|s| flap.is_down(Duration::from_secs(s))).collect();
        assert_eq!(down, [false, false, true, false, false, true]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!("body".parse::<Script>(), Err(BadScript::Pair("body".into())));
        assert_eq!("bodi=1".parse::<Script>(), Err(BadScript::Key("bodi".into())));
        for (key, value) in
            [("delay", "5"), ("delay", "ms"), ("status", "99"), ("events", "0"), ("flap", "2s")]
        {
            let expected = BadScript::Value { key: key.into(), value: value.into() };
            assert_eq!(format!("{key}={value}").parse::<Script>(), Err(expected));
        }
    }
}
