"""Write a Hookway plugin in Python. One file, standard library only.

    import hookway
    plugin = hookway.Plugin()

    @plugin.on_request
    def cheaper(call):
        if call.headers.get("x-mood") == "shouting":
            return call.reject("Please calm down first.", status=400, code="shouting")
        if len(call.body) < 1000:
            return call.patch({"model": plugin.config["small"]})
        return call.proceed()

    plugin.run()

Handlers run one after the other in the read loop, which is the fastest way for handlers that do not wait. With
`Plugin(threads=8)` they run side by side, for those that do. A handler that raises ends its call alone: the operator
sees the text, stderr the traceback. What is printed is captured by the gateway.
"""

import json
import os
import queue
import socket
import struct
import sys
import threading
import time
import traceback
from types import SimpleNamespace

HEADER = struct.Struct("<IIBBHI")  # len, id, type, flags, code, meta_len; meta (JSON) and raw body follow
HELLO, READY, CALL, DATA, RESULT, ERROR, CANCEL, CREDIT, PING, PONG, CONFIGURE, DRAIN, SHUTDOWN, LOG = range(1, 15)
OF_LINK, OF_CALL = (HELLO, READY, PING, PONG, DRAIN, SHUTDOWN), (CALL, DATA, RESULT, CANCEL, CREDIT, CONFIGURE)
END, UNCHANGED, BODY = 1, 2, 4
ERRORS = {"error": 1, "protocol": 2, "version": 4, "too_large": 6, "unsupported": 7}
HOOKS = {1: "onRequest", 4: "onError"}
FAILURE = "cause phase upstream attempt status elapsedMs bytesSent willRetry message errorBody".split()
VERDICT = "action patch jsonPatch status headers route metadata error delayMs".split()
UNCHANGED_VERDICT = ({"action": "continue"}, b"")
PART_BYTES = 64 << 10  # of a body, in one frame
READ_BYTES = 256 << 10
CREDIT_BYTES = 1 << 20  # of a call's body that may come unasked; more is granted by the half
QUICK_SECONDS = 0.0005  # answers of handlers quicker than this leave together


class ProtocolError(Exception):
    """The gateway sent what it must not."""


def to_json(value):
    """Compact JSON as bytes. Lone surrogates, which JSON can hold and UTF-8 cannot, stay escaped."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def from_json(data):
    """The value of JSON text. An integer longer than Python reads (4,300 digits) is a float."""
    try:
        return json.loads(data)
    except ValueError:
        return json.loads(data, parse_int=integer)


def integer(digits):
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def frame(kind, ident=0, flags=0, code=0, meta=b"", body=b""):
    flags |= BODY if body else 0
    return b"".join((HEADER.pack(len(meta) + len(body), ident, kind, flags, code, len(meta)), meta, body))


def check(length, ident, kind, flags, meta_len, max_frame):
    """The rules every header keeps, whatever follows it."""
    body_len = length - meta_len
    good = HELLO <= kind <= LOG and flags < 8 and length <= max_frame and 0 <= body_len <= PART_BYTES
    good = good and bool(flags & BODY) == (body_len > 0)
    good = good and (not flags & UNCHANGED or (kind, flags, length) == (RESULT, END | UNCHANGED, 0))
    if not good or ident and kind in OF_LINK or not ident and kind in OF_CALL:
        raise ProtocolError(f"bad frame: len {length}, id {ident}, type {kind}, flags {flags}, meta_len {meta_len}")


class Call:
    """One hook of one request. What the manifest did not ask for is empty."""

    def __init__(self, ident, code, meta, body):
        self.ident, self.code, self.body, self.cancelled, self._meta = ident, code, body, False, meta

    @property
    def meta(self):
        """Everything the gateway told, as a dict; parsed when first asked for."""
        if not isinstance(self._meta, dict):
            self._meta = from_json(self._meta)
        return self._meta

    request_id = property(lambda self: self.meta["requestId"])
    generation = property(lambda self: self.meta["generation"])
    endpoint = property(lambda self: self.meta["endpoint"])
    model = property(lambda self: self.meta.get("model"))
    stream = property(lambda self: self.meta["stream"])
    headers = property(lambda self: self.meta.get("headers", {}))  # names in lower case
    pointers = property(lambda self: self.meta.get("pointers", {}))
    metadata = property(lambda self: self.meta.get("metadata", {}))  # notes of earlier plugins

    @property
    def failure(self):
        """In `on_error`, why the attempt failed: .cause .phase .upstream .attempt .status .willRetry .message ..."""
        return SimpleNamespace(**{key: self.meta.get(key) for key in FAILURE}) if "cause" in self.meta else None

    def json(self):
        """The request body; parsed at each call, so keep the result."""
        return from_json(self.body)

    # Verdicts. Those that let the request go on take headers={"name": "value or None to remove"}, model=, upstream=
    # (where to route it) and metadata={} (notes for later plugins and the record).

    def proceed(self, **changes):
        return self._verdict("continue", **changes) if changes else UNCHANGED_VERDICT

    def patch(self, merge_patch, **changes):
        """Merge patch (RFC 7396): values replace, None removes, objects merge."""
        return self._verdict("patch", patch=merge_patch, **changes)

    def json_patch(self, operations, **changes):
        """JSON patch (RFC 6902): a list of operations."""
        return self._verdict("patch", jsonPatch=operations, **changes)

    def replace(self, body, **changes):
        """A new body: bytes, text, or something to write as JSON."""
        return self._verdict("replace", body, **changes)

    def respond(self, body, status=200, **changes):
        """Answer in the upstream's place; a chat completion goes out as a stream if the client asked for one."""
        return self._verdict("respond", body, status=status, **changes)

    def reject(self, message, status=403, code=None, type=None, param=None, **changes):
        """Answer with an error in OpenAI's form."""
        error = {"message": message, "code": code, "type": type, "param": param}
        error = {key: value for key, value in error.items() if value is not None}
        return self._verdict("reject", status=status, error=error, **changes)

    def retry(self, delay_ms=0, patch=None, **changes):
        """In `on_error`: the same upstream again, with `patch` merged in."""
        return self._verdict("retry", patch=patch, delayMs=delay_ms, **changes)

    def fallback(self, model=None, upstream=None, **changes):
        """In `on_error`: go on elsewhere."""
        return self._verdict("fallback", model=model, upstream=upstream, **changes)

    def _verdict(self, action, body=b"", headers=None, model=None, upstream=None, metadata=None, **fields):
        to_set = {name: value for name, value in (headers or {}).items() if value is not None}
        to_remove = [name for name in headers or {} if name not in to_set]
        headers = {key: value for key, value in (("set", to_set), ("remove", to_remove)) if value}
        route = {key: value for key, value in (("model", model), ("upstream", upstream)) if value is not None}
        fields |= {"action": action, "headers": headers or None, "route": route or None, "metadata": metadata or None}
        meta = {key: fields[key] for key in VERDICT if fields.get(key) is not None}
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else to_json(body)
        return meta, body


