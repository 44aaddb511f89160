//! `/completions`: the prompt said back.

use serde_json::{Value, json};

use super::{Answer, Asked, PARTS_MAX, Refusal, parts, tokens, truncate, usage};

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let prompts: Option<Vec<&str>> = match asked.fields.get("prompt") {
        Some(Value::String(prompt)) => Some(vec![prompt]),
        Some(Value::Array(prompts)) => prompts.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some(prompts) = prompts else {
        return Err(Refusal::bad(
            "'prompt' must be a string or an array of strings.".to_owned(),
            Some("prompt"),
        ));
    };
    let max = asked.count("max_tokens", 0, usize::MAX)?;
    let told: Vec<_> = prompts.iter().map(|prompt| truncate(prompt, max)).collect();
    let pieces = |text: &str| if asked.stream() { tokens(text).count().min(PARTS_MAX) + 2 } else { 1 };
    asked.affords(
        told.iter().map(|(text, _)| text.len()).sum(),
        told.iter().map(|(text, _)| pieces(text)).sum(),
    )?;
    let count = |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| tokens(text).count()).sum();
    let usage = usage(count(&mut prompts.iter().copied()), count(&mut told.iter().map(|(text, _)| *text)));

    let body = |choices: Vec<Value>| {
        json!({
            "id": format!("cmpl-echo-{:016x}", asked.seed), "object": "text_completion",
            "created": asked.created, "model": asked.model(), "choices": choices,
        })
    };
    let choice = |index: usize, text: &str, finish_reason: Option<&str>| json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish_reason});
    let reason = |cut: bool| Some(if cut { "length" } else { "stop" });
    if !asked.stream() {
        let choices = told.iter().enumerate().map(|(index, (text, cut))| choice(index, text, reason(*cut)));
        let mut body = body(choices.collect());
        body["usage"] = usage;
        return Ok(Answer::json(&body));
    }
    let mut chunks = Vec::new();
    for (index, (text, cut)) in told.into_iter().enumerate() {
        chunks.extend(parts(text).into_iter().map(|part| body(vec![choice(index, part, None)])));
        chunks.push(body(vec![choice(index, "", reason(cut))]));
    }
    if asked.include_usage() {
        let mut last = body(Vec::new());
        last["usage"] = usage;
        chunks.push(last);
    }
    Ok(Answer::stream(chunks))
}
