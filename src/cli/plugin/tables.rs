//! Answers of the admin API in words for people. Fields are looked up by name, so that a gateway with more of them
//! is shown as well; what is not there is a dash.

use serde_json::Value;

/// Columns as wide as their widest cell, two spaces apart; the last is left as it is.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

fn rows<'a>(list: &'a Value, cells: impl Fn(&'a Value) -> Vec<String>) -> Vec<Vec<String>> {
    list.as_array().into_iter().flatten().map(cells).collect()
}

/// A value as a cell: text without quotes, lists by their items.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) fn plugins(answer: &Value) -> String {
    let rows = rows(&answer["plugins"], |plugin| {
        let wanted = &plugin["wanted"];
        let place = if wanted["position"].is_null() { &wanted["priority"] } else { &wanted["position"] };
        let hooks = plugin["hooks"].as_array().into_iter().flatten();
        let hooks: Vec<String> = hooks
            .filter_map(|hook| {
                let note = if hook["called"] == false { " (not called)" } else { "" };
                Some(format!("{}{note}", hook["name"].as_str()?))
            })
            .collect();
        let managed = if plugin["managed"] == true { "yes" } else { "no" };
        vec![
            cell(&plugin["name"]),
            cell(&plugin["version"]),
            state(&plugin["observed"]),
            managed.to_owned(),
            cell(place),
            if hooks.is_empty() { "-".to_owned() } else { hooks.join(", ") },
        ]
    });
    if rows.is_empty() {
        return "no plugins; 'hookway plugin install PATH' brings one, 'hookway plugin scan' looks for some"
            .to_owned();
    }
    table(&["NAME", "VERSION", "STATE", "MANAGED", "PLACE", "HOOKS"], &rows)
}

/// A start may take minutes, and then it matters when it began.
fn state(observed: &Value) -> String {
    match (observed["state"].as_str(), observed["since"].as_str()) {
        (Some("starting"), Some(since)) => format!("starting since {since}"),
        _ => cell(&observed["state"]),
    }
}

/// Everything, a line per fact; what has parts is shown by its parts.
pub(super) fn facts(answer: &Value) -> String {
    let mut rows = Vec::new();
    collect("", answer, &mut rows);
    let width = rows.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(key, value)| format!("{key:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

fn collect(at: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, value)| collect(&below(key), value, rows));
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| collect(&below(&index.to_string()), item, rows));
        }
        value => rows.push((at.to_owned(), cell(value))),
    }
}

/// What a change did.
pub(super) fn report(answer: &Value) -> String {
    reports(&[answer])
}

/// What changes that followed one another did.
fn reports(answers: &[&Value]) -> String {
    let changes = answers.iter().flat_map(|answer| answer["changes"].as_array().into_iter().flatten());
    let mut lines: Vec<String> = changes.filter_map(Value::as_str).map(str::to_owned).collect();
    let generation = answers.last().map_or_else(|| "-".to_owned(), |last| cell(&last["generation"]));
    lines.push(if answers.iter().any(|answer| answer["changed"] == true) {
        format!("active now (configuration generation {generation})")
    } else {
        format!("nothing changed (configuration generation {generation})")
    });
    lines.join("\n")
}

/// What an installation did, and the activations behind it.
pub(super) fn installed(answer: &Value) -> String {
    let activated = answer["activated"].as_array().into_iter().flatten();
    reports(&[answer].into_iter().chain(activated).collect::<Vec<_>>())
}

pub(super) fn scan(answer: &Value) -> String {
    let kinds = ["added", "changed", "vanished", "unchanged", "managed"];
    let mut lines: Vec<String> = kinds
        .iter()
        .filter(|&&kind| answer[kind].as_array().is_some_and(|names| !names.is_empty()))
        .map(|&kind| format!("{kind}: {}", cell(&answer[kind])))
        .collect();
    for refused in answer["refused"].as_array().into_iter().flatten() {
        lines.push(format!("refused: {}", cell(&refused["path"])));
        let errors = refused["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.extend(errors.map(|error| format!("  {error}")));
    }
    if lines.is_empty() { "no plugins in the plugin folders".to_owned() } else { lines.join("\n") }
}

pub(super) fn config(answer: &Value) -> String {
    format!("{:#}", answer["config"])
}

pub(super) fn chain(answer: &Value) -> String {
    let rows = rows(&answer["members"], |member| {
        ["name", "version", "priority", "hooks"].iter().map(|&key| cell(&member[key])).collect()
    });
    let head = format!("generation {}, since {}", cell(&answer["generation"]), cell(&answer["since"]));
    if rows.is_empty() {
        return format!("{head}\nno plugins are active");
    }
    format!("{head}\n{}", table(&["NAME", "VERSION", "PRIORITY", "HOOKS"], &rows))
}

pub(super) fn log(page: &Value) -> String {
    let lines: Vec<String> = page["lines"].as_array().into_iter().flatten().map(log_line).collect();
    if lines.is_empty() { "it printed nothing yet".to_owned() } else { lines.join("\n") }
}

pub(super) fn log_line(line: &Value) -> String {
    format!(
        "{}  {:7}  {}",
        cell(&line["at"]),
        cell(&line["source"]),
        line["text"].as_str().unwrap_or_default()
    )
}

pub(super) fn executions(answer: &Value) -> String {
    let rows = rows(&answer["executions"], |run| {
        let took = run["tookMicros"].as_f64().map_or("-".to_owned(), |took| format!("{:.1} ms", took / 1e3));
        let mut row: Vec<String> =
            ["id", "at", "hook", "outcome"].iter().map(|&key| cell(&run[key])).collect();
        row.extend([took, cell(&run["requestId"]), cell(&run["error"])]);
        row
    });
    if rows.is_empty() {
        return "no calls are recorded".to_owned();
    }
    let text = table(&["ID", "AT", "HOOK", "OUTCOME", "TOOK", "REQUEST", "ERROR"], &rows);
    match answer["next"].as_u64() {
        Some(next) => format!("{text}\nolder ones: --before {next}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_does() {
        let answer = json!({"plugins": [
            {"name": "redact", "version": "0.1.0", "managed": true, "observed": {"state": "active"},
             "wanted": {"priority": 100, "position": null}, "hooks": [{"name": "onRequest", "called": true}, {"name": "onResponse", "called": false}]},
            {"name": "a-longer-name", "version": "1.0.0", "managed": false, "observed": {"state": "installed"},
             "wanted": {"priority": 100, "position": 20}, "hooks": []},
        ]});
        let expected = "\
NAME           VERSION  STATE      MANAGED  PLACE  HOOKS
redact         0.1.0    active     yes      100    onRequest, onResponse (not called)
a-longer-name  1.0.0    installed  no       20     -";
        assert_eq!(plugins(&answer), expected);
    }

    #[test]
    fn a_change_is_told_by_its_sentences() {
        let answer = json!({"generation": 4, "changed": true, "changes": ["plugin 'redact' added"]});
        assert_eq!(report(&answer), "plugin 'redact' added\nactive now (configuration generation 4)");
        let answer = json!({"generation": 4, "changed": false, "changes": []});
        assert_eq!(report(&answer), "nothing changed (configuration generation 4)");
    }

    #[test]
    fn everything_about_a_plugin_is_a_line_per_fact() {
        let answer = json!({"name": "p", "hooks": [{"hook": "onRequest", "calls": 3}], "tags": ["a", "b"]});
        let expected = "name           p\nhooks.0.hook   onRequest\nhooks.0.calls  3\ntags           a, b";
        assert_eq!(facts(&answer), expected);
    }
}
