#!/usr/bin/env python3
"""Uploads without a length in every segmentation, beside chats: every body has to arrive as it was sent.

    python3 tests/hostile/campaign.py [--uploads 500] [--chats 5000] [--seed 1]

Half of the uploads are chunked HTTP/1.1, half are HTTP/2 without a content-length. The upstream answers with the digest
of what it got. Counted as a failure: another digest, another status than 200, the answer to another client, a request
that reached the upstream twice or not whole, and bytes at the upstream that are no request. The exit code is 1 if
there was any.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import random
import sys
import threading
import time

import client
import client_http2
import http1
import http2
import stage
from case import CHAT, FILES, Pause, chunk, head
from recording import Recorder, Upstream

UPLOADERS, CHATTERS = 8, 4
ANSWER_SECONDS = 60
BLINK = Pause(0.002)
LAST = b"0\r\n\r\n"


def cut(data, rng, largest):
    """The data in parts of random sizes."""
    at, parts = 0, []
    while at < len(data):
        size = rng.randint(1, largest)
        parts.append(data[at : at + size])
        at += size
    return parts


def chunks(body, rng, largest):
    return b"".join(map(chunk, cut(body, rng, largest)))


# How chunked bodies are segmented over HTTP/1.1: the size of the body, and its segments behind the head.


def byte_at_a_time(rng):
    body = rng.randbytes(rng.randint(1, 200))
    wire = chunks(body, rng, 20) + LAST
    return body, [b"", *[wire[at : at + 1] for at in range(len(wire))]]


def heads_cut(rng):
    body = rng.randbytes(rng.randint(20, 100_000))
    segments, kept = [], b""
    for part in cut(body, rng, 30_000):
        size = b"%x\r\n" % len(part)
        at = rng.randint(1, len(size) - 1)
        segments += [kept + size[:at], BLINK]
        kept = size[at:] + part + b"\r\n"
    return body, [b"", *segments, kept + LAST]


def ends_cut(rng):
    body = rng.randbytes(rng.randint(1, 50_000))
    at = rng.randint(1, len(LAST) - 1)
    return body, [chunks(body, rng, 20_000) + LAST[:at], BLINK, LAST[at:]]


def end_late(rng):
    body = rng.randbytes(rng.randint(1, 50_000))
    return body, [chunks(body, rng, 20_000), Pause(0.02), LAST]


def with_the_head(rng):
    body = rng.randbytes(rng.randint(1, 60_000))
    return body, [chunks(body, rng, 20_000) + LAST]


def fifty_at_once(rng):
    body = rng.randbytes(rng.randint(50, 5_000))
    size = -(-len(body) // 50)
    return body, [b"", BLINK, b"".join(chunk(body[at : at + size]) for at in range(0, len(body), size)) + LAST]


def random_sizes(rng):
    body = rng.randbytes(rng.randint(1, 3 << 20))
    return body, [b"", *cut(chunks(body, rng, 100_000) + LAST, rng, 200_000)]


def large(rng):
    body = bytes(rng.randint(1 << 20, 4 << 20))
    return body, cut(chunks(body, rng, 65_536) + LAST, rng, 65_536)


def nothing(_):
    return b"", [b"", BLINK, LAST]


SEGMENTED = [byte_at_a_time, heads_cut, ends_cut, end_late, with_the_head, fifty_at_once, random_sizes, large, nothing]


def over_http1(port, owner, rng, at):
    way = SEGMENTED[at % len(SEGMENTED)]
    body, segments = way(rng)
    request = head("POST", FILES, "content-type: application/octet-stream", "transfer-encoding: chunked", "connection: close")
    with client.connect(port) as sock:
        sender = threading.Thread(
            target=client.send,
            args=(sock, [request.replace(b"{case-id}", owner.encode()) + segments[0], *segments[1:]]),
        )
        sender.start()
        try:
            answer = http1.read_answer(http1.Source(sock, ANSWER_SECONDS), b"POST")
        finally:
            sender.join()
    return way.__name__, body, answer.status, answer.get(b"x-case"), bytes(answer.body)


# How bodies are segmented over HTTP/2: frames of these sizes; zero is an empty frame.


def frame_sizes(rng, length):
    way = rng.choice(["whole", "bytes", "empty between", "empty last", "random"])
    # More tiny frames than these are taken for an attack, and the connection is ended.
    if way == "bytes" and length > 100:
        way = "random"
    parts, left = [], length
    while left:
        size = {"whole": left, "bytes": 1, "random": rng.randint(1, 16_384)}.get(way, rng.randint(1, 9_000))
        size = min(left, size, 16_384)
        parts.append(size)
        left -= size
        # More empty frames on one connection are taken for an attack, too.
        if way == "empty between" and rng.random() < 0.3 and parts.count(0) < 60:
            parts.append(0)
    if way == "empty last" or not parts:
        parts.append(0)
    return way, parts


class Uploader(client_http2.Connection):
    """A connection over HTTP/2 that keeps to the windows it was given."""

    def __init__(self, sock):
        self.credit, self.of_streams, self.initial = 65_535, collections.defaultdict(int), 65_535
        super().__init__(sock, client_http2.Client2.preface)
        self.source.renew(ANSWER_SECONDS)

    def take(self, found):
        if found.kind == http2.SETTINGS and not found.flags & http2.ACK:
            for at in range(0, len(found.payload), 6):
                if int.from_bytes(found.payload[at : at + 2], "big") == http2.INITIAL_WINDOW_SIZE:
                    self.initial = int.from_bytes(found.payload[at + 2 : at + 6], "big")
        if found.kind == http2.WINDOW_UPDATE:
            more = int.from_bytes(found.payload, "big")
            if found.stream:
                self.of_streams[found.stream] += more
            else:
                self.credit += more
        super().take(found)

    def upload(self, stream, body, sizes):
        at = sent = 0
        for place, size in enumerate(sizes):
            answered = client_http2.settled(self, [stream])
            self.read(lambda: answered() or min(self.credit, self.initial + self.of_streams[stream] - sent) >= size)
            if self.closed or self.fault or answered():
                return
            self.write(http2.data(stream, body[at : at + size], place == len(sizes) - 1))
            at, sent, self.credit = at + size, sent + size, self.credit - size


def over_http2(port, owner, rng, _):
    body = rng.randbytes(rng.choice([0, 1, 90, rng.randint(1, 100_000), rng.randint(1, 2 << 20)]))
    way, sizes = frame_sizes(rng, len(body))
    with client.connect(port) as sock:
        connection = Uploader(sock)
        extra = [("x-case", owner), ("content-type", "application/octet-stream")]
        connection.write(http2.headers(1, client_http2.request(extra=extra), False))
        connection.upload(1, body, sizes)
        connection.read(client_http2.settled(connection, [1]))
        answer = connection.answer(1)
        if connection.fault:
            raise AssertionError(connection.fault)
    return f"h2 {way}", body, answer.status, answer.get(b"x-case"), bytes(answer.body)


def upload(port, at, seed):
    owner, rng = f"u{at:08d}", random.Random(f"{seed}-{at}")
    way = over_http1 if at % 2 == 0 else over_http2
    try:
        name, body, status, case, told = way(port, owner, rng, at // 2)
    except (http1.Malformed, http1.Ended, http1.Overdue, AssertionError, OSError) as error:
        return [f"upload {at} ({way.__name__}): {error!r}"]
    return checked(f"upload {at} ({name}, {len(body)} bytes)", owner, body, status, case, told)


def checked(what, owner, body, status, case, told):
    if status != 200:
        return [f"{what}: status {status}, {told[:200]}"]
    if case != owner.encode():
        return [f"{what}: the answer of {case}"]
    got = json.loads(told)
    if got["sha256"] != hashlib.sha256(body).hexdigest():
        return [f"{what}: {got['bytes']} bytes arrived, or other ones"]
    return []


def chat(port, numbers, failures):
    """One client that asks again and again on a connection it keeps."""
    with client.connect(port) as sock:
        source = http1.Source(sock, ANSWER_SECONDS)
        for at in numbers:
            owner = f"h{at:08d}"
            body = b'{"model":"m","messages":[{"role":"user","content":"%d"}]}' % at
            request = head("POST", CHAT, "content-type: application/json", f"content-length: {len(body)}")
            source.renew(ANSWER_SECONDS)
            try:
                sock.sendall(request.replace(b"{case-id}", owner.encode()) + body)
                answer = http1.read_answer(source)
            except (http1.Malformed, http1.Ended, http1.Overdue, OSError) as error:
                failures.append(f"chat {at}: {error!r}, and all behind it on its connection")
                return
            failures += checked(f"chat {at}", owner, body, answer.status, answer.get(b"x-case"), bytes(answer.body))


def run(uploads, chats, seed=1):
    """-> failures, as texts."""
    recorder, failures = Recorder(), []
    with (
        Upstream(recorder) as upstream,
        stage.gateway(upstream.port, wait="30s", patience="30s", plugins="") as gateway,
        concurrent.futures.ThreadPoolExecutor(UPLOADERS + CHATTERS) as pool,
    ):
        chatting = [
            pool.submit(chat, gateway.port, range(first, chats, CHATTERS), failures) for first in range(CHATTERS)
        ]
        uploading = [pool.submit(upload, gateway.port, at, seed) for at in range(uploads)]
        for done in uploading:
            failures += done.result()
        for done in chatting:
            done.result()
    for owner in [*(f"u{at:08d}" for at in range(uploads)), *(f"h{at:08d}" for at in range(chats))]:
        seen = recorder.seen(owner)
        if len(seen) != 1 or not seen[0].whole:
            failures.append(f"{owner} reached the upstream {len(seen)} times, {sum(one.whole for one in seen)} whole")
    return failures + [f"no request at the upstream: {stray}" for stray in recorder.strays()]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("uploads", 500), ("chats", 5_000), ("seed", 1)):
        words.add_argument(f"--{name}", type=int, default=default)
    told, began = words.parse_args(), time.monotonic()
    failures = run(told.uploads, told.chats, told.seed)
    for failure in failures[:50]:
        print(failure)
    print(f"{told.uploads} uploads, {told.chats} chats, {len(failures)} failures, {time.monotonic() - began:.0f} s")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
