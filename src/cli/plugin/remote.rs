//! `hookway plugin list`, `activate` and the others that see and change the plugins of a running gateway.
//!
//! Each is a request of the admin API and its answer in words; what may be done and what comes of it is decided by the
//! gateway alone.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::Here;
use super::super::api::{Access, Api};
use super::super::completions::PLUGIN;
use super::super::say::{Failure, Reader, told_to};
use super::settings::{Setting, changed};
use super::{follow, granting, tables};
use crate::lifecycle::Observed;

/// What is done with a plugin, whichever it is.
#[derive(Args, Debug)]
pub(super) struct One {
    /// The plugin's name.
    #[arg(value_name = PLUGIN, value_parser = name)]
    name: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Tell all plugins of the running gateway and how they are.
    List {
        /// Only those in this state.
        #[arg(long, value_name = "STATE", value_parser = Observed::ALL.map(Observed::as_str))]
        status: Option<String>,
        /// Their names alone, one in each line.
        #[arg(long)]
        names: bool,
        #[command(flatten)]
        access: Access,
    },
    /// Tell everything about one plugin.
    Show(One),
    /// Look into the plugin folders for new, changed and vanished plugins.
    Scan {
        #[command(flatten)]
        access: Access,
    },
    /// Copy a plugin, or every plugin of a folder, into the gateway; of a known name it is an upgrade.
    Install {
        /// The plugin's folder, or a folder of several.
        path: PathBuf,
        /// Allow what it asks for. Without it, you are asked on a terminal.
        #[arg(long)]
        grant: bool,
        /// Take other files of the version that is installed; config, order and grants stay.
        #[arg(long)]
        force: bool,
        /// Activate it, too.
        #[arg(long)]
        activate: bool,
        #[command(flatten)]
        access: Access,
    },
    /// Start a plugin and put it into the chain.
    Activate {
        /// Allow what it asks for. Without it, you are asked on a terminal.
        #[arg(long)]
        grant: bool,
        #[command(flatten)]
        one: One,
    },
    /// Take a plugin out of the chain and end it once its calls are done.
    Deactivate(One),
    /// Remove a plugin, its config and what its installation made; a folder that a scan found stays.
    Uninstall(One),
    /// Start a plugin's process anew.
    Restart(One),
    /// Tell a plugin's config, or change it.
    Config {
        /// The plugin's name.
        #[arg(value_name = PLUGIN, value_parser = name)]
        name: String,
        /// A value, as JSON or else as text; a dot leads into an object, as in limits.day=5.
        #[arg(value_name = "KEY=VALUE")]
        set: Vec<Setting>,
        /// Take a key out. May be repeated.
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
        #[command(flatten)]
        access: Access,
    },
    /// Put plugins first in the chain, in this order; without names, tell the order.
    Order {
        /// The plugin's name; the first is asked first.
        #[arg(value_name = PLUGIN, value_parser = name)]
        names: Vec<String>,
        #[command(flatten)]
        access: Access,
    },
    /// Tell what a plugin printed of late.
    Logs {
        /// Go on with new lines as they come, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        one: One,
    },
    /// Tell a plugin's recent calls, newest first.
    Executions {
        /// How many.
        #[arg(long, value_name = "N")]
        limit: Option<u16>,
        /// Only those before this one, to read on.
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
        #[command(flatten)]
        one: One,
    },
}

