"""A hostile client over HTTP/2, judged by the same oracle as those over HTTP/1.1."""

import dataclasses
import json
import struct
import threading

import case as words
import client
import http1
import http2

ANSWER_SECONDS = 12


@dataclasses.dataclass
class Client2:
    """A case: frames behind the preface, and what may come of them.

    What may come is one word for each stream in `streams`, in their order: a status, `reset`, or `goaway` if the
    whole connection ends. A stream that was answered 200 had the body `bodies` names.
    """

    name: str
    sends: list
    may: str
    bodies: list = dataclasses.field(default_factory=lambda: [b""])
    streams: tuple = (1,)
    preface: bytes = http2.PREFACE + http2.settings((http2.INITIAL_WINDOW_SIZE, http2.WINDOW)) + http2.window(0, http2.WINDOW)
    unseen: bytes = b""
    # The client takes back a request that the upstream may have served already.
    leaves: bool = False
    number: int = dataclasses.field(default_factory=lambda: next(words._numbers))

    id = words.Client.id
    mine = words.Client.mine


class Connection:
    """A connection's streams as they are answered."""

    def __init__(self, sock, preface):
        self.sock, self.source = sock, http1.Source(sock, ANSWER_SECONDS)
        self.reader, self.answers = http2.Reader(self.source), {}
        self.goaway, self.closed, self.fault, self.lock = None, False, None, threading.Lock()
        self.write(preface)

    def write(self, data):
        with self.lock:
            try:
                self.sock.sendall(data)
            except OSError:
                pass

    def answer(self, stream):
        return self.answers.setdefault(stream, http2.Answer())

    def read(self, done):
        """Reads until `done()` or the connection's end."""
        try:
            while not done():
                self.take(self.reader.next())
        except http1.Ended:
            self.closed = True
        except http1.Overdue:
            self.fault = f"neither answered nor closed within {ANSWER_SECONDS} s"
        except http1.Malformed as malformed:
            self.fault = f"an answer that does not parse: {malformed}"

    def take(self, found):
        answer = self.answer(found.stream) if found.stream else None
        if found.kind == http2.SETTINGS and not found.flags & http2.ACK:
            self.write(http2.frame(http2.SETTINGS, http2.ACK))
        elif found.kind == http2.PING and not found.flags & http2.ACK:
            self.write(http2.frame(http2.PING, http2.ACK, 0, found.payload))
        elif found.kind == http2.GOAWAY:
            self.goaway = struct.unpack(">I", found.payload[4:8])[0]
        elif found.kind == http2.RST_STREAM:
            answer.reset = struct.unpack(">I", found.payload)[0]
        elif found.kind == http2.HEADERS:
            self.head(answer, found)
        elif found.kind == http2.DATA:
            if answer.fields is None or answer.whole:
                raise http1.Malformed("data outside of an answer")
            answer.body += found.payload
        if found.ends_stream():
            answer.whole = True

    @staticmethod
    def head(answer, found):
        status = dict(found.fields).get(b":status")
        if status is not None and status.startswith(b"1"):
            return
        if answer.fields is None:
            if status is None or len(status) != 3 or not status.isdigit():
                raise http1.Malformed(f"a head without a status: {found.fields}")
            answer.fields = found.fields
        else:
            answer.trailers = found.fields
        for name, value in found.fields:
            if name != name.lower() or any(byte in value for byte in b"\r\n\0"):
                raise http1.Malformed(f"field {name}: {value}")
            if name in (b"connection", b"transfer-encoding", b"keep-alive"):
                raise http1.Malformed(f"field {name} over HTTP/2")


def settled(connection, streams):
    return lambda: all(
        (answer := connection.answers.get(stream)) and (answer.reset is not None or answer.whole) for stream in streams
    )


def run(case, port, recorder):
    """Plays a case. -> what was wrong, as texts."""
    with client.connect(port) as sock:
        connection = Connection(sock, case.preface)
        steps = [case.mine(step) for step in case.sends]
        sender = threading.Thread(target=send, args=(connection, steps), daemon=True)
        sender.start()
        connection.read(settled(connection, case.streams))
        sender.join(ANSWER_SECONDS)
        faults = [connection.fault] if connection.fault else []
        if not (connection.closed or connection.fault or connection.goaway is not None):
            faults += go_on(case, connection)
    return faults + judge(case, connection, recorder)


def send(connection, steps):
    for step in steps:
        if isinstance(step, words.Pause):
            threading.Event().wait(step)
        else:
            connection.write(step)


def go_on(case, connection):
    """The connection is open behind the case: it serves the next request, or says that it ends."""
    stream, owner = 2_001, case.id.replace("c", "n").encode()
    connection.source.renew(ANSWER_SECONDS)
    connection.write(http2.headers(stream, request("GET", extra=[("x-case", owner)])))
    connection.read(settled(connection, [stream]))
    if connection.closed or connection.goaway is not None:
        connection.fault = None
        return []
    answer = connection.answers.get(stream)
    if connection.fault or not answer or answer.status != 200 or answer.get(b"x-case") != owner:
        return [f"the next request on the connection got {answer and answer.told()} {connection.fault or ''}"]
    return []


def request(method="POST", path=words.FILES, authority="gateway", scheme="http", extra=(), without=()):
    """A request's fields; `without` leaves some of the four pseudo fields away."""
    fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [field for field in fields if field[0] not in without] + list(extra)


def judge(case, connection, recorder):
    faults = []
    got = [connection.answers.get(stream) for stream in case.streams]
    told = ["goaway" if answer is None or not (answer.whole or answer.reset is not None) else answer.told() for answer in got]
    if any(word == "goaway" for word in told) and not (connection.closed or connection.goaway is not None):
        told = ["(nothing)" if word == "goaway" else word for word in told]
    if not any(fits(outcome.split(), told) for outcome in case.may.split("|")):
        body = http1.shown(got[-1].body, 160) if got[-1] else ""
        faults.append(f"answered {' '.join(told)}, allowed is {case.may}: {body}")
    for answer in got:
        owner = answer.get(b"x-case") if answer else b""
        if owner and owner.decode("latin-1") != case.id:
            faults.append(f"got the answer of {owner}")
    faults += client.judge_upstream(case, recorder, None)
    served = {seen.serial for seen in recorder.seen(case.id) if seen.whole}
    answered = {json.loads(bytes(answer.body))["serial"] for answer in got if answer and answer.whole and answer.get(b"x-serial")}
    if not answered <= served:
        faults.append(f"the upstream served {served}, the client was answered {answered}")
    # Frames behind an end may reset a stream whose request was served before they came.
    if served - answered and not case.leaves and not any(word in ("reset", "goaway") for word in told):
        faults.append(f"the upstream served {served}, the client was answered {answered}")
    return faults


def fits(outcome, told):
    return len(outcome) == len(told) and all(
        wanted == word or (wanted.endswith("xx") and word[:1] == wanted[0] and len(word) == 3) for wanted, word in zip(outcome, told)
    )
