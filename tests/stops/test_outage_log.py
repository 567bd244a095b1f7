"""What processes write while Redis is away: a line a minute, and one when it is back."""

import json
import re
import socketserver
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from broker.order_store.redis_url import embedded_url
from tests.support.stack import Stack, free_port, wait_for

WRITERS = ("courier", "worker", "flower")
ATTEMPTS = 45
"""How often all processes together try to connect before Redis is back: for some 15 s."""


class HangsUp(socketserver.ThreadingTCPServer):
    """Listens where Redis was, and closes each connection at once."""

    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), socketserver.BaseRequestHandler)
        self.connections = 0
        self._thread = Thread(target=self.serve_forever)
        self._thread.start()

    def verify_request(self, *_: object) -> bool:
        self.connections += 1
        return False

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Stack]:
    """The service with Flower, which shows both workers."""
    stack = Stack(tmp_path, [tmp_path])
    stack.env["FLOWER_PORT"] = str(free_port())
    with stack:
        stack.start("flower")
        stack.wait_ready()
        wait_for(lambda: shown_workers(stack) == 2, what="the workers in Flower")
        yield stack


def shown_workers(service: Stack) -> int:
    url = f"http://127.0.0.1:{service.env['FLOWER_PORT']}/workers?json=1"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return len(json.load(answer)["data"])
    except OSError:
        return 0


def lines(service: Stack, role: str) -> list[str]:
    return (service.data / f"{role}.log").read_text().splitlines()


def test_an_outage_is_one_line_and_its_end_another(watched: Stack) -> None:
    """Of each process; the API answers 503 and writes nothing."""
    before = {role: len(lines(watched, role)) for role in (*WRITERS, "api")}
    port = int(embedded_url(watched.data).rpartition(":")[2].removesuffix("/0"))
    assert watched.redis.process
    watched.redis.process.kill()
    watched.redis.process.wait()
    outage = HangsUp(port)
    try:
        wait_for(lambda: outage.connections >= ATTEMPTS, what="attempts to connect")
    finally:
        outage.close()
    during = {role: lines(watched, role)[before[role] :] for role in WRITERS}
    watched.redis.start()
    for role in WRITERS:
        (away,) = during[role]
        assert "one such line a minute" in away
        count = before[role] + 2
        wait_for(lambda role=role, count=count: len(lines(watched, role)) >= count, what=role)
        (back,) = lines(watched, role)[before[role] + 1 :]
        assert re.search("Redis answers again|Connected to redis", back)
    watched.wait_ready()
    assert len(lines(watched, "api")) == before["api"]
