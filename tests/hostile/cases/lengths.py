"""Lengths: how long a body is, told wrongly, twice, or in two ways. Behind each body lies a request that must not be."""

from case import JSON, Client, at_both, get, head

SMUGGLED = get("/v1/files/smuggled")
REFUSED = "400 close"
N = len(JSON)


def told(name, *fields, body=JSON + SMUGGLED, may=REFUSED, bodies=(JSON,), **more):
    """A POST whose length these fields tell."""
    make = lambda target: head("POST", target, "content-type: application/json", *fields, **more) + body  # noqa: E731
    yield from at_both(f"a length {name}", make, may, bodies=list(bodies))


ONE_BEHIND = dict(may="200 200 | 400 close", bodies=(JSON, b""))

CASES = [
    *told("told twice alike", f"content-length: {N}", f"content-length: {N}", **ONE_BEHIND),
    *told("told twice in one field", f"content-length: {N}, {N}", **ONE_BEHIND),
    *told("told twice differently", f"content-length: {N}", "content-length: 0"),
    *told("told twice differently, the other way", "content-length: 0", f"content-length: {N}"),
    *told("of two in one field", f"content-length: {N}, 0"),
    *told("with a plus", f"content-length: +{N}"),
    *told("with a minus", f"content-length: -{N}"),
    *told("in hexadecimal", f"content-length: 0x{N:x}"),
    *told("with an underscore", f"content-length: {N}_0"),
    *told("with a point", f"content-length: {N}.0"),
    *told("with an exponent", "content-length: 6e1"),
    *told("with a blank inside", f"content-length: {N // 10} {N % 10}"),
    *told("with letters behind", f"content-length: {N}a"),
    *told("with a comma at its end", f"content-length: {N},", may="200 200 | 400 close", bodies=(JSON, b"")),
    *told("with leading zeros", f"content-length: 000{N}", may="200 200 | 400 close", bodies=(JSON, b"")),
    *told("that is empty", "content-length:"),
    *told("in quotes", f'content-length: "{N}"'),
    *told("in Arabic digits", "content-length: \xd9\xa6\xd9\xa6"),
    *told("of 2^64", "content-length: 18446744073709551616"),
    *told("of 2^64 and a little", f"content-length: {2**64 + N}"),
    *told("of 2^63", "content-length: 9223372036854775808", may=("400 close | 408 close", "4xx close")),
    *told("of 400 digits", "content-length: " + "9" * 400, may="400 close | 413 close"),
    *told("of a blank before its colon", f"content-length : {N}"),
    *told("that is folded", f"content-length:\r\n {N}", may="400 close"),
    *told("under an underscore's name", f"content_length: {N}", body=b"", bodies=(b"",), may=("200 | 411 close | 400 close", "4xx | 4xx close")),
    *told("with chunks", f"content-length: {N}", "transfer-encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    *told("behind chunks", "transfer-encoding: chunked", f"content-length: {N}", body=b"0\r\n\r\n" + SMUGGLED),
    *told("with chunks in other cases", f"Content-Length: {N}", "TRANSFER-ENCODING: Chunked", body=b"0\r\n\r\n" + SMUGGLED),
    *told("with a coding of identity", f"content-length: {N}", "transfer-encoding: identity"),
    *told("with an empty coding", f"content-length: {N}", "transfer-encoding:"),
    *told("with a coding of nonsense", f"content-length: {N}", "transfer-encoding: xchunked"),
    *told("that is too short by half", f"content-length: {N // 2}", body=JSON, may=("200 400 close", "4xx close | 4xx 400 close"), bodies=(JSON[: N // 2], b"")),
    *told("that never comes", f"content-length: {N + 10}", body=JSON, may="408 close | close", bodies=(JSON,)),
    *told("of zero before a body", "content-length: 0", body=JSON, may=("200 400 close", "4xx close | 4xx 400 close"), bodies=(b"", b"")),
    *told("that is not told", body=JSON, may=("200 400 close", "4xx close | 4xx 400 close"), bodies=(b"", b"")),
    *told("above the limit", "content-length: 99999999999", body=JSON, may=("408 close | close | 413 close", "413 close"), bodies=(JSON,)),
    Client("a length on a GET that never comes", [head("GET", "/v1/files", "content-length: 5")], "408 close | close | 400 close"),
]  # fmt: skip
