"""A recording upstream over HTTP/2 (clear text, prior knowledge). It answers as a case scripts it: in frames."""

import threading

import http1
import http2
import recording
from recording import CLOSE, RESET, Pause

PREFACE_SECONDS = 60


class Hold:
    """A step of a script: no more credit for this connection's requests."""


class Upstream2(recording.Upstream):
    """Serves on a free port of this machine while its context is open. Steps name their stream 0x7fffffff."""

    def serve(self, sock, number):
        Connection(self.recorder, sock, number).run()


# Stands in a script's frames for the stream that is answered.
STREAM = 0x7FFFFFFF


class Connection:
    def __init__(self, recorder, sock, number):
        self.recorder, self.sock, self.number = recorder, sock, number
        self.source = http1.Source(sock, PREFACE_SECONDS)
        self.reader, self.open, self.held = http2.Reader(self.source), {}, False
        self.lock, self.case = threading.Lock(), "(first)"

    def write(self, data):
        with self.lock:
            self.sock.sendall(data)

    def run(self):
        try:
            if self.source.exactly(len(http2.PREFACE)) != http2.PREFACE:
                raise http1.Malformed("a preface")
            self.write(http2.settings((http2.INITIAL_WINDOW_SIZE, 65_535)))
            while self.take(self.reader.next()):
                self.source.renew(PREFACE_SECONDS)
        except (http1.Ended, http1.Overdue):
            pass
        except http1.Malformed as malformed:
            self.recorder.stray(self.number, self.case, str(malformed))
        for fields, body in self.open.values():
            self.keep(fields, body, False)

    def take(self, found):
        if found.kind == http2.SETTINGS and not found.flags & http2.ACK:
            self.write(http2.frame(http2.SETTINGS, http2.ACK))
        elif found.kind == http2.PING and not found.flags & http2.ACK:
            self.write(http2.frame(http2.PING, http2.ACK, 0, found.payload))
        elif found.kind == http2.GOAWAY:
            return False
        elif found.kind == http2.HEADERS:
            if found.stream in self.open:
                if not found.ends_stream():
                    raise http1.Malformed("trailers that do not end the stream")
            else:
                self.open[found.stream] = (self.checked(found.fields), bytearray())
        elif found.kind == http2.DATA:
            return self.data(found)
        elif found.kind == http2.RST_STREAM and found.stream in self.open:
            self.keep(*self.open.pop(found.stream), False)
        if found.ends_stream():
            return self.answer(found.stream)
        return True

    def checked(self, fields):
        names = [name for name, _ in fields]
        pseudo = [name for name in names if name.startswith(b":")]
        if sorted(pseudo) != [b":authority", b":method", b":path", b":scheme"] or names[: len(pseudo)] != pseudo:
            raise http1.Malformed(f"pseudo fields {pseudo}")
        for name, value in fields:
            if name != name.lower() or any(byte in name + value for byte in b"\r\n\0"):
                raise http1.Malformed(f"field {name}: {value}")
            if name in (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"):
                raise http1.Malformed(f"field {name}")
        self.case = dict(fields).get(b"x-case", b"").decode("latin-1")
        return fields

    def data(self, found):
        if found.stream not in self.open:
            return True
        self.open[found.stream][1].extend(found.payload)
        case = self.case_of(found.stream)
        if Hold in self.recorder.scripts.get(case, []):
            self.held = bool(self.recorder.script(case))
        if found.payload and not self.held:
            self.write(http2.window(0, len(found.payload)))
            if not found.ends_stream():
                self.write(http2.window(found.stream, len(found.payload)))
        return self.answer(found.stream) if found.ends_stream() else True

    def case_of(self, stream):
        return dict(self.open[stream][0]).get(b"x-case", b"").decode("latin-1")

    def keep(self, fields, body, whole):
        known = dict(fields)
        length = known.get(b"content-length")
        if whole and length is not None and int(length) != len(body):
            raise http1.Malformed(f"{len(body)} bytes of body, {length} were told")
        return self.recorder.request(self.number, known[b":method"], known[b":path"], fields, body, whole)

    def answer(self, stream):
        seen = self.keep(*self.open.pop(stream), True)
        script = self.recorder.script(seen.case)
        if script is None:
            self.write(echo(seen, stream))
            return True
        # Others on the connection are not kept waiting by a script's pauses.
        threading.Thread(target=self.play, args=(script, seen, stream), daemon=True).start()
        return True

    def play(self, script, seen, stream):
        try:
            for step in script:
                if isinstance(step, Pause):
                    threading.Event().wait(step)
                elif step == CLOSE:
                    self.sock.shutdown(2)
                elif step == RESET:
                    recording.reset(self.sock)
                elif isinstance(step, bytes):
                    self.write(addressed(step.replace(b"{case-id}", seen.case.encode()), stream))
        except OSError:
            pass


def addressed(frames, stream):
    """The frames, those of `STREAM` on this stream."""
    return frames.replace(STREAM.to_bytes(4, "big"), stream.to_bytes(4, "big"))


def echo(seen, stream):
    """The default answer."""
    fields = [(":status", "200"), ("content-type", "application/json"), ("x-case", seen.case), ("x-serial", str(seen.serial))]
    return http2.headers(stream, fields, False) + http2.data(stream, recording.told(seen), True)
