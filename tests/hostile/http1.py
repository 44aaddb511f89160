"""HTTP/1.1 read strictly, as RFC 9112 has it and nothing more: what this reader takes, every reader takes the same way.

It reads requests for the recording upstream and answers for the hostile clients. It never repairs and never guesses.
"""

import dataclasses
import re
import socket
import time

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(TOKEN + rb" [\x21-\x7e]+ HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[\t ]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[\t ]*")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?")
LINE_BYTES_MAX = 4 << 20
READ_BYTES = 1 << 18


class Malformed(Exception):
    """Bytes that strict HTTP/1.1 does not have."""


class Ended(Exception):
    """The peer ended the connection. `reset` tells how."""

    def __init__(self, reset=False):
        super().__init__("reset" if reset else "end of connection")
        self.reset = reset


class Overdue(Exception):
    """The peer said nothing until the deadline."""


class Source:
    """What a socket says, until `seconds` from now."""

    def __init__(self, sock, seconds):
        self.sock, self.kept = sock, bytearray()
        self.renew(seconds)

    def renew(self, seconds):
        self.until = time.monotonic() + seconds

    def more(self):
        left = self.until - time.monotonic()
        if left <= 0:
            raise Overdue
        self.sock.settimeout(left)
        try:
            part = self.sock.recv(READ_BYTES)
        except socket.timeout:
            raise Overdue from None
        except OSError:
            raise Ended(reset=True) from None
        if not part:
            raise Ended
        self.kept += part

    def take(self, length):
        taken = bytes(self.kept[:length])
        del self.kept[:length]
        return taken

    def exactly(self, length):
        while len(self.kept) < length:
            self.more()
        return self.take(length)

    def line(self):
        """A line without its CRLF. A CR or LF alone ends no line."""
        seen = 0
        while (end := self.kept.find(b"\n", seen)) < 0:
            seen = len(self.kept)
            if seen > LINE_BYTES_MAX:
                raise Malformed("a line without end")
            self.more()
        line = self.take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"a CR or LF alone: {shown(line)}")
        return line[:-2]

    def to_end(self):
        try:
            while True:
                self.more()
        except Ended as end:
            if end.reset:
                raise
        return self.take(len(self.kept))


@dataclasses.dataclass
class Message:
    """A request or an answer, as far as it came. `whole` says that its end came too."""

    start: bytes
    fields: list
    body: bytearray = dataclasses.field(default_factory=bytearray)
    whole: bool = False
    trailers: list = dataclasses.field(default_factory=list)

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def get(self, name, default=b""):
        values = self.all(name)
        return values[0] if values else default

    @property
    def status(self):
        return int(STATUS_LINE.fullmatch(self.start)[1])

    @property
    def method(self):
        return self.start.split(b" ")[0]

    @property
    def target(self):
        return self.start.split(b" ")[1]



def shown(data, most=80):
    data = bytes(data)
    return repr(data if len(data) <= most else data[:most] + b"...")


def read_request(source, with_head=lambda request: None):
    """One request, or `None` at an end between two. A cut one is raised as `Ended` with it as `message`.

    `with_head` gets it before its body is read.
    """
    try:
        line = source.line()
    except Ended:
        if source.kept:
            raise Malformed(f"ended within a request line: {shown(source.kept)}") from None
        return None
    if not REQUEST_LINE.fullmatch(line):
        raise Malformed(f"request line {shown(line)}")
    request = Message(line, read_fields(source))
    if len(request.all(b"host")) != 1:
        raise Malformed(f"{len(request.all(b'host'))} host fields in {shown(line)}")
    length = framing(request)
    with_head(request)
    with_message(request, lambda: read_body(source, request, length))
    return request


def read_answer(source, method=b"GET"):
    """One answer, interim ones included. A cut one is raised as `Ended` with it as `message`."""
    line = source.line()
    if not STATUS_LINE.fullmatch(line):
        raise Malformed(f"status line {shown(line)}")
    answer = Message(line, read_fields(source))
    status = answer.status
    length = framing(answer, of_answer=True)
    if status == 101:
        answer.whole = True
    elif status < 200 or status in (204, 304) or method == b"HEAD":
        if status < 200 and length is not None and length != ("end",):
            raise Malformed(f"a length in {shown(line)}")
        answer.whole = True
    else:
        with_message(answer, lambda: read_body(source, answer, length))
    return answer


def with_message(message, read):
    """Runs `read`; what ends it early carries what had come."""
    try:
        read()
    except (Ended, Overdue, Malformed) as early:
        early.message = message
        raise
    message.whole = True


def read_fields(source):
    fields = []
    while line := source.line():
        field = FIELD_LINE.fullmatch(line)
        if not field:
            raise Malformed(f"field line {shown(line)}")
        fields.append((field[1].lower(), field[2] or b""))
    return fields


def framing(message, of_answer=False):
    """How the body is framed: ("chunked",), ("length", n), ("end",) or None."""
    lengths, codings = message.all(b"content-length"), message.all(b"transfer-encoding")
    if codings:
        if lengths:
            raise Malformed("content-length and transfer-encoding")
        if codings != [b"chunked"]:
            raise Malformed(f"transfer-encoding {codings}")
        return ("chunked",)
    if lengths:
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,20}", lengths[0]):
            raise Malformed(f"content-length {lengths}")
        return ("length", int(lengths[0]))
    return ("end",) if of_answer else None


def read_body(source, message, length):
    match length:
        case None:
            return
        case ("end",):
            while True:
                try:
                    source.more()
                except Ended as end:
                    message.body += source.take(len(source.kept))
                    if end.reset:
                        raise
                    return
        case ("length", count):
            read_part(source, message, count)
        case ("chunked",):
            while True:
                size = source.line()
                matched = CHUNK_SIZE.fullmatch(size)
                if not matched:
                    raise Malformed(f"chunk size {shown(size)}")
                count = int(matched[1], 16)
                if count == 0:
                    message.trailers = read_fields(source)
                    return
                read_part(source, message, count)
                if source.exactly(2) != b"\r\n":
                    raise Malformed("a chunk without its CRLF")


def read_part(source, message, count):
    """`count` bytes of body; those that came are kept if the rest does not."""
    while count:
        if not source.kept:
            source.more()
        part = source.take(count)
        message.body += part
        count -= len(part)
