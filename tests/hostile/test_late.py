"""Bytes that an upstream sends on a connection it shares with nobody any more: they answer no request.

One at a time: what comes behind an answer has to be there before the next client asks.
"""

import unittest

import answers
import client
import stage
from case import CHAT, FILES, Answer
from cases.answers import GOOD, LAST, POISON, chunk
from recording import CLOSE, Pause, Recorder, Upstream

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nx-case: poison\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"{}") + LAST
WAIT = Pause(0.05)


class BytesBehindAnAnswer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.upstream = cls.enterClassContext(Upstream(cls.recorder))
        cls.gateway = cls.enterClassContext(stage.gateway(cls.upstream.port, plugins=""))

    def assert_nobody_gets(self, says, want=b'{"ok":"{case-id}"}'):
        for target in (FILES, CHAT):
            case = Answer("late", says, "whole", want, target=target)
            with self.subTest(target=target):
                self.assertEqual(answers.run(case, self.gateway.port, self.recorder), [])
                self.assertTrue(self.recorder.wait_until_played(case.id))
                self.assertEqual(client.next_is_served(case, self.gateway.port), [])

    def test_another_answer_goes_to_nobody(self):
        self.assert_nobody_gets([GOOD, WAIT, POISON, WAIT])

    def test_another_answer_behind_chunks_goes_to_nobody(self):
        self.assert_nobody_gets([IN_CHUNKS, WAIT, POISON, WAIT], b"{}")

    def test_a_408_on_an_idle_connection_goes_to_nobody(self):
        self.assert_nobody_gets([GOOD, WAIT, TIMED_OUT, WAIT, CLOSE])

    def test_garbage_goes_to_nobody(self):
        self.assert_nobody_gets([GOOD, WAIT, b"garbage", WAIT])

    def test_an_interim_answer_goes_to_nobody(self):
        self.assert_nobody_gets([GOOD, WAIT, b"HTTP/1.1 100 Continue\r\n\r\n" + POISON, WAIT])

    def test_an_end_costs_nobody_an_answer(self):
        self.assert_nobody_gets([GOOD, WAIT, CLOSE])


if __name__ == "__main__":
    unittest.main()
