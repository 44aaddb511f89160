//! `hookway plugin logs`: what a plugin printed, and with `-f` what it prints. Ends on Ctrl-C, and when nobody reads.

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::super::api::Api;
use super::super::say::{Failure, Reader};
use super::tables;
use crate::limits;

pub(super) fn run(api: Api, name: &str, follow: bool, reader: Reader) -> Result<(), Failure> {
    let mut at = 0;
    if !follow {
        let page = page(&api, name, at)?;
        reader.say(&page, || tables::log(&page));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("failed", error.to_string()))?;
    let (api, name) = (Arc::new(api), name.to_owned());
    let result = runtime.block_on(async {
        let interrupt = signal(SignalKind::interrupt());
        let mut interrupt = interrupt.map_err(|error| Failure::new("failed", error.to_string()))?;
        loop {
            let (api, name) = (Arc::clone(&api), name.clone());
            let asked = tokio::task::spawn_blocking(move || page(&api, &name, at));
            let page = tokio::select! {
                page = asked => page.map_err(|error| Failure::new("failed", error.to_string()))??,
                _ = interrupt.recv() => return Ok(()),
            };
            at = page["next"].as_u64().unwrap_or(at);
            if show(&page, reader).is_err() {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(limits::CLI_FOLLOW_PERIOD) => {}
                _ = interrupt.recv() => return Ok(()),
            }
        }
    });
    // A question under way is nobody's any more.
    runtime.shutdown_background();
    result
}

fn page(api: &Api, name: &str, after: u64) -> Result<Value, Failure> {
    api.get(&format!("/api/plugins/{name}/logs?after={after}&limit={}", limits::PLUGIN_LOG_LINES))
}

/// Line by line, for programs too. An error says that nobody reads any more.
fn show(page: &Value, reader: Reader) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for line in page["lines"].as_array().into_iter().flatten() {
        match reader {
            Reader::Person => writeln!(stdout, "{}", tables::log_line(line))?,
            Reader::Program => writeln!(stdout, "{line}")?,
        }
    }
    stdout.flush()
}
