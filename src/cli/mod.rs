//! The commands. Each ends with 0 (done), 1 (failed) or 64 (bad usage or config, as `sysexits.h` has it).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::app;
use crate::config::{self, Config, Environment, Errors};

mod api;
mod check;
mod mcp;
mod plugin;
mod say;

use say::{USAGE, told_to};

/// Used without `-c`, if it is there.
const CONFIG_FILE: &str = "config/hookway.toml";

/// An OpenAI-compatible gateway whose requests pass a live chain of plugins.
#[derive(Debug, Parser)]
#[command(name = "hookway", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (also without a command).
    Serve(Serve),
    /// Tell everything that is wrong with a config and the plugins it names.
    Check(ConfigFile),
    /// Write plugins, and see and change those of a running gateway.
    Plugin(plugin::Plugin),
    /// Speak the Model Context Protocol over standard input and output, for the running gateway.
    Mcp(api::Access),
    /// Write what a shell needs to complete these commands.
    Completions { shell: clap_complete::Shell },
}

#[derive(Args, Debug)]
struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Take the listening sockets over from the running gateway, once it gets SIGQUIT.
    #[arg(long)]
    upgrade: bool,
}

#[derive(Args, Clone, Debug)]
struct ConfigFile {
    /// Config file; without it config/hookway.toml if that is there, else built-in defaults.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file to read; None means the built-in config.
    fn path(self) -> Option<PathBuf> {
        self.config.or_else(|| Path::new(CONFIG_FILE).exists().then(|| CONFIG_FILE.into()))
    }
}

/// Runs the command that `args`, the program's name first, ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(args) {
        Ok(line) => line,
        Err(told) => return say(&told),
    };
    match line.command.unwrap_or(Command::Serve(line.serve)) {
        Command::Serve(Serve { file, upgrade }) => serve(file.path(), upgrade),
        Command::Check(file) => check::run(file.path().as_deref(), &config::environment_of_this_process()),
        Command::Plugin(plugin) => plugin::run(plugin, &config::environment_of_this_process()),
        Command::Mcp(access) => mcp::run(&access, &config::environment_of_this_process()),
        Command::Completions { shell } => completions(shell),
    }
}

/// What clap has to say: help and version are what was asked for, anything else is wrong usage.
fn say(told: &clap::Error) -> ExitCode {
    // It fails when the stream is closed, and then there is nobody to tell.
    let _ = told.print();
    if told.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn serve(path: Option<PathBuf>, upgrade: bool) -> ExitCode {
    let environment = config::environment_of_this_process();
    let config = match read(path.as_deref(), &environment) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    match app::serve(app::Options { config, config_path: path, environment, upgrade }) {
        Ok(app::Ended::Drained) => ExitCode::SUCCESS,
        Ok(app::Ended::Cut) => ExitCode::FAILURE,
        Err(error) => {
            told_to(io::stderr(), format_args!("hookway: {error:#}"));
            if app::is_config_error(&error) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "hookway", &mut script);
    told_to(io::stdout(), format_args!("{}", String::from_utf8_lossy(&script)));
    ExitCode::SUCCESS
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
        CommandLine::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_bare_call_serves_and_takes_the_options_of_serve() {
        let line = parsed("hookway -c x.toml --upgrade").unwrap();
        assert!(line.command.is_none() && line.serve.upgrade);
        assert_eq!(line.serve.file.config.as_deref(), Some(Path::new("x.toml")));
        let Some(Command::Serve(serve)) = parsed("hookway serve -c x.toml").unwrap().command else {
            panic!("serve is the command")
        };
        assert!(!serve.upgrade);
        assert!(matches!(parsed("hookway check").unwrap().command, Some(Command::Check(_))));
    }

    #[test]
    fn what_nobody_understands_is_bad_usage() {
        for line in ["hookway sevre", "hookway --port 1", "hookway check --upgrade", "hookway -c"] {
            assert!(parsed(line).unwrap_err().use_stderr(), "{line}");
        }
        for line in ["hookway --version", "hookway --help", "hookway help check"] {
            assert!(!parsed(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}
