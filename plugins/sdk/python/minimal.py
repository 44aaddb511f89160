"""A whole plugin without an SDK: it refuses prompts that say "bomb". The protocol, on one screen.

Only what a handshake, calls with bodies of any size and honest endings need; see hookway.py for the rest.
"""

import json
import os
import socket
import struct

HEADER = struct.Struct("<IIBBHI")  # len, id, type, flags, code, meta_len
HELLO, READY, CALL, DATA, RESULT, ERROR, CANCEL, CREDIT, PING, PONG, CONFIGURE, DRAIN, SHUTDOWN, LOG = range(1, 15)
END, UNCHANGED, BODY = 1, 2, 4


def send(sock, kind, ident, flags=0, code=0, **meta):
    text = json.dumps(meta).encode() if meta else b""
    sock.sendall(HEADER.pack(len(text), ident, kind, flags, code, len(text)) + text)


def judge(sock, ident, body):
    if "bomb" in json.dumps(json.loads(body)["messages"]).lower():
        error = {"message": "Not with me.", "code": "prompt_refused"}
        send(sock, RESULT, ident, END, action="reject", status=400, error=error)
    else:
        send(sock, RESULT, ident, END | UNCHANGED)


def serve(sock):
    stream, bodies = sock.makefile("rb"), {}
    while header := stream.read(16):
        length, ident, kind, flags, code, meta_len = HEADER.unpack(header)
        meta, body = stream.read(meta_len), stream.read(length - meta_len)
        if kind == HELLO:
            send(sock, READY, 0, protocol=1, name="minimal", version="1", hooks=["onRequest"])
        elif kind == CALL or kind == DATA and ident in bodies:
            bodies[ident] = bodies.get(ident, b"") + body
            if flags & END:
                judge(sock, ident, bodies.pop(ident))
            else:
                send(sock, CREDIT, ident, bytes=len(body))
        elif kind == CANCEL:
            bodies.pop(ident, None)
        elif kind == PING:
            send(sock, PONG, 0)
        elif kind == CONFIGURE:
            send(sock, RESULT, ident, END)
        elif kind == SHUTDOWN:
            break


if __name__ == "__main__":
    serve(socket.socket(fileno=int(os.environ["HOOKWAY_FD"])))
