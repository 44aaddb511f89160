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

A handler returns a verdict, which one of the call's methods makes. It may be `async def`.

By default up to eight handlers run at the same time, each in a thread, so they share what the module keeps: lock what
a handler changes. `Plugin(threads=1)` runs one at a time. `Plugin(threads=0)` runs them in the thread that reads the
socket, which is the fastest way for handlers that never wait. `async def` handlers run in one event loop, as many as
the gateway asks for.

If a handler raises, its call fails and no other: the operator reads which handler and why, stderr has the traceback.
What is printed is captured by the gateway.
"""

import collections
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
LEVELS = ("debug", "info", "warn", "error")
RETURNS = {
    1: "call.proceed(), call.patch(...), call.replace(...), call.respond(...) or call.reject(...)",
    4: "call.proceed(), call.respond(...), call.reject(...), call.retry(...) or call.fallback(...)",
}
PART_BYTES = 64 << 10  # of a body, in one frame
READ_BYTES = 256 << 10
CREDIT_BYTES = 1 << 20  # of a call's body that may come unasked; more is granted by the half
THREADS = 8  # handlers that run at the same time
QUICK_SECONDS = 0.0005  # with threads=0, answers of handlers quicker than this leave together
QUEUED_WORDS_SECONDS = 10  # between two log lines which say that a call was queued
MESSAGE_CHARACTERS = 2000  # of an error; a longer one is cut

Verdict = collections.namedtuple("Verdict", "meta body")
UNCHANGED_VERDICT = Verdict({"action": "continue"}, b"")


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
        self._arrived, self._began = time.perf_counter(), None
        self._task = None  # of an `async def` handler, once it runs
        self._made = None  # the method that made a verdict

    @property
    def meta(self):
        """Everything the gateway told, as a dict; parsed when first asked for."""
        if not isinstance(self._meta, dict):
            self._meta = from_json(self._meta)
        return self._meta

    request_id = property(lambda self: self.meta["requestId"])
    generation = property(lambda self: self.meta["generation"])
    endpoint = property(lambda self: self.meta["endpoint"])
    method = property(lambda self: self.meta["method"])
    path = property(lambda self: self.meta["path"])
    model = property(lambda self: self.meta.get("model"))
    stream = property(lambda self: self.meta["stream"])
    key_id = property(lambda self: self.meta.get("keyId"))  # tells the clients' keys apart; None without a key
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

    # Verdicts. headers={"name": "value, or None to remove it"} changes the upstream request, or the answer of `respond`
    # and `reject`. model= and upstream= say where to route the request. metadata={} has notes for later plugins and
    # for the record.

    def proceed(self, *, headers=None, model=None, upstream=None, metadata=None):
        """The request goes on."""
        if headers is model is upstream is metadata is None:
            self._made = "proceed"
            return UNCHANGED_VERDICT
        return self._verdict("continue", headers=headers, route=(model, upstream), metadata=metadata)

    def patch(self, merge_patch, *, headers=None, model=None, upstream=None, metadata=None):
        """Merge patch (RFC 7396): values replace, None removes, objects merge."""
        changes = {"headers": headers, "route": (model, upstream), "metadata": metadata}
        return self._verdict("patch", patch=merge_patch, **changes)

    def json_patch(self, operations, *, headers=None, model=None, upstream=None, metadata=None):
        """JSON patch (RFC 6902): a list of operations."""
        changes = {"headers": headers, "route": (model, upstream), "metadata": metadata}
        return self._verdict("patch", jsonPatch=operations, **changes)

    def replace(self, body, *, headers=None, model=None, upstream=None, metadata=None):
        """A new body: bytes, text, or something to write as JSON."""
        return self._verdict("replace", body, headers=headers, route=(model, upstream), metadata=metadata)

    def respond(self, body, status=200, *, headers=None, metadata=None):
        """Answer in the upstream's place; a chat completion goes out as a stream if the client asked for one."""
        return self._verdict("respond", body, status=status, headers=headers, metadata=metadata)

    def reject(self, message, status=403, code=None, type=None, param=None, *, headers=None, metadata=None):
        """Answer with an error in OpenAI's form."""
        error = {"message": message, "code": code, "type": type, "param": param}
        for name, value in error.items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"call.reject: {name} has to be text, not {value!r}")
        error = {name: value for name, value in error.items() if value is not None}
        return self._verdict("reject", status=status, error=error, headers=headers, metadata=metadata)

    def retry(self, delay_ms=0, patch=None, *, headers=None, metadata=None):
        """In `on_error`: the same upstream again, with `patch` merged in."""
        return self._verdict("retry", patch=patch, delayMs=delay_ms, headers=headers, metadata=metadata)

    def fallback(self, model=None, upstream=None, *, headers=None, metadata=None):
        """In `on_error`: go on elsewhere."""
        return self._verdict("fallback", headers=headers, route=(model, upstream), metadata=metadata)

    def _verdict(self, action, body=b"", headers=None, route=(None, None), metadata=None, **fields):
        self._made = {"continue": "proceed"}.get(action, "json_patch" if "jsonPatch" in fields else action)
        for name, value in (headers or {}).items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"headers: {name!r} has to be text, or None to remove it, not {value!r}")
        to_set = {name: value for name, value in (headers or {}).items() if value is not None}
        to_remove = [name for name in headers or {} if name not in to_set]
        headers = {key: value for key, value in (("set", to_set), ("remove", to_remove)) if value}
        route = {key: value for key, value in zip(("model", "upstream"), route) if value is not None}
        fields |= {"action": action, "headers": headers or None, "route": route or None, "metadata": metadata or None}
        meta = {key: fields[key] for key in VERDICT if fields.get(key) is not None}
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else to_json(body)
        return Verdict(meta, body)


