"""An upstream that does what the asked model's name says, and counts how often it was asked.

`status-500` answers with that status, `cut` breaks a stream off, `slow` answers once it is released; any other model
answers `hello` at once.
"""

import collections
import http.server
import json
import threading

EMBEDDING = [0.5, -0.25, 1.0]
EMBEDDING_BASE64 = "AAAAPwAAgL4AAIA/"  # the same as little-endian 32-bit floats


class Upstream:
    """Serves on a free port of this machine while its context is open."""

    def __init__(self):
        self._asked, self._changed = collections.Counter(), threading.Condition()
        self._released = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.upstream = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, model):
        """How many requests for this model came here."""
        with self._changed:
            return self._asked[model]

    def wait_until_asked(self, model, seconds=10):
        with self._changed:
            if not self._changed.wait_for(lambda: self._asked[model], seconds):
                raise AssertionError(f"nobody asked for {model}")

    def release(self):
        """Lets `slow` answer."""
        self._released.set()

    def count(self, model):
        with self._changed:
            self._asked[model] += 1
            self._changed.notify_all()

    def wait_for_release(self):
        self._released.wait()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one segment, as other servers send them.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path.startswith("/v1/asked/"):
            self.answer(200, {"asked": self.server.upstream.asked(self.path.removeprefix("/v1/asked/"))})
        elif self.path == "/v1/models":
            model = {"id": "scripted", "object": "model", "created": 1, "owned_by": "tests"}
            self.answer(200, {"object": "list", "data": [model]})
        else:
            self.refuse(404, "no such thing")

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = request["model"]
        self.server.upstream.count(model)
        if model == "slow":
            self.server.upstream.wait_for_release()
        if model.startswith("status-"):
            self.refuse(int(model.removeprefix("status-")[:3]), f"{model} was asked for")
        elif model == "cut":
            self.stream(request, cut=True)
        elif self.path == "/v1/embeddings":
            self.embed(request)
        elif request.get("stream"):
            self.stream(request)
        else:
            message = {"role": "assistant", "content": "hello"}
            self.answer(200, self.completion("chat.completion", model, {"message": message, "finish_reason": "stop"}))

    def embed(self, request):
        vector = EMBEDDING_BASE64 if request.get("encoding_format") == "base64" else EMBEDDING
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self.answer(200, {"object": "list", "data": data, "model": request["model"], "usage": usage})

    def stream(self, request, cut=False):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in ("hel", "lo"):
            choice = {"delta": {"role": "assistant", "content": word}, "finish_reason": None}
            self.chunk(b"data: " + to_json(self.completion("chat.completion.chunk", request["model"], choice)) + b"\n\n")
            if cut:
                self.close_connection = True
                return
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, part):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.flush()

    def completion(self, kind, model, choice):
        choices = [{"index": 0, **choice}]
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model, "choices": choices}

    def refuse(self, status, message):
        self.answer(status, {"error": {"message": message, "type": "scripted", "param": None, "code": "scripted"}})

    def answer(self, status, value):
        body = to_json(value)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", "req_scripted")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def to_json(value):
    return json.dumps(value).encode()
