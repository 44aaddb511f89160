"""Where the clients play: a gateway with redact, guard and rescue before echo and a scripted upstream.

As a program it stages the scene until its standard input ends, for clients that are not written in Python. The one
line it prints tells where everything is.
"""

import contextlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "stage"))

from gateway import ROOT, Gateway
from upstream import Upstream

# Port 1 of this machine, where nothing listens: a connection there is refused at once.
CONFIG = """
[[upstream]]
name = "echo"
kind = "echo"
[[upstream]]
name = "scripted"
base_url = "{scripted}"
first_byte_timeout = "500ms"
breaker = {{ failures = 0 }}
[[upstream]]
name = "gone"
base_url = "http://127.0.0.1:1/v1"
breaker = {{ failures = 0 }}

[[route]]
model = "gone"
upstreams = ["gone"]
retry = {{ attempts = 2, backoff = "1ms" }}
[[route]]
model = "{{scripted,status-*,slow,cut}}"
upstreams = ["scripted"]
retry = {{ attempts = 2, backoff = "1ms" }}

[[plugin]]
name = "redact"
path = "{plugins}/redact"
[[plugin]]
name = "guard"
path = "{plugins}/guard"
config = {{ patterns = ["(?i)launch codes"], message = "We do not talk about those.", code = "no_secrets" }}
[[plugin]]
name = "rescue"
path = "{plugins}/rescue"
config = {{ on = ["connect"], message = "Back in a minute." }}
"""


@contextlib.contextmanager
def scene():
    """The gateway and the upstream behind it."""
    with Upstream() as upstream:
        with Gateway(CONFIG.format(scripted=upstream.url, plugins=ROOT / "plugins")) as gateway:
            yield gateway, upstream


if __name__ == "__main__":
    with scene() as (gateway, upstream):
        print(json.dumps({"url": gateway.url, "upstream": upstream.url}), flush=True)
        sys.stdin.read()
