"""A good client before a hostile upstream: what it gets is whole and right, or visibly broken."""

import client
import http1
from case import ID

SECONDS = 20
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def at(place):
    """The body of a chat that the upstream at this place answers."""
    return BODY.replace(b'"m"', b'"place-%d"' % place)


def run(case, port, recorder, body=BODY):
    """Plays a case. -> what was wrong, as texts."""
    recorder.scripts[case.id] = [case.mine(step) for step in case.says]
    transcript = client.Transcript()
    with client.connect(port) as sock:
        sock.sendall(case.mine(request(case, body if case.method == "POST" else b"")))
        client.read(http1.Source(sock, SECONDS), transcript, [case.method.encode()], 1)
    return judge(case, transcript)


def request(case, body):
    lines = [f"{case.method} {case.target} HTTP/{case.version}", "host: gateway", f"x-case: {ID.decode()}"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def judge(case, transcript):
    if transcript.fault:
        return [transcript.fault]
    answer = transcript.answers[0] if transcript.answers else None
    whole = answer is not None and answer.whole
    if whole and b"poison" in answer.body:
        return [f"the client got what belongs to nobody: {http1.shown(answer.body)}"]
    gateways = whole and answer.status >= 500 and b'"error"' in answer.body and answer.status != case.status
    if not whole or gateways:
        return [] if case.must != "whole" else [f"answered {transcript.told()}, {answer and http1.shown(answer.body, 160)}"]
    if case.must == "broken":
        return [f"looks whole: {answer.start.decode('latin-1')}, {http1.shown(answer.body)}"]
    if answer.status != case.status or bytes(answer.body) != case.mine(case.want):
        return [f"got {answer.start.decode('latin-1')}, {http1.shown(answer.body)}"]
    return []


def next_are_served(case, port, *more):
    """Three valid requests of other clients, which may get the connection that the case left."""
    return [fault for _ in range(3) for fault in client.next_is_served(case, port, *more)]
