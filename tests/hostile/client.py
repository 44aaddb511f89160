"""A hostile client over HTTP/1.1: sends a case's bytes, reads the answers strictly, and is judged by the oracle.

The oracle, of every case: gateway and upstream agree on the number and the ends of the requests, or the connection is
closed on both sides. In parts: the answers parse; each answer that the upstream gave is one to this case, in order;
the upstream saw exactly the requests that were answered, with exactly their bodies, and no bytes in between; a
connection that was not closed serves the next request.
"""

import json
import socket
import ssl
import threading

import case as words
import http1
import recording

ANSWER_SECONDS = 12
CONNECT_SECONDS = 5


class Transcript:
    """What came of a case at its client."""

    def __init__(self):
        self.answers, self.interim, self.closed, self.reset, self.fault = [], [], False, False, None

    def told(self):
        statuses = " ".join(str(answer.status) + ("" if answer.whole else "(cut)") for answer in self.answers)
        return f"{statuses} {'reset' if self.reset else 'close' if self.closed else ''}".strip() or "(nothing)"


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send(sock, steps):
    """Sends parts with pauses. A peer that has closed meanwhile is heard all the same."""
    for step in steps:
        try:
            if isinstance(step, words.Pause):
                threading.Event().wait(step)
            elif step == words.HALF_CLOSE:
                sock.shutdown(socket.SHUT_WR)
            elif step == words.RESET:
                recording.reset(sock)
            elif step == words.CLOSE:
                sock.close()
            elif isinstance(step, words.Segments):
                for at in range(0, len(step.data), step.size):
                    sock.sendall(step.data[at : at + step.size])
                    threading.Event().wait(step.pause)
            else:
                sock.settimeout(ANSWER_SECONDS)
                sock.sendall(step)
        except OSError:
            return


def read(source, transcript, methods, answers):
    """Reads up to `answers` final answers, or to the end."""
    try:
        while len(transcript.answers) < answers:
            at = len(transcript.answers)
            answer = http1.read_answer(source, methods[at] if at < len(methods) else b"POST")
            (transcript.interim if answer.status < 200 and answer.status != 101 else transcript.answers).append(answer)
    except http1.Ended as end:
        transcript.closed, transcript.reset = True, end.reset
        if source.kept and not end.reset:
            transcript.fault = f"ended within an answer's head: {http1.shown(source.kept)}"
        if hasattr(end, "message"):
            transcript.answers.append(end.message)
    except http1.Overdue:
        transcript.fault = f"neither answered nor closed within {ANSWER_SECONDS} s"
    except http1.Malformed as malformed:
        transcript.fault = f"an answer that does not parse: {malformed}"


def run(case, port, recorder, connect=connect):
    """Plays a case. -> what was wrong, as texts."""
    transcript = Transcript()
    if case.early is not None:
        recorder.early[case.id] = [case.mine(step) for step in case.early]
    sock = connect(port)
    steps = [case.mine(step) for step in case.sends]
    sender = threading.Thread(target=send, args=(sock, steps), daemon=True)
    sender.start()
    if isinstance(sock, ssl.SSLSocket):
        # It is not made for two threads.
        sender.join()
    faults = []
    if any(step in (words.CLOSE, words.RESET) for step in steps if isinstance(step, str)):
        sender.join(ANSWER_SECONDS)
        sock.close()
        return judge_upstream(case, recorder, None)
    with sock:
        source = http1.Source(sock, ANSWER_SECONDS)
        read(source, transcript, case.methods, len(case.bodies))
        sender.join(ANSWER_SECONDS)
        half = words.HALF_CLOSE in [step for step in steps if isinstance(step, str)]
        if not transcript.closed and not transcript.fault:
            faults += go_on(case, sock, source, transcript, half)
    if transcript.fault:
        faults.append(transcript.fault)
    faults += judge_statuses(case, transcript)
    faults += judge_answers(case, transcript)
    faults += judge_upstream(case, recorder, transcript)
    return faults


