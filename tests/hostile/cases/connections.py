"""What goes on between requests: pipelines, expectations, HTTP/1.0, upgrades, and clients that leave."""

from case import CHAT, CLOSE, FILES, HALF_CLOSE, JSON, LAST, RESET, Client, Pause, Segments, chunk, chunked, get, head, post

CUT = Pause(0.03)
WEB_SOCKET = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==")
EXPECT = "expect: 100-continue"


def plain(name, sends, may, bodies=(b"",), **more):
    return Client(name, sends if isinstance(sends, list) else [sends], may, list(bodies), **more)


CASES = [
    # Pipelines.
    plain("two requests in one segment", get() * 2, "200 200", (b"", b"")),
    plain("twenty requests in one segment", get() * 20, " ".join(["200"] * 20), [b""] * 20),
    plain("two hundred requests in one segment", get() * 200, " ".join(["200"] * 200), [b""] * 200),
    plain("an upload, a chat and a chunked upload in one segment", post() + post(CHAT) + chunked(body=chunk(JSON) + LAST), "200 200 200", (JSON, JSON, JSON)),
    plain("a chunked chat and a chat in one segment", chunked(CHAT, body=chunk(JSON) + LAST) + post(CHAT), "200 200", (JSON, JSON)),
    plain("chunked uploads in one segment", chunked(body=chunk(JSON) + LAST) * 5, " ".join(["200"] * 5), [JSON] * 5),
    plain("a request behind one that closes", get(FILES, "connection: close") + get("/v1/files/smuggled"), "200 close"),
    plain("a request behind a refused chat", post(CHAT, body=b"{") + get(), "400 200 | 400 close", (None, b"")),
    plain("a request behind a malformed one", get() + b"NO HTTP\r\n\r\n" + get("/v1/files/smuggled"), "200 400 close", (b"", b"")),
    plain("a request cut behind another", [get() + get()[:30], CUT, get()[30:]], "200 200", (b"", b"")),
    plain("a request whose next begins with CRLF", post() + b"\r\n" + get(), "200 200 | 200 400 close", (JSON, b"")),
    plain("a HEAD before a GET", get().replace(b"GET", b"HEAD", 1) + get(), "200 200", (b"", b""), methods=[b"HEAD", b"GET"]),
    plain("a pipeline that is half closed", [get() * 3, HALF_CLOSE], "200 200 200", [b""] * 3),
    # A byte at a time.
    plain("a GET a byte at a time", Segments(get()), "200"),
    plain("an upload a byte at a time", Segments(post()), "200", (JSON,)),
    plain("a chat a byte at a time", Segments(post(CHAT)), "200", (JSON,)),
    plain("a chunked upload a byte at a time", Segments(chunked(body=chunk(JSON[:9]) + chunk(JSON[9:]) + LAST)), "200", (JSON,)),
    plain("a head whose end comes late", [get()[:-1], CUT, get()[-1:]], "200"),
    plain("a head in one segment with half its body", [post()[:-20], CUT, post()[-20:]], "200", (JSON,)),
    # Expectations.
    plain("an expected upload", [head("POST", FILES, f"content-length: {len(JSON)}", EXPECT), CUT, JSON], "200", (JSON,)),
    plain("an expected chat", [head("POST", CHAT, "content-type: application/json", f"content-length: {len(JSON)}", EXPECT), CUT, JSON], "200", (JSON,)),
    plain("an expected upload that does not wait", post(FILES, EXPECT), "200", (JSON,)),
    plain("an expected chunked upload", [chunked(FILES, EXPECT), CUT, chunk(JSON) + LAST], "200", (JSON,)),
    plain("an expectation without a body", get(FILES, EXPECT), "200"),
    plain("an expectation of a body that never comes", head("POST", FILES, "content-length: 9", EXPECT), "408 close | close"),
    plain("an expectation given twice", [head("POST", FILES, f"content-length: {len(JSON)}", EXPECT, EXPECT), CUT, JSON], "200 | 400 close | 417 close", (JSON,)),
    plain("an expectation of nonsense", [head("POST", FILES, f"content-length: {len(JSON)}", "expect: money"), CUT, JSON], "200 | 400 close | 417 | 417 close", (JSON,)),
    plain("an expectation on a refused path, and another request", [head("POST", "/nothing", "content-length: 66", EXPECT) + get()], "404 close | 404 408 close", (None, None)),
    plain("an expectation on a refused chat", [head("PUT", CHAT, f"content-length: {len(JSON)}", EXPECT), CUT], "405 close", (JSON,)),
    plain("an expectation of HTTP/1.0", head("POST", FILES, f"content-length: {len(JSON)}", EXPECT, version="1.0") + JSON, "200 close", (JSON,)),
    # HTTP/1.0.
    plain("a GET of HTTP/1.0", get(version="1.0"), "200 close"),
    plain("a GET of HTTP/1.0 that is kept", get(FILES, "connection: keep-alive", version="1.0"), "200 | 200 close"),
    plain("an upload of HTTP/1.0", post(version="1.0"), "200 close", (JSON,)),
    plain("an upload of HTTP/1.0 without a length", [head("POST", FILES, version="1.0") + JSON, HALF_CLOSE], "200 close | 4xx close | 200 400 close", (b"", b"")),
    plain("a chat of HTTP/1.0 without a length", [head("POST", CHAT, version="1.0") + JSON, HALF_CLOSE], "4xx close", (b"",)),
    plain("two requests of HTTP/1.0 in one segment", get(version="1.0") * 2, "200 close"),
    plain("an upgrade of HTTP/1.0", get("/v1/realtime", *WEB_SOCKET, version="1.0"), "200 close | 4xx close"),
    # Upgrades.
    plain("an upgrade that is not agreed to", get("/v1/realtime", *WEB_SOCKET) + get(), "200 200 | 200 close", (b"", b"")),
    plain("an upgrade with a body", head("POST", "/v1/realtime", *WEB_SOCKET, f"content-length: {len(JSON)}") + JSON + get(), "200 200 | 200 close | 400 close", (JSON, b"")),
    plain("an upgrade with chunks", head("POST", "/v1/realtime", *WEB_SOCKET, "transfer-encoding: chunked") + chunk(JSON) + LAST + get(), "200 200 | 200 close | 400 close", (JSON, b"")),
    plain("an upgrade to h2c", get(FILES, "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__") + get(), "200 200", (b"", b"")),
    plain("an upgrade to h2c by an upload", head("POST", FILES, "connection: upgrade", "upgrade: h2c", f"content-length: {len(JSON)}") + JSON + get(), "200 200", (JSON, b"")),
    plain("an upgrade of two protocols", get("/v1/realtime", "connection: upgrade", "upgrade: h2c, websocket") + get(), "200 200 | 200 close | 400 close", (b"", b"")),
    plain("an upgrade without its connection field", get("/v1/realtime", "upgrade: websocket") + get(), "200 200", (b"", b"")),
    # Half closes.
    plain("a half-closed GET", [get(), HALF_CLOSE], "200"),
    plain("a half-closed upload", [post(), HALF_CLOSE], "200", (JSON,)),
    plain("a half-closed chat", [post(CHAT), HALF_CLOSE], "200", (JSON,)),
    plain("a half-closed chunked upload", [chunked(body=chunk(JSON) + LAST), HALF_CLOSE], "200", (JSON,)),
    plain("a half-closed chunked chat", [chunked(CHAT, body=chunk(JSON) + LAST), HALF_CLOSE], "200", (JSON,)),
    plain("a half close within a head", [get()[:40], HALF_CLOSE], "400 close | 408 close | close"),
    plain("a half close within an upload", [post()[:-9], HALF_CLOSE], "400 close | 408 close | close", (JSON,)),
    plain("a half close within a chat", [post(CHAT)[:-9], HALF_CLOSE], "400 close | 408 close | close", (JSON,)),
    plain("a half close within chunks", [chunked(body=chunk(JSON)), HALF_CLOSE], "400 close | 408 close | close", (JSON,)),
    plain("a half close behind the last size", [chunked(body=chunk(JSON) + b"0\r\n"), HALF_CLOSE], "200 close | 400 close | 408 close | close", (JSON,)),
    plain("a half close within chunks of a chat", [chunked(CHAT, body=chunk(JSON)), HALF_CLOSE], "400 close | 408 close | close", (JSON,)),
    plain("a half close without a byte", [HALF_CLOSE], "close"),
    # Early closes: nothing is judged at the client, all at the upstream and at the next client.
    plain("a client that leaves within its head", [get()[:40], CLOSE], "close"),
    plain("a client that leaves within its upload", [post()[:-9], CUT, CLOSE], "close", (JSON,)),
    plain("a client that leaves within its chunks", [chunked(body=chunk(JSON)), CUT, CLOSE], "close", (JSON,)),
    plain("a client that leaves within a chunk", [chunked(body=b"ff\r\n" + JSON), CUT, CLOSE], "close", (JSON,)),
    plain("a client that leaves behind the last size", [chunked(body=chunk(JSON) + b"0\r\n"), CUT, CLOSE], "close", (JSON,)),
    plain("a client that leaves within a trailer", [chunked(body=chunk(JSON) + b"0\r\nx: "), CUT, CLOSE], "close", (JSON,)),
    plain("a client that resets within its upload", [post()[:-9], CUT, RESET], "close", (JSON,)),
    plain("a client that resets within its chunks", [chunked(body=chunk(JSON)), CUT, RESET], "close", (JSON,)),
    plain("a client that resets within its chat", [post(CHAT)[:-9], CUT, RESET], "close", (JSON,)),
    plain("a client that leaves behind its upload", [post(), CLOSE], "close", (JSON,)),
    plain("a client that resets behind its chat", [post(CHAT), RESET], "close", (JSON,)),
    plain("a client that leaves behind a pipeline", [post() * 20, CLOSE], "close", [JSON] * 20),
    # Slow ones.
    plain("a head that stops", [get()[:40]], "408 close | close"),
    plain("a head that drips", [Segments(b"GET /v1/files HTTP/1.1\r\nx-drips: " + b"a" * 60, 1, 0.05)], "408 close | close"),
    plain("a head that stops behind an answer", [get() + get()[:40]], "200 408 close | 200 close", (b"", b"")),
]  # fmt: skip
