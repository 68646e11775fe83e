#!/usr/bin/env python3
"""Records what a real Redis answers and appends to its file, for the golden tests.

Usage: record.py FILE.txt  (redis-server 7.0.15 must be on the path; the file is rewritten in place)

Lines of the file:
  > words      a command, or in a session what its client sends; what follows up to the next one is what came of it
  ~ words      the same, but the order of the reply's parts does not matter
  < reply      the reply, escaped, line ends as blanks; at the end of a session, EVAL's reply too
  ! words      a command in the append-only file
  = MODE       a session of the script debugger begins: a new connection, after SCRIPT DEBUG MODE, to a server without
               data. What is sent after its end is left out
  @ advance N  N milliseconds pass
  @ protocol N, @ select N, @ flush   HELLO and SELECT, which the tests do by hand; everything is emptied
Numbers of 13 digits that begin with 1 are times, and shown as T; the cluster's node names are shown as NAME.
A file with cluster in its name is recorded in cluster mode.
"""
import codecs, os, re, socket, subprocess, sys, tempfile, time

PORT = 21790


def words(line):
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    return [codecs.decode(q, "unicode_escape").encode("latin-1") if not w else w.encode() for q, w in parts]


def shown(raw):
    named = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    text = "".join(named.get(b) or (chr(b) if 32 <= b < 127 else "\\x%02x" % b) for b in raw)
    text = text.replace("\\r\\n", " ").strip()
    if "cluster" in sys.argv[1]:
        text = re.sub(r"\b[0-9a-f]{40}\b", "NAME", text)
    return re.sub(r"(?<!\d)1\d{12}(?!\d)", "T", text)


class Connection:
    """A client; `over` once the session that it debugged is."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT))
        self.file = self.socket.makefile("rb")
        self.over = False

    def call(self, *args):
        self.socket.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        reply = self.reply()
        self.over = reply.endswith(b"+<endsession>\r\n")
        return reply + self.reply() if self.over else reply

    def reply(self):
        line = self.file.readline()
        kind, n = line[:1], line[1:].strip()
        if kind in b"$=" and int(n) >= 0:
            return line + self.file.read(int(n) + 2)
        if kind in b"*~>%" and int(n) >= 0:
            return line + b"".join(self.reply() for _ in range(int(n) * (2 if kind == b"%" else 1)))
        return line


def effects(raw):
    while raw:
        head, _, raw = raw.partition(b"\r\n")
        args = []
        for _ in range(int(head[1:])):
            n, _, raw = raw.partition(b"\r\n")
            args.append(raw[: int(n[1:])])
            raw = raw[int(n[1:]) + 2 :]
        yield " ".join(shown(a) for a in args)


def connect():
    for _ in range(100):
        time.sleep(0.1)
        try:
            return Connection()
        except ConnectionRefusedError:
            pass


def record(lines, work):
    """What comes of these lines, with them."""
    control = client = connect()
    time.sleep(0.5)
    control.call(b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0")
    files = work + "/appendonlydir"
    log = [os.path.join(files, f) for f in os.listdir(files) if f.endswith("incr.aof")][0]
    for line in lines:
        kind, _, rest = line.partition(" ")
        what, _, n = rest.partition(" ")
        if kind == ">" and client.over:
            continue
        yield line
        if kind == "=":
            control.call(b"FLUSHALL")
            client = Connection()
            client.call(b"SCRIPT", b"DEBUG", rest.encode())
        elif kind == "@" and what == "advance":
            time.sleep(int(n) / 1000)
        elif kind == "@":
            command = {"protocol": b"HELLO", "select": b"SELECT", "flush": b"FLUSHALL"}[what]
            client.call(command, *([n.encode()] if n else []))
        elif kind in (">", "~"):
            before = os.path.getsize(log)
            text = shown(client.call(*words(rest)))
            yield "< " + (" ".join(sorted(text.split())) if kind == "~" else text)
            with open(log, "rb") as f:
                f.seek(before)
                yield from ("! " + e for e in effects(f.read()))


def main(path):
    lines = [l for l in open(path).read().split("\n") if not l.startswith(("<", "!"))]
    with tempfile.TemporaryDirectory() as work:
        server = subprocess.Popen(
            ["redis-server", "--port", str(PORT), "--dir", work, "--save", "", "--appendonly", "yes",
             "--appendfsync", "always", "--enable-debug-command", "yes", "--cluster-enabled",
             "yes" if "cluster" in path else "no"], stdout=subprocess.DEVNULL)
        try:
            out = list(record(lines, work))
            open(path, "w").write("\n".join(out))
        finally:
            server.kill()


main(sys.argv[1])
