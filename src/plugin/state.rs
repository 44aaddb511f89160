//! What a plugin's handle and its supervisor share: the link calls go to, and what an operator sees.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::sync::watch;

use super::breaker::{BreakerState, CallBreaker, Moved};
use super::link::Link;
use super::logs::{Logs, Source};
use super::supervisor::DeathKind;
use super::{Observer, PluginEvent, PluginState, PluginStatus, StartFailure};
use crate::hook::{Cause, HookFailure};

/// Where a call goes now.
#[derive(Clone, Debug)]
enum Current {
    Up(Arc<Link>),
    Down { cause: Cause, reason: Arc<str> },
}

/// How far the first start has come. Settles once.
#[derive(Clone, Debug)]
pub(super) enum FirstStart {
    UnderWay,
    Over(Result<(), StartFailure>),
}

pub(super) struct Shared {
    pub name: String,
    pub breaker: CallBreaker,
    pub logs: Arc<Logs>,
    pub first_start: watch::Sender<FirstStart>,
    pub stopped: watch::Sender<bool>,
    observer: Arc<dyn Observer>,
    current: RwLock<Current>,
    status: Mutex<PluginStatus>,
    /// The state of the breaker that the observer knows.
    told: Mutex<BreakerState>,
    config: Mutex<Map<String, Value>>,
}

impl Shared {
    pub(super) fn new(name: String, config: Map<String, Value>, observer: Arc<dyn Observer>) -> Self {
        Self {
            logs: Arc::new(Logs::new(name.clone(), Arc::clone(&observer))),
            name,
            breaker: CallBreaker::new(),
            first_start: watch::Sender::new(FirstStart::UnderWay),
            stopped: watch::Sender::new(false),
            observer,
            current: RwLock::new(Current::Down {
                cause: Cause::Unavailable,
                reason: "it is starting".into(),
            }),
            status: Mutex::new(PluginStatus {
                state: PluginState::Starting,
                breaker: BreakerState::Closed,
                hooks: Vec::new(),
                pid: None,
                since: None,
                restarts: 0,
                reason: None,
            }),
            told: Mutex::new(BreakerState::Closed),
            config: Mutex::new(config),
        }
    }

    /// The link for a call, or at once why there is none.
    pub(super) fn current(&self) -> Result<Arc<Link>, HookFailure> {
        match &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            Current::Up(link) => Ok(Arc::clone(link)),
            Current::Down { cause, reason } => Err(HookFailure::new(*cause, &**reason)),
        }
    }

    pub(super) fn status(&self) -> PluginStatus {
        let mut status = self.lock().clone();
        status.breaker = self.breaker.state();
        if status.state == PluginState::Active && status.breaker != BreakerState::Closed {
            status.state = PluginState::Degraded;
        }
        status
    }

    pub(super) fn config(&self) -> Map<String, Value> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the next process is told.
    pub(super) fn set_config(&self, config: Map<String, Value>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(super) fn launched(&self, pid: u32, version: &str, generation: u64) {
        {
            let mut status = self.lock();
            status.pid = Some(pid);
            status.since = Some(SystemTime::now());
            status.restarts += u64::from(status.reason.is_some());
        }
        // Whatever was said last before this, it was not this process.
        self.logs.take_last_words();
        let text = format!("started as process {pid} (version {version}, generation {generation})");
        self.logs.line(Source::Gateway, text);
    }

    pub(super) fn publish(&self, link: Arc<Link>, pid: u32) {
        {
            let mut status = self.lock();
            status.state = PluginState::Active;
            status.hooks = link.hooks().to_vec();
        }
        self.tell(self.breaker.reset());
        self.set_current(Current::Up(link));
        self.settle(Ok(()));
        self.observer.observe(&self.name, &PluginEvent::Ready { pid });
    }

    pub(super) fn withdraw(&self, broken: bool) {
        {
            let mut status = self.lock();
            if status.state == PluginState::Active {
                status.state = PluginState::Degraded;
            }
        }
        self.set_current(if broken {
            Current::Down {
                cause: Cause::Broken,
                reason: "it was given up on after failing too often".into(),
            }
        } else {
            Current::Down { cause: Cause::Unavailable, reason: "it has no process at the moment".into() }
        });
    }

    /// The process is gone. `again` is when the next is started; `None` if it was given up on.
    pub(super) fn died(&self, kind: DeathKind, reason: String, again: Option<Duration>) {
        {
            let mut status = self.lock();
            let first = status.state == PluginState::Starting;
            status.state = match again {
                None => PluginState::Broken,
                Some(_) if first => PluginState::Starting,
                Some(_) => PluginState::Degraded,
            };
            (status.pid, status.since) = (None, None);
            status.reason = Some(reason.clone());
        }
        self.withdraw(again.is_none());
        self.settle(Err(StartFailure { kind, reason: reason.clone() }));
        let next = match again {
            Some(after) => format!("starts again in {} ms", after.as_millis()),
            None => "given up on, but for a probe now and then".to_owned(),
        };
        self.logs.line(Source::Gateway, format!("{reason}; {next}"));
        let broken = again.is_none();
        self.observer.observe(&self.name, &PluginEvent::Died { kind, reason: reason.clone(), again });
        if broken {
            self.observer.observe(&self.name, &PluginEvent::Broken { reason });
        }
    }

    /// There is no process, and there will be none.
    pub(super) fn withhold(&self, reason: String) {
        {
            let mut status = self.lock();
            status.state = PluginState::Broken;
            status.reason = Some(reason.clone());
        }
        self.set_current(Current::Down { cause: Cause::Broken, reason: reason.as_str().into() });
        self.logs.line(Source::Gateway, format!("not started: {reason}"));
        self.settle(Err(StartFailure { kind: DeathKind::Launch, reason: reason.clone() }));
        self.stopped.send_replace(true);
        self.observer.observe(&self.name, &PluginEvent::Broken { reason });
    }

    /// Nothing of the plugin is left.
    pub(super) fn finish(&self) {
        let pid = {
            let mut status = self.lock();
            status.state = PluginState::Stopped;
            status.since = None;
            status.pid.take()
        };
        if let Some(pid) = pid {
            self.logs.line(Source::Gateway, format!("process {pid} was stopped"));
        }
        self.set_current(Current::Down { cause: Cause::Unavailable, reason: "it was stopped".into() });
        let reason = "it was stopped before it was ready".to_owned();
        self.settle(Err(StartFailure { kind: DeathKind::Exit, reason }));
        self.observer.observe(&self.name, &PluginEvent::Stopped);
        self.stopped.send_replace(true);
    }

    /// A start that takes long.
    pub(super) fn starting(&self, elapsed: Duration, limit: Duration) {
        self.observer.observe(&self.name, &PluginEvent::Starting { elapsed, limit });
    }

    /// Tells the state the breaker is in now, if it is not the one that was told last: two calls may move it at the
    /// same time, and what is told last has to be true.
    pub(super) fn tell(&self, Moved(moved): Moved) {
        if !moved {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.breaker.state();
        if *told != state {
            *told = state;
            self.observer.observe(&self.name, &PluginEvent::Breaker(state));
        }
    }

    fn settle(&self, outcome: Result<(), StartFailure>) {
        self.first_start.send_if_modified(|start| match start {
            FirstStart::UnderWay => {
                *start = FirstStart::Over(outcome);
                true
            }
            FirstStart::Over(_) => false,
        });
    }

    fn set_current(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    fn lock(&self) -> MutexGuard<'_, PluginStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
