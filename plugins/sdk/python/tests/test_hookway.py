"""The SDK against the recorded frames, byte for byte, and against a gateway that is not patient."""

import asyncio
import contextlib
import functools
import io
import json
import sys
import threading
import time
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


NO_VERDICT = "return a verdict, which is one of call.proceed(), call.patch(...), call.replace(...), call.respond(...) or call.reject(...)"


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
            for threads, ready in ((0, "ready"), (2, "ready-in-flight")):
                self.exchange(sample(answer, threads), "hello", ready, call, name)

    def test_link_frames_are_answered_as_recorded(self):
        plugin = sample(ANSWERS["continue-unchanged"])
        self.exchange(plugin, "hello", "ready", "ping", "pong", "configure", "configured", "ping", "pong")
        self.assertEqual(plugin.config, {"replacement": "[masked]"})

    def test_a_log_line_leaves_as_it_was_recorded(self):
        def log(call):
            plugin.log("warn", "pattern 2 matched everything", pattern=".*")
            return call.proceed()

        plugin = sample(log)
        self.exchange(plugin, "hello", "ready", "call", "log")

    def test_calls_read_as_recorded(self):
        seen = []

        def see(call):
            seen.append(call)
            return call.proceed()

        with Gateway(sample(see).run) as gateway:
            for name in ("hello", "call", "call-in-parts", "call-on-error"):
                gateway.send(recorded(name))
                gateway.receive()
        whole, parts, failed = seen
        self.assertEqual(whole.body, parts.body)
        self.assertEqual(whole.json()["messages"][0]["content"], "Call me on 030 1234567")
        self.assertEqual((whole.model, whole.stream, whole.generation), ("gpt-4o", False, 3))
        self.assertEqual((whole.headers, whole.metadata), ({"x-team": "red"}, {"tier": "free"}))
        self.assertEqual((whole.method, whole.path, whole.key_id), ("POST", "/v1/chat/completions", None))
        self.assertIsNone(whole.failure)
        self.assertEqual((failed.failure.cause, failed.failure.attempt, failed.failure.willRetry), ("429", 2, False))

    def test_the_caller_s_key_is_known_by_its_id(self):
        with Gateway(sample(lambda call: call.proceed(metadata={"key": call.key_id})).run) as gateway:
            gateway.hello()
            self.assertEqual(gateway.ask(1, keyId="9f86d081884c")[0]["metadata"], {"key": "9f86d081884c"})

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
            return call.proceed()

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
            return call.proceed()

        with Gateway(sample(handler, threads=1).run) as gateway:
            gateway.hello()
            gateway.call(1)
            gateway.call(2)
            waiting.wait(10)
            gateway.send(hookway.frame(hookway.CANCEL, 2) + recorded("ping"))
            self.assertEqual([gateway.receive()[0] for _ in range(2)], [hookway.LOG, hookway.PONG])
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


