//! What a request body of each endpoint looks like, so far as its readers rely on it.
//!
//! A shape tells which JSON types may stand at a place, which keys an object there is known to have, and which
//! values the gateway itself needs. Keys that are not listed may have any value. The shapes are wider than OpenAI's
//! own API where other servers are: texts as parts of a content, objects as inputs of embeddings, any role.

use crate::hook::Endpoint;

/// The types of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Array,
    Object,
    Number,
    Bool,
    Null,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Text, Self::Array, Self::Object, Self::Number, Self::Bool, Self::Null];

    const fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
            Self::Number => "a number",
            Self::Bool => "true, false",
            Self::Null => "null",
        }
    }
}

/// A set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    const fn of(kinds: &[Kind]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < kinds.len() {
            set |= 1 << kinds[at] as u8;
            at += 1;
        }
        Self(set)
    }

    pub(super) const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> =
            Kind::ALL.into_iter().filter(|kind| self.has(*kind)).map(Kind::words).collect();
        match words.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, before)) => write!(f, "{} or {last}", before.join(", ")),
            None => Ok(()),
        }
    }
}

/// A value that the gateway itself needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Model,
    Stream,
    IncludeUsage,
}

type Member = (&'static str, &'static Shape);

/// What may stand at a place of a body.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) kinds: Kinds,
    pub(super) fact: Option<Fact>,
    /// The keys an object here is known to have. Written in another case, each is refused.
    members: &'static [&'static [Member]],
    items: Option<&'static Self>,
}

impl Shape {
    const fn of(kinds: &[Kind]) -> Self {
        Self { kinds: Kinds::of(kinds), fact: None, members: &[], items: None }
    }

    const fn with(self, members: &'static [&'static [Member]]) -> Self {
        Self { members, ..self }
    }

    const fn each(self, items: &'static Self) -> Self {
        Self { items: Some(items), ..self }
    }

    const fn telling(self, fact: Fact) -> Self {
        Self { fact: Some(fact), ..self }
    }

    pub(super) fn items(&self) -> &'static Self {
        self.items.unwrap_or(&ANY)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.members.iter().copied().flatten().copied()
    }
}

/// The shape of a request body.
pub(super) fn of(endpoint: Endpoint) -> &'static Shape {
    match endpoint {
        Endpoint::ChatCompletions => &CHAT,
        Endpoint::Completions => &COMPLETIONS,
        Endpoint::Embeddings => &EMBEDDINGS,
        Endpoint::Responses => &RESPONSES,
        Endpoint::Messages => &MESSAGES,
    }
}

use Kind::{Array, Bool, Null, Number, Object, Text};

/// Anything, and free of known keys: metadata, schemas, arguments of tools.
pub(super) static ANY: Shape = Shape::of(&Kind::ALL);

static CHAT: Shape = Shape::of(&[Object]).with(&[&[("messages", &CONVERSATION)], &COMMON]);
static MESSAGES: Shape =
    Shape::of(&[Object]).with(&[&[("messages", &CONVERSATION), ("system", &CONTENT)], &COMMON]);
static COMPLETIONS: Shape = Shape::of(&[Object]).with(&[&[("prompt", &PROMPT)], &COMMON]);
static EMBEDDINGS: Shape =
    Shape::of(&[Object]).with(&[&[("input", &INPUTS), ("messages", &CONVERSATION)], &COMMON]);
static RESPONSES: Shape = Shape::of(&[Object])
    .with(&[&[("input", &ITEMS), ("instructions", &CONTENT), ("prompt", &OBJECT_OR_NULL)], &COMMON]);

/// What every endpoint may have. A key of one of them is in no other case a key of another.
static COMMON: [Member; 51] = [
    ("model", &MODEL),
    ("stream", &STREAM),
    ("stream_options", &STREAM_OPTIONS),
    ("tools", &TOOLS),
    ("functions", &TOOLS),
    ("messages", &ANY),
    ("input", &ANY),
    ("prompt", &ANY),
    ("system", &ANY),
    ("instructions", &ANY),
    ("audio", &ANY),
    ("background", &ANY),
    ("best_of", &ANY),
    ("container", &ANY),
    ("context_management", &ANY),
    ("conversation", &ANY),
    ("dimensions", &ANY),
    ("echo", &ANY),
    ("encoding_format", &ANY),
    ("frequency_penalty", &ANY),
    ("function_call", &ANY),
    ("include", &ANY),
    ("logit_bias", &ANY),
    ("logprobs", &ANY),
    ("max_completion_tokens", &ANY),
    ("max_output_tokens", &ANY),
    ("max_tokens", &ANY),
    ("mcp_servers", &ANY),
    ("metadata", &ANY),
    ("modalities", &ANY),
    ("n", &ANY),
    ("parallel_tool_calls", &ANY),
    ("prediction", &ANY),
    ("presence_penalty", &ANY),
    ("previous_response_id", &ANY),
    ("reasoning", &ANY),
    ("reasoning_effort", &ANY),
    ("response_format", &ANY),
    ("safety_identifier", &ANY),
    ("seed", &ANY),
    ("service_tier", &ANY),
    ("stop", &ANY),
    ("store", &ANY),
    ("suffix", &ANY),
    ("temperature", &ANY),
    ("text", &ANY),
    ("thinking", &ANY),
    ("tool_choice", &ANY),
    ("top_logprobs", &ANY),
    ("top_p", &ANY),
    ("user", &ANY),
];

