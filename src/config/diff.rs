//! What a reload changes.

use super::Config;

/// The difference between two configs, by what it takes to make it true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Changed keys that only a restart brings into effect.
    pub restart: Vec<&'static str>,
    /// Changed keys that take effect with the next request.
    pub live: Vec<&'static str>,
    pub upstreams: Difference,
    pub plugins: Difference,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.restart.is_empty() && self.live.is_empty() && self.upstreams.is_same() && self.plugins.is_same()
    }
}

/// Names on one side or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
    pub kept: Vec<String>,
}

impl Difference {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn between<T: PartialEq>(old: &[T], new: &[T], name: impl Fn(&T) -> &str) -> Self {
        let mut difference = Self::default();
        for item in new {
            let before = old.iter().find(|before| name(before) == name(item));
            let list = match before {
                None => &mut difference.added,
                Some(before) if before == item => &mut difference.kept,
                Some(_) => &mut difference.changed,
            };
            list.push(name(item).to_owned());
        }
        let gone = old.iter().filter(|item| new.iter().all(|after| name(after) != name(item)));
        difference.removed.extend(gone.map(|item| name(item).to_owned()));
        difference
    }
}

/// What is different in `new`. A route is told as one key: requests match against all of them or none.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes {
        upstreams: Difference::between(&old.upstreams, &new.upstreams, |upstream| &upstream.name),
        plugins: Difference::between(&old.plugin_entries, &new.plugin_entries, |plugin| &plugin.name),
        ..Changes::default()
    };
    let restart = [
        ("listen.address", old.listen.address != new.listen.address),
        ("listen.tls", old.listen.tls != new.listen.tls),
        ("listen.threads", old.listen.threads != new.listen.threads),
        ("listen.upgrade_socket", old.listen.upgrade_socket != new.listen.upgrade_socket),
        ("admin.address", old.admin.address != new.admin.address),
        ("admin.token_file", old.admin.token_file != new.admin.token_file),
        ("state.dir", old.state_dir != new.state_dir),
        ("log.format", old.log.format != new.log.format),
        ("log.level", old.log.level != new.log.level),
        ("log.access", old.log.access != new.log.access),
        ("limits.header_timeout", old.limits.header_timeout != new.limits.header_timeout),
        ("limits.body_timeout", old.limits.body_timeout != new.limits.body_timeout),
        ("limits.idle_timeout", old.limits.idle_timeout != new.limits.idle_timeout),
        ("limits.write_timeout", old.limits.write_timeout != new.limits.write_timeout),
        ("limits.half_close_wait", old.limits.half_close_wait != new.limits.half_close_wait),
        ("limits.body_rate", old.limits.body_rate != new.limits.body_rate),
        ("limits.answer_rate", old.limits.answer_rate != new.limits.answer_rate),
        ("limits.rate_window", old.limits.rate_window != new.limits.rate_window),
    ];
    let live = [
        ("plugins", old.plugins != new.plugins),
        ("limits.header_size", old.limits.header_bytes != new.limits.header_bytes),
        ("limits.body_size", old.limits.body_bytes != new.limits.body_bytes),
        ("limits.requests_in_flight", old.limits.requests_in_flight != new.limits.requests_in_flight),
        ("limits.bodies_in_flight", old.limits.bodies_in_flight != new.limits.bodies_in_flight),
        ("limits.buffered", old.limits.buffered != new.limits.buffered),
        ("shutdown.grace", old.shutdown_grace != new.shutdown_grace),
        ("reload.watch", old.watch != new.watch),
        ("route", old.routes != new.routes),
    ];
    changes.restart = changed(&restart);
    changes.live = changed(&live);
    changes
}

fn changed(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse};

    fn config(text: &str) -> Config {
        let environment = Environment::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        parse(text, "hookway.toml", Path::new("/etc/hookway"), &environment).unwrap()
    }

    #[test]
    fn the_same_config_has_no_changes_even_if_its_lines_moved() {
        let one = config("[[plugin]]\nname = \"a\"\npath = \"a\"\n");
        let other = config("\n\n[[plugin]]\npath = \"a\"\nname = \"a\"\n");
        assert_eq!(one, other);
        let changes = diff(&one, &other);
        assert!(changes.is_empty());
        assert_eq!(changes.plugins.kept, ["a"]);
        assert_eq!(changes.upstreams.kept, ["echo"]);
    }

    #[test]
    fn what_is_added_removed_changed_and_kept_is_told_by_name() {
        let plugin = |name: &str, path: &str| format!("[[plugin]]\nname = {name:?}\npath = {path:?}\n");
        let old = config(&(plugin("a", "a") + &plugin("b", "b") + &plugin("c", "c")));
        let new = config(&(plugin("b", "b2") + &plugin("c", "c") + &plugin("d", "d")));
        let expected = Difference {
            added: vec!["d".to_owned()],
            removed: vec!["a".to_owned()],
            changed: vec!["b".to_owned()],
            kept: vec!["c".to_owned()],
        };
        assert_eq!(diff(&old, &new).plugins, expected);
    }

    #[test]
    fn what_needs_a_restart_is_told_apart_from_what_does_not() {
        let old = config("");
        let new = config(
            "listen.address = \"127.0.0.1:9\"\nstate.dir = \"x\"\nlog.access = false\n\
             limits = { body_size = \"1MiB\", body_timeout = \"1s\" }",
        );
        let changes = diff(&old, &new);
        let restart =
            ["listen.address", "listen.upgrade_socket", "state.dir", "log.access", "limits.body_timeout"];
        assert_eq!(changes.restart, restart);
        assert_eq!(changes.live, ["plugins", "limits.body_size"]);
    }
}
