//! Plugins no new request uses. Each is waited for until nothing of it is left, and so is what is to follow.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};
use tokio::task::JoinSet;

use super::build::Running;
use crate::plugin::Plugin;

#[derive(Default)]
pub(super) struct Ending {
    plugins: Vec<Retired>,
    /// One wait per plugin, and what was to come after some of them.
    tasks: JoinSet<()>,
}

struct Retired {
    name: String,
    /// Gone with the last request that uses it, which is before its process.
    plugin: Weak<Plugin>,
    stopped: Shared<BoxFuture<'static, ()>>,
}

impl Ending {
    /// The plugin ends with its last request, at the latest after `drain`.
    pub(super) fn retire(&mut self, running: &Running, drain: Duration) {
        running.watcher.retire();
        self.end(running, drain);
    }

    /// The same, of one that has a successor: that one is the plugin to whoever looks on.
    pub(super) fn replace(&mut self, running: &Running, drain: Duration) {
        running.watcher.replaced();
        self.end(running, drain);
    }

    fn end(&mut self, running: &Running, drain: Duration) {
        let plugin = &running.plugin;
        plugin.retire(drain);
        let stopped = plugin.stopped().boxed().shared();
        let weak = Arc::downgrade(plugin);
        self.plugins.push(Retired { name: plugin.name().to_owned(), plugin: weak, stopped: stopped.clone() });
        self.tasks.spawn(stopped);
    }

    /// Does `then` when nothing is left of what has had the plugin's name until now and is ending.
    pub(super) fn after(&mut self, name: &str, then: impl Future<Output = ()> + Send + 'static) {
        let of_name = self.plugins.iter().filter(|retired| retired.name == name);
        let stopped = join_all(of_name.map(|retired| retired.stopped.clone()));
        self.tasks.spawn(async move {
            stopped.await;
            then.await;
        });
    }

    pub(super) fn forget_the_gone(&mut self) {
        self.plugins.retain(|retired| retired.stopped.peek().is_none());
        while self.tasks.try_join_next().is_some() {}
    }

    /// Ends them all now, and waits for that and for what follows.
    pub(super) async fn now(&mut self) {
        for plugin in self.plugins.iter().filter_map(|retired| retired.plugin.upgrade()) {
            plugin.retire(Duration::ZERO);
        }
        while self.tasks.join_next().await.is_some() {}
    }
}
