//! Folders that Hookway did not make: it runs plugins from them, and never removes one.

use std::fs;

use serde_json::json;

use crate::api::{activate, done, install, plugin, put, scan, stamps, start};
use crate::harness::Gateway;

/// An author's working copy in a folder that is scanned.
fn working_copy(gateway: &Gateway, name: &str) {
    put(gateway, "plugins", &stamps(name, "1.0.0"));
    gateway.write(&format!("plugins/{name}/.git/HEAD"), "ref: refs/heads/main\n");
}

fn is_whole(gateway: &Gateway, name: &str) -> bool {
    let folder = gateway.folder().join("plugins").join(name);
    fs::exists(folder.join(".git/HEAD")).unwrap() && fs::exists(folder.join("plugin.json")).unwrap()
}

#[tokio::test]
async fn uninstalling_a_scanned_plugin_forgets_it_and_leaves_its_folder() {
    let gateway = start().await;
    working_copy(&gateway, "mine");
    scan(&gateway).await;
    done(activate(&gateway, "mine").await);
    let report = done(gateway.admin("DELETE", "/api/plugins/mine").await);
    assert!(is_whole(&gateway, "mine"));
    let told = report["changes"].to_string();
    let folder = gateway.folder().join("plugins/mine");
    assert!(told.contains("uninstalled") && told.contains(folder.to_str().unwrap()), "{told}");
    assert!(told.contains("stays"), "{told}");
    assert_eq!(gateway.admin("GET", "/api/plugins/mine").await.status(), 404);

    // Nothing removes it later either: not an end, and not the next start.
    let gateway = gateway.restart().await;
    assert!(is_whole(&gateway, "mine"));
    assert_eq!(scan(&gateway).await["added"], json!(["mine"]));
}

#[tokio::test]
async fn an_upgrade_of_a_scanned_plugin_leaves_the_folder_it_was_found_in() {
    let gateway = start().await;
    working_copy(&gateway, "mine");
    scan(&gateway).await;
    done(activate(&gateway, "mine").await);
    put(&gateway, "next", &stamps("mine", "1.1.0"));
    done(install(&gateway, "next", false).await);
    let installed = plugin(&gateway, "mine").await["directory"].as_str().unwrap().to_owned();
    assert!(installed.contains("state/installed/mine@1.1.0-"), "{installed}");
    // What Hookway made goes, as it always did.
    done(gateway.admin("DELETE", "/api/plugins/mine").await);
    gateway.log.message("a folder was removed").await;
    assert!(!fs::exists(&installed).unwrap());
    assert!(is_whole(&gateway, "mine"));
}

#[tokio::test]
async fn a_link_to_a_plugin_stays_too() {
    let gateway = start().await;
    put(&gateway, "elsewhere", &stamps("mine", "1.0.0"));
    let link = gateway.folder().join("plugins/mine");
    std::os::unix::fs::symlink(gateway.folder().join("elsewhere/mine"), &link).unwrap();
    scan(&gateway).await;
    done(gateway.admin("DELETE", "/api/plugins/mine").await);
    let gateway = gateway.restart().await;
    assert!(fs::symlink_metadata(gateway.folder().join("plugins/mine")).unwrap().is_symlink());
}
