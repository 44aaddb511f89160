"""The SDK against the recorded frames, byte for byte, and against a gateway that is not patient."""

import contextlib
import io
import json
import sys
import threading
import unittest

from .gateway import FRAMES, SDK, Gateway, hookway, process, recorded

ANSWERS = {
    "continue-unchanged": lambda call: call.proceed(),
    "continue": lambda call: call.proceed(upstream="backup"),
    "patch": lambda call: call.patch(
        {"temperature": 0, "user": None}, headers={"x-a": "1", "x-b": None}, metadata={"seen": True}
    ),
    "json-patch": lambda call: call.json_patch(
        [{"op": "replace", "path": "/messages/0/content", "value": "Call me on ***"}]
    ),
    "replace": lambda call: call.replace({"model": "small", "messages": []}),
    "respond": lambda call: call.respond('{"object":"chat.completion","choices":[]}', headers={"x-cache": "hit"}),
    "reject": lambda call: call.reject(
        "Not with me.", status=400, code="prompt_refused", type="invalid_request_error"
    ),
    "retry": lambda call: call.retry(delay_ms=50, patch={"max_tokens": 16}),
    "fallback": lambda call: call.fallback(model="gpt-4o-mini", upstream="backup"),
}


def sample(answer, threads=0):
    plugin = hookway.Plugin(version="1.2.3", threads=threads)
    plugin.on_request(answer)
    plugin.on_error(answer)
    return plugin


class Recorded(unittest.TestCase):
    def exchange(self, plugin, *names):
        with Gateway(plugin.run) as gateway:
            for sent, expected in zip(names[::2], names[1::2]):
                gateway.send(recorded(sent))
                self.assertEqual(gateway.exactly(len(recorded(expected))), recorded(expected), (sent, expected))

    def test_each_verdict_leaves_as_it_was_recorded(self):
        for name, answer in ANSWERS.items():
            call = "call-on-error" if name in ("retry", "fallback") else "call"
            for threads in (0, 2):
                self.exchange(sample(answer, threads), "hello", "ready", call, name)

    def test_link_frames_are_answered_as_recorded(self):
        plugin = sample(ANSWERS["continue-unchanged"])
        self.exchange(plugin, "hello", "ready", "ping", "pong", "configure", "configured", "ping", "pong")
        self.assertEqual(plugin.config, {"replacement": "[masked]"})

    def test_a_log_line_leaves_as_it_was_recorded(self):
        def log(call):
            plugin.log("warn", "pattern 2 matched everything", pattern=".*")

        plugin = sample(log)
        self.exchange(plugin, "hello", "ready", "call", "log")

    def test_a_handler_that_raises_fails_its_call_alone(self):
        def boom(call):
            raise RuntimeError("boom")

        with contextlib.redirect_stderr(io.StringIO()) as stderr, Gateway(sample(boom).run) as gateway:
            gateway.hello()
            self.assertEqual(gateway.ask(1), ({"code": "error", "message": "RuntimeError: boom"}, b""))
            gateway.send(recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG)
        self.assertIn("Traceback", stderr.getvalue())

    def test_calls_read_as_recorded(self):
        seen = []
        with Gateway(sample(seen.append).run) as gateway:
            for name in ("hello", "call", "call-in-parts", "call-on-error"):
                gateway.send(recorded(name))
                gateway.receive()
        whole, parts, failed = seen
        self.assertEqual(whole.body, parts.body)
        self.assertEqual(whole.json()["messages"][0]["content"], "Call me on 030 1234567")
        self.assertEqual((whole.model, whole.stream, whole.generation), ("gpt-4o", False, 3))
        self.assertEqual((whole.headers, whole.metadata), ({"x-team": "red"}, {"tier": "free"}))
        self.assertIsNone(whole.failure)
        self.assertEqual((failed.failure.cause, failed.failure.attempt, failed.failure.willRetry), ("429", 2, False))

    def test_bad_frames_end_the_link_with_a_protocol_error(self):
        for bad in sorted(FRAMES.glob("bad/*.hex")):
            gateway = Gateway(sample(ANSWERS["patch"]).run)
            gateway.hello()
            gateway.send(recorded(f"bad/{bad.stem}"))
            kind, ident, _, code, _, _ = gateway.receive()
            self.assertEqual((kind, ident, code), (hookway.ERROR, 0, hookway.ERRORS["protocol"]), bad.stem)
            with gateway:
                gateway.join()
                self.assertIn("bad frame", gateway.ended)


