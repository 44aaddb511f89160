"""Hostile clients over HTTP/2: every case of the table against one gateway, all at once."""

import unittest

import client
import client_http2
import stage
import suite
from cases import http2_requests
from recording import Recorder, Upstream

CASES = http2_requests.CASES


def run():
    recorder = Recorder()
    with Upstream(recorder) as upstream, stage.gateway(upstream.port) as gateway:

        def play(case):
            return client_http2.run(case, gateway.port, recorder) + client.next_is_served(case, gateway.port)

        return suite.played(suite.chosen(CASES), play, recorder)


class HostileClientsOverHttp2(suite.Suite):
    pass


suite.add_tests(HostileClientsOverHttp2, CASES, run)

if __name__ == "__main__":
    unittest.main()
