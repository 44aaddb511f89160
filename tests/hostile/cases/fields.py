"""Field lines: their syntax, their number and their size, and fields that steer the connection."""

from case import CHAT, FILES, FORBIDDEN, JSON, Client, get, post

REFUSED = "400 close"


def field(name, text, may=REFUSED):
    """A GET with one more line in its head, given whole."""
    start, end = get()[:-2], b"\r\n"
    return Client(f"a field {name}", [start + text + b"\r\n" + end], may)


CASES = [
    field("with a blank before its colon", b"x-a : 1"),
    field("with a tab before its colon", b"x-a\t: 1"),
    field("without a colon", b"x-a"),
    field("without a name", b": 1"),
    field("whose name has a blank", b"x a: 1"),
    field("whose name has a NUL", b"x\0a: 1"),
    field("whose name has a parenthesis", b"x(a): 1"),
    field("whose name has a quote", b'"x": 1', "400 close"),
    field("whose name is Latin-1", b"x-\xe9: 1"),
    field("whose value has a NUL", b"x-a: 1\x002"),
    field("whose value has a bare CR", b"x-a: 1\r2"),
    field("whose value has a bell", b"x-a: 1\x072", "200 | 400 close"),
    field("whose value has a DEL", b"x-a: 1\x7f2", "200 | 400 close"),
    field("whose value has a vertical tab", b"x-a: 1\x0b2", "200 | 400 close"),
    field("whose value is Latin-1", b"x-a: caf\xe9", "200 | 400 close"),
    field("whose value is empty", b"x-a:", "200"),
    field("whose value is blanks", b"x-a:   \t  ", "200"),
    field("that is folded", b"x-a: 1\r\n 2"),
    field("that is folded by a tab", b"x-a: 1\r\n\t2"),
    field("that ends in LF alone", b"x-a: 1\nx-b: 2", "200 | 400 close"),
    field("that smuggles one behind a bare CR", b"x-a: 1\rtransfer-encoding: chunked"),
    field("of 60,000 bytes", b"x-a: " + b"a" * 60_000, "200 | 431 close"),
    field("of 100,000 bytes", b"x-a: " + b"a" * 100_000, "431 close"),
    field("of 3,000,000 bytes", b"x-a: " + b"a" * 3_000_000, "431 close | close"),
    field("whose name has 100,000 bytes", b"a" * 100_000 + b": 1", "400 close | 431 close"),
    field("given 200 times", b"\r\n".join(b"x-%d: 1" % n for n in range(200)), "200 | 431 close"),
    field("given 5,000 times", b"\r\n".join(b"x-%d: 1" % n for n in range(5000)), "431 close"),
    field("that speaks of hookway", b"x-hookway-request-id: forged", "200"),
    Client("a first line that is folded", [get().replace(b"host: gateway", b" host: gateway")], REFUSED),
    Client("a field before the host that is folded", [get().replace(b"host:", b"\thost:")], REFUSED),
    field("connection that names the host", b"connection: host", "200 | 400 close"),
    field("connection that names the case", b"connection: close, x-nothing", "200 | 200 close"),
    field("connection of nonsense", b'connection: ,,, "close', "200 | 400 close"),
    field("connection given 40 times", b"\r\n".join([b"connection: keep-alive"] * 40), "200"),
    field("keep-alive of a huge number", b"keep-alive: timeout=99999999999999999999", "200"),
    field("te of trailers", b"te: trailers", "200"),
    field("te of chunked", b"te: chunked;q=0.5", "200"),
    field("trailer that names the length", b"trailer: content-length", "200 | 400 close"),
    field("proxy-connection", b"proxy-connection: keep-alive", "200"),
    field("max-forwards of zero", b"max-forwards: 0", "200"),
    field("range of everything", b"range: bytes=0-,0-,0-", "200"),
    field("if-none-match of anything", b"if-none-match: *", "200"),
    field("http2-settings", b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", "200 | 4xx"),
    field("of a method override", b"x-http-method-override: POST", "200"),
    Client("a method override to a chat", [post(CHAT, "x-http-method-override: GET", body=FORBIDDEN)], "400", [FORBIDDEN], unseen=b"forbidden"),
    Client("a rewritten target", [post(FILES, "x-original-url: /v1/chat/completions", "x-rewrite-url: /v1/chat/completions")], "200", [JSON]),
    Client("a content type of nonsense", [post(CHAT, "content-type: text/\"x")], "200 | 4xx", [JSON]),
    Client("a coding that is not there", [post(CHAT, "content-encoding: gzip")], "200 | 4xx | 4xx close", [JSON]),
    Client("a length that a connection field names", [post(FILES, "connection: content-length")], "200 | 400 close", [JSON]),
    Client("a chat whose length a connection field names", [post(CHAT, "connection: content-length")], "200 | 400 close", [JSON]),
]  # fmt: skip
