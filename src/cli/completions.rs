//! `hookway completions`: what a shell needs to complete commands, options, their values, and the names of plugins.
//!
//! clap writes the script from the command line's own definition. The names of plugins are in no definition: the shell
//! asks the running gateway for them, by the gateway that the line names.

use clap::Command;
use clap_complete::Shell;

/// The value name of an argument that is the name of a plugin of the running gateway.
pub(super) const PLUGIN: &str = "PLUGIN";
/// How the help of such an argument begins: zsh's script has the help, and not the value name.
const HELP: &str = "The plugin'\\''s name";

const BASH: &str = r#"_hookway_plugins() {
    local at where=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            -c | --config | --url) where=("${where[@]}" "${COMP_WORDS[at]}" "${COMP_WORDS[at + 1]}") ;;
        esac
    done
    hookway plugin list --names "${where[@]}" 2>/dev/null
}

"#;
const ZSH: &str = r#"
_hookway_plugins() {
    local names=(${(f)"$(hookway plugin list --names 2>/dev/null)"})
    compadd -a names
}
"#;

/// The script of `shell` for the command line `line`.
pub(super) fn script(shell: Shell, line: &mut Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, line, "hookway", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let commands = with_plugin_names(line);
    match shell {
        Shell::Bash => commands.iter().fold(format!("{BASH}{script}"), |script, command| {
            let case = format!("hookway__subcmd__plugin__subcmd__{command})\n            opts=\"");
            script.replace(&case, &format!("{case}$(_hookway_plugins) "))
        }),
        Shell::Zsh => {
            let with_names = |line: &str| {
                let named = line.contains(HELP);
                if named { line.replace(":_default'", ":_hookway_plugins'") } else { line.to_owned() }
            };
            let lines: Vec<String> = script.lines().map(with_names).collect();
            let script = lines.join("\n") + "\n";
            script.replacen("autoload -U is-at-least\n", &format!("autoload -U is-at-least\n{ZSH}"), 1)
        }
        Shell::Fish => {
            let seen = format!("__fish_seen_subcommand_from {}", commands.join(" "));
            let names = "(hookway plugin list --names 2>/dev/null)";
            format!(
                "{script}complete -c hookway -n \"__fish_hookway_using_subcommand plugin; and {seen}\" -f -a \"{names}\"\n"
            )
        }
        _ => script,
    }
}

/// The commands of `hookway plugin` that take the name of a plugin.
fn with_plugin_names(line: &Command) -> Vec<String> {
    let takes_one = |command: &&Command| {
        command.get_positionals().any(|argument| {
            argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == PLUGIN))
        })
    };
    let plugin = line.find_subcommand("plugin");
    let commands = plugin.into_iter().flat_map(Command::get_subcommands).filter(takes_one);
    commands.map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::CommandLine;
    use super::*;

    fn script_of(shell: Shell) -> String {
        script(shell, &mut CommandLine::command())
    }

    #[test]
    fn commands_that_take_a_plugin_are_known() {
        let expected = [
            "show",
            "activate",
            "deactivate",
            "uninstall",
            "restart",
            "config",
            "order",
            "logs",
            "executions",
        ];
        assert_eq!(with_plugin_names(&CommandLine::command()), expected);
    }

    #[test]
    fn each_shell_asks_for_names_where_a_plugin_is_named_and_nowhere_else() {
        let bash = script_of(Shell::Bash);
        assert_eq!(bash.matches("opts=\"$(_hookway_plugins) ").count(), 9);
        let zsh = script_of(Shell::Zsh);
        assert_eq!(zsh.matches(":_hookway_plugins'").count(), 9);
        assert_eq!(zsh.matches("_hookway_plugins() {").count(), 1);
        assert_eq!(script_of(Shell::Fish).matches("plugin list --names").count(), 1);
    }

    #[test]
    fn values_that_are_one_of_a_few_are_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script_of(shell);
            for value in ["python", "onRequest", "onError", "embeddings", "breaker_open", "degraded"] {
                assert!(script.contains(value), "{shell}: {value}");
            }
        }
    }
}