class SideBySide(unittest.TestCase):
    """Several calls at once."""

    def test_by_default_eight_handlers_run_at_the_same_time_and_the_gateway_is_told(self):
        eight = threading.Barrier(8)

        def meet(call):
            eight.wait(10)
            return call.proceed()

        plugin = hookway.Plugin()
        plugin.on_request(meet)
        with Gateway(plugin.run) as gateway:
            self.assertEqual(json.loads(gateway.hello()[4])["maxInFlight"], 8)
            for ident in range(1, 9):
                gateway.call(ident)
            answered = {gateway.receive()[1] for _ in range(8)}
        self.assertEqual(answered, set(range(1, 9)))

    def test_no_more_calls_are_asked_for_than_the_gateway_offers(self):
        with Gateway(sample(ANSWERS["patch"], threads=8).run) as gateway:
            self.assertEqual(json.loads(gateway.hello(maxInFlight=3)[4])["maxInFlight"], 3)

    def test_a_thread_is_started_when_a_call_finds_none_idle(self):
        with Gateway(sample(ANSWERS["patch"], threads=8).run) as gateway:
            gateway.hello()
            before = threading.active_count()
            for ident in range(1, 30):
                gateway.ask(ident)
            self.assertLessEqual(threading.active_count() - before, 2)

    def test_async_handlers_run_in_one_loop_as_many_as_the_gateway_likes(self):
        loops, all_there = set(), []

        async def handler(call):
            loops.add(asyncio.get_running_loop())
            all_there.append(call.request_id)
            while len(all_there) < 20:
                await asyncio.sleep(0.001)
            return call.proceed(metadata={"async": True})

        for threads in (0, 8):
            all_there.clear()
            with Gateway(sample(handler, threads).run) as gateway:
                self.assertNotIn("maxInFlight", json.loads(gateway.hello()[4]))
                for ident in range(1, 21):
                    gateway.call(ident)
                answered = {gateway.receive()[1] for _ in range(20)}
            self.assertEqual(answered, set(range(1, 21)))
        self.assertEqual(len(loops), 2)

    def test_an_async_handler_is_stopped_when_its_call_is_cancelled(self):
        began, stopped = threading.Event(), threading.Event()

        async def handler(call):
            try:
                began.set()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.set()
                raise

        with Gateway(sample(handler, threads=8).run) as gateway:
            gateway.hello()
            gateway.call(1)
            began.wait(10)
            gateway.send(hookway.frame(hookway.CANCEL, 1) + recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG)
            self.assertTrue(stopped.wait(10))

    def test_a_handler_may_return_what_can_be_awaited_and_on_configure_may_be_async(self):
        configs = []

        async def later(call):
            return call.reject("not now")

        plugin = sample(functools.partial(later), threads=1)

        @plugin.on_configure
        async def configured(config):
            await asyncio.sleep(0)
            if config.get("bad"):
                raise ValueError("bad is bad")
            configs.append(config)

        with Gateway(plugin.run) as gateway:
            gateway.hello({"good": 1})
            self.assertEqual(gateway.ask(1)[0]["error"], {"message": "not now"})
        self.assertEqual(configs, [{"good": 1}])
        with Gateway(plugin.run) as gateway:
            self.assertEqual(json.loads(gateway.hello({"bad": 1})[4])["message"], "config: bad is bad")

    def test_a_call_that_waited_for_another_until_it_was_given_up_is_said_to_have_been_queued(self):
        began, done = threading.Event(), threading.Event()

        def handler(call):
            began.set()
            done.wait(10)
            return call.proceed()

        with Gateway(sample(handler, threads=1).run) as gateway:
            gateway.hello()
            gateway.call(1, budgetMs=250)
            began.wait(10)
            gateway.call(2, budgetMs=250)
            gateway.call(3, budgetMs=250)
            gateway.send(hookway.frame(hookway.CANCEL, 2) + hookway.frame(hookway.CANCEL, 3))
            kind, _, _, _, meta, _ = gateway.receive()
            gateway.send(recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG, "it is said once in a while, not for each call")
            done.set()
        line = json.loads(meta)
        self.assertEqual((kind, line["level"]), (hookway.LOG, "warn"))
        self.assertRegex(
            line["text"],
            r"^a call was queued behind another call for \d+ ms, until the gateway gave it up; "
            r"make the handler quicker, or use Plugin\(threads=8\)$",
        )
        self.assertEqual(line["fields"], {"requestId": "r2", "calls": 1, "threads": 1})

    def test_without_threads_a_call_cancelled_while_another_ran_is_not_run_and_is_said_to_have_been_queued(self):
        began, ran = threading.Event(), []

        def handler(call):
            ran.append(call.request_id)
            began.set()
            cancelled.wait(10)
            return call.proceed()

        cancelled = threading.Event()
        with Gateway(sample(handler).run) as gateway:
            gateway.hello()
            gateway.call(1)
            began.wait(10)
            gateway.call(2, budgetMs=250)
            gateway.send(hookway.frame(hookway.CANCEL, 2))
            time.sleep(0.002)  # the handler is not quick
            cancelled.set()
            self.assertEqual(gateway.verdict(1), (None, b""))
            self.assertEqual(gateway.ask(3), (None, b""))
            (line,) = gateway.logged
        self.assertEqual(ran, ["r1", "r3"])
        self.assertIn("queued behind another call", line["text"])

    def test_a_call_that_was_cancelled_while_its_handler_ran_is_not_said_to_have_been_queued(self):
        began, done = threading.Event(), threading.Event()

        def handler(call):
            began.set()
            done.wait(10)
            return call.proceed()

        with Gateway(sample(handler, threads=1).run) as gateway:
            gateway.hello()
            gateway.call(1, budgetMs=60_000)
            began.wait(10)
            gateway.send(hookway.frame(hookway.CANCEL, 1) + recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG)
            done.set()