class Serving(unittest.TestCase):
    def test_a_body_of_many_parts_goes_both_ways_and_is_granted_credit(self):
        body, granted = bytes(range(256)) * 12288, 0
        with Gateway(sample(lambda call: call.replace(call.body)).run) as gateway:
            gateway.hello()
            sender = threading.Thread(target=gateway.call, args=(7, body))
            sender.start()
            kind, got = hookway.CREDIT, b""
            while len(got) < len(body):
                kind, ident, _, _, meta, part = gateway.receive()
                self.assertEqual(ident, 7)
                granted += json.loads(meta)["bytes"] if kind == hookway.CREDIT else 0
                got += part
            sender.join()
        self.assertEqual(got, body)
        self.assertGreaterEqual(granted + hookway.CREDIT_BYTES, len(body))

    def test_a_patch_too_large_for_a_frame_travels_as_body(self):
        patch = {"messages": "x" * (3 << 19)}
        with Gateway(sample(lambda call: call.patch(patch, metadata={"n": 1})).run) as gateway:
            gateway.hello(maxVerdictBytes=4 << 20)
            meta, body = gateway.ask(1)
        self.assertEqual((meta, json.loads(body)), ({"action": "patch", "metadata": {"n": 1}}, patch))

    def test_a_verdict_beyond_the_limit_is_an_error_that_names_it(self):
        with Gateway(sample(lambda call: call.replace(b"x" * 2000)).run) as gateway:
            gateway.hello(maxVerdictBytes=1000)
            meta, _ = gateway.ask(1)
        self.assertEqual(meta["message"], "a verdict of 2020 bytes, the limit is 1000, without its body 983040")

    def test_only_hooks_with_a_handler_are_served(self):
        plugin = hookway.Plugin()
        plugin.on_error(ANSWERS["fallback"])
        with Gateway(plugin.run) as gateway:
            self.assertEqual(json.loads(gateway.hello()[4])["hooks"], ["onError"])
            self.assertEqual(gateway.ask(1)[0]["code"], "unsupported")

    def test_a_refused_config_ends_the_start_and_is_passed_over_later(self):
        def configured(config):
            if config.get("bad"):
                raise ValueError("bad is bad")

        plugin = sample(ANSWERS["continue-unchanged"])
        plugin.on_configure(configured)
        with Gateway(plugin.run) as gateway:
            self.assertEqual(json.loads(gateway.hello({"bad": 1})[4])["message"], "config: bad is bad")
        self.assertEqual(gateway.ended, "config: bad is bad")
        with Gateway(plugin.run) as gateway:
            gateway.hello({"good": 1})
            gateway.send(hookway.frame(hookway.CONFIGURE, 5, meta=b'{"config":{"bad":1}}'))
            self.assertEqual(json.loads(gateway.receive()[4])["message"], "config: bad is bad")
        self.assertEqual(plugin.config, {"good": 1})

    def test_a_gateway_of_another_protocol_is_told_both_versions(self):
        with Gateway(sample(ANSWERS["patch"]).run) as gateway:
            _, _, _, code, meta, _ = gateway.hello(protocols=[2, 3])
        message = "the gateway speaks protocols [2, 3], this plugin 1"
        self.assertEqual((code, json.loads(meta)["message"]), (4, message))

    def test_shutdown_ends_it(self):
        gateway = Gateway(sample(ANSWERS["patch"]).run)
        gateway.hello()
        gateway.send(recorded("drain") + recorded("shutdown"))
        with gateway:
            gateway.join()

    def test_with_threads_a_waiting_call_is_overtaken(self):
        done = threading.Event()

        def handler(call):
            if call.request_id == "r1":
                done.wait(10)

        with Gateway(sample(handler, threads=2).run) as gateway:
            gateway.hello()
            gateway.call(1)
            self.assertEqual(gateway.ask(2), (None, b""))
            done.set()
            self.assertEqual(gateway.verdict(1), (None, b""))

    def test_with_threads_a_call_cancelled_before_its_turn_is_not_run(self):
        waiting, done, ran = threading.Event(), threading.Event(), []

        def handler(call):
            ran.append(call.request_id)
            waiting.set()
            done.wait(10)

        with Gateway(sample(handler, threads=1).run) as gateway:
            gateway.hello()
            gateway.call(1)
            gateway.call(2)
            waiting.wait(10)
            gateway.send(hookway.frame(hookway.CANCEL, 2) + recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG)
            done.set()
            self.assertEqual(gateway.verdict(1), (None, b""))
            self.assertEqual(gateway.ask(3), (None, b""))
        self.assertEqual(ran, ["r1", "r3"])

    def test_a_body_with_a_number_longer_than_python_reads_is_read(self):
        body = b'{"seed":%s,"n":3}' % (b"9" * 5_000)
        self.assertEqual(hookway.Call(1, 1, b"{}", body).json(), {"seed": float("inf"), "n": 3})
        self.assertIsInstance(hookway.Call(1, 1, b"{}", body).json()["n"], int)
        pointers = b'{"pointers":{"/seed":%s}}' % (b"9" * 5_000)
        self.assertEqual(hookway.Call(1, 1, pointers, b"").pointers, {"/seed": float("inf")})
        with self.assertRaises(ValueError):
            hookway.Call(1, 1, b"{}", b"{").json()

    def test_text_that_utf_8_cannot_hold_stays_escaped(self):
        self.assertEqual(hookway.to_json({"a": "\u00e9"}), '{"a":"\u00e9"}'.encode())
        self.assertEqual(hookway.to_json({"a": "\ud83d"}), b'{"a":"\\ud83d"}')


