"""Hostile upstreams over HTTP/2. What ends a connection ends it for all who share it, so that cases at the same time have
upstreams of their own: the first one is for uploads, those behind it are for chats."""

import contextlib
import queue
import unittest

import answers
import stage
import suite
from case import FILES
from cases import answers_http2
from recording import Recorder
from recording_http2 import Upstream2

CASES = answers_http2.CASES
PLACES = 8


def run():
    recorder = Recorder()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(Upstream2(recorder)).port for _ in range(PLACES)]
        gateway = stack.enter_context(stage.gateway(*ports, http2="only", wait="10s", patience="2s"))
        uploads, chats = queue.SimpleQueue(), queue.SimpleQueue()
        uploads.put(0)
        for place in range(1, PLACES):
            chats.put(place)

        def play(case):
            places = uploads if case.target == FILES else chats
            place = places.get()
            try:
                body = answers.at(place)
                faults = answers.run(case, gateway.port, recorder, body)
                return faults + answers.next_are_served(case, gateway.port, body, [case.target])
            finally:
                places.put(place)

        return suite.played(suite.chosen(CASES), play, recorder, at_once=PLACES + 4)


class HostileUpstreamsOverHttp2(suite.Suite):
    pass


suite.add_tests(HostileUpstreamsOverHttp2, CASES, run)

if __name__ == "__main__":
    unittest.main()
