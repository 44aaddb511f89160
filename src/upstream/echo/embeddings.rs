//! `/embeddings`: unit vectors that depend on the input alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, Asked, Refusal, tokens};
use crate::hash::{fnv1a, mix};
use crate::limits;

const DIMENSIONS: usize = 8;
const DIMENSIONS_MAX: usize = 4096;

pub(super) fn answer(asked: &Asked<'_>) -> Result<Answer, Refusal> {
    let dimensions = asked.count("dimensions", 1, DIMENSIONS_MAX)?.unwrap_or(DIMENSIONS);
    // openai-python asks for base64 unless told otherwise.
    let base64 = match asked.fields.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(bad("'encoding_format' must be 'float' or 'base64'.", "encoding_format")),
    };
    let inputs = inputs(asked.fields.get("input"))?;
    if inputs.len() > limits::ECHO_INPUTS_MAX {
        return Err(bad(&format!("'input' must hold at most {} inputs.", limits::ECHO_INPUTS_MAX), "input"));
    }
    if inputs.len() * dimensions > limits::ECHO_NUMBERS_MAX {
        let max = limits::ECHO_NUMBERS_MAX;
        return Err(bad(&format!("The inputs' dimensions must be at most {max} together."), "dimensions"));
    }
    let embedding = |(index, input): (usize, &String)| {
        let vector = vector(input, dimensions);
        let embedding = if base64 { json!(STANDARD.encode(little_endian(&vector))) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let prompt: usize = inputs.iter().map(|input| tokens(input).count()).sum();
    Ok(Answer::json(&json!({
        "object": "list", "model": asked.model(),
        "data": inputs.iter().enumerate().map(embedding).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    })))
}

fn bad(message: &str, param: &'static str) -> Refusal {
    Refusal::bad(message.to_owned(), Some(param))
}

/// Texts, or token numbers written as text: a string, strings, numbers, or arrays of numbers.
fn inputs(input: Option<&Value>) -> Result<Vec<String>, Refusal> {
    match input {
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => Ok(vec![written(items)]),
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Array(numbers) => Ok(written(numbers)),
                _ => Err(bad("'input' must hold strings or arrays of token numbers.", "input")),
            })
            .collect(),
        _ => Err(bad("'input' must be a string or an array that is not empty.", "input")),
    }
}

fn written(numbers: &[Value]) -> String {
    numbers.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    let mut state = fnv1a(input.as_bytes());
    let raw: Vec<f32> = (0..dimensions).map(|_| uniform(&mut state)).collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter().map(|x| x / length).collect()
}

/// SplitMix64, mapped to -1 … 1, never 0.
fn uniform(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    // 24 bits are what an f32 holds exactly; the lowest is set, so the sum of squares is not 0.
    ((mix(*state) >> 40) | 1) as f32 / (1u64 << 23) as f32 - 1.0
}

fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}
