"""Requests that share a connection to an HTTP/2 upstream with one that goes wrong: they are answered all the same."""

import concurrent.futures
import threading
import unittest

import answers
import client
import http2
import stage
from case import CHAT, Answer
from cases.answers_http2 import BODY, GOOD, head
from http2 import data, frame, headers
from recording import CLOSE, Pause, Recorder
from recording_http2 import STREAM, Hold, Upstream2

NEIGHBOURS = 20
# All of a connection's first window.
LARGE = answers.BODY[:-1] + b" " * 70_000 + b"}"


class Neighbours(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        upstream = cls.enterClassContext(Upstream2(cls.recorder))
        running = stage.gateway(upstream.port, http2="only", wait="30s", patience="2s", attempts=2, plugins="")
        cls.gateway = cls.enterClassContext(running)

    def assert_neighbours_are_served(self, says, body=answers.BODY, lead=0.2):
        """One request that `says` goes wrong, and neighbours that come `lead` seconds later."""
        bad = Answer("bad", says, "either", BODY, target=CHAT)
        self.recorder.once.add(bad.id)
        good = [Answer(f"neighbour {at}", [Pause(0.4), GOOD], "whole", BODY, target=CHAT) for at in range(NEIGHBOURS)]
        # The connection that all share is there before.
        self.assertEqual(client.next_is_served(bad, self.gateway.port, targets=[CHAT]), [])
        with concurrent.futures.ThreadPoolExecutor(NEIGHBOURS + 1) as pool:
            first = pool.submit(answers.run, bad, self.gateway.port, self.recorder, body)
            threading.Event().wait(lead)
            found = list(pool.map(lambda case: answers.run(case, self.gateway.port, self.recorder), good))
            first.result()
        faults = [f"{case.name}: {fault}" for case, faults in zip(good, found) for fault in faults]
        self.assertEqual(faults, [])

    def test_of_a_head_with_a_malformed_field(self):
        self.assert_neighbours_are_served([Pause(0.4), headers(STREAM, [(":status", "200"), ("X-Upper", "1")])])

    def test_of_a_head_without_a_status(self):
        self.assert_neighbours_are_served([Pause(0.4), headers(STREAM, [("x", "1")])])

    def test_of_a_field_block_that_is_no_hpack(self):
        self.assert_neighbours_are_served([Pause(0.4), frame(http2.HEADERS, http2.END_HEADERS, STREAM, b"\xff" * 9)])

    def test_of_an_end_of_the_connection(self):
        self.assert_neighbours_are_served([Pause(0.4), CLOSE])

    def test_of_a_frame_on_stream_0(self):
        self.assert_neighbours_are_served([Pause(0.4), data(0, b"x")])

    def test_of_a_goaway(self):
        self.assert_neighbours_are_served([Pause(0.4), http2.goaway(0), CLOSE])

    def test_of_an_upload_whose_window_never_grows(self):
        self.assert_neighbours_are_served([Hold, Pause(8)], LARGE)

    def test_of_an_answer_that_breaks_off(self):
        self.assert_neighbours_are_served([Pause(0.3), head(), Pause(0.2), CLOSE])


if __name__ == "__main__":
    unittest.main()
