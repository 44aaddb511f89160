"""Uploads that the upstream answers, or ends, before it has read them. The connection to it may serve another request only
if this one was written whole."""

from case import CLOSE, FILES, HALF_CLOSE, LAST, RESET, Client, Pause, chunk, chunked, get, head

N = 300_000
PARTS = [bytes([letter]) * (N // 6) for letter in b"abcdef"]
BODY = b"".join(PARTS)
GAP = Pause(0.03)
REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nx-case: {case-id}\r\ncontent-length: 7\r\n%b\r\nno more"
OK = b"HTTP/1.1 200 OK\r\nx-case: {case-id}\r\ncontent-length: 4\r\n\r\nfine"
ENDED = "502 | 502 close | close | 4xx close"


def with_gaps(first, *parts):
    return [first, *[step for part in parts for step in (GAP, part)]]


TOLD = with_gaps(head("POST", FILES, f"content-length: {N}"), *PARTS)
UNTOLD = with_gaps(chunked(), *map(chunk, PARTS), LAST)
STOPPED = TOLD[:5]
CUT = [*UNTOLD[:5], HALF_CLOSE]


def answered(name, early, may, bodies=(BODY,)):
    """An upload with a length and one in chunks."""
    for kind, sends in (("an upload", TOLD), ("a chunked upload", UNTOLD)):
        yield Client(f"{kind} {name}", [*sends], may, list(bodies), early=early)
        yield Client(f"{kind} {name}, with the next request behind it", [*sends, get()], f"{may} | 413 200 | 200 200 | 502 200", [*bodies, b""], early=early)


CASES = [
    *answered("refused at once", [REFUSAL % b""], "413 | 413 close"),
    *answered("refused at once and closed", [REFUSAL % b"connection: close\r\n", CLOSE], f"413 | 413 close | {ENDED}"),
    *answered("refused at once and reset", [REFUSAL % b"", RESET], f"413 | 413 close | {ENDED}"),
    *answered("refused a little later", [Pause(0.08), REFUSAL % b""], "413 | 413 close"),
    *answered("refused a little later and closed", [Pause(0.08), REFUSAL % b"connection: close\r\n", CLOSE], f"413 | 413 close | {ENDED}"),
    *answered("answered at once", [OK], "200 | 200 close"),
    *answered("answered behind a 100", [b"HTTP/1.1 100 Continue\r\n\r\n" + OK], "200 | 200 close"),
    *answered("closed at once", [CLOSE], ENDED),
    *answered("reset at once", [RESET], ENDED),
    *answered("answered with garbage", [b"garbage\r\n\r\n", CLOSE], ENDED),
    *answered("answered with half a head", [OK[:20], CLOSE], ENDED),
    *answered("answered with half a body", [OK[:-2], Pause(0.05), CLOSE], f"{ENDED} | cut close"),
    Client("an upload that stops behind an early answer", STOPPED, "413 close | 413 408 close", [BODY], early=[REFUSAL % b""]),
    Client("a chunked upload that is cut behind an early answer", CUT, "413 close | 413 400 close", [BODY], early=[REFUSAL % b""]),
    Client("an expected upload that is refused at once", [head("POST", FILES, f"content-length: {N}", "expect: 100-continue"), Pause(0.2), *PARTS], "413 | 413 close | 413 400 close", [BODY], early=[REFUSAL % b""]),
]  # fmt: skip