def is_async(handler):
    return bool(getattr(getattr(handler, "__code__", None), "co_flags", 0) & 0x80)  # inspect.CO_COROUTINE


def where(handler):
    """A handler as its author finds it: `mask (main.py:12)`."""
    code = getattr(handler, "__code__", None)
    name = getattr(handler, "__name__", type(handler).__name__)
    return f"{name} ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code else name


def raised(hook, handler, error):
    """Which handler failed, why, and the line of the plugin's own folder where it did."""
    lines = traceback.extract_tb(error.__traceback__)
    lines = [line for line in lines if line.filename != __file__]
    folder = os.path.dirname(getattr(getattr(handler, "__code__", None), "co_filename", ""))
    own = [line for line in lines if os.path.dirname(line.filename) == folder] or lines
    place = f", in {os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else ""
    return f"{hook} handler {where(handler)} raised {type(error).__name__}: {error}{place}"


def no_verdict(call, handler, value):
    """What to return in place of `value`."""
    said = f"{HOOKS[call.code]} handler {where(handler)} returned"
    if value is None and call._made:
        return f"{said} None: it made a verdict and did not return it; write `return call.{call._made}(...)`"
    if isinstance(value, dict):
        change = "call.patch({...}) or call.replace({...})" if call.code == 1 else "call.respond({...})"
        return f"{said} a dict: that is no verdict; return {change}, or call.proceed() to change nothing"
    if value is None or isinstance(value, bool):
        value = f"{value}"
    else:
        value = f"a value of type {type(value).__name__}"
    return f"{said} {value}: return a verdict, which is one of {RETURNS[call.code]}"