def go_on(case, sock, source, transcript, half):
    """The connection is open behind the answers: it is closed soon, or serves the next request."""
    source.renew(ANSWER_SECONDS)
    next_id = case.id.replace("c", "n")
    if any(answer.status == 101 for answer in transcript.answers):
        return []
    if not half:
        try:
            sock.sendall(words.get(words.FILES, "connection: close").replace(words.ID, next_id.encode()))
        except OSError:
            transcript.closed = True
            return []
    behind = Transcript()
    read(source, behind, [b"GET"], 99)
    faults = [f"behind the last answer: {behind.fault}"] if behind.fault else []
    transcript.closed = behind.closed
    if len(behind.answers) > 1:
        faults.append(f"{len(behind.answers)} answers to the next request")
    for answer in behind.answers:
        if answer.status != 200:
            transcript.answers.append(answer)
        elif answer.get(b"x-case") != next_id.encode():
            faults.append(f"the next request got the answer of {answer.get(b'x-case')}")
    return faults


def judge_statuses(case, transcript):
    """Whether the answers' statuses, and the end, are among those that may come."""
    if any(matches(outcome.split(), transcript) for outcome in case.may.split("|")):
        return []
    said = http1.shown(transcript.answers[-1].body, 160) if transcript.answers else ""
    return [f"answered {transcript.told()}, allowed is {case.may}: {said}"]


def matches(outcome, transcript):
    closes = outcome[-1:] == ["close"]
    statuses = outcome[:-1] if closes else outcome
    got = [str(answer.status) if answer.whole else "cut" for answer in transcript.answers]
    return (
        len(statuses) == len(got)
        and all(wanted in (status, status[0] + "xx") for wanted, status in zip(statuses, got))
        and (transcript.closed or not closes)
    )


def judge_answers(case, transcript):
    """Whether each answer of the upstream is one to this case."""
    faults = []
    if transcript.interim and any(b" HTTP/1.0\r\n" in step for step in case.sends if isinstance(step, bytes)):
        faults.append("an interim answer to HTTP/1.0")
    for answer in transcript.answers + transcript.interim:
        owner = answer.get(b"x-case")
        if owner and owner.decode("latin-1") != case.id:
            faults.append(f"got the answer of {owner}")
    return faults


def judge_upstream(case, recorder, transcript):
    """Whether the upstream saw the requests that were answered, whole, in order, and no others."""
    seen = recorder.seen(case.id)
    whole = [request for request in seen if request.whole]
    faults = []
    if case.unseen and any(case.unseen in request.body for request in seen):
        faults.append(f"the upstream got {case.unseen} at {seen[-1].target}")
    wanted = [body for body in case.bodies if body is not None]
    for at, request in enumerate(whole):
        if at >= len(wanted):
            faults.append(f"a request nobody sent reached the upstream: {request.method} {request.target}")
        elif request.length != len(wanted[at]) or request.body != wanted[at][: recording.KEPT_BYTES]:
            faults.append(
                f"body {at + 1} reached the upstream as {request.length} bytes, {http1.shown(request.body, 60)}, "
                f"it was {len(wanted[at])} bytes"
            )
    if transcript is not None and case.early is None:
        serials = [json.loads(bytes(answer.body))["serial"] if answer.body else None for answer in of_upstream(transcript)]
        served = [request.serial for request in whole]
        if len(serials) != len(served) or any(told not in (None, kept) for told, kept in zip(serials, served)):
            faults.append(f"the upstream served {served}, the client was answered {serials}")
    return faults


def of_upstream(transcript):
    return [answer for answer in transcript.answers if answer.get(b"x-serial") and answer.whole]


def ask(port, request, connect=connect):
    """One request on a connection of its own. -> the answer, or `None` if there was none."""
    with connect(port) as sock:
        sock.sendall(request)
        try:
            return http1.read_answer(http1.Source(sock, ANSWER_SECONDS), b"POST")
        except (http1.Ended, http1.Overdue, http1.Malformed):
            return None


def next_is_served(case, port, body=words.JSON, targets=(words.CHAT, words.FILES), connect=connect):
    """A valid chat and a valid upload of another client, on connections of their own. -> what was wrong."""
    faults = []
    for target in targets:
        owner = case.id.replace("c", "t" if target == words.CHAT else "u").encode()
        answer = ask(port, words.post(target, body=body).replace(words.ID, owner), connect)
        if answer is None or answer.status != 200:
            faults.append(f"the next client's request to {target} got {answer and answer.start}")
        elif answer.get(b"x-case") != owner:
            faults.append(f"the next client got the answer of {answer.get(b'x-case')}")
        elif json.loads(bytes(answer.body))["bytes"] != len(body):
            faults.append("the next client's body did not arrive as it was")
    return faults
