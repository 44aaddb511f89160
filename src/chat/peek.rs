//! What the gateway has to know of a request body before anything else happens to it.
//!
//! A body that passes is one JSON object, in the shape of its endpoint, and is read in one way only: where readers
//! differ, the request is refused, so that no plugin judges another request than the upstream answers. The same
//! holds for a body that a plugin made.

use super::refusal::{Refusal, What};
use super::shape;
use super::strict::{self, Peek};
use crate::hook::Endpoint;

/// Validates the whole of a request body and reads what the gateway needs of it.
pub fn peek(endpoint: Endpoint, body: &[u8]) -> Result<Peek<'_>, Refusal> {
    let text = utf8(body)?;
    match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
        None => return Err(Refusal::new(0, What::Empty)),
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            return Err(Refusal::new(0, What::NotAnObject));
        }
        Some(_) => {}
    }
    strict::read(text, shape::of(endpoint))
}

/// Whether `json` is one value that every reader reads the same. It may be of any type and shape.
pub fn check(json: &[u8]) -> Result<(), Refusal> {
    strict::read(utf8(json)?, &shape::ANY).map(drop)
}

fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    // The standard library's check goes through text outside ASCII byte by byte, which took ten times as long.
    simdutf8::compat::from_utf8(bytes).map_err(|error| Refusal::new(error.valid_up_to(), What::NotUtf8))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::limits;

    fn chat(body: &str) -> Result<Peek<'_>, Refusal> {
        peek(Endpoint::ChatCompletions, body.as_bytes())
    }

    #[track_caller]
    fn refuses(body: &str, text: &str) {
        assert_eq!(chat(body).expect_err(body).to_string(), text, "{body}");
    }

    #[track_caller]
    fn refuses_at(endpoint: Endpoint, body: &str, param: &str) {
        let refusal = peek(endpoint, body.as_bytes()).expect_err(body);
        assert_eq!(refusal.param(), Some(param), "{body}: {refusal}");
    }

    #[test]
    fn model_and_stream_are_read_wherever_they_stand() {
        let body = r#" {"messages":[{"role":"user","content":"\"model\""}],"stream":true,"x":{"model":1},"model":"gpt-4o"}
"#;
        let expected = Peek { model: Some("gpt-4o".into()), stream: true, include_usage: false };
        assert_eq!(chat(body), Ok(expected));
        assert_eq!(chat("{}"), Ok(Peek::default()));
        for stream in ["null", "false"] {
            assert!(!chat(&format!(r#"{{"stream":{stream}}}"#)).unwrap().stream);
        }
    }

    #[test]
    fn a_plain_model_is_borrowed_and_an_escaped_one_is_read() {
        assert!(matches!(chat(r#"{"model":"a"}"#).unwrap().model, Some(Cow::Borrowed("a"))));
        assert_eq!(chat(r#"{"mod\u0065l":"\u0061\"\ud83d\ude00"}"#).unwrap().model.unwrap(), "a\"😀");
    }

    #[test]
    fn a_model_has_a_longest_name() {
        let max = limits::MODEL_BYTES_MAX;
        for one in ["m", r"\u006d"] {
            let body = |count| format!(r#"{{"model":"{}"}}"#, one.repeat(count));
            assert_eq!(chat(&body(max)).unwrap().model.unwrap().len(), max);
            refuses(&body(max + 1), "'model' must have at most 512 bytes.");
        }
        refuses_at(Endpoint::Responses, &format!(r#"{{"model":"{}"}}"#, "é".repeat(257)), "model");
    }

    #[test]
    fn usage_is_wanted_only_when_said_plainly() {
        let wanted =
            |options: &str| chat(&format!(r#"{{"stream_options":{options}}}"#)).unwrap().include_usage;
        assert!(wanted(r#"{"a":[1],"include_usage":true}"#));
        for options in ["{}", "null", r#"{"include_usage":false}"#, r#"{"include_usage":1}"#, "[]", "7"] {
            assert!(!wanted(options), "{options}");
        }
        assert!(!chat(r#"{"x":{"include_usage":true},"include_usage":true}"#).unwrap().include_usage);
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        refuses("", "The request body is empty; a JSON object was expected.");
        refuses(" \n", "The request body is empty; a JSON object was expected.");
        for body in ["[]", "\"x\"", "7", "-7", "null", "true"] {
            refuses(body, "The request body must be a JSON object.");
        }
        refuses("{} {}", "The request body is not valid JSON: nothing more was expected at byte 3.");
        refuses("{\"a\":1", "The request body is not valid JSON: ',' or '}' was expected at byte 6.");
        refuses("\u{feff}{}", "The request body is not valid JSON: a value was expected at byte 0.");
        let invalid = peek(Endpoint::Messages, b"{\"a\":\"\xff\"}").unwrap_err();
        assert_eq!(invalid.to_string(), "The request body is not valid UTF-8 (byte 6).");
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth() {
        refuses(r#"{"model":"a","\u006dodel":"b"}"#, "The key 'model' is given more than once (byte 13).");
        for (body, param) in [
            (r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#, "messages[0].content"),
            (r#"{"x":[0,[{"a":{"b":1,"b":1}}]]}"#, "x[1][0].a.b"),
            (r#"{"x":{"":1,"":2}}"#, "x.\"\""),
            (r#"{"metadata":{"é":1,"\u00E9":2}}"#, "metadata.é"),
            (r#"{"metadata":{"\u00E9":1,"é":2}}"#, "metadata.é"),
        ] {
            refuses_at(Endpoint::ChatCompletions, body, param);
        }
    }

    #[test]
    fn a_key_given_twice_is_found_among_many_and_the_same_key_elsewhere_is_none() {
        let members =
            |count: usize| (0..count).map(|key| format!("\"k{key}\":0")).collect::<Vec<_>>().join(",");
        for count in [1, 15, 16, 17, 18, 500] {
            assert!(chat(&format!(r#"{{"x":{{{}}}}}"#, members(count))).is_ok());
            for key in [0, count / 2, count - 1] {
                let body = format!(r#"{{"x":{{{},"k{key}":0}}}}"#, members(count));
                refuses_at(Endpoint::ChatCompletions, &body, &format!("x.k{key}"));
            }
        }
        let object = format!("{{{},\"k\":{{{}}}}}", members(100), members(100));
        assert!(chat(&format!(r#"{{"x":[{object},{object}],"k1":0}}"#)).is_ok());
    }

    #[test]
    fn keys_are_counted_while_their_objects_are_open() {
        let members =
            |count: usize| (0..count).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(",");
        let half = members(limits::JSON_KEYS_MAX / 2 + 1);
        assert!(chat(&format!(r#"{{"x":[{{{half}}},{{{half}}}]}}"#)).is_ok());
        let nested = format!(r#"{{"x":{{{half},"y":{{{half}}}}}}}"#);
        assert_eq!(chat(&nested).unwrap_err().what, What::TooManyKeys);
    }

    #[test]
    fn keys_that_are_no_keys_to_serde_json_are_refused_at_any_depth() {
        for name in ["Number", "RawValue", "", "Anything"] {
            for dollar in ["$", r"\u0024"] {
                let key = format!("{dollar}serde_json::private::{name}");
                for body in [
                    format!(r#"{{"{key}":"1"}}"#),
                    format!(
                        r#"{{"messages":[{{"role":"user","content":[{{"text":"a"}},{{"{key}":"{{}}"}}]}}]}}"#
                    ),
                    format!(r#"{{"metadata":{{"a":[{{"b":0,"{key}":"[1]"}}]}}}}"#),
                ] {
                    let refusal = chat(&body).expect_err(&body);
                    assert_eq!(refusal.what, What::PrivateKey, "{body}");
                }
            }
        }
        assert!(
            chat(r#"{"x":{"serde_json::private::Number":1,"$serde_json":"$serde_json::private::Number"}}"#)
                .is_ok()
        );
    }

    #[test]
    fn a_known_key_in_another_case_is_refused_where_it_is_known() {
        refuses(r#"{"Model":"a"}"#, "The key 'Model' must be written 'model' (byte 1).");
        for (body, param) in [
            (r#"{"messages":[],"MESSAGES":[1]}"#, "MESSAGES"),
            (r#"{"messages":[],"me\u017fsages":[1]}"#, "meſsages"),
            (r#"{"messages":[{"role":"user","content":"safe","Content":"EVIL"}]}"#, "messages[0].Content"),
            (r#"{"messages":[{"role":"user","content":[{"Text":"x"}]}]}"#, "messages[0].content[0].Text"),
            (
                r#"{"messages":[{"tool_calls":[{"function":{"Arguments":""}}]}]}"#,
                "messages[0].tool_calls[0].function.Arguments",
            ),
            (r#"{"TOOLS":[]}"#, "TOOLS"),
            (r#"{"max_to\u212aens":1}"#, "max_to\u{212a}ens"),
            (r#"{"\u004dodel":1}"#, "Model"),
        ] {
            refuses_at(Endpoint::ChatCompletions, body, param);
        }
        assert!(chat(r#"{"messages ":1,"models":2,"X":3,"metadata":{"Content":1,"content":2}}"#).is_ok());
        let tools =
            r#"{"tools":[{"function":{"parameters":{"properties":{"Name":{},"name":{},"Text":{}}}}}]}"#;
        assert!(chat(tools).is_ok(), "a schema's names are its own");
    }

    #[test]
    fn another_type_is_refused_with_the_key_and_what_it_must_be() {
        for value in ["null", "7", "[\"a\"]", "{}", "true"] {
            refuses(&format!(r#"{{"model":{value}}}"#), "'model' must be a string.");
        }
        for value in ["\"true\"", "1", "[]"] {
            refuses(&format!(r#"{{"stream":{value}}}"#), "'stream' must be true, false or null.");
        }
        refuses(r#"{"messages":"x"}"#, "'messages' must be an array.");
        refuses(
            r#"{"messages":[{"role":"user","content":7}]}"#,
            "'messages[0].content' must be a string, an array or null.",
        );
    }

    #[test]
    fn what_no_reader_of_the_dialect_expects_is_refused() {
        use Endpoint::{ChatCompletions, Completions, Embeddings, Messages, Responses};
        for (endpoint, body, param) in [
            (ChatCompletions, r#"{"messages":{}}"#, "messages"),
            (ChatCompletions, r#"{"messages":null}"#, "messages"),
            (ChatCompletions, r#"{"messages":["hi"]}"#, "messages[0]"),
            (ChatCompletions, r#"{"messages":[{"role":7}]}"#, "messages[0].role"),
            (ChatCompletions, r#"{"messages":[{"role":null}]}"#, "messages[0].role"),
            (ChatCompletions, r#"{"messages":[{},{"content":{}}]}"#, "messages[1].content"),
            (ChatCompletions, r#"{"messages":[{"content":[7]}]}"#, "messages[0].content[0]"),
            (ChatCompletions, r#"{"messages":[{"content":[{"text":7}]}]}"#, "messages[0].content[0].text"),
            (ChatCompletions, r#"{"messages":[{"name":7}]}"#, "messages[0].name"),
            (ChatCompletions, r#"{"messages":[{"tool_calls":{}}]}"#, "messages[0].tool_calls"),
            (ChatCompletions, r#"{"messages":[{"tool_calls":[1]}]}"#, "messages[0].tool_calls[0]"),
            (ChatCompletions, r#"{"tools":{}}"#, "tools"),
            (ChatCompletions, r#"{"tools":["x"]}"#, "tools[0]"),
            (Completions, r#"{"prompt":{}}"#, "prompt"),
            (Completions, r#"{"prompt":7}"#, "prompt"),
            (Completions, r#"{"prompt":["a",null]}"#, "prompt[1]"),
            (Completions, r#"{"prompt":[["a"]]}"#, "prompt[0][0]"),
            (Embeddings, r#"{"input":7}"#, "input"),
            (Embeddings, r#"{"input":null}"#, "input"),
            (Embeddings, r#"{"input":[true]}"#, "input[0]"),
            (Responses, r#"{"input":{}}"#, "input"),
            (Responses, r#"{"input":["a"]}"#, "input[0]"),
            (Responses, r#"{"input":[{"role":[]}]}"#, "input[0].role"),
            (Responses, r#"{"input":[{"content":1}]}"#, "input[0].content"),
            (Responses, r#"{"prompt":"x"}"#, "prompt"),
            (Messages, r#"{"system":{}}"#, "system"),
            (Messages, r#"{"messages":{}}"#, "messages"),
            (
                Messages,
                r#"{"messages":[{"content":[{"type":"tool_result","content":3}]}]}"#,
                "messages[0].content[0].content",
            ),
        ] {
            refuses_at(endpoint, body, param);
        }
    }

    #[test]
    fn what_clients_of_each_endpoint_send_passes() {
        use Endpoint::{ChatCompletions, Completions, Embeddings, Messages, Responses};
        for (endpoint, body) in [
            (
                ChatCompletions,
                r#"{"messages":[{"role":"developer","content":"a","name":"n"},{"role":"assistant","content":null,"refusal":null,"function_call":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"r"}]},{"role":"function","name":"f","content":"r"},{"role":"context","content":["a","b"]},{"role":"assistant"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"custom","custom":{"name":"x"}}],"functions":null,"user":7,"metadata":{"Role":1}}"#,
            ),
            (
                ChatCompletions,
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","text":null,"image_url":{"url":"data:","detail":"low"}},{"type":"input_audio","input_audio":{}},{"type":"new","x":1}]},{"role":"assistant","tool_calls":null,"reasoning_content":"r","audio":{"id":"a"}}],"unknown":[1e999,-0.0E+1],"logit_bias":{"50256":-100}}"#,
            ),
            (Completions, r#"{"prompt":"a"}"#),
            (Completions, r#"{"prompt":["a","b"],"suffix":null}"#),
            (Completions, r#"{"prompt":[1,2],"n":1}"#),
            (Completions, r#"{"prompt":[[1,2],[3]]}"#),
            (Completions, r#"{"prompt":null}"#),
            (Embeddings, r#"{"input":"a"}"#),
            (Embeddings, r#"{"input":["a"],"encoding_format":"base64","dimensions":3}"#),
            (Embeddings, r#"{"input":[1,2]}"#),
            (Embeddings, r#"{"input":[[1,2],[3]]}"#),
            (Embeddings, r#"{"input":[{"text":"a"},{"image":"data:"}]}"#),
            (
                Responses,
                r#"{"input":"a","instructions":null,"prompt":null,"reasoning":{"effort":"low"},"text":{"format":{}}}"#,
            ),
            (Responses, r#"{"prompt":{"id":"p","variables":{"Input":"x"}}}"#),
            (
                Responses,
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_file","file_id":"f"}]},{"type":"function_call","name":"f","arguments":"{}","call_id":"c"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]},{"type":"computer_call_output","output":{"type":"computer_screenshot"}},{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"s"}],"content":null,"encrypted_content":"x"},{"type":"item_reference","id":"i","role":null},{"type":"custom_tool_call","input":"x"},{"type":"new_item","anything":[]}],"tools":[{"type":"web_search"}]}"#,
            ),
            (
                Messages,
                r#"{"max_tokens":1,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"x"},{"type":"tool_use","id":"t","name":"f","input":{"Text":1,"text":2}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}]},{"type":"tool_result","content":"r"},{"type":"document","source":{"type":"text","data":"d"},"title":null},{"type":"code_execution_tool_result","content":{"type":"x","stdout":""}}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
            ),
        ] {
            assert_eq!(peek(endpoint, body.as_bytes()).map(drop), Ok(()), "{body}");
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_refused_in_keys_and_values() {
        for body in [
            r#"{"messages":[{"role":"user","content":"\ud83d"}]}"#,
            r#"{"x":{"\ude00":1}}"#,
            r#"{"x":"\ud83d\u0041"}"#,
        ] {
            assert_eq!(chat(body).unwrap_err().what, What::LoneSurrogate, "{body}");
        }
        assert!(chat(r#"{"x":"\ud83d\ude00 \\ud83d"}"#).is_ok());
    }

    #[test]
    fn nesting_has_one_bound_wherever_it_is() {
        let max = limits::JSON_DEPTH_MAX;
        let nested = |open: &str, close: &str, levels: usize| {
            format!(r#"{{"model":"m","x":{}0{}}}"#, open.repeat(levels), close.repeat(levels))
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deepest = nested(open, close, max - 1);
            assert!(chat(&deepest).is_ok());
            assert!(serde_json::from_str::<serde_json::Value>(&deepest).is_ok(), "a tree of it can be read");
            for levels in [max, max + 1, 10_000, 1_000_000] {
                assert_eq!(chat(&nested(open, close, levels)).unwrap_err().what, What::TooDeep, "{levels}");
            }
        }
    }

    #[test]
    fn numbers_of_any_size_and_form_pass() {
        let digits = "9".repeat(5_000);
        for number in [
            "0",
            "-0",
            "1E400",
            "1e-400",
            "0.10e+07",
            "18446744073709551616",
            &digits,
            &format!("0.{digits}e{digits}"),
        ] {
            assert!(chat(&format!(r#"{{"seed":{number}}}"#)).is_ok(), "{number}");
        }
        for number in ["01", "-", "+1", ".5", "1.", "1.e3", "1e", "1e+", "0x1", "NaN", "Infinity", "1_0"] {
            let refusal = chat(&format!(r#"{{"seed":{number}}}"#)).expect_err(number);
            assert!(matches!(refusal.what, What::NotJson { .. }), "{number}: {refusal}");
        }
    }

    #[test]
    fn a_path_is_bounded_and_shows_no_control_character() {
        let key = "\\u202e\\n".to_owned() + &"k".repeat(5_000);
        let object = |levels: usize, inner: &str| {
            format!("{}{inner}{}", format!(r#"{{"{key}":"#).repeat(levels), "}".repeat(levels))
        };
        let refusal = chat(&object(50, r#"{"a":1,"a":2}"#)).unwrap_err();
        let text = refusal.to_string();
        assert!(
            text.len() < limits::JSON_PATH_BYTES_MAX + 100 && !text.contains(['\u{202e}', '\n']),
            "{text}"
        );
        assert!(refusal.param().unwrap().ends_with(".a"), "{text}");
    }

    #[test]
    fn any_value_can_be_checked_without_a_shape() {
        for json in ["7", " [1,{\"messages\":7}] ", "\"x\"", "null"] {
            assert_eq!(check(json.as_bytes()), Ok(()), "{json}");
        }
        for json in ["", "{", "{\"a\":1,\"a\":1}", "[{\"$serde_json::private::Number\":\"1\"}]"] {
            assert!(check(json.as_bytes()).is_err(), "{json}");
        }
    }
}
