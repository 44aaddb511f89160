"""What the suites share: a gateway before recording upstreams, with limits short enough to see their ends."""

import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "stage"))

from gateway import OWN, ROOT, Gateway

LIMITS = """
[limits]
header_timeout = "{wait}"
body_timeout = "{wait}"
idle_timeout = "{wait}"
"""

# The upstream at place 0 serves what is passed through, and every model but those that name another place.
UPSTREAM = """
[[upstream]]
name = "recording-{place}"
base_url = "http://127.0.0.1:{port}/v1"
http2 = "{http2}"
first_byte_timeout = "{patience}"
chunk_timeout = "{patience}"
breaker = {{ failures = 0 }}
"""

ROUTE = """
[[route]]
model = "{model}"
upstreams = ["recording-{place}"]
retry = {{ attempts = {attempts} }}
"""

GUARD = f"""
[[plugin]]
name = "guard"
path = "{ROOT}/plugins/guard"
config = {{ patterns = ["forbidden"] }}
"""


@contextlib.contextmanager
def gateway(*ports, http2="never", wait="3s", patience="5s", attempts=1, plugins=GUARD, tls=None):
    """A gateway before the upstreams on these ports. Gives it with the port of its data plane.

    `tls` is the folder with its cert.pem and key.pem.
    """
    own = OWN.replace("[listen]", f'[listen]\ntls = {{ cert = "{tls}/cert.pem", key = "{tls}/key.pem" }}') if tls else OWN
    places = list(enumerate(ports))
    config = LIMITS.format(wait=wait)
    for place, port in places:
        config += UPSTREAM.format(place=place, port=port, http2=http2, patience=patience)
    for place, _ in places[::-1]:
        config += ROUTE.format(model=f"place-{place}" if place else "*", place=place, attempts=attempts)
    with Gateway(config + plugins, own) as running:
        running.port = int(running.url.rpartition(":")[2])
        yield running
