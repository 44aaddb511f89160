"""HTTP/2 in frames (RFC 9113): written as they are told, right or wrong, and read strictly. For both sides."""

import dataclasses
import struct

import hpack
import http1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x4, 0x5
WINDOW = 1 << 24


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, prefix):
    """An integer of HPACK with a prefix of so many bits."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([value])
    out, value = bytearray([most]), value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes(out + bytes([value]))


def block(fields):
    """A field block of literals that are never indexed: nothing is checked and nothing remembered."""
    out = b""
    for name, value in fields:
        for text, prefix in ((name, b"\x10"), (value, b"")):
            text = text.encode("latin-1") if isinstance(text, str) else text
            out += prefix + number(len(text), 7) + text
    return out


def headers(stream, fields, end=True, more=0, payload=None):
    flags = END_HEADERS | (END_STREAM if end else 0) | more
    return frame(HEADERS, flags, stream, block(fields) if payload is None else payload)


def data(stream, part, end=False):
    return frame(DATA, END_STREAM if end else 0, stream, part)


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def window(stream, bytes_more):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", bytes_more))


def goaway(last=0, code=0, text=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


@dataclasses.dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes
    fields: list = None

    def ends_stream(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class Reader:
    """Frames of a connection. Field blocks are joined and decoded."""

    def __init__(self, source):
        self.source, self.decoder = source, hpack.Decoder(max_header_list_size=1 << 24)

    def next(self):
        found = self._one()
        if found.kind != HEADERS:
            if found.kind in (CONTINUATION, PUSH_PROMISE) or found.kind > CONTINUATION:
                raise http1.Malformed(f"a frame of type {found.kind}")
            return found
        payload = self._fragment(found)
        while not found.flags & END_HEADERS:
            more = self._one()
            if more.kind != CONTINUATION or more.stream != found.stream:
                raise http1.Malformed("a field block that is interrupted")
            payload, found.flags = payload + more.payload, found.flags | more.flags & END_HEADERS
        try:
            found.fields = [tuple(field) for field in self.decoder.decode(payload, raw=True)]
        except hpack.HPACKError as error:
            raise http1.Malformed(f"a field block: {error}") from None
        return found

    def _one(self):
        head = self.source.exactly(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return Frame(kind, flags, stream & 0x7FFFFFFF, self.source.exactly(length))

    @staticmethod
    def _fragment(found):
        payload = found.payload
        if found.flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        return payload[5:] if found.flags & WITH_PRIORITY else payload


NO_ERROR = 0


class Answer:
    """What came on one stream."""

    def __init__(self):
        self.fields, self.body, self.trailers, self.whole, self.reset = None, bytearray(), None, False, None

    def get(self, name, default=b""):
        return next((value for field, value in self.fields or [] if field == name), default)

    @property
    def status(self):
        return int(self.get(b":status", b"0"))

    def told(self):
        # A whole answer may be followed by a reset without an error: the rest of the request is not wanted (RFC 9113
        # section 8.1).
        if self.reset is not None and not (self.whole and self.reset == NO_ERROR):
            return "reset"
        return str(self.status) + ("" if self.whole else "(cut)")
