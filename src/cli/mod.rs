//! The commands. Each ends with 0 (done), 1 (failed) or 64 (bad usage or config, as `sysexits.h` has it).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app;
use crate::config::{self, Config, Environment, Errors};

mod api;
mod check;
mod completions;
mod mcp;
mod plugin;
mod say;

use say::{USAGE, told_to};

/// Used without `-c`, if it is there.
const CONFIG_FILE: &str = "config/hookway.toml";

/// An OpenAI-compatible gateway whose requests pass a live chain of plugins.
#[derive(Debug, Parser)]
#[command(name = "hookway", version)]
struct CommandLine {
    /// Config file; without it config/hookway.toml if that is there, else built-in defaults.
    #[arg(id = CONFIG_ID, short = 'c', long = "config", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Of `-c`, which may stand anywhere in the line. A command that has a `--config` of its own declares a `-c` with this
/// id, which takes the place of the one of all commands.
const CONFIG_ID: &str = "config_file";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (also without a command).
    Serve(Serve),
    /// Tell everything that is wrong with a config and the plugins it names.
    Check,
    /// Write plugins, and see and change those of a running gateway.
    Plugin(plugin::Plugin),
    /// Speak the Model Context Protocol over standard input and output, for the running gateway.
    Mcp(api::Access),
    /// Write what a shell needs to complete these commands.
    Completions { shell: clap_complete::Shell },
}

#[derive(Args, Debug)]
struct Serve {
    /// Take the listening sockets over from the running gateway, once it gets SIGQUIT.
    #[arg(long)]
    upgrade: bool,
}

/// What each command starts from.
#[derive(Debug)]
struct Here {
    /// The config file that the line names, else the one in its usual place; `None`: the built-in config.
    config_path: Option<PathBuf>,
    environment: Environment,
}

impl Here {
    fn new(named: Option<PathBuf>) -> Self {
        let config_path = named.or_else(|| Path::new(CONFIG_FILE).exists().then(|| CONFIG_FILE.into()));
        Self { config_path, environment: config::environment_of_this_process() }
    }
}

/// Runs the command that `args`, the program's name first, ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let CommandLine { config, serve: Serve { upgrade }, command } = match parse(args) {
        Ok(line) => line,
        Err(told) => return say(&told),
    };
    let here = Here::new(config);
    match command.unwrap_or(Command::Serve(Serve { upgrade })) {
        Command::Serve(Serve { upgrade }) => serve(here, upgrade),
        Command::Check => check::run(here.config_path.as_deref(), &here.environment),
        Command::Plugin(plugin) => plugin::run(plugin, &here),
        Command::Mcp(access) => mcp::run(&access, &here),
        Command::Completions { shell } => {
            let script = completions::script(shell, &mut CommandLine::command());
            told_to(io::stdout(), format_args!("{script}"));
            ExitCode::SUCCESS
        }
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let line = CommandLine::try_parse_from(args)?;
    if line.serve.upgrade && line.command.is_some() {
        let message = "--upgrade stands behind the command 'serve', or without a command";
        return Err(CommandLine::command().error(ErrorKind::ArgumentConflict, message));
    }
    Ok(line)
}

/// What clap has to say: help and version are what was asked for, anything else is wrong usage.
fn say(told: &clap::Error) -> ExitCode {
    // It fails when the stream is closed, and then there is nobody to tell.
    let _ = told.print();
    if told.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn serve(here: Here, upgrade: bool) -> ExitCode {
    let Here { config_path, environment } = here;
    let config = match read(config_path.as_deref(), &environment) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    match app::serve(app::Options { config, config_path, environment, upgrade }) {
        Ok(app::Ended::Drained) => ExitCode::SUCCESS,
        Ok(app::Ended::Cut) => ExitCode::FAILURE,
        Err(error) => {
            told_to(io::stderr(), format_args!("hookway: {error:#}"));
            if app::is_config_error(&error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Reads an argument that is one of a few words, which the help and the completions then tell.
fn one_of<T: Clone + Send + Sync + 'static>(
    words: impl IntoIterator<Item = &'static str>,
    read: impl Fn(&str) -> Option<T> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).map(move |word| read(&word).expect("it is one of the words"))
}

fn read(path: Option<&Path>, environment: &Environment) -> Result<Config, Errors> {
    match path {
        Some(path) => config::load(path, environment),
        None => Config::built_in(environment),
    }
}

fn refuse(errors: &Errors) -> ExitCode {
    told_to(io::stderr(), format_args!("{errors}"));
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<CommandLine, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_bare_call_serves_and_takes_the_options_of_serve() {
        let line = parsed("hookway -c x.toml --upgrade").unwrap();
        assert!(line.command.is_none() && line.serve.upgrade);
        assert_eq!(line.config.as_deref(), Some(Path::new("x.toml")));
        let Some(Command::Serve(serve)) = parsed("hookway serve -c x.toml").unwrap().command else {
            panic!("serve is the command")
        };
        assert!(!serve.upgrade);
        assert!(matches!(parsed("hookway check").unwrap().command, Some(Command::Check)));
    }

    #[test]
    fn the_config_file_may_be_named_anywhere_in_the_line() {
        for line in [
            "hookway -c x.toml",
            "hookway --config x.toml serve",
            "hookway -c x.toml serve --upgrade",
            "hookway check -c x.toml",
            "hookway -c x.toml plugin list",
            "hookway plugin -c x.toml list",
            "hookway plugin list --config=x.toml",
            "hookway plugin config mask -cx.toml word=a",
            "hookway -c x.toml plugin run dir --request r.json --config {}",
            "hookway plugin run dir --request r.json -c x.toml",
            "hookway plugin -c x.toml check dir --config {}",
            "hookway mcp -c x.toml",
        ] {
            let line = parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(line.config.as_deref(), Some(Path::new("x.toml")), "{line:?}");
        }
    }

    #[test]
    fn what_nobody_understands_is_bad_usage() {
        let lines = [
            "hookway sevre",
            "hookway --port 1",
            "hookway check --upgrade",
            "hookway --upgrade check",
            "hookway -c",
        ];
        for line in lines {
            assert!(parsed(line).unwrap_err().use_stderr(), "{line}");
        }
        for line in ["hookway --version", "hookway --help", "hookway help check"] {
            assert!(!parsed(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}
