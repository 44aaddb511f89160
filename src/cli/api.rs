//! The way to a running gateway: its admin API, found and unlocked as the gateway itself does it.
//!
//! Blocking, with a bound on every wait. The token is read, never made, and never shown.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use http::{Method, Request, Uri};
use serde_json::Value;
use ureq::Agent;

use super::Here;
use super::say::Failure;
use crate::config;
use crate::limits;
use crate::token::{self, Token, TokenError};

/// The variable that says where the admin API is, if set.
const URL_ENV: &str = "HOOKWAY_ADMIN_URL";
/// By this the gateway's audit tells a command from other callers.
const AGENT: &str = concat!("hookway-cli/", env!("CARGO_PKG_VERSION"));

/// Where the gateway is.
#[derive(Args, Debug)]
pub(super) struct Access {
    /// The admin API, as http://127.0.0.1:8081; else HOOKWAY_ADMIN_URL, else what the config says.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// A gateway that may be running.
pub(super) struct Api {
    agent: Agent,
    /// Without a trailing slash.
    base: String,
    /// What said so.
    whence: String,
    token: Token,
    token_source: token::Source,
    config_path: Option<PathBuf>,
}

/// An answer as it came.
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Access {
    pub(super) fn open(&self, here: &Here) -> Result<Api, Failure> {
        let Here { config_path, environment } = here;
        let config = config::load_control(config_path.as_deref(), environment)?;
        let told = self.url.clone().map(|url| (url, "--url".to_owned()));
        let told = told.or_else(|| Some((environment.get(URL_ENV)?.clone(), URL_ENV.to_owned())));
        let (url, whence) = told.unwrap_or_else(|| {
            let name = config_path.as_deref().map_or("the built-in config".into(), Path::to_string_lossy);
            (format!("http://{}", reachable(config.address)), name.into_owned())
        });
        let base = checked(&url).map_err(|problem| Failure::usage(format!("{whence}: {url:?} {problem}")))?;
        let token = token::find(
            environment.get(token::ENV).map(String::as_str),
            config.token_file.as_deref(),
            &config.state_dir,
        );
        let token = token.map_err(|error| Failure::new("no_token", unreadable(&error)))?;
        let Some((token, token_source)) = token else {
            let file = config.state_dir.join(token::FILE);
            let message = format!(
                "there is no admin token: {} is not set and {} is not there. The gateway makes this file at its first start, in the folder that [state] dir of its config names; give the command the same config with -c FILE",
                token::ENV,
                file.display()
            );
            return Err(Failure::new("no_token", message));
        };
        Ok(Api { agent: agent(), base, whence, token, token_source, config_path: config_path.clone() })
    }
}

/// What keeps a token from being read, and what to do if it is another user's.
fn unreadable(error: &TokenError) -> String {
    match error {
        TokenError::File { error: cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
            format!("{error}; run the command as the gateway's user, or set {}", token::ENV)
        }
        TokenError::File { .. }
        | TokenError::NotAToken { .. }
        | TokenError::TooShort { .. }
        | TokenError::Exposed { .. } => error.to_string(),
    }
}

/// An address every interface has is reached at the one of this machine.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    match address {
        std::net::SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        std::net::SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        }
        std::net::SocketAddr::V4(_) | std::net::SocketAddr::V6(_) => {}
    }
    address
}

fn checked(url: &str) -> Result<String, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is no URL; write it like http://127.0.0.1:8081")?;
    match uri.scheme_str() {
        Some("http") if uri.authority().is_some() && uri.query().is_none() => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err("is no address of an admin API; write it like http://127.0.0.1:8081"),
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // The token goes to the address that was asked for, and nowhere else.
        .proxy(None)
        .max_redirects(0)
        .user_agent(AGENT)
        .timeout_connect(Some(limits::CLI_CONNECT_TIMEOUT))
        .timeout_global(Some(limits::CLI_ANSWER_TIMEOUT));
    config.build().into()
}

impl Api {
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, path, Some(body))
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::PUT, path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::DELETE, path, None)
    }

    /// What a route answered, or its own words for why not.
    fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.send(method, path, &[], body)?;
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match json {
            Some(json) if answer.status.is_success() => Ok(json),
            json => Err(self.refusal(&answer, json.as_ref())),
        }
    }

    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.token.expose()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bad = |error: http::Error| Failure::usage(format!("{}: {error}", self.base));
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body).map_err(bad)?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(()).map_err(bad)?),
        };
        let (head, body) = answer.map_err(|error| self.unreachable(&error))?.into_parts();
        let body = body.into_with_config().limit(limits::CLI_ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let Self { base, whence, config_path, .. } = self;
        let start = match config_path {
            Some(path) => format!("hookway serve -c {}", path.display()),
            None => "hookway serve".to_owned(),
        };
        let message = match error {
            ureq::Error::Timeout(_) => format!("the gateway at {base} did not answer in time: {error}"),
            error => format!(
                "no gateway answers at {base} (the address of {whence}): {error}; start one with '{start}', or say with --url or {URL_ENV} where it is"
            ),
        };
        Failure::new("unreachable", message)
    }

    /// The gateway's own error, with what to do about it where that is known here.
    pub(super) fn refusal(&self, answer: &Answer, json: Option<&Value>) -> Failure {
        let error = json.and_then(|json| json.get("error"));
        let text = |key: &str| error.and_then(|error| error.get(key)).and_then(Value::as_str);
        let (Some(code), Some(message)) = (text("code"), text("message")) else {
            let message =
                format!("what answers at {} with {} is no admin API of Hookway", self.base, answer.status);
            return Failure::new("no_gateway", message);
        };
        let details = error.and_then(|error| error.get("details")).cloned().unwrap_or_default();
        let message = match code {
            "unauthorized" => self.wrong_token(),
            "not_granted" => not_granted(message, &details),
            _ => message.to_owned(),
        };
        Failure::new(code, message).details(details)
    }

    fn wrong_token(&self) -> String {
        let source = match &self.token_source {
            token::Source::Environment => format!("the variable {}", token::ENV),
            token::Source::File(path) | token::Source::Made(path) => path.display().to_string(),
        };
        format!(
            "the gateway at {} does not know the admin token of {source}; use the config it was started with (-c FILE), or set {}",
            self.base,
            token::ENV
        )
    }
}

fn not_granted(message: &str, details: &Value) -> String {
    let permissions = details["permissions"].as_array().into_iter().flatten();
    let lines: String =
        permissions.filter_map(Value::as_str).map(|permission| format!("\n  {permission}")).collect();
    format!("{message}\nIt asks for:{lines}\nRepeat the command with --grant to allow that.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_every_interface_is_reached_at_this_machine() {
        for (listened, reached) in
            [("0.0.0.0:8081", "127.0.0.1:8081"), ("[::]:1", "[::1]:1"), ("10.0.0.7:8081", "10.0.0.7:8081")]
        {
            assert_eq!(reachable(listened.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn only_a_plain_http_address_is_one_of_an_admin_api() {
        assert_eq!(checked("http://127.0.0.1:8081/").as_deref(), Ok("http://127.0.0.1:8081"));
        for wrong in ["https://127.0.0.1", "127.0.0.1:8081", "/api", "http://a?b=c", "not a url"] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }
}