/// A name that can stand in a path as it is; whether there is such a plugin the gateway knows.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || !text.chars().all(fits) {
        return Err("is no name of a plugin; those are of lower-case letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

impl Remote {
    pub(super) fn run(self, here: &Here, reader: Reader) -> Result<(), Failure> {
        match self {
            Self::List { status, names: only_names, access } => {
                let query = status.map_or_else(String::new, |status| format!("?status={}", query(&status)));
                let answer = access.open(here)?.get(&format!("/api/plugins{query}"))?;
                if only_names && reader == Reader::Person {
                    told_to(io::stdout(), format_args!("{}", names(&answer["plugins"]).join("\n")));
                    return Ok(());
                }
                reader.say(&answer, || tables::plugins(&answer));
            }
            Self::Show(One { name, access }) => {
                let answer = access.open(here)?.get(&format!("/api/plugins/{name}"))?;
                reader.say(&answer, || tables::facts(&answer));
            }
            Self::Scan { access } => {
                let answer = access.open(here)?.post("/api/plugins/scan", &json!({}))?;
                reader.say(&answer, || tables::scan(&answer));
            }
            Self::Install { path, grant, force, activate, access } => {
                let options = Options { grant, force, activate };
                return install(&access.open(here)?, &path, options, reader);
            }
            Self::Activate { grant, one: One { name, access } } => {
                let answer = activate(&access.open(here)?, &name, grant, reader)?;
                reader.say(&answer, || tables::report(&answer));
            }
            Self::Deactivate(one) => change(&one, "deactivate", "ending", &json!({}), here, reader)?,
            Self::Restart(one) => change(&one, "restart", "starting", &json!({}), here, reader)?,
            Self::Uninstall(One { name, access }) => {
                let answer = access.open(here)?.delete(&format!("/api/plugins/{name}"))?;
                reader.say(&answer, || tables::report(&answer));
            }
            Self::Config { name, set, unset, access } => {
                return config(&access.open(here)?, &name, set, &unset, reader);
            }
            Self::Order { names, access } => order(&access.open(here)?, &names, reader)?,
            Self::Logs { follow, one: One { name, access } } => {
                return follow::run(access.open(here)?, &name, follow, reader);
            }
            Self::Executions { limit, before, one: One { name, access } } => {
                let numbers = [("limit", limit.map(u64::from)), ("before", before)];
                let query: Vec<String> = numbers
                    .into_iter()
                    .filter_map(|(key, value)| Some(format!("{key}={}", value?)))
                    .collect();
                let path = format!("/api/plugins/{name}/executions?{}", query.join("&"));
                let answer = access.open(here)?.get(path.trim_end_matches('?'))?;
                reader.say(&answer, || tables::executions(&answer));
            }
        }
        Ok(())
    }
}

fn change(
    one: &One,
    verb: &str,
    progress: &str,
    body: &Value,
    here: &Here,
    reader: Reader,
) -> Result<(), Failure> {
    let One { name, access } = one;
    let api = access.open(here)?;
    let answer = meanwhile(reader, &format!("{progress} {name}"), || {
        api.post(&format!("/api/plugins/{name}/{verb}"), body)
    })?;
    reader.say(&answer, || tables::report(&answer));
    Ok(())
}

fn activate(api: &Api, name: &str, grant: bool, reader: Reader) -> Result<Value, Failure> {
    let path = format!("/api/plugins/{name}/activate");
    granting::granting(reader, grant, |grant| {
        meanwhile(reader, &format!("starting {name}"), || api.post(&path, &json!({ "grant": grant })))
    })
}

/// What may be said to an installation.
#[derive(Clone, Copy)]
struct Options {
    grant: bool,
    force: bool,
    activate: bool,
}

/// The gateway reads the folder itself, from wherever it runs, so the path has to be whole.
fn install(api: &Api, path: &std::path::Path, options: Options, reader: Reader) -> Result<(), Failure> {
    let whole =
        path.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let Some(text) = whole.to_str() else {
        return Err(Failure::usage(format!("{}: its path is no text", path.display())));
    };
    let mut answer = granting::granting(reader, options.grant, |grant| {
        let body = json!({ "path": text, "grant": grant, "force": options.force });
        meanwhile(reader, "installing", || api.post("/api/plugins", &body))
    })?;
    let installed: Vec<String> = names(&answer["plugins"]);
    if options.activate {
        let mut activated = Vec::new();
        for name in &installed {
            // What was done before stays done, and whoever asked has to know.
            let report = activate(api, name, options.grant, reader)
                .map_err(|failure| failure.after(&format!("installed {}", installed.join(", "))))?;
            activated.push(report);
        }
        answer["activated"] = Value::Array(activated);
    }
    reader.say(&answer, || tables::installed(&answer));
    Ok(())
}

fn names(plugins: &Value) -> Vec<String> {
    let names = plugins.as_array().into_iter().flatten().filter_map(|plugin| plugin["name"].as_str());
    names.map(str::to_owned).collect()
}

fn config(api: &Api, name: &str, set: Vec<Setting>, unset: &[String], reader: Reader) -> Result<(), Failure> {
    let path = format!("/api/plugins/{name}/config");
    let current = api.get(&path)?;
    if set.is_empty() && unset.is_empty() {
        reader.say(&current, || tables::config(&current));
        return Ok(());
    }
    let before = current["config"].as_object().cloned().unwrap_or_default();
    let config = changed(before, &current["configSchema"], set, unset)?;
    let answer =
        meanwhile(reader, &format!("configuring {name}"), || api.put(&path, &json!({ "config": config })))?;
    reader.say(&answer, || tables::report(&answer));
    Ok(())
}

fn order(api: &Api, names: &[String], reader: Reader) -> Result<(), Failure> {
    if names.is_empty() {
        let answer = api.get("/api/chain")?;
        reader.say(&answer, || tables::chain(&answer));
        return Ok(());
    }
    let answer = meanwhile(reader, "ordering", || api.put("/api/chain", &json!({ "order": names })))?;
    reader.say(&answer, || tables::report(&answer));
    Ok(())
}

/// Says what is waited for, to a person who looks on.
fn meanwhile<T>(reader: Reader, what: &str, work: impl FnOnce() -> T) -> T {
    let mut stderr = io::stderr();
    let shown = reader == Reader::Person && stderr.is_terminal();
    if shown {
        // Nobody is harmed if it is not seen.
        let _ = write!(stderr, "{what} …").and_then(|()| stderr.flush());
    }
    let done = work();
    if shown {
        // Back to the start of the line, and the rest of it is wiped.
        let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
    }
    done
}

/// A value of a query: whatever is not a letter, digit or dash is written as its bytes.
fn query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
        out
    })
}
