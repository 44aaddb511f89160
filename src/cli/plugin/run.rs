//! `hookway plugin run`: one hook of one plugin on one request, through the gateway's own chain.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::say::{Failure, Reader};
use super::super::{Here, one_of};
use super::effect::Effect;
use super::stage::{ConfigArg, Stage, load, told};
use crate::chain::{Draft, ErrorRuling, Facts, Generation, Member, MemberHook, Ruling, on_error, on_request};
use crate::config::{self, Config};
use crate::hook::{ClientId, Endpoint, HookName, OnFailure, Phase, Policy, UpstreamCause, UpstreamFailure};
use crate::limits;
use crate::metrics::Metrics;
use crate::package::Package;
use crate::plugin::Plugin;
use crate::route::Routes;

/// The hooks that can be asked here.
const HOOKS: [HookName; 2] = [HookName::OnRequest, HookName::OnError];

#[derive(Args, Debug)]
pub(super) struct Run {
    /// The plugin's folder.
    dir: PathBuf,
    /// The request body, a JSON object as a client sends it; - is standard input.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// The hook to ask. Left out, the first of them that the manifest declares.
    #[arg(long, value_name = "NAME", value_parser = one_of(HOOKS.map(HookName::as_str), HookName::parse))]
    hook: Option<HookName>,
    #[command(flatten)]
    config: ConfigArg,
    /// A request header, as 'x-team: red'. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The endpoint the client called.
    #[arg(long, value_name = "NAME", default_value = "chat.completions", value_parser = one_of(Endpoint::ALL.map(Endpoint::as_str), Endpoint::parse))]
    endpoint: Endpoint,
    /// For onError: why the attempt failed.
    #[arg(long, value_name = "CAUSE", default_value = "5xx", value_parser = one_of(UpstreamCause::ALL.map(UpstreamCause::as_str), cause))]
    cause: UpstreamCause,
}

fn cause(text: &str) -> Option<UpstreamCause> {
    UpstreamCause::ALL.into_iter().find(|cause| cause.as_str() == text)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    parsed.ok_or_else(|| "write it like 'x-team: red'".to_owned())
}

impl Run {
    pub(super) fn run(self, here: &Here, reader: Reader) -> Result<(), Failure> {
        let package = load(&self.dir)?;
        let hook = self.hook_of(&package)?;
        let body = body(&self.request)?;
        let draft = Draft::new(self.endpoint, body)
            .map_err(|error| Failure::usage(format!("{}: {error}", self.request.display())))?;
        let Here { environment, .. } = here;
        let config = match &self.config.gateway_config {
            Some(path) => config::load(path, environment)?,
            None => Config::built_in(environment)?,
        };
        let plugin_config = self.config.config.clone().unwrap_or_default();
        let stage = Stage::start(&package, plugin_config, config, environment)?;
        let effect = stage.ready().map(|()| stage.wait_for(self.ask(hook, &stage, draft)));
        stage.end();
        let (effect, output) = (effect?, stage.output());
        reader.say(&effect.json(&output), || format!("{}{effect}", told(&output)));
        effect.verdict()
    }

    fn hook_of(&self, package: &Package) -> Result<HookName, Failure> {
        let declared = |hook: &HookName| package.manifest.hooks.contains_key(hook);
        let name = &package.manifest.name;
        match self.hook {
            Some(hook) if declared(&hook) => Ok(hook),
            Some(hook) => Err(Failure::usage(format!("the manifest of {name} does not declare {hook}"))),
            None => HOOKS.into_iter().find(declared).ok_or_else(|| {
                Failure::usage(format!("the manifest of {name} declares no hook that can be asked here"))
            }),
        }
    }

    async fn ask(&self, hook: HookName, stage: &Stage, mut draft: Draft) -> Effect {
        let lease = stage.published.lease();
        let generation = alone(&lease, hook);
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let path = format!("/v1/{}", self.endpoint.as_str().replace('.', "/"));
        let facts = Facts {
            request_id: "plugin-run",
            generation: generation.number,
            endpoint: self.endpoint,
            method: "POST",
            path: &path,
            headers: &headers,
            key_id: None,
            client: ClientId::default(),
        };
        let before = draft.body.clone();
        let ruling = if hook == HookName::OnError {
            on_error(&generation, &facts, &mut draft, &self.failure(&generation)).await
        } else {
            match on_request(&generation, &facts, &mut draft).await {
                Ruling::Proceed => ErrorRuling::Continue,
                Ruling::Answer(answer) => ErrorRuling::Answer(answer),
                Ruling::Refuse(fault) => ErrorRuling::Refuse(fault),
            }
        };
        let on_failure = lease.members[0].hook(hook).map(|hook| hook.spec.on_failure);
        Effect::new(&generation.members[0], hook, on_failure, &before, draft, ruling)
    }

    /// An attempt that failed as `--cause` says.
    fn failure(&self, generation: &Generation<Plugin>) -> UpstreamFailure {
        let (phase, status) = match self.cause {
            UpstreamCause::Connect | UpstreamCause::Tls | UpstreamCause::BreakerOpen => {
                (Phase::Connect, None)
            }
            UpstreamCause::Timeout => (Phase::FirstByte, None),
            UpstreamCause::RateLimited => (Phase::FirstByte, Some(429)),
            UpstreamCause::ServerError => (Phase::FirstByte, Some(503)),
            UpstreamCause::Cut => (Phase::Body, Some(200)),
        };
        UpstreamFailure {
            cause: self.cause,
            phase,
            upstream: generation.upstreams[0].name().to_string(),
            attempt: 1,
            status,
            elapsed_ms: 100,
            bytes_sent: 0,
            will_retry: false,
            message: "an attempt that failed for a try-out".to_owned(),
            error_body: None,
        }
    }
}

/// The same plugin in a chain of its own, where a failure is always told and a sample takes every request.
fn alone(lease: &Generation<Plugin>, hook: HookName) -> Generation<Plugin> {
    let member = &lease.members[0];
    let metrics = Metrics::new();
    let hooks = member.hook(hook).map(|declared| {
        let mut spec = declared.spec.clone();
        spec.on_failure = OnFailure::always(Policy::Closed);
        spec.when.sample = 1.0;
        MemberHook::new(spec, metrics.hook(&member.name, hook))
    });
    Generation {
        number: lease.number,
        config: Arc::clone(&lease.config),
        routes: Routes::new(&lease.config),
        upstreams: lease.upstreams.clone(),
        members: vec![Member {
            name: Arc::clone(&member.name),
            version: member.version.clone(),
            priority: member.priority,
            hooks: hooks.into_iter().flatten().collect(),
            hook: Arc::clone(&member.hook),
        }],
        since: lease.since,
    }
}

fn body(path: &Path) -> Result<Bytes, Failure> {
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path);
        Box::new(file.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?)
    };
    let mut body = Vec::new();
    let read = from.take(limits::BODY_BYTES + 1).read_to_end(&mut body);
    read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if body.len() as u64 > limits::BODY_BYTES {
        let message = format!("{}: larger than {} bytes", path.display(), limits::BODY_BYTES);
        return Err(Failure::usage(message));
    }
    Ok(body.into())
}
