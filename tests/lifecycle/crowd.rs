//! Two hundred plugins, fifty of them active.

use serde_json::json;

use crate::api::{activate, chain, done, put, scan, seen, stamps, start};
use crate::processes::children;

const INSTALLED: usize = 200;
const ACTIVE: usize = 50;

#[tokio::test]
async fn two_hundred_are_listed_and_fifty_serve_and_come_back() {
    let gateway = start().await;
    for index in 0..INSTALLED {
        put(&gateway, "plugins", &stamps(&format!("p{index:03}"), "1.0.0"));
    }
    assert_eq!(scan(&gateway).await["added"].as_array().unwrap().len(), INSTALLED);
    for index in 0..ACTIVE {
        done(activate(&gateway, &format!("p{index:03}")).await);
    }
    let listed = done(gateway.admin("GET", "/api/plugins").await);
    assert_eq!(listed["plugins"].as_array().unwrap().len(), INSTALLED + 1);
    let active = done(gateway.admin("GET", "/api/plugins?status=active").await);
    assert_eq!(active["plugins"].as_array().unwrap().len(), ACTIVE + 1);
    let (metadata, generation) = seen(&gateway).await;
    for index in 0..ACTIVE {
        assert_eq!(metadata[format!("p{index:03}-call")], json!(generation.to_string()));
    }
    let gateway = gateway.restart().await;
    assert_eq!(chain(&gateway).await.len(), ACTIVE + 1);
    assert_eq!(children(&gateway).len(), ACTIVE + 1);
    seen(&gateway).await;
}
