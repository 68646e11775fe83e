#!/usr/bin/env python3
"""Records sessions of Redis's script debugger, for the golden test of ours. The file is rewritten in place.

Usage: record_debugger.py debugger.txt  (redis-server 7.0.15 must be on the path)

Lines of the file:
  = MODE       a new connection to a server without data, after SCRIPT DEBUG MODE
  > words      what it sends: EVAL and its arguments, then commands of the debugger
  < reply      what comes back, escaped, line ends as blanks; at the session's end, EVAL's reply too
  ! words      a command in the append-only file, when the session is over
"""
import codecs, os, re, socket, subprocess, sys, tempfile, time

PORT = 21791


def words(line):
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    return [codecs.decode(q, "unicode_escape").encode("latin-1") if not w else w.encode() for q, w in parts]


def shown(raw):
    named = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    text = "".join(named.get(b) or (chr(b) if 32 <= b < 127 else "\\x%02x" % b) for b in raw)
    return text.replace("\\r\\n", " ").strip()


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT))
        self.file = self.socket.makefile("rb")

    def call(self, args):
        self.socket.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        frame = self.frame()
        self.ended = frame.endswith(b"+<endsession>\r\n")
        return frame + self.frame() if self.ended else frame

    def frame(self):
        line = self.file.readline()
        kind, n = line[:1], line[1:].strip()
        if kind == b"$" and int(n) >= 0:
            return line + self.file.read(int(n) + 2)
        if kind == b"*":
            return line + b"".join(self.frame() for _ in range(int(n)))
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


def main(path):
    lines = [l for l in open(path).read().split("\n") if not l.startswith(("<", "!"))]
    with tempfile.TemporaryDirectory() as work:
        server = subprocess.Popen(
            ["redis-server", "--port", str(PORT), "--dir", work, "--save", "", "--appendonly", "yes",
             "--appendfsync", "always"], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.7)
            control = Connection()
            log = [os.path.join(work, "appendonlydir", f) for f in os.listdir(work + "/appendonlydir") if f.endswith("incr.aof")][0]
            out, c, before = [], None, 0

            def end():
                if c:
                    with open(log, "rb") as f:
                        f.seek(before)
                        out.extend("! " + e for e in effects(f.read()))

            for line in lines:
                kind, _, rest = line.partition(" ")
                if kind == "=":
                    end()
                    control.call([b"FLUSHALL"])
                    before = os.path.getsize(log)
                    c = Connection()
                    c.call([b"SCRIPT", b"DEBUG", rest.encode()])
                if kind == ">" and c.ended:
                    continue
                out.append(line)
                if kind == ">":
                    out.append("< " + shown(c.call(words(rest))))
            end()
            open(path, "w").write("\n".join(out).rstrip("\n") + "\n")
        finally:
            server.kill()


main(sys.argv[1])
