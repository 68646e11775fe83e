"""Collects glob.txt and incrbyfloat.txt from a running Redis: python3 collect.py PORT [CASES]

The server's database is emptied. The cases are the same at every run.
"""
import random
import socket
import sys

port = int(sys.argv[1])
cases = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
connection = socket.create_connection(("127.0.0.1", port))
answers = connection.makefile("rb")


def send(*args):
    words = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))


def read():
    line = answers.readline()[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"$":
        return answers.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [read() for _ in range(int(rest))]
    return line


def ask(*args):
    send(*args)
    return read()


def globs(out):
    chance = random.Random(1)
    alphabet = [b"a", b"b", b"c", b"-", b"]", b"[", b"^", b"\\", b"*", b"?", b"\xff", b"\x80", b"A"]
    word = lambda n: b"".join(chance.choice(alphabet) for _ in range(n))
    texts = sorted({word(chance.randrange(1, 5)) for _ in range(70)})
    ask("FLUSHALL")
    for text in texts:
        ask("SET", text, "x")
    out.write(" ".join(t.hex() for t in texts) + "\n")
    patterns = set()
    while len(patterns) < 900:
        pattern = word(chance.randrange(1, 8))
        # Those that mean something are rare among those that are short.
        if chance.random() < 0.5 or b"[" in pattern:
            patterns.add(pattern)
    for pattern in sorted(patterns):
        found = set(ask("KEYS", pattern))
        out.write(pattern.hex() + " " + "".join("01"[t in found] for t in texts) + "\n")


def number(chance):
    kind = chance.randrange(14)
    sign = chance.choice(["", "", "-", "+"])
    digits = lambda n: "".join(chance.choice("0123456789") for _ in range(n))
    if kind < 3:
        return sign + digits(chance.randrange(1, 8)) + "." + digits(chance.randrange(0, 8))
    if kind < 5:
        return sign + digits(chance.randrange(1, 25))
    if kind < 7:
        return sign + "0." + "0" * chance.randrange(0, 22) + digits(chance.randrange(1, 25))
    if kind == 7:
        return sign + digits(1) + "." + digits(chance.randrange(1, 40)) + "e" + str(chance.randrange(-40, 40))
    if kind == 8:
        return sign + digits(3) + "E" + chance.choice(["+", "-"]) + str(chance.randrange(0, 120))
    if kind == 9:
        return sign + "0x" + "".join(chance.choice("0123456789abcDEF") for _ in range(chance.randrange(1, 20))) + \
            chance.choice(["", ".", ".8", ".7fffffffffffffff", "p3", "p-70", "p+", "P10"])
    if kind == 10:
        return repr(chance.uniform(-1000, 1000))
    if kind == 11:
        return sign + str(2 ** chance.randrange(50, 66) + chance.randrange(-2, 3)) + "." + chance.choice(["5", "25", "75", "125", "0"])
    if kind == 12:
        return sign + str(chance.randrange(10)) + "." + chance.choice("05") * 18 + digits(2)
    return chance.choice(["0", "-0", "0.0", "-0.0", "inf", "-inf", "infinity", "nan", "1e", ".", "-", "1e-4940", "1e-4960", "3e4900x",
                          "1e5000", "-1e-30", "1e-17", "5e-18", "-5e-18", "1.5e-17", "0x", "1_0", "0b1", "1.2.3", "+.5", "5.", "--1"])


def floats(out):
    chance = random.Random(2)
    pairs = [(number(chance), number(chance)) for _ in range(cases)]
    pairs += [("1e300", "1"), ("1.18973149535723176502e+4932", "0"), ("0." + "0" * 60 + "1", "1"), ("9" * 60 + ".5", "0.5")]
    for start in range(0, len(pairs), 500):
        some = pairs[start:start + 500]
        for value, increment in some:
            send("SET", "x", value)
            send("INCRBYFLOAT", "x", increment)
        for value, increment in some:
            read()
            answer = read().decode()
            out.write(f"{value} {increment} {'error' if answer.startswith('-ERR') else answer}\n")


with open("glob.txt", "w") as out:
    globs(out)
with open("incrbyfloat.txt", "w") as out:
    floats(out)