class Plugin:
    """The plugin's side of the socket. `config` is the operator's, always the newest."""

    def __init__(self, version="", threads=0):
        self.version, self.threads, self.config = version, threads, {}
        self._handlers, self._configured = {}, lambda config: None
        self._lock, self._out, self._quick = threading.Lock(), [], not threads
        self._max_frame, self._max_verdict = 1 << 20, 1 << 20
        self._arriving, self._running, self._work = {}, {}, queue.SimpleQueue()

    def on_request(self, handler):
        """Decorator: `handler(call)` answers a client's request before it is routed. None means proceed."""
        self._handlers[1] = handler
        return handler

    def on_error(self, handler):
        """Decorator: `handler(call)` answers a failed upstream attempt; see `call.failure`."""
        self._handlers[4] = handler
        return handler

    def on_configure(self, handler):
        """Decorator: `handler(config)` runs before the first call and at each change. Raising refuses the config."""
        self._configured = handler
        return handler

    def log(self, level, text, **fields):
        """A line in the gateway's log: debug, info, warn or error."""
        meta = {"level": level, "text": text, **({"fields": fields} if fields else {})}
        self._send(frame(LOG, meta=to_json(meta)))

    def run(self, sock=None):
        """Serves the gateway until it says stop or is gone; exits with 1 when it cannot."""
        if sock is None and "HOOKWAY_FD" not in os.environ:
            sys.exit("this is a Hookway plugin: the gateway starts it, with a socket in HOOKWAY_FD")
        self._sock = sock or socket.socket(fileno=int(os.environ["HOOKWAY_FD"]))
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        try:
            self._serve(self._frames())
        except ProtocolError as error:
            self._error(0, "protocol", str(error))
            self._flush()
            sys.exit(f"the gateway broke the protocol: {error}")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _frames(self):
        """Yields frames; sends what is to be sent before it waits for more."""
        data, at, room = b"", 0, memoryview(bytearray(READ_BYTES))
        while True:
            while len(data) - at >= 16:
                length, ident, kind, flags, code, meta_len = HEADER.unpack_from(data, at)
                check(length, ident, kind, flags, meta_len, self._max_frame)
                meta_at, body_at, end = at + 16, at + 16 + meta_len, at + 16 + length
                if len(data) < end:
                    break
                yield kind, ident, flags, code, data[meta_at:body_at], data[body_at:end]
                at = end
            self._flush()
            size = self._sock.recv_into(room)
            if not size:
                return
            data, at = data[at:] + room[:size], 0

    def _serve(self, frames):
        first = next(frames, None)
        if first is None:
            return
        if first[0] != HELLO:
            raise ProtocolError(f"type {first[0]} before HELLO")
        self._hello(json.loads(first[4]))
        for _ in range(self.threads):
            threading.Thread(target=self._worker, daemon=True).start()
        for kind, ident, flags, code, meta, body in frames:
            if kind == CALL:
                if flags & END:
                    self._start(Call(ident, code, meta, body))
                else:
                    self._arriving[ident] = [code, from_json(meta), [body], len(body), CREDIT_BYTES]
            elif kind == DATA and ident in self._arriving:
                self._part(ident, flags, body)
            elif kind == CANCEL or kind == ERROR and ident:
                self._arriving.pop(ident, None)
                if ident in self._running:
                    self._running[ident].cancelled = True
            elif kind == PING:
                self._send(frame(PONG))
            elif kind == CONFIGURE:
                self._configure(ident, json.loads(meta))
            elif kind == SHUTDOWN:
                return
            elif kind in (HELLO, READY, RESULT, ERROR, PONG, LOG):
                raise ProtocolError(f"type {kind} where it must not be")

    def _hello(self, hello):
        if 1 not in hello["protocols"]:
            self._refuse("version", f"the gateway speaks protocols {hello['protocols']}, this plugin 1")
        self._max_frame = hello.get("maxFrame", self._max_frame)
        self._max_verdict = hello.get("maxVerdictBytes", self._max_verdict)
        self.config = hello.get("config", {})
        try:
            self._configured(self.config)
        except Exception as error:
            self._refuse("error", f"config: {error}")
        hooks = [hook for hook in hello["hooks"] if hook in (HOOKS[code] for code in self._handlers)]
        ready = {"protocol": 1, "name": hello["plugin"], "version": self.version, "hooks": hooks}
        self._send(frame(READY, meta=to_json(ready)))

    def _refuse(self, word, text):
        self._error(0, word, text)
        self._flush()
        sys.exit(text)

    def _configure(self, ident, meta):
        before, self.config = self.config, meta.get("config", {})
        try:
            self._configured(self.config)
            self._send(frame(RESULT, ident, END))
        except Exception as error:
            self.config = before
            self._error(ident, "error", f"config: {error}")

    def _part(self, ident, flags, body):
        call = self._arriving[ident]
        call[2].append(body)
        call[3] += len(body)
        if flags & END:
            code, meta, parts = self._arriving.pop(ident)[:3]
            self._flush()  # what is answered does not wait for a handler that has much to read
            self._start(Call(ident, code, meta, b"".join(parts)))
        elif call[4] < call[1].get("bodyBytes", sys.maxsize) and call[4] - call[3] <= CREDIT_BYTES // 2:
            self._send(frame(CREDIT, ident, meta=to_json({"bytes": CREDIT_BYTES // 2})))
            call[4] += CREDIT_BYTES // 2

    def _start(self, call):
        if not self.threads:
            return self._answer(call)
        self._running[call.ident] = call
        self._work.put(call)

    def _worker(self):
        while True:
            call = self._work.get()
            if not call.cancelled:
                self._answer(call)
            self._running.pop(call.ident, None)

    def _answer(self, call):
        began = time.perf_counter()
        try:
            if call.code not in self._handlers:
                return self._error(call.ident, "unsupported", f"hook {call.code} is not served")
            verdict = self._handlers[call.code](call)
            self._quick = not self.threads and time.perf_counter() - began < QUICK_SECONDS
            self._result(call.ident, verdict)
        except Exception as error:
            traceback.print_exc()
            self._error(call.ident, "error", f"{type(error).__name__}: {error}")

    def _result(self, ident, verdict):
        if verdict is None or verdict == UNCHANGED_VERDICT:
            return self._send(frame(RESULT, ident, END | UNCHANGED))
        fields, body = verdict
        meta = to_json(fields)
        if len(meta) > PART_BYTES and fields["action"] == "patch":  # may not fit a frame: travels as body
            body = to_json(fields.pop("patch", None) or fields.pop("jsonPatch"))
            meta = to_json(fields)
        size = len(meta) + len(body)
        if size > self._max_verdict or len(meta) + PART_BYTES > self._max_frame:
            limits = f"{self._max_verdict}, without its body {self._max_frame - PART_BYTES}"
            return self._error(ident, "too_large", f"a verdict of {size} bytes, the limit is {limits}")
        for at in range(0, len(body) or 1, PART_BYTES):
            flags, kind = END if at + PART_BYTES >= len(body) else 0, DATA if at else RESULT
            self._send(frame(kind, ident, flags, 0, b"" if at else meta, body[at : at + PART_BYTES]))

    def _error(self, ident, word, message):
        meta = to_json({"code": word, "message": message})
        self._send(frame(ERROR, ident, END if ident else 0, ERRORS[word], meta))

    def _send(self, out):
        with self._lock:
            self._out.append(out)
        if not self._quick or len(out) > PART_BYTES:
            self._flush()

    def _flush(self):
        with self._lock:
            if self._out:
                self._sock.sendall(b"".join(self._out))
                self._out.clear()
