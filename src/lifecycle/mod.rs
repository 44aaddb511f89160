//! The one actor that changes what is published.
//!
//! It takes one event at a time: reads the configuration, starts what is new, waits until it is ready, and
//! publishes the next generation with one swap. A plan that fails anywhere is dropped whole, and the answer
//! names the plugin and the step. It knows no request and no admin JSON.

mod build;
mod observe;
mod report;
mod source;
mod wanted;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::chain::{Generation, Published};
use crate::config::{Config, diff};
use crate::limits;
use crate::metrics::ReloadOutcome;
use crate::plugin::Plugin;

pub use build::Ground;
pub use report::{Readiness, ReloadError, ReloadReport, readiness};
pub use source::Source;

use build::{Built, Running};
use source::Watched;

/// What the actor does next.
enum Event {
    Reload {
        reply: oneshot::Sender<Result<ReloadReport, ReloadError>>,
    },
    /// Ends every plugin, and then the actor.
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// The way to the actor.
#[derive(Clone)]
pub struct Lifecycle {
    events: mpsc::Sender<Event>,
}

impl Lifecycle {
    /// Builds and publishes the first generation, then starts the actor on the current runtime.
    ///
    /// A plugin that does not become ready does not hold up the rest: its `onFailure` verdict applies until
    /// it does. A folder without a valid manifest does, for nobody could say which hooks it has.
    pub async fn start(
        source: Source,
        config: Config,
        ground: Ground,
    ) -> Result<(Self, Arc<Published<Plugin>>), ReloadError> {
        let watched = source.watched();
        let built = build::build(&ground, config, 1, None, &[]).await?;
        for running in &built.started {
            running.observed.current(&running.plugin);
        }
        for (plugin, failure) in built.wait_until_ready().await {
            tracing::error!(plugin, step = failure.step(), reason = failure.reason, "a plugin did not start");
        }
        let published = Arc::new(Published::new(built.generation));
        let (events, queue) = mpsc::channel(limits::LIFECYCLE_EVENTS);
        let actor = Actor {
            source,
            watched,
            ground,
            published: published.clone(),
            generations: vec![Arc::downgrade(&published.lease())],
            running: built.running,
            retired: Vec::new(),
            ending: JoinSet::new(),
        };
        actor.count_generations();
        actor.ground.metrics.published(1);
        tokio::spawn(actor.run(queue));
        Ok((Self { events }, published))
    }

    /// Reads the configuration again and publishes what it says, or changes nothing.
    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Reload { reply }).await.map_err(|_| ReloadError::ShuttingDown)?;
        answer.await.unwrap_or(Err(ReloadError::ShuttingDown))
    }

    /// Ends all plugins, the retired ones too. Returns when nothing of them is left.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.events.send(Event::Stop { reply }).await.is_ok() {
            // An error says that the actor is gone already.
            let _ = answer.await;
        }
    }
}

struct Actor {
    source: Source,
    watched: Watched,
    ground: Ground,
    published: Arc<Published<Plugin>>,
    /// Every generation some request may still run on.
    generations: Vec<Weak<Generation<Plugin>>>,
    /// The published generation's plugins.
    running: Vec<Running>,
    /// Plugins no new request uses, as long as some request still does.
    retired: Vec<Weak<Plugin>>,
    /// One wait per retired plugin, over when nothing of it is left.
    ending: JoinSet<()>,
}

