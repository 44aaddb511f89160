"""A recording HTTP/1.1 upstream. It reads strictly, keeps every request, and answers as a case scripts it.

A request belongs to the case its `x-case` field names. Without a script the answer says which request it answers: its
case, its serial number, the length and the digest of its body. So an answer that reaches another client, and a body
that lost or gained a byte, show at the client.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
import socket
import struct
import threading

import http1

READ_SECONDS = 60
KEPT_BYTES = 64 << 10


class Pause(float):
    """A step: seconds of silence."""


CLOSE, HALF_CLOSE, RESET = "close", "half-close", "reset"


@dataclasses.dataclass
class Seen:
    """A request as it came: the start of its body, and length and digest of all of it. `whole` says that its end came."""

    case: str
    serial: int
    connection: int
    method: str
    target: str
    fields: list
    length: int
    digest: str
    body: bytes
    whole: bool
    # Of the file in a multipart form.
    file_digest: str = None

    def get(self, name):
        return next((value for field, value in self.fields if field == name.encode()), None)


class Recorder:
    """What upstreams saw, by case. Shared by those that belong together."""

    def __init__(self):
        self._seen, self._stray, self._played = collections.defaultdict(list), [], set()
        self._lock, self._ended = threading.Lock(), threading.Condition()
        self._serials, self._connections = itertools.count(1), itertools.count(1)
        self.scripts, self.early, self.once = {}, {}, set()

    def connection(self):
        return next(self._connections)

    def request(self, connection, method, target, fields, body, whole):
        case = next((value for name, value in fields if name == b"x-case"), b"").decode("latin-1")
        digest = hashlib.sha256(body).hexdigest()
        kept = bytes(body[:KEPT_BYTES])
        with self._lock:
            seen = Seen(
                case, next(self._serials), connection, method.decode(), target.decode("latin-1"),
                fields, len(body), digest, kept, whole, file_digest(fields, body),
            )  # fmt: skip
            self._seen[case].append(seen)
        return seen

    def stray(self, connection, case, what):
        """Bytes that are no request, on a connection that last served `case`."""
        with self._lock:
            self._stray.append((connection, case, what))

    def script(self, case):
        """How a request of this case is answered; those in `once` are answered so the first time alone."""
        with self._lock:
            return self.scripts.pop(case, None) if case in self.once else self.scripts.get(case)

    def played(self, case):
        """The script for this case has ended."""
        with self._ended:
            self._played.add(case)
            self._ended.notify_all()

    def wait_until_played(self, case, seconds=10):
        with self._ended:
            return self._ended.wait_for(lambda: case in self._played, seconds)

    def seen(self, case):
        with self._lock:
            return list(self._seen[case])

    def strays(self):
        with self._lock:
            return list(self._stray)


def file_digest(fields, body):
    """The digest of the first file in a multipart form."""
    kind = next((value for name, value in fields if name == b"content-type"), b"")
    boundary = re.match(rb'multipart/form-data; *boundary="?([^";]+)', kind)
    parts = body.split(b"--" + boundary[1]) if boundary else []
    files = [part.partition(b"\r\n\r\n")[2] for part in parts if b"filename=" in part[:400]]
    return hashlib.sha256(files[0].removesuffix(b"\r\n")).hexdigest() if files else None


def told(seen):
    """The default answer's body."""
    about = {"case": seen.case, "serial": seen.serial, "bytes": seen.length, "sha256": seen.digest}
    return json.dumps(about | ({"file_sha256": seen.file_digest} if seen.file_digest else {})).encode()


def echo(seen):
    """The default answer."""
    body = told(seen)
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-case: {seen.case}\r\n"
        f"x-serial: {seen.serial}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    return head if seen.method == "HEAD" else head + body


class Upstream:
    """Serves on a free port of this machine while its context is open."""

    def __init__(self, recorder):
        self.recorder = recorder
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._open, self._lock, self._closing = set(), threading.Lock(), False

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._closing = True
        # On Linux a close alone does not wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.serve(sock, self.recorder.connection())
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def serve(self, sock, number):
        source, case = http1.Source(sock, READ_SECONDS), "(first)"
        while True:
            source.renew(READ_SECONDS)
            try:
                request = http1.read_request(source, lambda head: self._answer_early(head, sock))
            except (http1.Ended, http1.Overdue) as early:
                if hasattr(early, "message"):
                    self._keep(number, early.message)
                return
            except http1.Malformed as malformed:
                if not self._closing:
                    owner = getattr(malformed, "message", None)
                    named = owner and owner.get(b"x-case") or named_in(source.kept)
                    self.recorder.stray(number, named.decode("latin-1") or case, str(malformed))
                sock.sendall(b"HTTP/1.1 400 Stray\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return
            if request is None:
                return
            seen = self._keep(number, request)
            case = seen.case
            if case in self.recorder.early:
                continue
            goes_on = play(self.recorder.script(case), seen, sock)
            self.recorder.played(case)
            if not goes_on:
                return

    def _answer_early(self, head, sock):
        """Answers a request whose body is still to come, if its case says so. What comes is read all the same."""
        case = head.get(b"x-case").decode("latin-1")
        early = self.recorder.early.get(case)
        if early is not None:
            seen = Seen(case, 0, 0, head.method.decode(), "", [], 0, "", b"", False)
            if not play(early, seen, sock):
                raise http1.Ended

    def _keep(self, number, request):
        return self.recorder.request(
            number, request.method, request.target, request.fields, request.body, request.whole
        )


def named_in(data):
    """The case that bytes name which could not be read."""
    named = re.search(rb"\r\nx-case: ([a-z0-9]+)", data)
    return named[1] if named else b""


def play(script, seen, sock):
    """Answers one request. Whether the connection is still open."""
    if script is None:
        sock.sendall(echo(seen))
        return True
    for step in script:
        if isinstance(step, Pause):
            threading.Event().wait(step)
        elif step == CLOSE:
            return False
        elif step == HALF_CLOSE:
            sock.shutdown(socket.SHUT_WR)
        elif step == RESET:
            reset(sock)
            return False
        else:
            sock.sendall(step.replace(b"{case-id}", seen.case.encode()))
    return True


def reset(sock):
    """Ends a connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
