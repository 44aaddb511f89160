//! What a scrape shows after things were counted.

use super::*;

fn finished(outcome: Outcome) -> Finished<'static> {
    Finished {
        asked: Asked::ChatCompletions,
        route: Some("gpt-*"),
        status: Some(StatusCode::OK),
        outcome,
        total: Duration::from_millis(20),
        first_byte: Some(Duration::from_millis(10)),
        overhead: Duration::from_micros(60),
    }
}

#[track_caller]
fn shows(metrics: &Metrics, line: &str) {
    let text = metrics.render();
    assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
}

#[test]
fn a_request_is_counted_with_its_labels_and_times() {
    let metrics = Metrics::new();
    metrics.finished(&finished(Outcome::Ok));
    metrics.finished(&Finished { route: None, status: None, ..finished(Outcome::ClientGone) });
    shows(
        &metrics,
        r#"hookway_requests_total{endpoint="chat.completions",outcome="ok",route="gpt-*",status="200"} 1"#,
    );
    shows(
        &metrics,
        r#"hookway_requests_total{endpoint="chat.completions",outcome="client_gone",route="none",status="none"} 1"#,
    );
    let bucket = |le: &str, count: u8| {
        let name = "hookway_gateway_overhead_seconds_bucket";
        shows(&metrics, &format!(r#"{name}{{endpoint="chat.completions",le="{le}"}} {count}"#));
    };
    bucket("0.00005", 0);
    bucket("0.0001", 2);
    shows(&metrics, r#"hookway_time_to_first_byte_seconds_count{endpoint="chat.completions"} 2"#);
}

#[test]
fn a_health_check_and_a_wrong_path_take_no_part_in_the_times_of_chats() {
    let metrics = Metrics::new();
    metrics.finished(&finished(Outcome::Ok));
    metrics.finished(&Finished { asked: Asked::Health, route: None, ..finished(Outcome::Ok) });
    metrics.finished(&Finished { asked: Asked::Unknown, route: None, ..finished(Outcome::ClientError) });
    for name in ["request_duration_seconds", "time_to_first_byte_seconds", "gateway_overhead_seconds"] {
        for endpoint in ["chat.completions", "health", "unknown"] {
            shows(&metrics, &format!(r#"hookway_{name}_count{{endpoint="{endpoint}"}} 1"#));
        }
    }
}

#[test]
fn in_flight_ends_with_its_guard() {
    let metrics = Metrics::new();
    let request = metrics.in_flight();
    shows(&metrics, "hookway_requests_in_flight 1");
    drop(request);
    shows(&metrics, "hookway_requests_in_flight 0");
}

#[test]
fn model_names_of_clients_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..limits::METRIC_MODELS_MAX + 10 {
        metrics.tokens(&format!("model-{number}"), 1, 2);
    }
    metrics.tokens("model-0", 1, 0);
    metrics.tokens(&"x".repeat(limits::METRIC_MODEL_BYTES_MAX + 1), 1, 2);
    shows(&metrics, r#"hookway_tokens_total{direction="input",model="model-0"} 2"#);
    shows(&metrics, r#"hookway_tokens_total{direction="output",model="other"} 22"#);
    assert_eq!(
        metrics.render().matches("hookway_tokens_total{direction=\"input\"").count(),
        limits::METRIC_MODELS_MAX + 1
    );
}

#[test]
fn a_forgotten_plugin_or_upstream_leaves_no_series() {
    let metrics = Metrics::new();
    let hook = metrics.hook("redact", HookName::OnRequest);
    hook.call().end(HookOutcome::Patch);
    hook.failed_open(Cause::Timeout);
    metrics.plugin("redact").up(true);
    metrics.plugin("redact").restarted(RestartReason::Exited);
    metrics.upstream("openai").attempted(AttemptOutcome::Ok, Duration::ZERO);
    metrics.forget_plugin("redact");
    metrics.forget_upstream("openai");
    let text = metrics.render();
    assert!(!text.contains("redact") && !text.contains("openai"), "{text}");
}

/// Names are a contract with dashboards and alerts: they change only on purpose. All are there at the first scrape of
/// a gateway with a plugin, before anything happened.
#[test]
fn the_names_and_types_are_those_promised_from_the_first_scrape_on() {
    let metrics = Metrics::new();
    metrics.hook("p", HookName::OnRequest);
    metrics.plugin("p");
    metrics.upstream("u");
    let text = metrics.render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE hookway_"));
    expect_test::expect![[r#"
        build_info gauge
        chain_generation gauge
        chain_generations_alive gauge
        chain_reloads_total counter
        gateway_overhead_seconds histogram
        hook_calls_total counter
        hook_duration_seconds histogram
        hook_fail_open_total counter
        hook_in_flight gauge
        lost_total counter
        panics_total counter
        plugin_breaker_state gauge
        plugin_restarts_total counter
        plugin_sandbox_level gauge
        plugin_up gauge
        request_duration_seconds histogram
        requests_in_flight gauge
        requests_total counter
        time_to_first_byte_seconds histogram
        tokens_total counter
        upstream_attempts_total counter
        upstream_breaker_state gauge
        upstream_duration_seconds histogram"#]]
    .assert_eq(&types.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_process_and_the_build_are_shown() {
    let metrics = Metrics::new();
    shows(
        &metrics,
        concat!(r#"hookway_build_info{protocol="1",version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
    );
    assert!(metrics.render().contains("process_resident_memory_bytes "));
}

#[test]
fn what_was_lost_is_asked_for_at_each_scrape() {
    let metrics = Metrics::new();
    shows(&metrics, r#"hookway_lost_total{kind="execution"} 0"#);
    shows(&metrics, r#"hookway_lost_total{kind="log_line"} 0"#);
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(3));
    let count = lost.clone();
    metrics.watch_losses(Lost::Execution, move || count.load(std::sync::atomic::Ordering::Relaxed));
    shows(&metrics, r#"hookway_lost_total{kind="execution"} 3"#);
    lost.store(5, std::sync::atomic::Ordering::Relaxed);
    shows(&metrics, r#"hookway_lost_total{kind="execution"} 5"#);
}
