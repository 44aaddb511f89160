"""Hostile clients over HTTP/1.1: every case of the tables against one gateway, all at once."""

import unittest

import client
import stage
import suite
from cases import bodies, chunks, connections, early, fields, lengths, request_lines, targets
from recording import Recorder, Upstream

CASES = [
    *request_lines.CASES,
    *targets.CASES,
    *fields.CASES,
    *lengths.CASES,
    *chunks.CASES,
    *bodies.CASES,
    *connections.CASES,
    *early.CASES,
]


def run():
    recorder = Recorder()
    with Upstream(recorder) as upstream, stage.gateway(upstream.port) as gateway:

        def play(case):
            return client.run(case, gateway.port, recorder) + client.next_is_served(case, gateway.port)

        return suite.played(suite.chosen(CASES), play, recorder)


class HostileClients(suite.Suite):
    pass


suite.add_tests(HostileClients, CASES, run)

if __name__ == "__main__":
    unittest.main()
