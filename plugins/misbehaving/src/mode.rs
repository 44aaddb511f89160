//! The ways to misbehave, by name.

/// `name`, or `name=argument`. Names are in `snake_case` as tests and config write them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Continue, unchanged.
    Ok,
    /// The start is what is wrong; calls are continued, if it comes to that.
    Start(Start),
    /// The call is read and forgotten.
    NeverAnswer,
    /// `late=MS`: continue, after that long; other calls are answered meanwhile.
    Late { ms: u64 },
    /// 64 bytes that are no frame.
    Garbage,
    /// A RESULT for an id that was never given.
    WrongId,
    /// A header that announces 2 MiB.
    OversizedFrame,
    /// A RESULT whose meta is longer than its payload.
    MetaLenLie,
    /// A frame of type 15.
    UnknownType,
    /// A RESULT with flag 8.
    UnknownFlag,
    /// A RESULT whose meta is no JSON.
    BadMeta,
    /// A RESULT with an action nobody knows.
    UnknownAction,
    /// A JSON patch of a value that is not there.
    BadPatch,
    /// A merge patch of `model`, which the manifest does not allow.
    OutsideMutates,
    /// `huge_verdict=BYTES`: a replaced body, by default one byte more than the gateway takes.
    HugeVerdict { bytes: Option<usize> },
    /// The first part of a body whose rest never comes.
    UnfinishedVerdict,
    /// ERROR, code 1.
    ErrorFrame,
    /// Exits with status 3 while calls are open.
    ExitMidCall,
    /// `crash_after_n=N`: continues N calls, then aborts on the next.
    CrashAfter { calls: u64 },
    /// `flood_stdout=LINES`: that many lines of 100 bytes, then continue.
    FloodStdout { lines: u64 },
    /// Half a RESULT, then exit.
    HalfFrameThenExit,
    /// Never reads its socket again, nor exits.
    Deaf,
    /// Answers calls, but no PING after the handshake's.
    NoPong,
    /// Never grants CREDIT for bodies in parts.
    NoCredit,
    /// Leaves a grandchild behind that holds the socket open; its pid is in the metadata as `child`.
    SpawnChild,
    /// Answers CONFIGURE with ERROR 7: start me anew.
    RestartOnConfigure,
    /// Writes the config's `stamp` and the call's generation into headers and metadata.
    Stamp,
    /// Answers with the config's `verdict` and `body`, or `echo_verdict={…}`.
    EchoVerdict { verdict: Option<String> },
    /// Answers the client with what the plugin was told: `{meta, bodyBytes, body}`.
    ShowCall,
}

/// The ways to start badly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Start {
    /// Exits when configured by HELLO, or as first argument before reading it.
    Exit,
    /// Reads HELLO and says nothing.
    Hang,
    /// Answers HELLO with ERROR.
    Refuse,
    /// Claims a hook in READY that it was not asked for.
    ClaimHooks,
    /// Leaves hooks it was asked for out of READY.
    ForgetHooks,
    /// READY for protocol 9.
    WrongProtocol,
    /// Ignores SIGTERM, SHUTDOWN and the end of its socket.
    IgnoreSigterm,
}

impl Mode {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let number = |default: u64| argument.map_or(Some(default), |argument| argument.parse().ok());
        Some(match name {
            "ok" => Self::Ok,
            "never_answer" => Self::NeverAnswer,
            "late" => Self::Late { ms: number(1_000)? },
            "garbage" => Self::Garbage,
            "wrong_id" => Self::WrongId,
            "oversized_frame" => Self::OversizedFrame,
            "meta_len_lie" => Self::MetaLenLie,
            "unknown_type" => Self::UnknownType,
            "unknown_flag" => Self::UnknownFlag,
            "bad_meta" => Self::BadMeta,
            "unknown_action" => Self::UnknownAction,
            "bad_patch" => Self::BadPatch,
            "outside_mutates" => Self::OutsideMutates,
            "huge_verdict" => Self::HugeVerdict {
                bytes: match argument {
                    Some(bytes) => Some(bytes.parse().ok()?),
                    None => None,
                },
            },
            "unfinished_verdict" => Self::UnfinishedVerdict,
            "error_frame" => Self::ErrorFrame,
            "exit_at_start" => Self::Start(Start::Exit),
            "hang_at_start" => Self::Start(Start::Hang),
            "refuse_at_start" => Self::Start(Start::Refuse),
            "claim_hooks" => Self::Start(Start::ClaimHooks),
            "forget_hooks" => Self::Start(Start::ForgetHooks),
            "wrong_protocol" => Self::Start(Start::WrongProtocol),
            "exit_mid_call" => Self::ExitMidCall,
            "crash_after_n" => Self::CrashAfter { calls: number(0)? },
            "flood_stdout" => Self::FloodStdout { lines: number(100_000)? },
            "half_frame_then_exit" => Self::HalfFrameThenExit,
            "deaf" => Self::Deaf,
            "no_pong" => Self::NoPong,
            "no_credit" => Self::NoCredit,
            "ignore_sigterm" => Self::Start(Start::IgnoreSigterm),
            "spawn_child" => Self::SpawnChild,
            "restart_on_configure" => Self::RestartOnConfigure,
            "stamp" => Self::Stamp,
            "echo_verdict" => Self::EchoVerdict { verdict: argument.map(str::to_owned) },
            "show_call" => Self::ShowCall,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_names_with_an_optional_argument() {
        let cases = [
            ("ok", Some(Mode::Ok)),
            ("late", Some(Mode::Late { ms: 1_000 })),
            ("late=20", Some(Mode::Late { ms: 20 })),
            ("late=soon", None),
            ("huge_verdict", Some(Mode::HugeVerdict { bytes: None })),
            (
                r#"echo_verdict={"a":"b=c"}"#,
                Some(Mode::EchoVerdict { verdict: Some(r#"{"a":"b=c"}"#.to_owned()) }),
            ),
            ("behave", None),
        ];
        for (text, mode) in cases {
            assert_eq!(Mode::parse(text), mode, "{text}");
        }
    }
}
