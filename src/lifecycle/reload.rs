//! Reading the configuration again, and publishing what it says: whole or not at all.

use std::sync::Arc;

use serde_json::json;

use super::actor::{Actor, blocking, is_ending};
use super::build::Due;
use super::error::LifecycleError;
use super::report::{self, Report};
use super::source::Watch;
use super::{By, row};
use crate::config::{Config, diff};
use crate::limits;
use crate::metrics::ReloadOutcome;

impl Actor {
    pub(super) async fn reload(&mut self, by: By) -> Result<Report, LifecycleError> {
        let result = self.read_and_publish(by).await;
        let outcome = match &result {
            Ok(report) if report.changed => ReloadOutcome::Applied,
            Ok(_) => ReloadOutcome::Unchanged,
            Err(_) => ReloadOutcome::Refused,
        };
        self.ground.metrics.reloaded(outcome);
        let why = by.as_str();
        match &result {
            Ok(Report { generation, changes, .. }) => tracing::info!(why, generation, ?changes, "reloaded"),
            Err(error) => tracing::error!(why, %error, "reload refused, nothing changed"),
        }
        self.config_file.read(&result);
        if !self.config_file.taken_away.is_empty() {
            let plugins = self.config_file.taken_away.join(", ");
            tracing::warn!(why, plugins, "a reload took plugins out of the chain");
        }
        if result.is_ok() && self.config_file.only_echo {
            tracing::warn!(why, "a reload left no upstream but the built-in echo");
        }
        self.tell();
        result
    }

    /// The file's configuration. An end waits for no file system, and neither do operators for long.
    async fn read(&mut self) -> Result<Arc<Config>, LifecycleError> {
        let (source, present) = (self.source.clone(), self.config.clone());
        let reading = blocking(move || (source.stamp(), source.reload(&present)));
        let mut ends = self.ends.clone();
        let (stamp, config) = tokio::select! {
            read = tokio::time::timeout(limits::CONFIG_READ_WAIT, reading) => read.unwrap_or_else(|_| {
                let seconds = limits::CONFIG_READ_WAIT.as_secs();
                let problem = format!("the configuration file could not be read within {seconds} s");
                Err(LifecycleError::Invalid { errors: vec![problem] })
            })?,
            () = is_ending(&mut ends) => return Err(LifecycleError::ShuttingDown),
        };
        self.watch = Watch::new(stamp);
        config.map(Arc::new).map_err(LifecycleError::invalid)
    }

    async fn read_and_publish(&mut self, by: By) -> Result<Report, LifecycleError> {
        let config = self.read().await?;
        let changes = diff(&self.config, &config);
        let entries = row::entries(&config, self.ground.store.plugins().await?, &self.entries);
        let built = self.build(&config, entries, &Due::Managed).await?;
        if changes.is_empty()
            && built.started.is_empty()
            && self.published.lease().has_the_chain_of(&built.generation)
        {
            self.entries = built.entries;
            self.config_file.only_echo = false;
            return Ok(self.unchanged());
        }
        let started: Vec<String> =
            built.started.iter().map(|running| running.plugin.name().to_owned()).collect();
        for entry in
            built.entries.iter().filter(|entry| started.iter().any(|name| **name == *entry.wanted.name))
        {
            entry.warn(&config);
        }
        let sentences = report::sentences(&changes, &started);
        let note = by.note("reload", None, json!(sentences));
        let taken_away = self.commit(built, Vec::new(), note, &sentences).await?;
        self.config_file.only_echo = config.has_only_echo() && !self.config.has_only_echo();
        self.config = config;
        Ok(Report { generation: self.generation(), changed: true, changes: sentences, taken_away })
    }
}
