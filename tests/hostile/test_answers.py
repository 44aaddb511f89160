"""Hostile upstreams: every case of the tables against one gateway, all at once."""

import unittest

import answers
import stage
import suite
from cases import answers as over_http1
from recording import Recorder, Upstream

CASES = over_http1.CASES


def run():
    recorder = Recorder()
    # Longer than any case takes to answer, shorter than those wait that never do.
    with Upstream(recorder) as upstream, stage.gateway(upstream.port, wait="10s", patience="3s") as gateway:

        def play(case):
            return answers.run(case, gateway.port, recorder) + answers.next_are_served(case, gateway.port)

        return suite.played(suite.chosen(CASES), play, recorder)


class HostileUpstreams(suite.Suite):
    pass


suite.add_tests(HostileUpstreams, CASES, run)

if __name__ == "__main__":
    unittest.main()
