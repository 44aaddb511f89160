"""Requests over HTTP/2: pseudo fields, fields, bodies, lengths, trailers, resets, windows and frames out of place."""

import struct

import http2
from case import CHAT, FILES, FORBIDDEN, ID, JSON, Pause
from client_http2 import Client2, request
from http2 import block, data, frame, headers, reset, settings, window

OWN = ("x-case", ID)
REFUSED = "400 | reset | goaway"
CUT = Pause(0.03)
N = len(JSON)


def fields(name, sent, may=REFUSED, bodies=(b"",), end=True, behind=()):
    """A request of these fields and no other."""
    return Client2(f"h2 {name}", [headers(1, sent, end), *behind], may, list(bodies))


def extra(name, *more, may=REFUSED):
    return fields(name, request("GET", extra=[OWN, *more]), may)


def pseudo(name, may=REFUSED, **changed):
    return fields(name, request(**{"method": "GET", **changed}, extra=[OWN]), may)


def upload(name, *behind, may="200", bodies=(JSON,), target=FILES, more=(), **other):
    """A POST whose body is these frames."""
    head = headers(1, request(path=target, extra=[OWN, ("content-type", "application/json"), *more]), False)
    place = "chat" if target == CHAT else "files"
    return Client2(f"h2 {name} to {place}", [head, *behind], may, list(bodies), **other)


def both(name, *behind, may="200", **more):
    outcomes = may if isinstance(may, tuple) else (may, may)
    for target, outcome in ((FILES, outcomes[0]), (CHAT, outcomes[1])):
        yield upload(name, *behind, may=outcome, target=target, **more)


def trailers(*sent):
    return headers(1, sent)


def frames(name, *sends, may, bodies=(b"",), streams=(1,), **more):
    return Client2(f"h2 {name}", list(sends), may, list(bodies), streams, **more)


GET = headers(1, request("GET", extra=[OWN]))
BEHIND = headers(3, request("GET", extra=[OWN]))
RAPID = b"".join(headers(2 * at + 1, request("GET", extra=[("x-case", "rapid")])) + reset(2 * at + 1) for at in range(500))

