//! What each mode does to a call.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use hookway_wire::{
    BODY_PART_BYTES, CallMeta, ErrorCode, Flags, FrameType, HEADER_BYTES, Head, Header, Headers, Hello,
    VerdictAction, VerdictMeta,
};
use serde_json::{Map, Value, json};

use crate::link::Writer;
use crate::mode::Mode;

/// Processes that outlive their use, by design of a test, end themselves after this.
const PARKED: Duration = Duration::from_secs(300);

pub(crate) struct Call {
    pub(crate) id: u32,
    pub(crate) meta: CallMeta,
    pub(crate) body: Bytes,
}

pub(crate) struct Acts {
    pub(crate) writer: Writer,
    pub(crate) config: Map<String, Value>,
    verdict_bytes_max: usize,
    calls: u64,
}

/// Does nothing, and goes on doing it.
pub(crate) fn park() -> ! {
    std::thread::sleep(PARKED);
    std::process::exit(4);
}

fn result(id: u32) -> Head {
    Head::of(FrameType::Result, id).end()
}

impl Acts {
    pub(crate) fn new(writer: Writer, hello: &Hello) -> Self {
        Self { writer, config: hello.config.clone(), verdict_bytes_max: hello.max_verdict_bytes, calls: 0 }
    }

    pub(crate) fn act(&mut self, mode: Mode, call: Call) {
        self.calls += 1;
        let id = call.id;
        match mode {
            Mode::NeverAnswer => {}
            Mode::Late { ms } => self.late(id, Duration::from_millis(ms)),
            Mode::Garbage => self.writer.raw(&[0xff; 64]),
            Mode::WrongId => self.proceed(id.wrapping_add(1_000_000)),
            Mode::OversizedFrame => {
                self.lie(id, |bytes| bytes[0..4].copy_from_slice(&(2u32 << 20).to_le_bytes()))
            }
            Mode::MetaLenLie => self.lie(id, |bytes| bytes[12..16].copy_from_slice(&20u32.to_le_bytes())),
            Mode::UnknownType => self.lie(id, |bytes| bytes[8] = 15),
            Mode::UnknownFlag => self.lie(id, |bytes| bytes[9] |= 8),
            Mode::BadMeta => {
                self.writer.raw(&result(id).header(1, 0).encode());
                self.writer.raw(b"{");
            }
            Mode::UnknownAction => self.writer.json(result(id), &json!({"action": "explode"}), &[]),
            Mode::BadPatch => {
                let patch = json!([{"op": "replace", "path": "/no/such/place", "value": 1}]);
                self.verdict(id, VerdictAction::Patch, |verdict| verdict.json_patch = Some(patch));
            }
            Mode::OutsideMutates => {
                let patch = json!({"model": "stolen"});
                self.verdict(id, VerdictAction::Patch, |verdict| verdict.patch = Some(patch));
            }
            Mode::HugeVerdict { bytes } => self.huge(id, bytes.unwrap_or(self.verdict_bytes_max + 1)),
            Mode::UnfinishedVerdict => {
                let replace = json!({"action": "replace"});
                self.writer.json(Head::of(FrameType::Result, id), &replace, &[b'x'; 100]);
            }
            Mode::ErrorFrame => self.writer.error(id, ErrorCode::Error, "told to fail"),
            Mode::ExitMidCall => std::process::exit(3),
            Mode::CrashAfter { calls } if self.calls > calls => std::process::abort(),
            Mode::FloodStdout { lines } => {
                let line = format!("{}\n", "x".repeat(99));
                let mut stdout = std::io::stdout().lock();
                (0..lines).for_each(|_| stdout.write_all(line.as_bytes()).unwrap_or_default());
                self.proceed(id);
            }
            Mode::HalfFrameThenExit => {
                self.writer.raw(&result(id).header(0, 0).encode()[..HEADER_BYTES / 2]);
                std::process::exit(3);
            }
            Mode::Deaf => park(),
            Mode::SpawnChild => self.spawn_child(id),
            Mode::Stamp => self.stamp(call),
            Mode::EchoVerdict { verdict } => self.echo_verdict(id, verdict),
            Mode::ShowCall => self.show(&call),
            Mode::Ok
            | Mode::Start(_)
            | Mode::CrashAfter { .. }
            | Mode::NoPong
            | Mode::NoCredit
            | Mode::RestartOnConfigure => self.proceed(id),
        }
    }

