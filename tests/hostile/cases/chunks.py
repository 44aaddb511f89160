"""Chunked uploads: sizes, ends, extensions, trailers and where the segments are cut."""

from case import JSON, LAST, Client, Pause, Segments, at_both, chunk, chunked, get, head

SMUGGLED = get("/v1/files/smuggled")
REFUSED = "400 close"
N = len(JSON)
HEX = b"%x" % N
CUT = Pause(0.03)


def body(name, data, may=REFUSED, bodies=(JSON,), fields=()):
    """A chunked POST with this body on the wire."""
    yield from at_both(f"chunks {name}", lambda target: chunked(target, *fields, body=data), may, bodies=list(bodies))


def parts(name, *steps, may="200", bodies=(JSON,)):
    """A chunked POST whose body is written in these steps, each a segment of its own."""
    make = lambda target: [chunked(target), CUT, *steps]  # noqa: E731
    yield from at_both(f"chunks {name}", make, may, bodies=list(bodies))


def coded(name, *fields, data=chunk(JSON) + LAST, may=REFUSED, bodies=(JSON, b"")):
    make = lambda target: head("POST", target, "content-type: application/json", *fields) + data + SMUGGLED  # noqa: E731
    yield from at_both(f"a coding {name}", make, may, bodies=list(bodies))


HALVES = chunk(JSON[:20]) + chunk(JSON[20:])
EXTENDED = HEX + b";name=value;quoted=\"a;b\"\r\n" + JSON + b"\r\n" + LAST

