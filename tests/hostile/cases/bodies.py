"""Bodies of chats that readers take differently: the guard, and what is behind it, must never read another prompt."""

from case import CHAT, Client, post

RAW, NUMBER = b"$serde_json::private::RawValue", b"$serde_json::private::Number"
HIDDEN = b'{\\"role\\":\\"user\\",\\"content\\":\\"forbidden\\"}'
MESSAGE = b'{"role":"user","content":"hi"}'
BAD = b'{"role":"user","content":"forbidden"}'


def body(name, data, may="400"):
    return Client(f"a chat {name}", [post(CHAT, body=data)], may, [data], unseen=b"forbidden")


def messages(name, inner, may="400"):
    return body(name, b'{"model":"m","messages":[' + inner + b"]}", may)


CASES = [
    messages("that is plain", BAD),
    messages("hidden in serde's raw value", MESSAGE + b',{"' + RAW + b'":"' + HIDDEN + b'"}'),
    body("whose messages are hidden in serde's raw value", b'{"model":"m","messages":{"' + RAW + b'":"[' + HIDDEN + b']"}}'),
    body("that is hidden in serde's raw value", b'{"' + RAW + b'":"{\\"model\\":\\"m\\",\\"messages\\":[' + HIDDEN.replace(b'\\"', b'\\\\\\"') + b']}"}'),
    messages("hidden in serde's number", MESSAGE + b',{"' + NUMBER + b'":"1"}'),
    messages("with an escaped key of serde", MESSAGE + b',{"\\u0024serde_json::private::RawValue":"' + HIDDEN + b'"}'),
    body("with a key of serde deep inside", b'{"model":"m","messages":[' + MESSAGE + b'],"metadata":{"a":[{"' + NUMBER + b'":"1"}]}}'),
    body("with messages given twice", b'{"model":"m","messages":[' + BAD + b'],"messages":[' + MESSAGE + b"]}"),
    body("with messages in another case", b'{"model":"m","messages":[' + MESSAGE + b'],"Messages":[' + BAD + b"]}"),
    body("with messages escaped", b'{"model":"m","messages":[' + MESSAGE + b'],"message\\u0073":[' + BAD + b"]}"),
    body("with a model given twice", b'{"model":"m","model":"n","messages":[' + MESSAGE + b"]}"),
    messages("with content given twice", b'{"role":"user","content":"forbidden","content":"hi"}'),
    messages("with content given twice, the other way", b'{"role":"user","content":"hi","content":"forbidden"}'),
    messages("with content given twice, once escaped", b'{"role":"user","content":"forbidden","c\\u006fntent":"hi"}'),
    messages("with content in another case", b'{"role":"user","content":"hi","Content":"forbidden"}'),
    messages("with a role given twice", b'{"role":"user","role":"system","content":"hi"}'),
    messages("with a lone surrogate", b'{"role":"user","content":"hi \\ud83d"}'),
    messages("with a lone surrogate and a forbidden word", b'{"role":"user","content":"forbidden \\udc00"}'),
    messages("with a surrogate pair", b'{"role":"user","content":"hi \\ud83d\\ude00"}', "200"),
    messages("with a pair the wrong way", b'{"role":"user","content":"hi \\ude00\\ud83d"}'),
    messages("with an escaped prompt", b'{"role":"user","content":"\\u0066orbidden"}'),
    messages("with broken UTF-8", b'{"role":"user","content":"hi \xff"}'),
    messages("with overlong UTF-8", b'{"role":"user","content":"hi \xc0\xaf"}'),
    messages("with a bare control byte", b'{"role":"user","content":"hi \x01"}'),
    messages("with a NUL", b'{"role":"user","content":"hi \x00"}'),
    body("in UTF-16", '{"model":"m","messages":[]}'.encode("utf-16")),
    body("behind a byte order mark", b'\xef\xbb\xbf{"model":"m","messages":[' + MESSAGE + b"]}"),
    body("that is a list", b'[{"model":"m","messages":[' + BAD + b"]}]"),
    body("behind another", b'{"model":"m","messages":[' + MESSAGE + b']}{"model":"m","messages":[' + BAD + b"]}"),
    body("with bytes behind it", b'{"model":"m","messages":[' + MESSAGE + b"]}\0"),
    body("with a comment", b'{"model":"m",/* x */"messages":[' + MESSAGE + b"]}"),
    body("with a trailing comma", b'{"model":"m","messages":[' + MESSAGE + b",]}"),
    body("with NaN", b'{"model":"m","temperature":NaN,"messages":[' + MESSAGE + b"]}"),
    body("with Infinity", b'{"model":"m","temperature":Infinity,"messages":[' + MESSAGE + b"]}"),
    body("with a number of a leading zero", b'{"model":"m","n":01,"messages":[' + MESSAGE + b"]}"),
    body("with a hexadecimal number", b'{"model":"m","n":0x1,"messages":[' + MESSAGE + b"]}"),
    body("with a number of 5,000 digits", b'{"model":"m","seed":' + b"9" * 5_000 + b',"messages":[' + MESSAGE + b"]}", "200"),
    body("with a huge exponent", b'{"model":"m","temperature":1e99999,"messages":[' + MESSAGE + b"]}", "200"),
    body("with minus zero", b'{"model":"m","temperature":-0,"messages":[' + MESSAGE + b"]}", "200"),
    body("of 126 levels", b'{"model":"m","messages":[' + MESSAGE + b'],"x":' + b"[" * 125 + b"]" * 125 + b"}", "200"),
    body("of 1,000 levels", b'{"model":"m","messages":[' + MESSAGE + b'],"x":' + b"[" * 1_000 + b"]" * 1_000 + b"}"),
    body("of 100,000 levels", b'{"model":"m","messages":[' + MESSAGE + b'],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    body("of 100,000 open brackets", b"[" * 100_000),
    body("with a model of 513 bytes", b'{"model":"' + b"m" * 513 + b'","messages":[' + MESSAGE + b"]}"),
    body("with a model of a megabyte", b'{"model":"' + b"m" * (1 << 20) + b'","messages":[' + MESSAGE + b"]}"),
    body("with a model of null", b'{"model":null,"messages":[' + MESSAGE + b"]}"),
    body("with messages that are a text", b'{"model":"m","messages":"forbidden"}'),
    body("with messages that are a number", b'{"model":"m","messages":7}'),
    messages("with a message that is a text", b'"forbidden"'),
    messages("with content that is a list of texts", b'{"role":"user","content":["forbidden"]}'),
    messages("with a role that is a number", b'{"role":7,"content":"hi"}'),
    messages("with a prompt in its name", b'{"role":"user","name":"forbidden","content":"hi"}', "200 | 400"),
    body("that is empty", b""),
    body("that is blank", b"  \r\n "),
]  # fmt: skip
for found in CASES:
    if found.name == "a chat with a prompt in its name":
        found.unseen = b""
