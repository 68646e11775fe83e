"""What Python applications put on a Redis, against the server on the given port: queues, sessions, caches, locks.

Each part runs where its package is installed, and says so. Unchanged they are to run: nothing here knows the server."""

import importlib.util
import sys
import threading

port = int(sys.argv[1])
url = f"redis://127.0.0.1:{port}"


def celery_workers():
    from celery import Celery, chain, chord, group
    from celery.contrib.testing.worker import start_worker

    app = Celery("applications", broker=url + "/0", backend=url + "/1")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def total(numbers):
        return sum(numbers)

    @app.task(bind=True, max_retries=3)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0.1)
        return self.request.retries

    with start_worker(app, perform_ping_check=False, pool="solo"):
        results = [add.delay(n, n) for n in range(20)]
        assert [r.get(timeout=30) for r in results] == [2 * n for n in range(20)]
        assert chord([add.s(n, 1) for n in range(10)])(total.s()).get(timeout=30) == 55
        assert chain(add.s(1, 2), add.s(10))().get(timeout=30) == 13
        assert group(add.s(n, n) for n in range(5))().get(timeout=30) == [0, 2, 4, 6, 8]
        assert flaky.delay().get(timeout=30) == 2


def rq_workers():
    import redis
    from rq import Queue, SimpleWorker

    conn = redis.Redis.from_url(url + "/2")
    queue = Queue(connection=conn)
    jobs = [queue.enqueue("builtins.abs", -n) for n in range(10)]
    bad = queue.enqueue("builtins.int", "no number")
    after = queue.enqueue("builtins.abs", -7, depends_on=jobs[0])
    SimpleWorker([queue], connection=conn).work(burst=True, logging_level="ERROR")
    assert [job.return_value() for job in jobs] == list(range(10))
    assert after.return_value() == 7 and bad.get_status() == "failed"


def flask_session_sessions():
    import redis
    from flask import Flask, session
    from flask_session import Session

    app = Flask(__name__)
    store = redis.Redis.from_url(url + "/3")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=store, SECRET_KEY="x")
    Session(app)

    @app.get("/")
    def count():
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    browser = app.test_client()
    assert [browser.get("/").data for _ in range(3)] == [b"1", b"2", b"3"]


def django_caches():
    import django
    from django.conf import settings

    backend = "django.core.cache.backends.redis.RedisCache"
    settings.configure(CACHES={"default": {"BACKEND": backend, "LOCATION": url + "/4"}}, SECRET_KEY="x")
    django.setup()
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import cache

    cache.set("a", {"x": 1}, 30)
    assert cache.get("a") == {"x": 1} and cache.add("a", 1) is False
    cache.set_many({"p": 1, "q": 2})
    assert cache.get_many(["p", "q"]) == {"p": 1, "q": 2} and cache.incr("p", 5) == 6
    session = SessionStore()
    session["user"] = 1
    session.save()
    assert SessionStore(session.session_key)["user"] == 1


def redis_locks():
    import redis

    r = redis.Redis.from_url(url + "/5", decode_responses=True)
    first, second = r.lock("lock", timeout=30), r.lock("lock", timeout=30)
    assert first.acquire(blocking=False) and not second.acquire(blocking=False)
    first.extend(10)
    first.release()
    assert second.acquire(blocking_timeout=5)
    r.set("n", 0)

    def increment(pipe):
        n = int(pipe.get("n"))
        pipe.multi()
        pipe.set("n", n + 1)

    def work():
        for _ in range(25):
            r.transaction(increment, "n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert r.get("n") == "100"


for part in [celery_workers, rq_workers, flask_session_sessions, django_caches, redis_locks]:
    package = part.__name__.rsplit("_", 1)[0]
    if importlib.util.find_spec(package):
        part()
        print(package, "runs")
    else:
        print(package, "is not installed")
print("all is well")