static MODEL: Shape = Shape::of(&[Text]).telling(Fact::Model);
static STREAM: Shape = Shape::of(&[Bool, Null]).telling(Fact::Stream);
/// Other types of it change nothing here: they are the upstream's to refuse.
static STREAM_OPTIONS: Shape = Shape::of(&Kind::ALL).with(&[&[("include_usage", &INCLUDE_USAGE)]]);
static INCLUDE_USAGE: Shape = Shape::of(&Kind::ALL).telling(Fact::IncludeUsage);

static CONVERSATION: Shape = Shape::of(&[Array]).each(&MESSAGE);
static MESSAGE: Shape = Shape::of(&[Object]).with(&[&[
    ("role", &TEXT),
    ("content", &CONTENT),
    ("name", &TEXT_OR_NULL),
    ("tool_calls", &TOOL_CALLS),
    ("tool_call_id", &TEXT_OR_NULL),
    ("function_call", &CALLED),
    ("refusal", &TEXT_OR_NULL),
    ("audio", &ANY),
    ("reasoning", &ANY),
    ("reasoning_content", &ANY),
    ("thinking", &ANY),
    ("prefix", &ANY),
    ("cache_control", &ANY),
]]);

/// One text, or parts. `null` where a message has tool calls instead.
static CONTENT: Shape = Shape::of(&[Text, Array, Null]).each(&PART);
/// Some servers take plain texts among the parts.
static PART: Shape = Shape::of(&[Text, Object]).with(&[&[
    ("type", &TEXT_OR_NULL),
    ("text", &TEXT_OR_NULL),
    ("refusal", &TEXT_OR_NULL),
    ("content", &PARTS),
    // The arguments of a tool, where a part is its call.
    ("input", &ANY),
    ("thinking", &ANY),
    ("data", &ANY),
    ("name", &ANY),
    ("id", &ANY),
    ("tool_use_id", &ANY),
    ("image_url", &ANY),
    ("input_audio", &ANY),
    ("file", &ANY),
    ("file_id", &ANY),
    ("file_data", &ANY),
    ("filename", &ANY),
    ("detail", &ANY),
    ("source", &SOURCE),
    ("title", &ANY),
    ("context", &ANY),
    ("annotations", &ANY),
    ("cache_control", &ANY),
]]);
/// The content of a part, a tool's result for one: of some tools it is one object.
static PARTS: Shape = Shape::of(&[Text, Array, Object, Null]).with(&[&PART_NAMES]).each(&PART);
static PART_NAMES: [Member; 3] = [("type", &ANY), ("text", &ANY), ("content", &PARTS)];
static SOURCE: Shape = Shape::of(&Kind::ALL).with(&[&[
    ("type", &ANY),
    ("media_type", &ANY),
    ("data", &ANY),
    ("url", &ANY),
    ("file_id", &ANY),
    ("content", &PARTS),
]]);

static TOOL_CALLS: Shape = Shape::of(&[Array, Null]).each(&TOOL_CALL);
static TOOL_CALL: Shape = Shape::of(&[Object]).with(&[&[
    ("id", &ANY),
    ("type", &ANY),
    ("index", &ANY),
    ("function", &CALLED),
    ("custom", &CALLED),
]]);
static CALLED: Shape =
    Shape::of(&[Object, Null]).with(&[&[("name", &TEXT_OR_NULL), ("arguments", &ANY), ("input", &ANY)]]);

static TOOLS: Shape = Shape::of(&[Array, Null]).each(&TOOL);
static TOOL: Shape = Shape::of(&[Object]).with(&[&TOOL_NAMES, &[("function", &TOOL_FUNCTION)]]);
static TOOL_FUNCTION: Shape = Shape::of(&[Object, Null]).with(&[&TOOL_NAMES]);
static TOOL_NAMES: [Member; 6] = [
    ("type", &ANY),
    ("name", &ANY),
    ("description", &ANY),
    ("parameters", &ANY),
    ("input_schema", &ANY),
    ("strict", &ANY),
];

/// A text, texts, tokens, or lists of tokens.
static PROMPT: Shape = Shape::of(&[Text, Array, Null]).each(&PROMPT_ITEM);
static PROMPT_ITEM: Shape = Shape::of(&[Text, Number, Array]).each(&NUMBER);
/// The same. Servers for pictures take objects as well.
static INPUTS: Shape = Shape::of(&[Text, Array]).each(&INPUT);
static INPUT: Shape = Shape::of(&[Text, Number, Array, Object])
    .with(&[&[("text", &ANY), ("image", &ANY), ("content", &PARTS)]])
    .each(&NUMBER);

/// The input of a response. The items are of many types; none has another kind of role or content.
static ITEMS: Shape = Shape::of(&[Text, Array, Null]).each(&ITEM);
static ITEM: Shape = Shape::of(&[Object]).with(&[&[
    ("type", &TEXT_OR_NULL),
    ("role", &TEXT_OR_NULL),
    ("content", &CONTENT),
    ("name", &ANY),
    ("arguments", &ANY),
    ("input", &ANY),
    ("output", &PARTS),
    ("summary", &PARTS),
    ("call_id", &ANY),
    ("id", &ANY),
    ("status", &ANY),
    ("action", &ANY),
    ("encrypted_content", &ANY),
]]);

static TEXT: Shape = Shape::of(&[Text]);
static TEXT_OR_NULL: Shape = Shape::of(&[Text, Null]);
static OBJECT_OR_NULL: Shape = Shape::of(&[Object, Null]);
static NUMBER: Shape = Shape::of(&[Number]);
