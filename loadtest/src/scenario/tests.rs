use super::*;
use crate::load::failure::Progress;

const SMALLEST: &str = r#"
    name = "s"
    about = "a"
    answer = "body=10"
    request = { body_bytes = 10 }
    closed = { connections = 1 }
    short = { rounds = 1, seconds = 1 }
    peer = [{ name = "direct", kind = "direct" }]
"#;

fn error(text: &str) -> String {
    format!("{:#}", Scenario::parse(text).unwrap_err())
}

#[test]
fn every_scenario_of_the_repository_is_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = Scenario::load_all(&folder).unwrap();
    assert!(scenarios.len() > 5);
    for (index, scenario) in scenarios.iter().enumerate() {
        assert!(scenarios[..index].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
    }
}

#[test]
fn what_a_scenario_leaves_out_has_a_default() {
    let scenario = Scenario::parse(SMALLEST).unwrap();
    assert_eq!((scenario.timeout_ms, scenario.plot), (10_000, Plot::Percentiles));
    assert!(scenario.long.is_none() && scenario.change.is_none() && scenario.explanations.is_empty());
}

#[test]
fn what_is_wrong_with_a_scenario_is_told() {
    let with = |line: &str| format!("{SMALLEST}\n{line}");
    assert!(error(&with("colour = 1")).contains("colour"));
    assert!(error(&SMALLEST.replace("body=10", "bodi=10")).contains("`bodi`"));
    assert!(error(&SMALLEST.replace("closed =", "# closed =")).contains("[open] or [closed]"));
    assert!(error(&with(r#"change = { kind = "upstream", slot_ms = 1 }"#)).contains("takes [open]"));
    let target = r#"target = [{ what = "w", metric = "p50", peer = "direct", over = "bare", at_most = 1 }]"#;
    assert!(error(&with(target)).contains("unknown peer bare"));
    assert!(error(&with(&target.replace("bare", "socket"))).contains("socket_bytes"));
}

#[test]
fn an_explanation_covers_a_status_and_a_cause_and_nothing_else() {
    let explanation =
        Explanation { status: Some(503), cause: Some("broken".into()), code: None, why: String::new() };
    let status = |status, cause: &str| Failure::Status {
        status,
        cause: Some(cause.into()),
        plugin: Some("p".into()),
        code: Some("plugin_failed".into()),
    };
    let coded = Explanation { status: None, cause: None, code: Some("other".into()), why: String::new() };
    assert!(!coded.covers(&status(503, "broken")));
    assert!(explanation.covers(&status(503, "broken")));
    assert!(!explanation.covers(&status(503, "timeout")));
    assert!(!explanation.covers(&status(504, "broken")));
    assert!(!explanation.covers(&Failure::Closed { after: Progress::Body }));
}
