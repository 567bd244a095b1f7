"""The whole service as real processes, which a test may kill, and a caller of its API."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.error import HTTPError, URLError

from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import BrokerSettings
from tests.support.gate import FOLDER, Gate
from tests.support.paths import ROOT

ROLES = {
    "api": ["services"],
    "courier": ["worker", "courier"],
    "worker": ["worker", "gpu"],
    "flower": ["slidelane.flower", "--address=127.0.0.1"],
}
GATED = {"worker": ["tests.support.gated_worker", "gpu"]}
"""The worker whose ki67 waits where `Stack.gate` is closed."""
LEASE_S = 4


def wait_for(condition: Callable[[], Any], within_s: float = 90, what: str = "it") -> Any:
    """The first truthy answer of `condition`."""
    tick = threading.Event()
    for _ in range(int(within_s / 0.1)):
        if answer := condition():
            return answer
        tick.wait(0.1)
    raise AssertionError(f"{what} did not come true within {within_s} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """Redis, API, courier and worker over one data folder. A role may have a number behind it: `worker-2`."""

    roles: ClassVar[tuple[str, ...]] = ("api", "courier", "worker")

    def __init__(self, data: Path, roots: Iterable[Path]) -> None:
        self.data, self.port = data, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis = EmbeddedRedis(BrokerSettings(data=data))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.gate, self.modules = Gate(data / "gate"), ROLES
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
        } | {
            "SLIDELANE_BROKER__DATA": str(data),
            "SLIDELANE_BROKER__ALLOW_HOSTS": '["127.0.0.1"]',
            "SLIDELANE_BROKER__LEASE_S": str(LEASE_S),
            "SLIDELANE_BROKER__HEARTBEAT_S": "1",
            "SLIDELANE_BROKER__HINT_AGAIN_S": "1",
            "SLIDELANE_SERVICES__PORT": str(self.port),
            "SLIDELANE_WORKER__SLIDES__ROOTS": json.dumps([str(root) for root in roots]),
            "SLIDELANE_WORKER__DELIVER__READ_TIMEOUT_S": "3",
            "SLIDELANE_WORKER__GRACE_S": "1",
            FOLDER: str(self.gate.folder),
        }

    def __enter__(self) -> Self:
        self.redis.start()
        for role in self.roles:
            self.start(role)
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.processes:
            self.kill(role)
        self.redis.stop()

    def start(self, role: str, **settings: str) -> None:
        """Start one process, with settings of its own; its lines go to `<data>/ROLE.log`."""
        with (self.data / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", *self.modules[role.partition("-")[0]]],
                cwd=ROOT,
                env=self.env | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, role: str, number: int = signal.SIGKILL) -> None:
        """Signal a process and all it started, and wait for its end."""
        process = self.processes[role]
        if process.poll() is None:
            os.killpg(process.pid, number)
        process.wait(timeout=60)

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded body. Status 0 when nobody listens."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data,
            {"Content-Type": "application/json", **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _decoded(answer)
        except HTTPError as error:
            with error:
                return error.code, _decoded(error)
        except (URLError, ConnectionError):
            return 0, None

    def wait_ready(self) -> None:
        """Until workers consume."""
        wait_for(lambda: self.call("GET", "/readyz")[0] == 200, what="/readyz")

    def order(self, **asked: Any) -> str:
        """Place an order; returns its id."""
        status, order = self.call("POST", "/v1/orders", asked)
        assert status == 202, order
        return str(order["id"])

    def get(self, order_id: str) -> Any:
        """The order as the API shows it."""
        return self.call("GET", f"/v1/orders/{order_id}")[1]

    def wait_until(self, order_id: str, *states: str, within_s: float = 90) -> Any:
        """The order, once it is in one of the states."""

        def reached() -> Any:
            order = self.get(order_id)
            return order if order and order["state"] in states else None

        return wait_for(reached, within_s, f"order {order_id} in {states}")


def _decoded(answer: Any) -> Any:
    body = answer.read()
    return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body
