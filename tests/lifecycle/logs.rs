//! What a plugin printed stays with the plugin, whatever becomes of its processes.

use serde_json::json;

use crate::api::{activate, configure, done, install, put, scan, stamps, start, tell};
use crate::harness::Gateway;

/// The texts of the gateway's own lines about the plugin.
async fn marks(gateway: &Gateway) -> Vec<String> {
    let page = done(gateway.admin("GET", "/api/plugins/talks/logs?limit=1000").await);
    let lines = page["lines"].as_array().unwrap().iter();
    let own = lines.filter(|line| line["source"] == "gateway");
    own.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

fn starts(marks: &[String]) -> usize {
    marks.iter().filter(|text| text.starts_with("started as process ")).count()
}

#[tokio::test]
async fn logs_survive_a_new_config_a_restart_an_upgrade_a_deactivation_and_the_gateway() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("talks", "1.0.0"));
    scan(&gateway).await;
    done(activate(&gateway, "talks").await);
    done(configure(&gateway, "talks", &json!({ "stamp": 1 })).await);
    assert_eq!(starts(&marks(&gateway).await), 2, "a new config");
    done(tell(&gateway, "talks", "restart").await);
    assert_eq!(starts(&marks(&gateway).await), 3, "a restart");
    put(&gateway, "next", &stamps("talks", "1.1.0"));
    done(install(&gateway, "next", false).await);
    let told = marks(&gateway).await;
    assert_eq!(starts(&told), 4, "an upgrade: {told:?}");
    assert!(told.iter().any(|text| text.contains("(version 1.1.0, generation 5)")), "{told:?}");
    done(tell(&gateway, "talks", "deactivate").await);
    gateway
        .log
        .nth(4, "all its ends", |line| line["message"] == "plugin stopped" && line["plugin"] == "talks")
        .await;
    let told = marks(&gateway).await;
    assert_eq!(starts(&told), 4, "a deactivation");
    assert_eq!(told.iter().filter(|text| text.ends_with(" was stopped")).count(), 4, "{told:?}");
    let gateway = gateway.restart().await;
    assert_eq!(marks(&gateway).await, told, "the gateway's own restart");
    done(tell(&gateway, "talks", "activate").await);
    assert_eq!(starts(&marks(&gateway).await), 5);

    // Uninstalled, nothing of it stays.
    done(gateway.admin("DELETE", "/api/plugins/talks").await);
    put(&gateway, "plugins", &stamps("talks", "1.0.0"));
    scan(&gateway).await;
    assert_eq!(marks(&gateway).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_that_moves_into_the_configuration_keeps_its_logs() {
    let gateway = start().await;
    put(&gateway, "plugins", &stamps("talks", "1.0.0"));
    scan(&gateway).await;
    done(activate(&gateway, "talks").await);
    let managed =
        crate::plugins::configuration(crate::api::DIRS, &[crate::api::shows(), stamps("talks", "1.0.0")]);
    gateway.rewrite(&managed);
    done(gateway.admin("POST", "/api/reload").await);
    assert_eq!(starts(&marks(&gateway).await), 2);
}
