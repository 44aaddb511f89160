"""Answers of a hostile upstream over HTTP/2: heads, lengths, ends, windows, and frames that end the connection."""

import struct

import http2
from case import CHAT, FILES, Answer
from http2 import data, frame, goaway, headers, reset, settings, window
from recording import CLOSE, RESET, Pause
from recording_http2 import STREAM, Hold

BODY = b'{"ok":"{case-id}"}'
N = len(BODY)
PLAIN = b'{"ok":"yes"}'
CUT = Pause(0.05)


def said(name, *says, must="broken", want=BODY, status=200, targets=(FILES, CHAT), **more):
    for target in targets:
        place = "an upload" if target == FILES else "a chat"
        yield Answer(f"h2 {name}, to {place}", list(says), must, want, status, target=target, **more)


def head(*fields, end=False, status="200"):
    return headers(STREAM, [(":status", status), ("content-type", "application/json"), *fields], end)


def fields(name, *more, must="broken"):
    return said(f"an answer with {name}", head(*more) + data(STREAM, BODY, True), must=must)


GOOD = head() + data(STREAM, BODY, True)

CASES = [
    *said("a plain answer", GOOD, must="whole"),
    *said("an answer in frames of a byte", head(), *[data(STREAM, PLAIN[at : at + 1], at == len(PLAIN) - 1) for at in range(len(PLAIN))], must="whole", want=PLAIN),
    *said("an answer with an empty last frame", head() + data(STREAM, BODY), CUT, data(STREAM, b"", True), must="whole"),
    *said("an answer with trailers", head() + data(STREAM, BODY) + headers(STREAM, [("x-trailer", "1")]), must="either"),
    *said("an answer with damaged trailers", head() + data(STREAM, BODY) + headers(STREAM, [("x", "1\r\n2")]), must="either"),
    *said("an answer in padded frames", head() + frame(http2.DATA, http2.PADDED | http2.END_STREAM, STREAM, bytes([3]) + BODY + bytes(3)), must="whole"),
    # Heads.
    *said("no status", headers(STREAM, [("content-type", "text/plain")], False) + data(STREAM, BODY, True)),
    *said("a status twice", headers(STREAM, [(":status", "200"), (":status", "500")], False) + data(STREAM, BODY, True)),
    *said("a status of letters", head(status="abc") + data(STREAM, BODY, True)),
    *said("a status of 1000", head(status="1000") + data(STREAM, BODY, True)),
    *said("a status of 101", head(status="101") + data(STREAM, BODY, True)),
    *said("a method in an answer", headers(STREAM, [(":status", "200"), (":method", "GET")], False) + data(STREAM, BODY, True), must="either"),
    *fields("a name in upper case", ("X-Upper", "1")),
    *fields("a value with CRLF", ("x", "1\r\nx-b: 2")),
    *fields("a value with a NUL", ("x", "1\x002")),
    *fields("a name with a blank", ("x a", "1")),
    *fields("connection", ("connection", "close")),
    *fields("transfer-encoding", ("transfer-encoding", "chunked")),
    *fields("15,000 bytes of field", ("x-long", "a" * 15_000), must="either"),
    *fields("300 fields", *[(f"x-{at}", "1") for at in range(300)], must="either"),
    # Interim answers.
    *said("a 100 before an answer", headers(STREAM, [(":status", "100")], False), GOOD, must="whole"),
    *said("early hints before an answer", headers(STREAM, [(":status", "103"), ("link", "</x>")], False), CUT, GOOD, must="whole"),
    *said("a hundred 102s before an answer", headers(STREAM, [(":status", "102")], False) * 100, GOOD, must="either"),
    *said("a 100 that ends the stream", headers(STREAM, [(":status", "100")])),
    # Lengths.
    *fields("a length that is right", ("content-length", str(N)), must="whole"),
    *fields("a length that is too long", ("content-length", str(N + 5))),
    *fields("a length that is too short", ("content-length", str(N - 5))),
    *fields("two lengths", ("content-length", str(N)), ("content-length", "2")),
    *fields("a length twice", ("content-length", str(N)), ("content-length", str(N)), must="either"),
    *fields("a length of letters", ("content-length", "many")),
    *said("a length and no body", head(("content-length", str(N)), end=True)),
    # Ends.
    *said("a reset for an answer", reset(STREAM)),
    *said("a refusal of the stream", reset(STREAM, 7)),
    *said("a reset behind the head", head(), CUT, reset(STREAM)),
    *said("a reset within the body", head() + data(STREAM, BODY), CUT, reset(STREAM)),
    *said("a reset without an error behind the body", head() + data(STREAM, BODY), CUT, reset(STREAM, 0)),
    *said("a reset behind the end", GOOD + reset(STREAM, 0), must="either"),
    *said("an answer that stops", head() + data(STREAM, BODY)),
    *said("no answer at all", Pause(6.0)),
    *said("an end of the connection", CLOSE),
    *said("a reset of the connection", RESET),
    *said("an end of the connection within the body", head() + data(STREAM, BODY), CUT, CLOSE),
    *said("an end of the connection behind the answer", GOOD, CLOSE, must="whole"),
    *said("a GOAWAY for an answer", goaway(0, 0)),
    *said("a GOAWAY before the answer", goaway(STREAM, 0), CUT, GOOD, must="either"),
    *said("a GOAWAY behind the answer", GOOD + goaway(STREAM, 0), must="whole"),
    *said("a GOAWAY with an error", goaway(0, 11, b"calm down"), CLOSE),
    # Frames out of place.
    *said("data before the head", data(STREAM, BODY, True)),
    *said("data behind the end", GOOD + data(STREAM, b"poison"), must="either"),
    *said("a head behind the end", GOOD + head(end=True), must="either"),
    *said("data on a stream nobody opened", data(0x101, b"poison", True) + GOOD, must="either"),
    *said("data on stream 0", data(0, b"poison") + GOOD, must="either"),
    *said("a promise", frame(http2.PUSH_PROMISE, http2.END_HEADERS, STREAM, struct.pack(">I", 2) + http2.block([(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")])) + GOOD, must="either"),
    *said("a frame of an unknown type", frame(0x42, 0, STREAM, b"hello") + GOOD, must="whole"),
    *said("a frame that is too long", frame(http2.DATA, 0, STREAM, bytes(20_000)), must="broken"),
    *said("a field block that is no HPACK", frame(http2.HEADERS, http2.END_HEADERS, STREAM, b"\xff" * 9)),
    *said("a field block that is interrupted", frame(http2.HEADERS, 0, STREAM, http2.block([(":status", "200")])) + frame(http2.PING, 0, 0, bytes(8))),
    *said("a field block that never ends", frame(http2.HEADERS, 0, STREAM, http2.block([(":status", "200")])) + frame(http2.CONTINUATION, 0, STREAM, http2.block([("x", "y" * 10_000)])) * 200),
    *said("SETTINGS that are damaged", frame(http2.SETTINGS, 0, 0, bytes(5)) + GOOD, must="either"),
    *said("SETTINGS that take the window away", settings((http2.INITIAL_WINDOW_SIZE, 0)) + GOOD + settings((http2.INITIAL_WINDOW_SIZE, 65_535)), must="whole"),
    *said("a window above 2^31", window(0, 0x7FFFFFFF) + GOOD, must="either"),
    *said("a thousand PINGs", frame(http2.PING, 0, 0, bytes(8)) * 1_000 + GOOD, must="either"),
    # Windows.
    *said("a window that never grows", Hold, GOOD, must="whole"),
]  # fmt: skip
