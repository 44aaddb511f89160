"""What a case is, and the words its tables are written in.

A case of a hostile client is bytes and what may come of them. The bytes name the case by the placeholder `{case-id}`,
which has the length of every case's id. What may come is told in the statuses of the answers, one for each request
that a strict reader finds:

    200 200     two answers, and the connection either goes on with the next request or is closed
    400 close   one refusal, and the connection is closed
    close       closed without an answer
    4xx         any status of that class
    cut         an answer that is visibly not whole

and `|` stands between alternatives.
"""

import dataclasses
import itertools

from recording import CLOSE, HALF_CLOSE, RESET, Pause  # noqa: F401: the steps of both sides

ID = b"{case-id}"
FILES, CHAT = "/v1/files", "/v1/chat/completions"
JSON = b'{"model":"m","messages":[{"role":"user","content":"good morning"}]}'
# A prompt that the gateway's guard refuses: bytes that reach the upstream with it went around the guard.
FORBIDDEN = b'{"model":"m","messages":[{"role":"user","content":"forbidden words"}]}'

_numbers = itertools.count(1)


@dataclasses.dataclass
class Segments:
    """Data sent in segments of so many bytes, with a pause behind each."""

    data: bytes
    size: int = 1
    pause: float = 0.001


@dataclasses.dataclass
class Client:
    """A case of a hostile client over HTTP/1.1."""

    name: str
    sends: list
    may: str
    # The bodies of the requests that a strict reader finds, as far as they are answered; None for one that the gateway
    # answers itself.
    bodies: list = dataclasses.field(default_factory=lambda: [b""])
    methods: list = dataclasses.field(default_factory=list)
    # What the upstream says before it reads the body.
    early: list = None
    # What must not reach the upstream.
    unseen: bytes = b""
    number: int = dataclasses.field(default_factory=lambda: next(_numbers))

    @property
    def id(self):
        return f"c{self.number:08d}"

    def mine(self, step):
        """A step with the placeholder replaced."""
        if isinstance(step, Segments):
            return dataclasses.replace(step, data=self.mine(step.data))
        return step.replace(ID, self.id.encode()) if isinstance(step, bytes) else step


def head(method, target, *fields, version="1.1", host="host: gateway"):
    """A request's head with a host and its case's id."""
    lines = [f"{method} {target} HTTP/{version}", *([host] if host else []), "x-case: {case-id}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def get(target=FILES, *fields, **more):
    return head("GET", target, *fields, **more)


def post(target=FILES, *fields, body=JSON, **more):
    """A request with a body of known length."""
    return head("POST", target, "content-type: application/json", f"content-length: {len(body)}", *fields, **more) + body


def chunked(target=FILES, *fields, body=b"", **more):
    """A chunked request; `body` is all of its body's bytes on the wire."""
    fields = ("content-type: application/json", "transfer-encoding: chunked", *fields)
    return head("POST", target, *fields, **more) + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"


def at_both(name, make, may, **more):
    """The same bytes to an endpoint that is streamed and to one that is read whole and passes the plugins.

    `make` takes the target; `may` is one text, or one for each.
    """
    outcomes = may if isinstance(may, tuple) else (may, may)
    for place, target, outcome in (("files", FILES, outcomes[0]), ("chat", CHAT, outcomes[1])):
        sends = make(target)
        yield Client(f"{name} to {place}", sends if isinstance(sends, list) else [sends], outcome, **more)


@dataclasses.dataclass
class Answer:
    """A case of a hostile upstream: what it says to one request, and what its client has to get.

    `must` says what a strict reader makes of it:

    whole   an answer with exactly the body `want`
    broken  no answer that looks whole: an error of the gateway, or one that is visibly cut
    either  one of the two
    """

    name: str
    says: list
    must: str
    want: bytes = b""
    status: int = 200
    method: str = "POST"
    target: str = FILES
    version: str = "1.1"
    number: int = dataclasses.field(default_factory=lambda: next(_numbers))

    id = Client.id
    mine = Client.mine
