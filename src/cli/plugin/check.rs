//! `hookway plugin check`: what the gateway does with a plugin until it is ready, and how it ends, step by step.

use std::io;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::super::Here;
use super::super::say::{Failure, Reader, told_to};
use super::stage::{ConfigArg, Stage, load};
use crate::config::{Config, Environment};
use crate::hook::HookName;
use crate::limits;
use crate::package::{Manifest, Package, Search};

/// What was done so far. A person reads it as it is done, a program at the end.
struct Steps {
    reader: Reader,
    done: Vec<Value>,
}

impl Steps {
    fn done(&mut self, step: &str, what: &str) {
        if self.reader == Reader::Person {
            told_to(io::stdout(), format_args!("{step:<9}  {what}"));
        }
        self.done.push(json!({ "step": step, "detail": what }));
    }
}

pub(super) fn run(dir: &Path, config: ConfigArg, here: &Here, reader: Reader) -> Result<(), Failure> {
    let mut steps = Steps { reader, done: Vec::new() };
    let package = load(dir)?;
    let manifest = &package.manifest;
    steps.done("manifest", &format!("{} {}, {}", manifest.name, manifest.version, hooks_of(manifest)));
    let notices = manifest.notices(limits::CHAIN_BUDGET);
    notices.iter().for_each(|notice| steps.done("notice", notice));
    let program = program(&package)?;
    steps.done("program", &program);
    let output = start_and_end(&package, config.take(), &here.environment, &mut steps)?;
    let name = &manifest.name;
    let answer = json!({ "plugin": name, "version": manifest.version.to_string(), "steps": steps.done, "output": output });
    reader.say(&answer, || format!("ok: {name} is a plugin the gateway can run"));
    Ok(())
}

fn hooks_of(manifest: &Manifest) -> String {
    let name = |hook: &HookName| {
        let note = if hook.is_used() { "" } else { " (not called by this version)" };
        format!("{hook}{note}")
    };
    let hooks: Vec<String> = manifest.hooks.keys().map(name).collect();
    if hooks.is_empty() { "no hooks".to_owned() } else { hooks.join(", ") }
}

fn program(package: &Package) -> Result<String, Failure> {
    let argv = package.program.resolve(&package.dir, &Search::of_this_process());
    let argv = argv.map_err(|error| Failure::new("program_not_found", format!("program: {error}")))?;
    Ok(argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

fn start_and_end(
    package: &Package,
    config: Map<String, Value>,
    environment: &Environment,
    steps: &mut Steps,
) -> Result<Vec<Value>, Failure> {
    let began = Instant::now();
    let stage = Stage::start(package, config, Config::built_in(environment)?, environment)?;
    stage.ready()?;
    steps.done("start", &format!("ready after {} ms", began.elapsed().as_millis()));
    steps.done("handshake", &serves(&stage));
    let ended = stage.end();
    // Longer means that it did not go by itself and was made to.
    let note =
        if ended >= limits::SHUTDOWN_WAIT { "; it did not exit on SHUTDOWN and was terminated" } else { "" };
    steps.done("stop", &format!("ended after {} ms{note}", ended.as_millis()));
    Ok(stage.output())
}

/// The hooks READY promised: those of the manifest that the gateway calls.
fn serves(stage: &Stage) -> String {
    let names: Vec<&str> = stage.plugin().status().hooks.into_iter().map(HookName::as_str).collect();
    if names.is_empty() { "serves no hook".to_owned() } else { format!("serves {}", names.join(", ")) }
}