CASES = [
    # What is valid, however it is cut.
    *body("in one", chunk(JSON) + LAST, "200"),
    *body("of a byte each", b"".join(chunk(JSON[at : at + 1]) for at in range(N)) + LAST, "200"),
    *body("with an upper case size", b"%X\r\n" % N + JSON + b"\r\n" + LAST, "200"),
    *body("with zeros before the size", b"000" + HEX + b"\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with a last chunk of many zeros", chunk(JSON) + b"0000\r\n\r\n", "200 | 400 close"),
    *body("with the next request in the segment", chunk(JSON) + LAST + get(), "200 200", bodies=(JSON, b"")),
    *parts("in a segment of their own", chunk(JSON) + LAST),
    *parts("whose last chunk comes late", chunk(JSON), CUT, LAST),
    *parts("whose last CRLF comes late", chunk(JSON) + b"0\r\n", CUT, b"\r\n"),
    *parts("whose last CRLF is cut", chunk(JSON) + b"0\r\n\r", CUT, b"\n"),
    *parts("whose head is cut", HEX[:1], CUT, HEX[1:] + b"\r\n" + JSON + b"\r\n" + LAST),
    *parts("whose head is cut before its LF", HEX + b"\r", CUT, b"\n" + JSON + b"\r\n" + LAST),
    *parts("whose second head is cut", chunk(JSON[:20]) + b"%x" % (N - 20), CUT, b"\r\n" + JSON[20:] + b"\r\n" + LAST),
    *parts("whose CRLF is cut", HEX + b"\r\n" + JSON + b"\r", CUT, b"\n" + LAST),
    *parts("whose CRLF comes late", HEX + b"\r\n" + JSON, CUT, b"\r\n" + LAST),
    *parts("a byte at a time", Segments(HALVES + LAST)),
    *parts("seven bytes at a time", Segments(HALVES + LAST, 7, 0.01)),
    *parts("fifty in one segment", b"".join(chunk(JSON[at : at + 2]) for at in range(0, N, 2)) + LAST),
    *parts("that end with the head's segment's body", HALVES, CUT, LAST + get(), may="200 200", bodies=(JSON, b"")),
    # Sizes.
    *body("with an empty size", b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with an empty size in the middle", chunk(JSON[:20]) + b"\r\n" + JSON[20:] + b"\r\n" + LAST),
    *body("with an empty size at the end", chunk(JSON) + b"\r\n\r\n"),
    *body("with a blank size", b" \r\n" + JSON + b"\r\n" + LAST),
    *body("with a blank before the size", b" " + HEX + b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with a blank behind the size", HEX + b" \r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with a size of letters", b"zz\r\n" + JSON + b"\r\n" + LAST),
    *body("with a size after 0x", b"0x" + HEX + b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with a negative size", b"-" + HEX + b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with a size with a plus", b"+" + HEX + b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with an underscore in the size", b"4_2\r\n" + JSON + b"\r\n" + LAST),
    *body("with a size of 2^64", b"10000000000000000" + b"\r\n" + JSON + b"\r\n" + LAST),
    *body("with a size of 2^64 and a little", b"10000000000000000"[:-2] + HEX + b"\r\n" + JSON + b"\r\n" + LAST, "400 close | 408 close | 413 close"),
    *body("with a size of 2^63", b"8000000000000000\r\n" + JSON + b"\r\n" + LAST, "400 close | 408 close | 413 close"),
    *body("with a size of 10,000 zeros", b"0" * 10_000 + HEX + b"\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with a size that never ends", b"0" * 300_000, "400 close | 408 close | close"),
    *body("with a size that is too large", b"%x\r\n" % (N + 3) + JSON + b"\r\n" + LAST, "400 close | 408 close"),
    *body("with a size that is too small", b"%x\r\n" % (N - 3) + JSON + b"\r\n" + LAST),
    *body("with a minus zero for their end", chunk(JSON) + b"-0\r\n\r\n"),
    # Ends of lines.
    *body("without the CRLF behind the data", HEX + b"\r\n" + JSON + LAST),
    *body("with LF alone behind the data", HEX + b"\r\n" + JSON + b"\n" + LAST),
    *body("with LF alone behind the size", HEX + b"\n" + JSON + b"\r\n" + LAST),
    *body("with CR alone behind the size", HEX + b"\r" + JSON + b"\r\n" + LAST),
    *body("with two CRs behind the size", HEX + b"\r\r\n" + JSON + b"\r\n" + LAST),
    *body("with two bytes for the CRLF", HEX + b"\r\n" + JSON + b"XX" + LAST),
    *body("with LF alone at their end", chunk(JSON) + b"0\n\n"),
    *body("with LF alone for the last line", chunk(JSON) + b"0\r\n\n"),
    *body("with garbage behind the last size", chunk(JSON) + b"0\r\nXX", "400 close | 408 close"),
    *body("with a stray CRLF behind their end", chunk(JSON) + LAST + b"\r\n" + get(), "200 200 | 200 400 close | 200 close", bodies=(JSON, b"")),
    # Extensions.
    *body("with extensions", EXTENDED, "200 | 400 close"),
    *body("with an extension at their end", chunk(JSON) + b"0;a=b\r\n\r\n", "200 | 400 close"),
    *body("with an empty extension", HEX + b";\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with a LF in an extension", HEX + b";a\nb\r\n" + JSON + b"\r\n" + LAST),
    *body("with a CR in an extension", HEX + b";a\rb\r\n" + JSON + b"\r\n" + LAST),
    *body("with a NUL in an extension", HEX + b";a\0b\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with a chunk in an extension's quotes", HEX + b';a="\r\n0\r\n\r\n' + SMUGGLED, "400 close | 200 400 close"),
    *body("with 7 KB of extension", HEX + b";" + b"e" * 7_000 + b"\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with 200 KB of extension", HEX + b";" + b"e" * 200_000 + b"\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    *body("with 7 KB of extension at their end", chunk(JSON) + b"0;" + b"e" * 7_000 + b"\r\n\r\n", "200 | 400 close"),
    *body("with an extension on every byte", b"".join(b"1;%s\r\n%s\r\n" % (b"e" * 200, JSON[at : at + 1]) for at in range(N)) + LAST, "200 | 400 close"),
    *body("with blanks before an extension", HEX + b" ;a\r\n" + JSON + b"\r\n" + LAST, "200 | 400 close"),
    # Trailers.
    *body("with a trailer", chunk(JSON) + b"0\r\nx-trailer: 1\r\n\r\n", "200 | 400 close"),
    *body("with a trailer they announced", chunk(JSON) + b"0\r\nx-sum: 1\r\n\r\n", "200 | 400 close", fields=("trailer: x-sum",)),
    *body("with a trailer and the next request", chunk(JSON) + b"0\r\nx-trailer: 1\r\n\r\n" + get(), "200 200 | 400 close | 200 close", bodies=(JSON, b"")),
    *body("with a length in the trailers", chunk(JSON) + b"0\r\ncontent-length: 5\r\n\r\nhello", "200 | 400 close | 200 400 close | 200 close", bodies=(JSON,)),
    *body("with a coding in the trailers", chunk(JSON) + b"0\r\ntransfer-encoding: chunked\r\n\r\n", "200 | 400 close | 200 close"),
    *body("with a key in the trailers", chunk(JSON) + b"0\r\nauthorization: Bearer x\r\n\r\n", "200 | 400 close"),
    *body("with a host in the trailers", chunk(JSON) + b"0\r\nhost: x\r\n\r\n", "200 | 400 close"),
    *body("with a trailer that is no field", chunk(JSON) + b"0\r\nGET /v1/files/smuggled HTTP/1.1\r\n\r\n"),
    *body("with a trailer without a name", chunk(JSON) + b"0\r\n: x\r\n\r\n"),
    *body("with a trailer that ends in LF alone", chunk(JSON) + b"0\r\nx: y\n\r\n"),
    *body("with a folded trailer", chunk(JSON) + b"0\r\nx: y\r\n z\r\n\r\n"),
    *body("with trailers of 100 KB", chunk(JSON) + b"0\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n", "200 | 4xx close"),
    *body("with 5,000 trailers", chunk(JSON) + b"0\r\n" + b"x: y\r\n" * 5_000 + b"\r\n", "200 | 4xx close"),
    *body("with trailers that never end", chunk(JSON) + b"0\r\nx: y\r\n", "400 close | 408 close"),
    *parts("whose trailer is cut", chunk(JSON) + b"0\r\nx-tr", CUT, b"ailer: 1\r\n\r\n", may="200 | 400 close"),
    # Ends that do not come.
    *body("that stop within a chunk", HEX + b"\r\n" + JSON[:20], "408 close | close"),
    *body("that stop behind a chunk", chunk(JSON), "408 close | close"),
    *body("that stop within a size", chunk(JSON) + b"1", "408 close | close"),
    *body("that stop behind the last size", chunk(JSON) + b"0\r\n", "408 close | close | 400 close | 200 close"),
    # Codings.
    *coded("told twice", "transfer-encoding: chunked", "transfer-encoding: chunked"),
    *coded("told twice in one field", "transfer-encoding: chunked, chunked"),
    *coded("of gzip before chunks", "transfer-encoding: gzip, chunked"),
    *coded("of gzip behind chunks", "transfer-encoding: chunked, gzip"),
    *coded("of gzip alone", "transfer-encoding: gzip"),
    *coded("of identity", "transfer-encoding: identity"),
    *coded("with a blank before its colon", "transfer-encoding : chunked"),
    *coded("with a vertical tab", "transfer-encoding: \x0bchunked"),
    *coded("in quotes", 'transfer-encoding: "chunked"'),
    *coded("with a parameter", "transfer-encoding: chunked;q=1"),
    *coded("with a comma behind", "transfer-encoding: chunked,", may="200 200 | 400 close"),
    *coded("with a comma before", "transfer-encoding: ,chunked", may="200 200 | 400 close"),
    *coded("in upper case", "transfer-encoding: CHUNKED", may="200 200 | 400 close"),
    *coded("under an underscore's name", "transfer_encoding: chunked", data=b"", may=("200 200 | 400 close", "4xx 200 | 4xx close"), bodies=(b"", b"")),
    *coded("that is empty", "transfer-encoding:"),
    Client("chunks of HTTP/1.0", [chunked(body=chunk(JSON) + LAST, version="1.0")], "200 close | 400 close", [JSON]),
    Client("chunks on a GET", [head("GET", "/v1/files", "transfer-encoding: chunked") + chunk(JSON) + LAST], "200 | 400 close", [JSON]),
]  # fmt: skip
