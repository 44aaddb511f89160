"""The real gateway with a config of the test's own: bound to free ports, keeping its state in a temporary folder."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HOOKWAY_BIN", ROOT / "target/debug/hookway"))
START_SECONDS = 60
STOP_SECONDS = 30

OWN = """
[listen]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[log]
format = "json"
"""


class Gateway:
    """A running gateway. `config` is all of its configuration but `own`: free ports and a log for programs.

    Its working folder is also its home. Its log is kept and shown when it ends badly. Leaving the context ends it with
    SIGTERM, and it has to drain.
    """

    def __init__(self, config, own=OWN):
        self._folder = tempfile.TemporaryDirectory(prefix="hookway-stage-")
        self.folder = pathlib.Path(self._folder.name)
        self.config_file = self.folder / "config/hookway.toml"
        self.config_file.parent.mkdir()
        self.config_file.write_text(own + config)
        self.environment = os.environ | {"HOME": str(self.folder)}
        self.lines, self._changed = [], threading.Condition()

    def __enter__(self):
        self._process = subprocess.Popen(
            [BINARY, "serve", "-c", self.config_file],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            serving = self.wait_for_line(lambda line: line.get("message") == "serving", START_SECONDS)
        except AssertionError:
            self._end()
            raise
        self.url, self.admin_url = (f"http://{serving[listener]}" for listener in ("data", "admin"))
        self.token_file = self.folder / ".hookway/admin.token"
        self.token = self.token_file.read_text().strip()
        return self

    def __exit__(self, kind, error, trace):
        code = self._end()
        if error is None and code != 0:
            raise AssertionError(f"the gateway ended with {code}:\n{self.log()}")

    def _end(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stderr.close()
        self._folder.cleanup()
        return code

    def _read(self):
        for line in self._process.stderr:
            try:
                known = json.loads(line)
            except ValueError:
                known = {"message": line.decode(errors="replace").rstrip()}
            with self._changed:
                self.lines.append(known)
                self._changed.notify_all()
        with self._changed:
            self.lines.append({"message": "(end of log)", "end": True})
            self._changed.notify_all()

    def wait_for_line(self, wanted, seconds=10):
        """The first log line that `wanted` says yes to, from the start on."""
        at = 0

        def found():
            nonlocal at
            while at < len(self.lines):
                at += 1
                if wanted(self.lines[at - 1]) or self.lines[at - 1].get("end"):
                    return self.lines[at - 1]
            return None

        with self._changed:
            line = self._changed.wait_for(found, seconds)
        if line is None or line.get("end"):
            raise AssertionError(f"the gateway did not say what was waited for:\n{self.log()}")
        return line

    def log(self):
        return "\n".join(json.dumps(line) for line in self.lines)

    def send_signal(self, number):
        self._process.send_signal(number)

    def admin(self, path, method="GET"):
        """What the admin listener answers to whoever holds the token, as text."""
        request = urllib.request.Request(
            self.admin_url + path, method=method, headers={"authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