    fn proceed(&self, id: u32) {
        let head = result(id);
        self.writer.bare(Head { flags: head.flags | Flags::UNCHANGED, ..head });
    }

    fn verdict(&self, id: u32, action: VerdictAction, fill: impl FnOnce(&mut VerdictMeta)) {
        let mut verdict = VerdictMeta { action, ..VerdictMeta::default() };
        fill(&mut verdict);
        self.writer.json(result(id), &verdict, &[]);
    }

    fn late(&self, id: u32, after: Duration) {
        let writer = self.writer.clone();
        let head = result(id);
        std::thread::spawn(move || {
            std::thread::sleep(after);
            writer.bare(Head { flags: head.flags | Flags::UNCHANGED, ..head });
        });
    }

    /// An otherwise good RESULT of ten bytes, its header changed.
    fn lie(&self, id: u32, change: impl FnOnce(&mut [u8; HEADER_BYTES])) {
        let mut bytes = Header { len: 10, meta_len: 10, ..result(id).header(0, 0) }.encode();
        change(&mut bytes);
        self.writer.raw(&bytes);
        self.writer.raw(&[b' '; 10]);
    }

    fn huge(&self, id: u32, bytes: usize) {
        let part = [b'x'; BODY_PART_BYTES];
        let first = bytes.min(part.len());
        let head = Head { flags: Flags::NONE, ..result(id) };
        let head = if first == bytes { head.end() } else { head };
        self.writer.json(head, &json!({"action": "replace"}), &part[..first]);
        let mut left = bytes - first;
        while left > 0 {
            let len = left.min(part.len());
            left -= len;
            let head = Head::of(FrameType::Data, id);
            let head = if left == 0 { head.end() } else { head };
            self.writer.raw(&head.header(0, len).encode());
            self.writer.raw(&part[..len]);
        }
    }

    /// Nobody waits for the child: leaving it behind is what this mode is for.
    fn spawn_child(&self, id: u32) {
        let seconds = PARKED.as_secs().to_string();
        match Command::new("/bin/sleep").arg(seconds).spawn() {
            Ok(child) => self.verdict(id, VerdictAction::Continue, |verdict| {
                verdict.metadata.insert("child".to_owned(), child.id().into());
            }),
            Err(error) => self.writer.error(id, ErrorCode::Error, &format!("/bin/sleep: {error}")),
        }
    }

    /// Headers `<header>` (config `header`, default `x-generation`), with the config's `stamp`, and
    /// `<header>-call`, with the call's generation; metadata under the same names.
    fn stamp(&self, call: Call) {
        let text = |key: &str, default: &str| match self.config.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => default.to_owned(),
        };
        let header = text("header", "x-generation");
        let stamps =
            [(format!("{header}-call"), call.meta.generation.to_string()), (header, text("stamp", ""))];
        self.verdict(call.id, VerdictAction::Continue, |verdict| {
            verdict.metadata =
                stamps.iter().map(|(name, stamp)| (name.clone(), stamp.clone().into())).collect();
            verdict.headers = Headers { set: stamps.into(), remove: Vec::new() };
        });
    }

    fn echo_verdict(&self, id: u32, verdict: Option<String>) {
        let body = self.config.get("body").and_then(Value::as_str).unwrap_or_default();
        let Some(verdict) = verdict else {
            let verdict = self.config.get("verdict").cloned().unwrap_or_default();
            return self.writer.json(result(id), &verdict, body.as_bytes());
        };
        self.writer.raw(&result(id).header(verdict.len(), body.len()).encode());
        self.writer.raw(verdict.as_bytes());
        self.writer.raw(body.as_bytes());
    }

    fn show(&self, call: &Call) {
        let shown = json!({
            "meta": call.meta,
            "bodyBytes": call.body.len(),
            "body": String::from_utf8_lossy(&call.body[..call.body.len().min(1_000)]),
        });
        self.writer.json(
            result(call.id),
            &json!({"action": "respond", "status": 200}),
            shown.to_string().as_bytes(),
        );
    }
}
