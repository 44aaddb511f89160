"""Answers of a hostile upstream over HTTP/1.1: lengths, chunks, interim answers, cut heads, and bytes behind the end."""

from case import CHAT, FILES, Answer, chunk
from recording import CLOSE, HALF_CLOSE, RESET, Pause

BODY = b'{"ok":"{case-id}"}'
N = len(BODY)
OK, JSON = b"HTTP/1.1 200 OK\r\n", b"content-type: application/json\r\n"
POISON = b"HTTP/1.1 200 OK\r\nx-case: poison\r\ncontent-length: 6\r\n\r\npoison"
CUT = Pause(0.05)
LAST = b"0\r\n\r\n"
BOTH = (FILES, CHAT)


def said(name, *says, must="broken", want=BODY, status=200, targets=BOTH, **more):
    for target in targets:
        place = {FILES: "an upload", CHAT: "a chat"}.get(target, target)
        yield Answer(f"{name}, to {place}", list(says), must, want, status, target=target, **more)


def lengths(name, *fields, body=BODY, must="broken", want=BODY, behind=(), **more):
    """An answer whose length these fields tell."""
    head = OK + JSON + b"".join(field.encode("latin-1") + b"\r\n" for field in fields) + b"\r\n"
    return said(f"an answer with {name}", head + body, *behind, must=must, want=want, **more)


def chunks(name, body, must="broken", want=BODY, behind=(), **more):
    return said(f"an answer in chunks {name}", OK + JSON + b"transfer-encoding: chunked\r\n\r\n" + body, *behind, must=must, want=want, **more)


def fields(name, line, must="either", **more):
    return said(f"an answer with a field {name}", OK + JSON + line + b"\r\ncontent-length: %d\r\n\r\n" % N + BODY, must=must, **more)


def line(name, start, must="broken", **more):
    return said(f"an answer with a status line {name}", start + b"\r\n" + JSON + b"content-length: %d\r\n\r\n" % N + BODY, must=must, **more)


def bodiless(name, head, status, method="GET", must="whole", behind=b""):
    return said(f"an answer {name}", head + b"\r\n" + behind, must=must, want=b"", status=status, targets=(FILES,), method=method)


HELLO = b"content-length: %d\r\n" % N
GOOD = OK + JSON + HELLO + b"\r\n" + BODY

