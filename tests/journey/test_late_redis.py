"""Processes may start in any order: each one waits for a Redis that starts later."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from demo.techcyte import TechcyteReceiver
from tests.support.redis_servers import free_port, server
from tests.support.stack import Stack, wait_for

CANNOT_CONNECT = "Cannot connect to"
DURABLE = 'appendonly yes\nappendfsync always\nsave ""\nmaxmemory-policy noeviction\n'


class StartedBeforeRedis(Stack):
    """All processes, Flower too, started while nobody listens on the port of Redis."""

    roles = (*Stack.roles, "flower")

    def __init__(self, data: Path, roots: list[Path]) -> None:
        super().__init__(data, roots)
        self.redis_port = free_port()
        self.flower_port = free_port()
        self.env["FLOWER_PORT"] = str(self.flower_port)
        self.env["SLIDELANE_BROKER__REDIS_URL"] = f"redis://127.0.0.1:{self.redis_port}/0"

    def __enter__(self) -> Self:
        for role in self.roles:
            self.start(role)
        return self

    def failed_connections(self, role: str) -> int:
        """Return how often the process has logged that it cannot connect."""
        return (self.data / f"{role}.log").read_text().count(CANNOT_CONNECT)

    def flower_workers(self) -> set[str]:
        """Return the workers that Flower shows, by the first part of their names."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.flower_port}/workers?json=1", timeout=30
        ) as response:
            return {worker["hostname"].split("-")[0] for worker in json.load(response)["data"]}


@pytest.fixture
def started_early(tmp_path: Path, slide: Path) -> Iterator[StartedBeforeRedis]:
    with StartedBeforeRedis(tmp_path, [slide.parent]) as stack:
        yield stack


def test_everything_comes_up_by_itself_when_redis_does(
    started_early: StartedBeforeRedis, tmp_path: Path, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """Until then the API answers 503; afterwards the same processes deliver an order."""
    pids_at_start = {role: process.pid for role, process in started_early.processes.items()}
    wait_for(lambda: started_early.call("GET", "/healthz")[0] == 200, what="the API")
    wait_for(
        lambda: (
            started_early.failed_connections("courier") >= 1
            and started_early.failed_connections("worker") >= 1
        ),
        what="attempts to connect",
    )
    assert started_early.call("GET", "/readyz")[0] == 503
    assert started_early.call("POST", "/v1/orders", {"algorithm": "ki67"})[0] in (422, 503)
    with ExitStack() as redis_started:
        redis_started.enter_context(
            server(tmp_path / "late", f"{DURABLE}port {started_early.redis_port}\n")
        )
        started_early.wait_ready()
        order = started_early.order(
            algorithm="grid",
            scans=[{"id": "1", "source": {"type": "path", "path": str(slide)}}],
            destination={
                "type": "techcyte",
                "base_url": techcyte.url,
                "task_id": "1",
                "jwt_token": techcyte.jwt_token,
            },
        )
        started_early.wait_until(order, "delivered")
        wait_for(
            lambda: started_early.flower_workers() == {"gpu", "courier"},
            what="the workers in Flower",
        )
        assert {
            role: process.pid
            for role, process in started_early.processes.items()
            if process.poll() is None
        } == pids_at_start
    assert len(techcyte.ledger) == 1
