"""The recording upstream behind a gateway, for clients that are not written in Python: see ../clients/scene.py."""

import json
import sys

import stage
from recording import Recorder, Upstream

if __name__ == "__main__":
    with Upstream(Recorder()) as upstream, stage.gateway(upstream.port, wait="30s", patience="30s", plugins="") as gateway:
        print(json.dumps({"url": gateway.url, "upstream": upstream.url}), flush=True)
        sys.stdin.read()
