//! The hooks a plugin can serve.

/// A hook of the gateway, as `plugin.json` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// A client's request, before it is routed.
    OnRequest,
    /// An attempt at an upstream that failed.
    OnError,
}

impl Hook {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "onRequest" => Some(Self::OnRequest),
            "onError" => Some(Self::OnError),
            _ => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OnRequest => "onRequest",
            Self::OnError => "onError",
        }
    }
}