class Plugin:
    """The plugin's side of the socket. `config` is the operator's, always the newest."""

    def __init__(self, version="", threads=THREADS):
        if not isinstance(threads, int) or threads < 0:
            raise ValueError(f"threads={threads!r} has to be a number of handlers that run at the same time, or 0")
        self.version, self.threads, self.config = version, threads, {}
        self._handlers, self._configured = {}, lambda config: None
        self._lock, self._out, self._quick, self._reader = threading.Lock(), [], not threads, None
        self._max_frame, self._max_verdict = 1 << 20, 1 << 20
        self._arriving, self._running = {}, {}  # calls by id: still without their whole body, and without an answer
        self._work, self._started, self._idle = queue.SimpleQueue(), 0, threading.Semaphore(0)  # for the threads
        self._waiting = collections.deque()  # with threads=0
        self._loop = None  # of `async def` handlers
        self._queued, self._said_queued = 0, 0.0

    def on_request(self, handler):
        """Decorator: `handler(call)` answers a client's request before it is routed."""
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
        if level not in LEVELS:
            raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
        meta = to_json({"level": level, "text": str(text), **({"fields": fields} if fields else {})})
        if len(meta) > PART_BYTES:
            meta = to_json({"level": level, "text": str(text)[:MESSAGE_CHARACTERS]})
        self._send(frame(LOG, meta=meta))

    def run(self, sock=None):
        """Serves the gateway until it says stop or is gone; exits with 1 when it cannot."""
        if sock is None and "HOOKWAY_FD" not in os.environ:
            sys.exit("this is a Hookway plugin: the gateway starts it, with a socket in HOOKWAY_FD")
        self._sock = sock or socket.socket(fileno=int(os.environ["HOOKWAY_FD"]))
        self._reader = threading.get_ident()
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
        """Yields frames; with threads=0 answers the calls among them; sends what is to be sent before it waits."""
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
            self._answer_waiting()
            if not self._waiting:
                self._flush()
            try:
                size = self._sock.recv_into(room, 0, socket.MSG_DONTWAIT if self._waiting else 0)
            except BlockingIOError:
                continue
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
                self._cancel(self._running.get(ident))
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
            self._run_configured()
        except Exception as error:
            self._refuse("error", f"config: {error}")
        hooks = [hook for hook in hello["hooks"] if hook in (HOOKS[code] for code in self._handlers)]
        ready = {"protocol": 1, "name": hello["plugin"], "version": self.version, "hooks": hooks}
        if self.threads and not all(is_async(handler) for handler in self._handlers.values()):
            ready["maxInFlight"] = min(self.threads, hello.get("maxInFlight", self.threads))
        self._send(frame(READY, meta=to_json(ready)))

    def _refuse(self, word, text):
        self._error(0, word, text)
        self._flush()
        sys.exit(text)

    def _configure(self, ident, meta):
        before, self.config = self.config, meta.get("config", {})
        try:
            self._run_configured()
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

    def _run_configured(self):
        done = self._configured(self.config)
        if hasattr(done, "__await__"):
            self._in_loop(done).result()

    def _start(self, call):
        self._running[call.ident] = call
        if not self.threads:
            return self._waiting.append(call)
        self._work.put(call)
        if not self._idle.acquire(blocking=False) and self._started < self.threads:
            self._started += 1
            threading.Thread(target=self._worker, daemon=True).start()

    def _worker(self):
        while True:
            try:
                self._answer(self._work.get())
            except OSError:  # the gateway is gone, which the reading thread sees too
                return
            self._idle.release()

    def _answer_waiting(self):
        """With threads=0: answers calls in their order. After a slow one, the socket may have a CANCEL for the next."""
        while self._waiting:
            self._answer(self._waiting.popleft())
            if not self._quick:
                return

    def _answer(self, call):
        call._began = time.perf_counter()
        if call.cancelled or call.code not in self._handlers:
            self._running.pop(call.ident, None)
            if not call.cancelled:
                self._error(call.ident, "unsupported", f"hook {call.code} is not served")
            return
        handler = self._handlers[call.code]
        try:
            verdict = handler(call)
        except (Exception, SystemExit) as error:
            return self._failed(call, handler, error)
        if hasattr(verdict, "__await__"):
            call._task = self._in_loop(self._answer_later(call, handler, verdict))
            return
        self._quick = not self.threads and time.perf_counter() - call._began < QUICK_SECONDS
        self._answered(call, handler, verdict)

    async def _answer_later(self, call, handler, verdict):
        try:
            verdict = await verdict
        except (Exception, SystemExit) as error:
            return self._failed(call, handler, error)
        self._answered(call, handler, verdict)

    def _in_loop(self, coroutine):
        """Runs a coroutine in the event loop of `async def` handlers, which is there from the first of them on."""
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _answered(self, call, handler, verdict):
        self._running.pop(call.ident, None)
        try:
            if isinstance(verdict, Verdict):
                return self._result(call.ident, verdict)
            message = no_verdict(call, handler, verdict)
        except OSError:
            raise
        except Exception as error:
            message = f"{HOOKS[call.code]} handler {where(handler)}: its verdict cannot be written as JSON: {error}"
        print(message, file=sys.stderr, flush=True)
        self._error(call.ident, "error", message)

    def _failed(self, call, handler, error):
        self._running.pop(call.ident, None)
        traceback.print_exception(type(error), error, error.__traceback__)
        self._error(call.ident, "error", raised(HOOKS[call.code], handler, error))

    def _cancel(self, call):
        """The gateway does not wait for this call any more."""
        if call is None:
            return
        call.cancelled = True
        if call._task:
            call._task.cancel()
            self._running.pop(call.ident, None)
        waited = (call._began or time.perf_counter()) - call._arrived
        if call._began is None or waited * 4000 > call.meta.get("budgetMs", 0):
            self._say_queued(call, waited)

    def _say_queued(self, call, waited):
        self._queued += 1
        now = time.monotonic()
        if self._said_queued and now - self._said_queued < QUEUED_WORDS_SECONDS:
            return
        end = "until the gateway gave it up" if call._began is None else "before its handler began"
        text = f"a call was queued behind another call for {waited * 1000:.0f} ms, {end}"
        hint = f"make the handler quicker, or use Plugin(threads={max(self.threads * 2, THREADS)})"
        self.log("warn", f"{text}; {hint}", requestId=call.request_id, calls=self._queued, threads=self.threads)
        self._queued, self._said_queued = 0, now

    def _result(self, ident, verdict):
        if verdict == UNCHANGED_VERDICT:
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
        meta = to_json({"code": word, "message": message[:MESSAGE_CHARACTERS]})
        self._send(frame(ERROR, ident, END if ident else 0, ERRORS[word], meta))

    def _send(self, out):
        with self._lock:
            self._out.append(out)
        if not self._quick or len(out) > PART_BYTES or threading.get_ident() != self._reader:
            self._flush()

    def _flush(self):
        with self._lock:
            if self._out:
                self._sock.sendall(b"".join(self._out))
                self._out.clear()
