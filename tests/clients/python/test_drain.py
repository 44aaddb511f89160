"""A gateway that is told to stop finishes what it has and turns away what comes."""

import concurrent.futures
import pathlib
import signal
import sys
import unittest

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "stage"))

from gateway import Gateway
from upstream import Upstream


class Drain(unittest.TestCase):
    def test_what_is_in_flight_is_answered_and_who_comes_then_is_turned_away_at_once(self):
        chat = {"model": "slow", "messages": [{"role": "user", "content": "hi"}]}
        with (
            Upstream() as upstream,
            Gateway(f'[[upstream]]\nname = "scripted"\nbase_url = "{upstream.url}"\n') as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as late,
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            answer = pool.submit(client.chat.completions.create, **chat)
            upstream.wait_until_asked("slow")
            gateway.send_signal(signal.SIGTERM)
            gateway.wait_for_line(lambda line: line.get("message") == "shutting down")
            self.assert_turned_away(lambda: late.chat.completions.create(**chat))
            upstream.release()
            self.assertEqual(answer.result().choices[0].message.content, "hello")
            gateway.wait_for_line(lambda line: line.get("message") == "stopped, every request was served to its end")

    def assert_turned_away(self, call):
        """Told so by a gateway that had taken the connection already, or not connected at all."""
        with self.assertRaises((openai.InternalServerError, openai.APIConnectionError)) as raised:
            call()
        self.assertNotIsInstance(raised.exception, openai.APITimeoutError)
        if isinstance(raised.exception, openai.InternalServerError):
            self.assertEqual(raised.exception.code, "draining")


if __name__ == "__main__":
    unittest.main()