class Processes(unittest.TestCase):
    """The Python plugins of this repository, started as the gateway starts them."""

    def test_redact_masks_a_large_prompt_as_a_process(self):
        filler = "lorem ipsum dolor sit amet " * 100_000
        request = {"messages": [{"role": "user", "content": filler + "ada@example.com"}]}
        with Gateway(process(SDK.parents[1] / "redact" / "redact.py", sys.executable)) as gateway:
            gateway.hello({"replacement": "[gone]"}, hooks=["onRequest"], maxVerdictBytes=50 << 20)
            sender = threading.Thread(target=gateway.call, args=(1, hookway.to_json(request)))
            sender.start()
            meta, body = gateway.verdict(1)
            sender.join()
            patch = [{"op": "replace", "path": "/messages/0/content", "value": filler + "[gone]"}]
            self.assertEqual((meta["action"], json.loads(body)), ("patch", patch))
            gateway.send(recorded("shutdown"))
            gateway.join()
        self.assertIsNone(gateway.ended)

    def test_rescue_answers_a_failure_as_a_process(self):
        with Gateway(process(SDK.parents[1] / "rescue" / "rescue.py", sys.executable)) as gateway:
            self.assertEqual(json.loads(gateway.hello()[4])["hooks"], ["onError"])
            gateway.send(recorded("call-on-error"))
            meta, body = gateway.verdict(1)
        self.assertEqual((meta["action"], json.loads(body)["object"]), ("respond", "chat.completion"))

    def test_a_refused_config_is_the_exit_of_the_process(self):
        with Gateway(process(SDK.parents[1] / "redact" / "redact.py", sys.executable)) as gateway:
            error = json.loads(gateway.hello({"kinds": ["ssn"]})[4])
        self.assertEqual(error["message"], "config: kinds: 'ssn' is not one of email, phone, card")
        self.assertEqual(gateway.ended, 1)


class Minimal(unittest.TestCase):
    """The plugin without an SDK keeps the protocol too."""

    def test_it_shakes_hands_judges_and_ends(self):
        import minimal

        def prompt(text):
            return {"messages": [{"role": "user", "content": text}]}

        with Gateway(minimal.serve) as gateway:
            self.assertEqual(gateway.hello()[0], hookway.READY)
            self.assertEqual(gateway.ask(1, prompt("hello")), (None, b""))
            self.assertEqual(gateway.ask(2, prompt("a bomb"))[0]["error"]["code"], "prompt_refused")
            self.assertEqual(gateway.ask(3, prompt("x" * 500_000)), (None, b""))
            gateway.send(recorded("ping"))
            self.assertEqual(gateway.exactly(16), recorded("pong"))
            gateway.send(recorded("configure"))
            self.assertEqual(gateway.exactly(16), recorded("configured"))
            gateway.send(recorded("shutdown"))
            gateway.join()


if __name__ == "__main__":
    unittest.main()
