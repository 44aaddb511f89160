//! What a scripted upstream sends for one request, step by step.

use std::time::Duration;

/// Bytes and pauses, and what becomes of the connection after them.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) steps: Vec<Step>,
    pub(super) then: Then,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// The answer takes its time.
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Close,
    Reset,
    /// Says nothing more until the gateway leaves.
    Stall,
}

impl Answer {
    /// A status with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        Self::with(status, &[("content-type", "application/json")], body)
    }

    /// A status with fields and a body of told length.
    pub fn with(status: u16, fields: &[(&str, &str)], body: &str) -> Self {
        let length = body.len().to_string();
        let mut answer = Self::head(status, &[fields, &[("content-length", length.as_str())]].concat());
        answer.append(body.as_bytes());
        answer
    }

    /// A head alone; what follows is the caller's to add.
    pub fn head(status: u16, fields: &[(&str, &str)]) -> Self {
        let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Self::raw(text)
    }

    /// Whole chat completion with usage.
    pub fn hello() -> Self {
        Self::json(
            200,
            r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
        )
    }

    /// A stream of events, chunked, each event a chunk of its own, `[DONE]` at the end.
    pub fn stream(texts: &[&str]) -> Self {
        let mut answer = Self::stream_head();
        for event in events(texts) {
            answer = answer.chunk(event);
        }
        answer.chunk("data: [DONE]\n\n").last_chunk()
    }

    /// The head of a chunked stream of events.
    pub fn stream_head() -> Self {
        Self::head(200, &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
    }

    /// These bytes as they are.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { steps: vec![Step::Send(bytes.into())], then: Then::Keep }
    }

    #[must_use]
    pub fn chunk(mut self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.append(&[format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
        self
    }

    #[must_use]
    pub fn last_chunk(mut self) -> Self {
        self.append(b"0\r\n\r\n");
        self
    }

    /// More bytes, in a send of their own.
    #[must_use]
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    /// All of it after a pause.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.steps.insert(0, Step::Pause(pause));
        self
    }

    #[must_use]
    pub fn then_close(self) -> Self {
        Self { then: Then::Close, ..self }
    }

    #[must_use]
    pub fn then_reset(self) -> Self {
        Self { then: Then::Reset, ..self }
    }

    #[must_use]
    pub fn then_stall(self) -> Self {
        Self { then: Then::Stall, ..self }
    }

    /// What is sent, send by send.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        let sent = self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.clone()),
            Step::Pause(_) => None,
        });
        sent.collect()
    }

    fn append(&mut self, bytes: &[u8]) {
        match self.steps.last_mut() {
            Some(Step::Send(sent)) => sent.extend_from_slice(bytes),
            Some(Step::Pause(_)) | None => self.steps.push(Step::Send(bytes.to_vec())),
        }
    }
}

/// One event of a chat stream with `text` as its content.
pub fn event(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub fn events(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| event(text)).collect()
}
