"""Prometheus itself scrapes the gateway, with the repository's own configuration for it."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "stage"))

from gateway import ROOT, Gateway

SCRAPED_SECONDS = 60
CONFIG = f"""
[[plugin]]
name = "redact"
path = "{ROOT}/plugins/redact"
"""
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "ann@example.com"}]}


class Prometheus:
    """A Prometheus that scrapes `gateway` each second. It takes a free port and tells it in its log."""

    def __init__(self, gateway):
        self._folder = tempfile.TemporaryDirectory(prefix="hookway-prometheus-")
        self.folder = pathlib.Path(self._folder.name)
        shutil.copy(gateway.token_file, self.folder / "admin.token")
        shipped = (ROOT / "config/prometheus.yml").read_text()
        own = shipped.replace("127.0.0.1:8081", gateway.admin_url.removeprefix("http://")).replace("15s", "1s")
        (self.folder / "prometheus.yml").write_text(own)

    def __enter__(self):
        command = ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        command += ["--web.listen-address=127.0.0.1:0", "--log.format=json"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        log = []
        for line in self._process.stderr:
            log.append(line)
            said = json.loads(line)
            if said.get("msg") == "Listening on":
                self.url = f"http://{said['address']}"
                break
        else:
            raise AssertionError("Prometheus did not start:\n" + "".join(log))
        # It would die of a log that nobody reads.
        self._log = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._log.start()
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)
        self._log.join()
        self._process.stderr.close()
        self._folder.cleanup()

    def ask(self, path, **query):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def until(self, ask, wanted):
        """The first answer of `ask` that is `wanted`. Prometheus tells nobody when it scraped, so it is asked."""
        answer, end = None, time.monotonic() + SCRAPED_SECONDS
        while time.monotonic() < end:
            try:
                answer = ask()
            except urllib.error.URLError:  # it serves its API only once it has started
                pass
            if wanted(answer):
                return answer
            time.sleep(0.1)
        raise AssertionError(f"not within {SCRAPED_SECONDS} s; the last answer was {answer}")


class Scrape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gateway = cls.enterClassContext(Gateway(CONFIG))
        chat = urllib.request.Request(
            f"{cls.gateway.url}/v1/chat/completions",
            data=json.dumps(CHAT).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(chat, timeout=10) as answer:
            answer.read()

    def test_prometheus_scrapes_with_the_token_and_finds_the_series(self):
        with Prometheus(self.gateway) as prometheus:
            targets = lambda: prometheus.ask("targets")["activeTargets"]
            [target] = prometheus.until(targets, lambda found: found and found[0]["health"] != "unknown")
            self.assertEqual((target["health"], target["lastError"]), ("up", ""))
            query = lambda: prometheus.ask("query", query='hookway_requests_total{outcome="ok"} > 0')["result"]
            [series] = prometheus.until(query, bool)
            self.assertEqual(series["metric"]["endpoint"], "chat.completions")
            self.assertEqual(series["value"][1], "1")

    def test_promtool_finds_nothing_to_say_of_the_metrics(self):
        metrics = self.gateway.admin("/metrics")
        checked = subprocess.run(["promtool", "check", "metrics"], input=metrics, text=True, capture_output=True)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""))
        self.assertIn('hookway_hook_calls_total{hook="onRequest",outcome="patch",plugin="redact"} 1', metrics)

    def test_promtool_takes_the_shipped_configuration_beside_a_token(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(ROOT / "config/prometheus.yml", folder)
            shutil.copy(self.gateway.token_file, folder)
            command = ["promtool", "check", "config", f"{folder}/prometheus.yml"]
            checked = subprocess.run(command, text=True, capture_output=True)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