CASES = [
    *said("a plain answer", GOOD, must="whole"),
    *said("an answer in three parts", GOOD[:30], CUT, GOOD[30:-2], CUT, GOOD[-2:], must="whole"),
    # Lengths.
    *lengths("its length twice", f"content-length: {N}", f"content-length: {N}", must="either"),
    *lengths("its length twice in one field", f"content-length: {N}, {N}", must="either"),
    *lengths("two lengths", f"content-length: {N}", "content-length: 2"),
    *lengths("two lengths, the other way", "content-length: 2", f"content-length: {N}"),
    *lengths("two lengths in one field", f"content-length: {N}, 2"),
    *lengths("a length with a plus", f"content-length: +{N}"),
    *lengths("a length with a minus", f"content-length: -{N}"),
    *lengths("a length in hexadecimal", f"content-length: 0x{N:x}"),
    *lengths("a length of letters", "content-length: many"),
    *lengths("an empty length", "content-length:"),
    *lengths("a length of 2^64", "content-length: 18446744073709551616", behind=(CLOSE,)),
    *lengths("a length of 2^64 and a little", f"content-length: {2**64 + N}", behind=(CLOSE,)),
    *lengths("a length with a blank before its colon", f"content-length : {N}", must="either", behind=(CLOSE,)),
    *lengths("a length that is too long", f"content-length: {N + 5}", behind=(CLOSE,)),
    *lengths("a length that is too long and a silent end", f"content-length: {N + 5}", behind=(HALF_CLOSE, Pause(0.2), CLOSE)),
    *lengths("a length that is too long and a reset", f"content-length: {N + 5}", behind=(CUT, RESET)),
    *lengths("a length that never comes", f"content-length: {N + 5}", behind=(Pause(6.0), CLOSE)),
    *lengths("a length and chunks", f"content-length: {N}", "transfer-encoding: chunked", body=chunk(BODY) + LAST, must="either"),
    *lengths("chunks and a length", "transfer-encoding: chunked", f"content-length: {N}", body=chunk(BODY) + LAST, must="either"),
    *lengths("neither length nor chunks", must="whole", behind=(CLOSE,)),
    *lengths("neither length nor chunks and a reset", must="either", behind=(CUT, RESET)),
    *lengths("a length of zero and a body", "content-length: 0", body=POISON, must="whole", want=b""),
    # Bytes behind the end.
    *lengths("another answer behind it", f"content-length: {N}", body=BODY + POISON, must="either"),
    *lengths("garbage behind it", f"content-length: {N}", body=BODY + b"garbage", must="either"),
    *lengths("a CRLF behind it", f"content-length: {N}", body=BODY + b"\r\n", must="either"),
    *chunks("with another answer behind them", chunk(BODY) + LAST + POISON, "either"),
    # Chunks.
    *chunks("that are right", chunk(BODY) + LAST, "whole"),
    *chunks("whose end comes late", chunk(BODY), "whole", behind=(CUT, LAST)),
    *chunks("whose last CRLF comes late", chunk(BODY) + b"0\r\n", "whole", behind=(CUT, b"\r\n")),
    *chunks("whose first head is cut", (b"%x" % N)[:1], "whole", behind=(CUT, (b"%x" % N)[1:] + b"\r\n" + BODY + b"\r\n" + LAST)),
    *chunks("with trailers", chunk(BODY) + b"0\r\nx-trailer: 1\r\n\r\n", "either"),
    *chunks("with a length in the trailers", chunk(BODY) + b"0\r\ncontent-length: 2\r\n\r\n", "either"),
    *chunks("with trailers of 100 KB", chunk(BODY) + b"0\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "either"),
    *chunks("with an extension", b"%x;a=b\r\n" % N + BODY + b"\r\n" + LAST, "either"),
    *chunks("with 20 KB of extension", b"%x;" % N + b"e" * 20_000 + b"\r\n" + BODY + b"\r\n" + LAST, "either"),
    *chunks("with an empty size", b"\r\n" + BODY + b"\r\n" + LAST),
    *chunks("with an empty size at their end", chunk(BODY) + b"\r\n\r\n"),
    *chunks("with a size of letters", b"zz\r\n" + BODY + b"\r\n" + LAST),
    *chunks("with a negative size", b"-12\r\n" + BODY + b"\r\n" + LAST),
    *chunks("with a size after 0x", b"0x%x\r\n" % N + BODY + b"\r\n" + LAST),
    *chunks("with a size of 2^64", b"10000000000000000\r\n" + BODY + b"\r\n" + LAST, behind=(CLOSE,)),
    *chunks("with a size that is too small", b"%x\r\n" % (N - 3) + BODY + b"\r\n" + LAST),
    *chunks("with a size that is too large", b"%x\r\n" % (N + 3) + BODY + b"\r\n" + LAST, behind=(CLOSE,)),
    *chunks("without the CRLF behind the data", b"%x\r\n" % N + BODY + LAST),
    *chunks("with LF alone behind the size", b"%x\n" % N + BODY + b"\r\n" + LAST),
    *chunks("with LF alone behind the data", b"%x\r\n" % N + BODY + b"\n" + LAST),
    *chunks("with LF in an extension", b"%x;a\nb\r\n" % N + BODY + b"\r\n" + LAST),
    *chunks("that are cut within the data", b"%x\r\n" % N + BODY[:-4], behind=(CLOSE,)),
    *chunks("that are cut behind the data", chunk(BODY), behind=(CLOSE,)),
    *chunks("that are cut behind the last size", chunk(BODY) + b"0\r\n", behind=(CLOSE,)),
    *chunks("that are cut within the last size", chunk(BODY) + b"0", behind=(CLOSE,)),
    *chunks("that are reset", chunk(BODY), behind=(CUT, RESET)),
    *chunks("that stop", chunk(BODY), behind=(Pause(6.0), CLOSE)),
    *chunks("with garbage for the end", chunk(BODY) + b"garbage\r\n\r\n"),
    # Codings.
    *lengths("a coding of gzip", "transfer-encoding: gzip", behind=(CLOSE,)),
    *lengths("a coding of identity", "transfer-encoding: identity", f"content-length: {N}", must="either"),
    *lengths("a coding of chunks twice", "transfer-encoding: chunked, chunked", body=chunk(BODY) + LAST, must="either"),
    *lengths("a coding of chunks in two fields", "transfer-encoding: chunked", "transfer-encoding: chunked", body=chunk(BODY) + LAST, must="either"),
    *lengths("a coding of nonsense", "transfer-encoding: xchunked", body=chunk(BODY) + LAST, behind=(CLOSE,)),
    *said("an answer of HTTP/1.0 with chunks", b"HTTP/1.0 200 OK\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n" + chunk(BODY) + LAST, CLOSE, must="either"),
    *said("an answer of HTTP/1.0 that closes", b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + BODY, CLOSE, must="whole"),
    *said("an answer of HTTP/1.0 that says that it goes on", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n" + JSON + HELLO + b"\r\n" + BODY, must="whole"),
    *said("an answer that says that it closes, and does not", OK + b"connection: close\r\n" + JSON + HELLO + b"\r\n" + BODY, must="whole"),
    # Status lines.
    *line("of HTTP/2.0", b"HTTP/2.0 200 OK", must="either"),
    *line("without a reason", b"HTTP/1.1 200", must="either"),
    *line("with an empty reason", b"HTTP/1.1 200 ", must="whole"),
    *line("with a reason of Latin-1", b"HTTP/1.1 200 S\xe9", must="either"),
    *line("with a reason of control bytes", b"HTTP/1.1 200 \x01\x02"),
    *line("with a status of two digits", b"HTTP/1.1 20 OK"),
    *line("with a status of four digits", b"HTTP/1.1 2000 OK"),
    *line("with a status of letters", b"HTTP/1.1 abc OK"),
    *line("with a status of zero", b"HTTP/1.1 000 OK"),
    *line("with a status of 999", b"HTTP/1.1 999 OK", must="either", status=999),
    *line("with a status of 600", b"HTTP/1.1 600 OK", must="either", status=600),
    *line("with two blanks", b"HTTP/1.1  200 OK", must="either"),
    *line("that begins late", b"\r\nHTTP/1.1 200 OK", must="either"),
    *line("of another protocol", b"ICY 200 OK"),
    *line("that is a request", b"GET / HTTP/1.1"),
    # Fields.
    *fields("without a colon", b"x-a", "broken"),
    *fields("with a blank before its colon", b"x-a : 1"),
    *fields("that is folded", b"x-a: 1\r\n 2"),
    *fields("without a name", b": 1", "broken"),
    *fields("whose name has a blank", b"x a: 1", "broken"),
    *fields("whose value has a NUL", b"x-a: 1\x002", "broken"),
    *fields("whose value has a bare CR", b"x-a: 1\r2", "broken"),
    *fields("whose value has a bell", b"x-a: 1\x072"),
    *fields("whose value is Latin-1", b"x-a: caf\xe9"),
    *fields("that ends in LF alone", b"x-a: 1\nx-b: 2"),
    *fields("of 60,000 bytes", b"x-a: " + b"a" * 60_000),
    *fields("of 2,000,000 bytes", b"x-a: " + b"a" * 2_000_000),
    *fields("given 300 times", b"\r\n".join(b"x-%d: 1" % at for at in range(300))),
    *fields("given 5,000 times", b"\r\n".join(b"x-%d: 1" % at for at in range(5_000))),
    *fields("connection that names the length", b"connection: content-length"),
    *fields("upgrade that nobody asked for", b"connection: upgrade\r\nupgrade: h2c", "whole"),
    # Interim answers.
    *said("a 100 before an answer", b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, must="whole"),
    *said("ten 100s before an answer", b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + GOOD, must="either"),
    *said("ten thousand 100s before an answer", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + GOOD, must="either"),
    *said("early hints before an answer", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", CUT, GOOD, must="whole"),
    *said("a 102 before an answer", b"HTTP/1.1 102 Processing\r\n\r\n", CUT, GOOD, must="whole"),
    *said("a 199 before an answer", b"HTTP/1.1 199 What\r\n\r\n" + GOOD, must="either"),
    *said("a 100 with a length before an answer", b"HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\n" + GOOD, must="either"),
    *said("a 100 and no answer", b"HTTP/1.1 100 Continue\r\n\r\n", CLOSE),
    *said("a 101 that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n" + POISON, CLOSE),
    *said("interim answers that never end", *[step for _ in range(100) for step in (b"HTTP/1.1 102 Processing\r\n\r\n", Pause(0.1))], CLOSE),
    # Heads that are cut.
    *said("no answer but an end", CLOSE),
    *said("no answer but a reset", RESET),
    *said("no answer at all", Pause(6.0), CLOSE),
    *said("half a status line", OK[:9], CLOSE),
    *said("half a head", OK + JSON, CLOSE),
    *said("half a head and silence", OK + JSON, Pause(6.0), CLOSE),
    *said("half a head and a reset", OK + JSON, CUT, RESET),
    *said("a head and an end", OK + JSON + HELLO + b"\r\n", CLOSE),
    *said("a head and a reset", OK + JSON + HELLO + b"\r\n", CUT, RESET),
    *said("an answer of TLS", b"\x15\x03\x03\x00\x02\x02\x28", CLOSE),
    *said("an answer of HTTP/2", b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x10\x00\x00", CLOSE),
    *said("an answer of HTML alone", b"<html>hello</html>", CLOSE),
    *said("an answer of two megabytes of letters", b"a" * 2_000_000, CLOSE),
    # Answers without a body.
    *bodiless("to HEAD with a length", OK + HELLO, 200, "HEAD"),
    *bodiless("to HEAD with chunks", OK + b"transfer-encoding: chunked\r\n", 200, "HEAD"),
    *bodiless("to HEAD with a body", OK + HELLO, 200, "HEAD", behind=BODY),
    *bodiless("of 204", b"HTTP/1.1 204 No Content\r\n", 204),
    *bodiless("of 204 with a length", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n", 204, must="either"),
    *bodiless("of 204 with a body", b"HTTP/1.1 204 No Content\r\n", 204, behind=POISON),
    *bodiless("of 204 with chunks", b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n", 204, must="either", behind=LAST),
    *bodiless("of 304 with a length", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n", 304),
    *bodiless("of 205 with a body", b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n", 205),
    *said("a plain answer of HTTP/1.0 to the client", GOOD, must="whole", version="1.0"),
    *said("an answer in chunks to HTTP/1.0", OK + JSON + b"transfer-encoding: chunked\r\n\r\n" + chunk(BODY) + LAST, must="whole", version="1.0"),
    # Early answers.
    *said("a refusal", b"HTTP/1.1 413 Too Large\r\n" + JSON + HELLO + b"\r\n" + BODY, must="whole", status=413),
    *said("a refusal that closes", b"HTTP/1.1 413 Too Large\r\nconnection: close\r\n" + JSON + HELLO + b"\r\n" + BODY, CLOSE, must="whole", status=413),
    # Streams.
    *said("a stream that is cut", OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"data: {}\n\n"), CLOSE, want=b"data: {}\n\n", targets=(FILES,)),
    *said("a stream whose chunks are damaged", OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"data: {}\n\n") + b"zz\r\n", want=b"data: {}\n\n", targets=(FILES,)),
]  # fmt: skip
