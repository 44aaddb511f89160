"""A plugin in plain Python for the tests of its process: it answers what it is asked about itself, and breaks on request.

The body of a call says what to do; the first argument says how to live.
"""
import ctypes, json, os, signal, socket, struct, subprocess, sys, threading

HEADER = struct.Struct("<IIBBHI")
HELLO, READY, CALL, RESULT, PING, PONG, SHUTDOWN = 1, 2, 3, 5, 9, 10, 13
END, UNCHANGED, BODY = 1, 2, 4


def read(wanted):
    data = b""
    while len(data) < wanted:
        part = link.recv(wanted - len(data))
        if not part:
            return leave()
        data += part
    return data


def leave():
    if life == "stubborn":
        threading.Event().wait()
    os._exit(0)


def send(id, kind, flags=0, meta=None, body=b""):
    meta = b"" if meta is None else json.dumps(meta).encode()
    flags |= BODY if body else 0
    link.sendall(HEADER.pack(len(meta) + len(body), id, kind, flags, 0, len(meta)) + meta + body)


def about():
    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds[fd] = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            pass  # The descriptor of the listing itself.
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "pid": os.getpid(), "group": os.getpgrp(), "env": dict(os.environ), "fds": fds, "dir": os.getcwd(),
        "argv": sys.argv, "standsBack": os.sched_getscheduler(0) == os.SCHED_BATCH, "noNewPrivs": status["NoNewPrivs"], "ignored": status["SigIgn"], "blocked": status["SigBlk"],
    }


def child(**how):
    # Holds no pipe and ignores what it can: only SIGKILL ends it.
    code = "import signal,time\nfor s in (1,2,3,15): signal.signal(s, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **how)
    process.stdout.readline()
    return {"child": process.pid}


def orphan():
    # In a session of its own, and its parent is gone.
    code = "import subprocess,sys\nsleep = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3)\nprint(sleep.pid)"
    return {"child": int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)}


def desert():
    # Into the group of its parent, and without the signal that follows a parent's death.
    os.setpgid(0, os.getpgid(os.getppid()))
    ctypes.CDLL(None).prctl(1, 0)
    return {"group": os.getpgrp()}


def answer(id, body):
    match body:
        case b"about": reply = about()
        case b"child": reply = child()
        case b"session": reply = child(start_new_session=True)
        case b"orphan": reply = orphan()
        case b"desert": reply = desert()
        case b"hang": return
        case b"garbage": return link.sendall(b"\xff" * 64)
        case b"die":
            print("dying as asked", file=sys.stderr, flush=True)
            os._exit(3)
        case b"flood":
            for _ in range(500):
                sys.stdout.write("x" * 99_999 + "\n")
            sys.stdout.flush()
            reply = {"written": 50_000_000}
        case _: return send(id, RESULT, END | UNCHANGED)
    send(id, RESULT, END, {"action": "respond"}, json.dumps(reply).encode())


life = sys.argv[1] if len(sys.argv) > 1 else ""
if life == "absent":
    import no_such_module
if life == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if life == "slow":
    threading.Event().wait(60)
link = socket.socket(fileno=int(os.environ["HOOKWAY_FD"]))
while True:
    length, id, kind, flags, code, meta_len = HEADER.unpack(read(16))
    payload = read(length)
    if kind == HELLO:
        send(0, READY, meta={"protocol": 1, "name": "twin", "version": "1", "hooks": json.loads(payload)["hooks"]})
    elif kind == PING:
        send(0, PONG)
    elif kind == CALL:
        answer(id, payload[meta_len:])
    elif kind == SHUTDOWN:
        leave()