CASES = [
    # Pseudo fields.
    pseudo("a plain GET", "200"),
    pseudo("no method", without=(":method",)),
    pseudo("no path", without=(":path",)),
    pseudo("no scheme", without=(":scheme",)),
    pseudo("no authority", "200 | 400 | reset", without=(":authority",)),
    pseudo("an empty path", path=""),
    pseudo("a path without a slash", "4xx | reset | goaway", path="v1/files"),
    pseudo("a path with a blank", path="/v1/fi les"),
    pseudo("a path with CRLF", path="/v1/files HTTP/1.1\r\nx: y"),
    pseudo("a path with a NUL", path="/v1/fi\0les"),
    pseudo("a path with a fragment", "200 | 4xx | reset", path="/v1/files#x"),
    pseudo("a path in absolute form", "4xx | 200 | reset", path="http://gateway/v1/files"),
    pseudo("a method with a blank", method="GET /v1/x"),
    pseudo("a method with CRLF", method="GET / HTTP/1.1\r\nhost: x\r\n\r\nGET"),
    pseudo("an empty method", method=""),
    pseudo("an authority with CRLF", authority="gateway\r\nx: y"),
    pseudo("an authority with a blank", "400 | reset | goaway | 200", authority="gate way"),
    pseudo("an authority with a user", "400 | reset | 200", authority="me@gateway"),
    pseudo("an empty authority", "400 | reset | 200", authority=""),
    pseudo("a scheme of nonsense", "200 | 400 | reset", scheme="gopher"),
    pseudo("a scheme with CRLF", scheme="http\r\nx: y"),
    pseudo("CONNECT", "4xx | reset", method="CONNECT"),
    pseudo("CONNECT as it has to be", "4xx | reset", method="CONNECT", without=(":scheme", ":path")),
    pseudo("TRACE", "405", method="TRACE"),
    fields("a method twice", [(":method", "GET"), *request("GET", extra=[OWN])]),
    fields("a path twice", [*request("GET"), (":path", "/v1/other"), OWN]),
    fields("an authority twice", [*request("GET"), (":authority", "other"), OWN]),
    fields("a pseudo field behind a field", [OWN, *request("GET")]),
    fields("an unknown pseudo field", [*request("GET"), (":x", "y"), OWN]),
    fields("a status in a request", [*request("GET"), (":status", "200"), OWN]),
    fields("a protocol without its setting", [*request("CONNECT"), (":protocol", "websocket"), OWN], "4xx | reset | goaway"),
    fields("a guarded path in another case", request("POST", "/v1/Chat/completions", extra=[OWN]), "4xx", end=False, behind=[data(1, FORBIDDEN, True)], bodies=(FORBIDDEN,)),
    fields("a guarded path with an escape", request("POST", "/v1/chat/completions%23", extra=[OWN]), "4xx", end=False, behind=[data(1, FORBIDDEN, True)], bodies=(FORBIDDEN,)),
    fields("a guarded path", request("POST", CHAT, extra=[OWN]), "400", end=False, behind=[data(1, FORBIDDEN, True)], bodies=(FORBIDDEN,)),
    # Fields.
    extra("a host that agrees", ("host", "gateway"), may="200 | 400 | reset"),
    extra("a host that disagrees", ("host", "other"), may="200 | 400 | reset"),
    extra("two hosts", ("host", "gateway"), ("host", "other"), may="400 | reset | goaway"),
    extra("a name in upper case", ("X-Upper", "1")),
    extra("a name with a blank", ("x a", "1")),
    extra("a name with a colon", ("x:a", "1")),
    extra("a name with CRLF", ("x\r\ny", "1")),
    extra("a name with a NUL", ("x\0y", "1")),
    extra("an empty name", ("", "1")),
    extra("a value with CRLF", ("x-a", "1\r\nx-b: 2")),
    extra("a value with LF", ("x-a", "1\n2")),
    extra("a value with CR", ("x-a", "1\r2")),
    extra("a value with a NUL", ("x-a", "1\x002")),
    extra("a value with a whole request", ("x-a", "1\r\n\r\nGET /v1/files/smuggled HTTP/1.1\r\nhost: x\r\n\r\n")),
    extra("a value with a blank before it", ("x-a", " 1"), may="200 | 400 | reset"),
    extra("a value of Latin-1", ("x-a", "caf\xe9"), may="200 | 400 | reset"),
    extra("connection", ("connection", "close")),
    extra("keep-alive", ("keep-alive", "timeout=5")),
    extra("proxy-connection", ("proxy-connection", "close"), may="200 | 400 | reset | goaway"),
    extra("upgrade", ("upgrade", "websocket")),
    extra("transfer-encoding", ("transfer-encoding", "chunked")),
    extra("te of gzip", ("te", "gzip")),
    extra("te of trailers", ("te", "trailers"), may="200"),
    extra("cookies in crumbs", ("cookie", "a=1"), ("cookie", "b=2"), may="200"),
    extra("15,000 bytes of field", ("x-long", "a" * 15_000), may="200 | 431 | reset"),
    extra("200 fields", *[(f"x-{at}", "1") for at in range(200)], may="200 | 431 | reset"),
    # Bodies.
    *both("an upload", data(1, JSON, True)),
    *both("an upload of a byte each", *[data(1, JSON[at : at + 1], at == N - 1) for at in range(N)]),
    *both("an empty last DATA", data(1, JSON), data(1, b"", True)),
    *both("an empty last DATA that comes late", data(1, JSON), CUT, data(1, b"", True)),
    *both("empty DATA in the middle", data(1, JSON[:9]), data(1, b""), data(1, JSON[9:], True)),
    *both("fifty empty DATA", data(1, JSON[:9]), data(1, b"") * 50, data(1, JSON[9:], True), may="200 | reset | goaway"),
    *both("ten thousand empty DATA", data(1, JSON[:9]), data(1, b"") * 10_000, data(1, JSON[9:], True), may="200 | reset | goaway"),
    *both("empty DATA first", data(1, b""), data(1, JSON, True)),
    *both("padded DATA", frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, bytes([9]) + JSON + bytes(9))),
    *both("DATA padded by itself", frame(http2.DATA, http2.PADDED | http2.END_STREAM, 1, bytes([255]) + JSON), may="reset | goaway"),
    upload("a body of nothing", data(1, b"", True), may="200", bodies=(b"",)),
    upload("a body of nothing", data(1, b"", True), may="400", bodies=(b"",), target=CHAT),
    # Lengths.
    *both("a length that is right", data(1, JSON, True), more=[("content-length", str(N))]),
    *both("a length that is too long", data(1, JSON, True), more=[("content-length", str(N + 5))], may=REFUSED),
    *both("a length that is too short", data(1, JSON, True), more=[("content-length", str(N - 5))], may=REFUSED),
    *both("a length of zero", data(1, JSON, True), more=[("content-length", "0")], may=REFUSED),
    *both("a length of nonsense", data(1, JSON, True), more=[("content-length", "x")], may=REFUSED),
    *both("a length with a plus", data(1, JSON, True), more=[("content-length", f"+{N}")], may=REFUSED),
    *both("two lengths", data(1, JSON, True), more=[("content-length", str(N)), ("content-length", "0")], may=REFUSED),
    *both("a length twice", data(1, JSON, True), more=[("content-length", str(N)), ("content-length", str(N))], may="200 | 400 | reset"),
    fields("a length on a GET without a body", request("GET", extra=[OWN, ("content-length", "5")])),
    *both("an expectation", CUT, data(1, JSON, True), more=[("expect", "100-continue")]),
    # Trailers.
    *both("trailers", data(1, JSON), trailers(("x-trailer", "1")), may="200 | 400 | reset"),
    *both("trailers without a body", trailers(("x-trailer", "1")), may=("200 | 400 | reset", "400 | reset"), bodies=(b"",)),
    *both("empty trailers", data(1, JSON), trailers(), may="200 | 400 | reset"),
    # The library leaves pseudo fields of trailers out before anybody can see them: both sides read the same request.
    *both("trailers with a pseudo field", data(1, JSON), trailers((":path", "/v1/other")), may=f"200 | {REFUSED}"),
    *both("trailers with a length", data(1, JSON), trailers(("content-length", "5")), may="200 | 400 | reset"),
    *both("trailers with a coding", data(1, JSON), trailers(("transfer-encoding", "chunked")), may="200 | 400 | reset | goaway"),
    *both("trailers with CRLF", data(1, JSON), trailers(("x", "1\r\n\r\nGET / HTTP/1.1")), may=REFUSED),
    *both("trailers with an upper case name", data(1, JSON), trailers(("X-Upper", "1")), may=REFUSED),
    *both("trailers of 15,000 bytes", data(1, JSON), trailers(("x", "y" * 15_000)), may="200 | 4xx | reset"),
    *both("trailers that do not end the stream", data(1, JSON), headers(1, [("x", "y")], False), CUT, data(1, b"x", True), may=REFUSED),
    *both("DATA behind trailers", data(1, JSON), trailers(("x", "y")), data(1, b"more", True), may="200 | 400 | reset | goaway"),
    # Resets.
    upload("a reset within the body", data(1, JSON[:9]), CUT, reset(1), BEHIND, leaves=True, streams=(3,), bodies=(b"",)),
    upload("a reset behind an empty DATA", data(1, JSON), data(1, b""), CUT, reset(1), BEHIND, leaves=True, streams=(3,), bodies=(b"",)),
    upload("a reset within the body", data(1, JSON[:9]), CUT, reset(1), BEHIND, leaves=True, streams=(3,), bodies=(b"",), target=CHAT),
    frames("a reset behind the end", GET, CUT, reset(1), BEHIND, leaves=True, may="200", streams=(3,), bodies=(b"", b"")),
    frames("a reset at once", GET, reset(1), BEHIND, leaves=True, may="200", streams=(3,), bodies=(b"", b"")),
    frames("five hundred resets", RAPID, headers(1_999, request("GET", extra=[OWN])), may="200 | goaway", streams=(1_999,)),
    # Frames out of place.
    frames("DATA before HEADERS", data(1, JSON, True), may="goaway | reset"),
    frames("DATA on stream 0", data(0, JSON, True), may="goaway"),
    frames("HEADERS on stream 0", headers(0, request("GET", extra=[OWN])), may="goaway"),
    frames("HEADERS on an even stream", headers(2, request("GET", extra=[OWN])), may="goaway", streams=(2,)),
    frames("HEADERS twice on a stream", GET, GET, may="200 | reset | goaway"),
    frames("a lower stream behind a higher one", headers(5, request("GET", extra=[OWN])), CUT, headers(3, request("GET", extra=[OWN])), may="goaway goaway | 200 goaway", streams=(5, 3), bodies=(b"", b"")),
    frames("DATA behind the end", GET, data(1, b"more", True), may="200 | reset | goaway"),
    frames("PUSH_PROMISE from a client", frame(http2.PUSH_PROMISE, http2.END_HEADERS, 1, struct.pack(">I", 2) + block(request("GET"))), may="goaway"),
    frames("CONTINUATION without HEADERS", frame(http2.CONTINUATION, http2.END_HEADERS, 1, block(request("GET"))), may="goaway"),
    frames("a field block in CONTINUATIONs", frame(http2.HEADERS, http2.END_STREAM, 1, block(request("GET"))), frame(http2.CONTINUATION, http2.END_HEADERS, 1, block([OWN])), may="200"),
    frames("a field block a byte a CONTINUATION", frame(http2.HEADERS, http2.END_STREAM, 1, b""), *[frame(http2.CONTINUATION, 0, 1, bytes([byte])) for byte in block(request("GET"))], frame(http2.CONTINUATION, http2.END_HEADERS, 1, block([OWN])), may="200 | goaway"),
    frames("a field block that is interrupted", frame(http2.HEADERS, http2.END_STREAM, 1, block(request("GET"))), frame(http2.PING, 0, 0, bytes(8)), frame(http2.CONTINUATION, http2.END_HEADERS, 1, b""), may="goaway"),
    frames("a field block that never ends", frame(http2.HEADERS, http2.END_STREAM, 1, block(request("GET"))), frame(http2.CONTINUATION, 0, 1, block([("x", "y" * 10_000)])) * 200, may="goaway | 431 | reset"),
    frames("a thousand empty CONTINUATIONs", frame(http2.HEADERS, http2.END_STREAM, 1, block(request("GET"))), frame(http2.CONTINUATION, 0, 1) * 1_000, frame(http2.CONTINUATION, http2.END_HEADERS, 1, block([OWN])), may="200 | goaway"),
    frames("a field block that is no HPACK", headers(1, [], payload=b"\xff\xff\xff\xff\xff\xff\xff\xff"), may="goaway"),
    frames("a field block of an index that is not there", headers(1, [], payload=b"\xfe"), may="goaway"),
    frames("a table that is too large", headers(1, [], payload=b"\x3f\xff\xff\x7f" + block(request("GET", extra=[OWN]))), may="goaway | 200"),
    frames("a priority of itself", headers(1, [], more=http2.WITH_PRIORITY, payload=struct.pack(">IB", 1, 0) + block(request("GET", extra=[OWN]))), may="200 | reset | goaway"),
    frames("padding longer than the frame", headers(1, [], more=http2.PADDED, payload=b"\xff" + block(request("GET", extra=[OWN]))), may="goaway"),
    frames("a frame of an unknown type", frame(0x42, 0xFF, 1, b"hello"), GET, may="200"),
    frames("a frame that is too long", frame(http2.DATA, 0, 1, bytes(16_385)), may="goaway"),
    frames("a frame longer than it tells", frame(http2.PING, 0, 0, bytes(8), 4), may="goaway"),
    frames("a PING of four bytes", frame(http2.PING, 0, 0, bytes(4)), may="goaway"),
    frames("a PING on a stream", frame(http2.PING, 0, 1, bytes(8)), may="goaway"),
    frames("a thousand PINGs", frame(http2.PING, 0, 0, bytes(8)) * 1_000, GET, may="200 | goaway"),
    frames("SETTINGS of five bytes", frame(http2.SETTINGS, 0, 0, bytes(5)), may="goaway"),
    frames("SETTINGS on a stream", frame(http2.SETTINGS, 0, 1), may="goaway"),
    frames("SETTINGS with an ACK and a payload", frame(http2.SETTINGS, http2.ACK, 0, bytes(6)), may="goaway"),
    frames("SETTINGS of a huge window", settings((http2.INITIAL_WINDOW_SIZE, 1 << 31)), may="goaway"),
    frames("SETTINGS of a small frame", settings((http2.MAX_FRAME_SIZE, 1)), may="goaway"),
    frames("a thousand SETTINGS", settings() * 1_000, GET, may="200 | goaway"),
    frames("WINDOW_UPDATE of zero", window(0, 0), may="goaway"),
    frames("WINDOW_UPDATE of zero on a stream", headers(1, request(extra=[OWN]), False), window(1, 0), may="reset | goaway"),
    frames("WINDOW_UPDATE above 2^31", window(0, 0x7FFFFFFF), may="goaway"),
    frames("WINDOW_UPDATE above 2^31 on a stream", headers(1, request(extra=[OWN]), False), window(1, 0x7FFFFFFF), may="reset | goaway"),
    frames("RST_STREAM on an idle stream", reset(1), may="goaway"),
    frames("RST_STREAM of three bytes", GET, frame(http2.RST_STREAM, 0, 1, bytes(3)), may="goaway | 200"),
    frames("PRIORITY of four bytes", frame(http2.PRIORITY, 0, 1, bytes(4)), may="goaway | reset"),
    frames("GOAWAY before a request", http2.goaway(), GET, may="200 | goaway"),
    frames("ten streams at once", *[headers(2 * at + 1, request("GET", extra=[OWN])) for at in range(10)], may=" ".join(["200"] * 10), streams=tuple(range(1, 20, 2)), bodies=[b""] * 10),
    # The preface.
    frames("a preface that is cut", may="goaway", preface=http2.PREFACE[:20]),
    frames("a preface of nonsense", GET, may="goaway", preface=b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    frames("no SETTINGS", GET, may="200 | goaway", preface=http2.PREFACE),
    frames("a first frame that is no SETTINGS", frame(http2.PING, 0, 0, bytes(8)), GET, may="200 | goaway", preface=http2.PREFACE),
]  # fmt: skip
