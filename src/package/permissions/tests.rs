//! What an upgrade would newly be granted, and the JSON form.

use super::{Exec, Network, Permissions};

fn of(json: &str) -> Permissions {
    serde_json::from_str(json).unwrap()
}

fn added(now: &str, before: &str) -> Vec<String> {
    of(now).added(&of(before))
}

#[test]
fn everything_new_is_told_in_words_and_nothing_else_is() {
    let all = r#"{ "env": ["TZ"], "fs": { "read": ["/etc/ssl", "data"], "write": ["/"] },
                   "network": ["tcp:443"], "exec": ["git"] }"#;
    let words = [
        "see the variable TZ",
        "read what is at \"/etc/ssl\"",
        "read what is at \"data\" in its own folder",
        "write every file",
        "connect to port 443 of any host",
        "start the program \"git\"",
    ];
    assert_eq!(of(all).words(), words);
    assert_eq!(added(all, all), [""; 0]);
    assert_eq!(added("{}", all), [""; 0]);
    assert!(!of(all).is_empty() && Permissions::default().is_empty());
}

#[test]
fn what_a_wider_grant_covers_is_not_new() {
    let table = [
        (r#"{ "fs": { "read": ["/etc/ssl/certs"] } }"#, r#"{ "fs": { "read": ["/etc/ssl"] } }"#, true),
        (r#"{ "fs": { "read": ["/etc/ssl2"] } }"#, r#"{ "fs": { "read": ["/etc/ssl"] } }"#, false),
        (r#"{ "fs": { "read": ["/etc"] } }"#, r#"{ "fs": { "read": ["/etc/ssl"] } }"#, false),
        (r#"{ "fs": { "write": ["/etc"] } }"#, r#"{ "fs": { "read": ["/etc"] } }"#, false),
        (r#"{ "fs": { "read": ["data"] } }"#, r#"{ "fs": { "read": ["/"] } }"#, true),
        (r#"{ "fs": { "read": ["data"] } }"#, r#"{ "fs": { "read": ["."] } }"#, true),
        (r#"{ "fs": { "read": ["/data"] } }"#, r#"{ "fs": { "read": ["."] } }"#, false),
        (r#"{ "network": ["tcp:80"] }"#, r#"{ "network": "any" }"#, true),
        (r#"{ "network": "any" }"#, r#"{ "network": ["tcp:80"] }"#, false),
        (r#"{ "network": ["tcp:80", "tcp:81"] }"#, r#"{ "network": ["tcp:80"] }"#, false),
        (r#"{ "exec": ["git"] }"#, r#"{ "exec": "any" }"#, true),
        (r#"{ "exec": "any" }"#, r#"{ "exec": ["git"] }"#, false),
    ];
    for (now, before, is_covered) in table {
        assert_eq!(added(now, before).is_empty(), is_covered, "{now} after {before}");
    }
}

#[test]
fn permissions_come_back_from_json_as_they_went() {
    for json in [
        r#"{"env":[],"fs":{"read":[],"write":[]},"network":"none","exec":false,"hooks":{}}"#,
        r#"{"env":["A","B"],"fs":{"read":["/a"],"write":["b"]},"network":["tcp:80","tcp:443"],"exec":["git"],"hooks":{}}"#,
        r#"{"env":[],"fs":{"read":[],"write":[]},"network":"any","exec":"any","hooks":{"onRequest":{"headers":["a"],"body":[""],"change":[],"changeHeaders":false,"changeRoute":true}}}"#,
    ] {
        assert_eq!(serde_json::to_string(&of(json)).unwrap(), json);
    }
    assert_eq!((of("{}").network, of("{}").exec), (Network::None, Exec::None));
    for json in [r#"{"network":true}"#, r#"{"network":["443"]}"#, r#"{"exec":true}"#, r#"{"net":"any"}"#] {
        assert!(serde_json::from_str::<Permissions>(json).is_err(), "{json}");
    }
}