impl Actor {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut tick = tokio::time::interval(limits::CONFIG_WATCH_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Reload { reply }) => {
                        let result = self.reload("request").await;
                        // Whoever asked may have gone; the reload happened all the same.
                        let _ = reply.send(result);
                    }
                    Some(Event::Stop { reply }) => {
                        self.stop().await;
                        let _ = reply.send(());
                        return;
                    }
                    None => return self.stop().await,
                },
                _ = tick.tick() => {
                    self.forget_the_gone();
                    self.count_generations();
                    if self.published.lease().config.watch && self.source.has_changed(&self.watched) {
                        // Told in the log; the old generation serves on.
                        let _ = self.reload("file change").await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self, why: &str) -> Result<ReloadReport, ReloadError> {
        self.watched = self.source.watched();
        let result = self.build_and_publish().await;
        let outcome = match &result {
            Ok(report) if report.changed => ReloadOutcome::Applied,
            Ok(_) => ReloadOutcome::Unchanged,
            Err(_) => ReloadOutcome::Refused,
        };
        self.ground.metrics.reloaded(outcome);
        match &result {
            Ok(report) => {
                tracing::info!(why, generation = report.generation, changes = ?report.changes, "reloaded");
            }
            Err(error) => tracing::error!(why, %error, "reload refused, nothing changed"),
        }
        result
    }

    async fn build_and_publish(&mut self) -> Result<ReloadReport, ReloadError> {
        let old = self.published.lease();
        let config = self.source.load().map_err(ReloadError::invalid)?;
        let changes = diff(&old.config, &config);
        let number = old.number + 1;
        let built = build::build(&self.ground, config, number, Some(&old), &self.running).await?;
        if changes.is_empty() && built.started.is_empty() {
            return Ok(ReloadReport { generation: old.number, changed: false, changes: Vec::new() });
        }
        let sentences = report::sentences(&changes, &built.started);
        if let Some((plugin, failure)) = built.wait_until_ready().await.into_iter().next() {
            built.started.iter().for_each(|running| self.retire(running, Duration::ZERO));
            return Err(ReloadError::Plugin { plugin, step: failure.step(), message: failure.reason });
        }
        self.publish(built, number);
        Ok(ReloadReport { generation: number, changed: true, changes: sentences })
    }

    fn publish(&mut self, built: Built, number: u64) {
        let drain = built.generation.config.plugins.drain;
        let old = self.published.publish(built.generation);
        let new = self.published.lease();
        self.generations.push(Arc::downgrade(&new));
        for before in std::mem::replace(&mut self.running, built.running) {
            if !self.running.iter().any(|kept| Arc::ptr_eq(&kept.plugin, &before.plugin)) {
                self.retire(&before, drain);
            }
        }
        for running in &built.started {
            running.observed.current(&running.plugin);
        }
        self.forget_metrics(&old, &new);
        self.ground.metrics.published(number);
        self.forget_the_gone();
        self.count_generations();
    }

    fn retire(&mut self, running: &Running, drain: Duration) {
        running.observed.retire();
        running.plugin.retire(drain);
        self.retired.push(Arc::downgrade(&running.plugin));
        self.ending.spawn(running.plugin.stopped());
    }

    /// Series of what is no longer configured would be shown for ever.
    fn forget_metrics(&self, old: &Generation<Plugin>, new: &Generation<Plugin>) {
        let stays = |name: &str| new.members.iter().any(|member| *member.name == *name);
        for member in old.members.iter().filter(|member| !stays(&member.name)) {
            self.ground.metrics.forget_plugin(&member.name);
        }
        let stays = |name: &str| new.upstreams.iter().any(|upstream| **upstream.name() == *name);
        for upstream in old.upstreams.iter().filter(|upstream| !stays(upstream.name())) {
            self.ground.metrics.forget_upstream(upstream.name());
        }
    }

    fn forget_the_gone(&mut self) {
        self.generations.retain(|generation| generation.strong_count() > 0);
        self.retired.retain(|plugin| plugin.strong_count() > 0);
        while self.ending.try_join_next().is_some() {}
    }

    fn count_generations(&self) {
        let alive = self.generations.iter().filter(|generation| generation.strong_count() > 0).count();
        self.ground.metrics.generations_alive(alive);
    }

    /// DRAIN, SHUTDOWN, TERM, KILL for every plugin at once, those included that are ending already.
    async fn stop(&mut self) {
        for running in std::mem::take(&mut self.running) {
            self.retire(&running, Duration::ZERO);
        }
        for plugin in self.retired.iter().filter_map(Weak::upgrade) {
            plugin.retire(Duration::ZERO);
        }
        while self.ending.join_next().await.is_some() {}
    }
}
