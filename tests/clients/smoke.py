"""redis-py against the server on the given port: what an application would do first."""

import socket
import sys

import redis

port = int(sys.argv[1])
for protocol in (2, 3):
    r = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    assert r.ping()
    r.flushall()
    assert r.set("key", "value", ex=100) and r.get("key") == "value"
    assert 0 < r.ttl("key") <= 100
    assert r.set("key", "other", nx=True) is None
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "none") == ["1", "2", None]
    assert r.incrby("n", 10) == 10 and r.incrbyfloat("n", 0.5) == 10.5
    assert r.hset("h", mapping={"x": "1", "y": "2"}) == 2 and r.hgetall("h") == {"x": "1", "y": "2"}
    assert sorted(r.scan_iter("*")) == ["a", "b", "h", "key", "n"]
    with r.pipeline(transaction=True) as pipe:
        assert pipe.incr("c").incr("c").execute() == [1, 2]
    with r.pipeline() as pipe:
        pipe.watch("c")
        r.set("c", "5")
        pipe.multi()
        pipe.incr("c")
        try:
            pipe.execute()
            raise AssertionError("the transaction went through")
        except redis.WatchError:
            pass
    try:
        r.incr("key")
        raise AssertionError("a word was incremented")
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    assert r.info("server")["redis_version"]
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.client_setname("smoke") and r.client_getname() == "smoke"
    assert r.command_count() > 50
    assert r.object("encoding", "h") == "listpack"
    assert r.dbsize() == 6

# Client-side caching. (redis-py has a cache of its own, but asks for a server that calls itself 7.4.)
with socket.create_connection(("127.0.0.1", port)) as cache:
    replies = cache.makefile("rb")
    cache.sendall(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET key\r\n")
    while replies.readline() != b"+OK\r\n":
        pass
    assert replies.readline() + replies.readline() == b"$5\r\nvalue\r\n"
    assert r.info("stats")["tracking_total_keys"] == 1
    r.set("key", "new")
    told = [replies.readline().strip() for _ in range(6)]
    assert told == [b">2", b"$10", b"invalidate", b"*1", b"$3", b"key"], told
print("all is well")
