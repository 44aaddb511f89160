"""The gateway's end of a socket pair, for tests of plugins."""

import json
import pathlib
import socket
import subprocess
import sys
import threading

SDK = pathlib.Path(__file__).parents[1]
FRAMES = SDK.parents[1] / "wire" / "frames"
sys.path.insert(0, str(SDK))
import hookway  # noqa: E402


def recorded(name):
    lines = (FRAMES / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line.split("#")[0] for line in lines))


def process(main, *interpreter):
    """A `serve` for Gateway that starts a plugin as the gateway does: the socket as inherited descriptor."""

    def serve(sock):
        environment = {"HOOKWAY_FD": str(sock.fileno()), "PYTHONPATH": str(SDK), "PYTHONDONTWRITEBYTECODE": "1"}
        child = subprocess.Popen([*interpreter, str(main)], pass_fds=[sock.fileno()], env=environment)
        sock.close()
        if child.wait(30):
            sys.exit(child.returncode)

    return serve


class Gateway:
    """Runs `serve(socket)` in a thread and talks to it. A context manager: leaving hangs up and waits for the end.

    `logged` has the lines for the gateway's log that came while an answer was waited for.
    """

    def __init__(self, serve):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(10)
        self.ended, self.logged = None, []
        self._thread = threading.Thread(target=self._run, args=(serve, theirs))
        self._thread.start()

    def _run(self, serve, sock):
        try:
            serve(sock)
        except SystemExit as exit:
            self.ended = exit.code
        finally:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()
        self.join()

    def join(self):
        self._thread.join(10)
        assert not self._thread.is_alive(), "the plugin did not end"

    def send(self, data):
        self.sock.sendall(data)

    def hello(self, config=None, hooks=("onRequest", "onError"), **changes):
        hello = json.loads(recorded("hello")[16:]) | {"config": config or {}, "hooks": list(hooks)} | changes
        self.send(hookway.frame(hookway.HELLO, meta=hookway.to_json(hello)))
        return self.receive()

    def call(self, ident, body=b"", code=1, **meta):
        meta = {"hook": hookway.HOOKS.get(code), "requestId": f"r{ident}", "budgetMs": 30_000, **meta}
        parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
        for at, part in enumerate(parts):
            flags = hookway.END if at == len(parts) - 1 else 0
            if at:
                self.send(hookway.frame(hookway.DATA, ident, flags, body=part))
            else:
                self.send(hookway.frame(hookway.CALL, ident, flags, code, hookway.to_json(meta), part))

    def ask(self, ident, body=b"", code=1, **meta):
        """The verdict's meta (None for continue-unchanged) and whole body. CREDIT and LOG frames are passed over."""
        if not isinstance(body, bytes):
            body = hookway.to_json(body)
        self.call(ident, body, code, **meta)
        return self.verdict(ident)

    def verdict(self, ident):
        meta, whole = None, b""
        while True:
            kind, got, flags, _, text, body = self.receive()
            if kind == hookway.LOG:
                self.logged.append(json.loads(text))
            if kind in (hookway.CREDIT, hookway.LOG):
                continue
            assert got == ident, f"an answer to {got}, not {ident}"
            meta, whole = json.loads(text) if text else meta, whole + body
            if flags & hookway.END:
                return meta, whole

    def receive(self):
        """One frame: type, id, flags, code, meta, body."""
        length, ident, kind, flags, code, meta_len = hookway.HEADER.unpack(self.exactly(16))
        hookway.check(length, ident, kind, flags, meta_len, 1 << 20)
        return kind, ident, flags, code, self.exactly(meta_len), self.exactly(length - meta_len)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the plugin hung up"
            data += more
        return data
