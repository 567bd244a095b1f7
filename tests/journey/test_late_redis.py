"""Any order of start: every process waits for a Redis that is not there yet, and none gives up."""

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

TRIES = "Cannot connect to"
DURABLE = 'appendonly yes\nappendfsync always\nsave ""\nmaxmemory-policy noeviction\n'


class Early(Stack):
    """The processes, Flower too, started when nobody listens yet where Redis is to be."""

    roles = (*Stack.roles, "flower")

    def __init__(self, data: Path, roots: list[Path]) -> None:
        super().__init__(data, roots)
        self.redis_port, self.flower_port = free_port(), free_port()
        self.env["FLOWER_PORT"] = str(self.flower_port)
        self.env["SLIDELANE_BROKER__REDIS_URL"] = f"redis://127.0.0.1:{self.redis_port}/0"

    def __enter__(self) -> Self:
        for role in self.roles:
            self.start(role)
        return self

    def tried(self, role: str) -> int:
        """How often it has said that it cannot connect."""
        return (self.data / f"{role}.log").read_text().count(TRIES)

    def shown(self) -> set[str]:
        """The workers that Flower shows, by the first part of their names."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.flower_port}/workers?json=1", timeout=30
        ) as answer:
            return {worker["hostname"].split("-")[0] for worker in json.load(answer)["data"]}


@pytest.fixture
def early(tmp_path: Path, slide: Path) -> Iterator[Early]:
    with Early(tmp_path, [slide.parent]) as stack:
        yield stack


def test_everything_comes_up_by_itself_when_redis_does(
    early: Early, tmp_path: Path, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """The API answers 503 meanwhile, workers try again; then an order is delivered, by the processes of the start."""
    started = {role: process.pid for role, process in early.processes.items()}
    wait_for(lambda: early.call("GET", "/healthz")[0] == 200, what="the API")
    wait_for(
        lambda: early.tried("courier") >= 3 and early.tried("worker") >= 3,
        what="attempts to connect",
    )
    assert early.call("GET", "/readyz")[0] == 503
    assert early.call("POST", "/v1/orders", {"algorithm": "ki67"})[0] in (422, 503)
    with ExitStack() as late:
        late.enter_context(server(tmp_path / "late", f"{DURABLE}port {early.redis_port}\n"))
        early.wait_ready()
        order = early.order(
            algorithm="grid",
            scans=[{"id": "1", "source": {"type": "path", "path": str(slide)}}],
            destination={
                "type": "techcyte",
                "base_url": techcyte.url,
                "task_id": "1",
                "jwt_token": techcyte.jwt_token,
            },
        )
        early.wait_until(order, "delivered")
        wait_for(lambda: early.shown() == {"gpu", "courier"}, what="the workers in Flower")
        assert {
            role: process.pid for role, process in early.processes.items() if process.poll() is None
        } == started
    assert len(techcyte.ledger) == 1