class Failing(unittest.TestCase):
    """What an author reads who made a mistake."""

    def message(self, handler, code=1):
        with contextlib.redirect_stderr(io.StringIO()) as stderr, Gateway(sample(handler).run) as gateway:
            gateway.hello()
            meta, body = gateway.ask(1, code=code, cause="timeout")
            gateway.send(recorded("ping"))
            self.assertEqual(gateway.receive()[0], hookway.PONG, "its call fails and no other")
        self.assertEqual((meta["code"], body), ("error", b""))
        self.stderr = stderr.getvalue()
        return meta["message"]

    def test_a_handler_that_raises_is_named_with_the_error_and_its_line(self):
        def boom(call):
            return json.loads("{")["messages"]

        line = boom.__code__.co_firstlineno
        message = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
        expected = (
            f"onRequest handler boom (test_hookway.py:{line}) raised JSONDecodeError: {message}, "
            f"in test_hookway.py:{line + 1}"
        )
        self.assertEqual(self.message(boom), expected)
        self.assertIn("Traceback", self.stderr)

        async def later(call):
            raise KeyError("messages")

        self.assertIn("onError handler later (test_hookway.py:", self.message(later, code=4))

    def test_what_is_no_verdict_is_refused_with_what_to_return(self):
        for value, told in (
            (None, f"returned None: {NO_VERDICT}"),
            (True, f"returned True: {NO_VERDICT}"),
            ("no", f"returned a value of type str: {NO_VERDICT}"),
            (({}, b""), f"returned a value of type tuple: {NO_VERDICT}"),
            (
                {"model": "small"},
                "returned a dict: that is no verdict; return call.patch({...}) or call.replace({...}), "
                "or call.proceed() to change nothing",
            ),
        ):
            def wrong(call, value=value):
                return value

            message = self.message(wrong)
            self.assertEqual(message, f"onRequest handler wrong (test_hookway.py:{wrong.__code__.co_firstlineno}) {told}")
            self.assertIn(message, self.stderr)

        self.assertIn("call.retry(...) or call.fallback(...)", self.message(lambda call: False, code=4))

    def test_a_verdict_that_is_not_returned_is_named(self):
        def forgets(call):
            call.reject("no", status=400)

        self.assertIn(
            "returned None: it made a verdict and did not return it; write `return call.reject(...)`",
            self.message(forgets),
        )
        self.assertIn("`return call.json_patch(...)`", self.message(lambda call: call.json_patch([]) and None))

    def test_an_unknown_keyword_is_an_error_that_names_it(self):
        for call, keyword in (
            (lambda call: call.proceed(header={}), "header"),
            (lambda call: call.patch({}, statsu=1), "statsu"),
            (lambda call: call.json_patch([], model="a", code="b"), "code"),
            (lambda call: call.replace({}, status=200), "status"),
            (lambda call: call.respond({}, model="a"), "model"),
            (lambda call: call.reject("no", mesage="x"), "mesage"),
            (lambda call: call.retry(delayMs=5), "delayMs"),
            (lambda call: call.fallback(modell="a"), "modell"),
        ):
            self.assertIn(f"got an unexpected keyword argument '{keyword}'", self.message(call))
        with self.assertRaises(TypeError):
            hookway.Plugin(thread=8)
        for threads in (-1, None, "8"):
            with self.assertRaises(ValueError):
                hookway.Plugin(threads=threads)

    def test_what_the_protocol_wants_as_text_is_refused_here_with_its_name(self):
        told = "headers: 'x-n' has to be text, or None to remove it, not 3"
        self.assertIn(told, self.message(lambda call: call.proceed(headers={"x-n": 3})))
        self.assertIn("call.reject: code has to be text, not 7", self.message(lambda call: call.reject("no", code=7)))
        with self.assertRaises(ValueError) as refused:
            hookway.Plugin().log("warning", "x")
        self.assertEqual(str(refused.exception), "level 'warning' is not one of debug, info, warn, error")

    def test_a_verdict_that_is_no_json_names_its_handler(self):
        message = self.message(lambda call: call.patch({"a": object()}))
        self.assertIn("its verdict cannot be written as JSON: Object of type object is not", message)

    def test_a_handler_that_exits_or_says_too_much_fails_its_call_alone(self):
        self.assertIn("raised SystemExit: 3", self.message(lambda call: sys.exit(3)))

        def verbose(call):
            raise ValueError("x" * (2 << 20))

        self.assertEqual(len(self.message(verbose)), hookway.MESSAGE_CHARACTERS)


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
