"""The whole service as real processes, which a test may kill, and a client of its API."""

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
from tests.support.gate import FOLDER_VARIABLE, Gate
from tests.support.paths import ROOT

ROLES = {
    "api": ["services"],
    "courier": ["worker", "courier"],
    "worker": ["worker", "gpu"],
    "viewer": ["worker.viewer"],
    "flower": ["slidelane.flower", "--address=127.0.0.1"],
}
GATED = {"worker": ["tests.support.gated_worker", "gpu"]}
"""The modules to start instead, for a worker whose ki67 waits while `Stack.gate` is closed."""
LEASE_S = 4


def wait_for(condition: Callable[[], Any], within_s: float = 90, what: str = "it") -> Any:
    """Call `condition` until it returns something true, and return that.

    Raise AssertionError, which names `what`, when it did not within `within_s`.
    """
    tick = threading.Event()
    for _ in range(int(within_s / 0.1)):
        result = condition()
        if result:
            return result
        tick.wait(0.1)
    raise AssertionError(f"{what} did not come true within {within_s} s")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """Redis, API, courier and worker with one data folder.

    A role may end in a number, as `worker-2` does, to start several processes of one kind.
    """

    roles: ClassVar[tuple[str, ...]] = ("api", "courier", "worker")

    def __init__(self, data: Path, roots: Iterable[Path]) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis = EmbeddedRedis(BrokerSettings(data=data))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.gate = Gate(data / "gate")
        self.modules = ROLES
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("SLIDELANE_")
        }
        self.env = inherited | {
            "SLIDELANE_BROKER__DATA": str(data),
            "SLIDELANE_BROKER__ALLOW_HOSTS": '["127.0.0.1"]',
            "SLIDELANE_BROKER__LEASE_S": str(LEASE_S),
            "SLIDELANE_BROKER__HEARTBEAT_S": "1",
            "SLIDELANE_BROKER__HINT_AGAIN_S": "1",
            "SLIDELANE_SERVICES__PORT": str(self.port),
            "SLIDELANE_WORKER__SLIDES__ROOTS": json.dumps([str(root) for root in roots]),
            "SLIDELANE_WORKER__DELIVER__READ_TIMEOUT_S": "3",
            "SLIDELANE_WORKER__DELIVER__UNKNOWN_PATIENCE_S": "6",
            "SLIDELANE_WORKER__GRACE_S": "1",
            FOLDER_VARIABLE: str(self.gate.folder),
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
        """Start one process with additional settings. Its output goes to `<data>/ROLE.log`."""
        with (self.data / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", *self.modules[role.partition("-")[0]]],
                cwd=ROOT,
                env=self.env | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, role: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a process and all that it started, and wait for its end."""
        process = self.processes[role]
        if process.poll() is None:
            os.killpg(process.pid, signal_number)
        process.wait(timeout=60)

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request to the API, and return the status and the decoded body.

        The status is 0 when nobody listens.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data,
            {"Content-Type": "application/json", **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, _decoded(response)
        except HTTPError as error:
            with error:
                return error.code, _decoded(error)
        except (URLError, ConnectionError):
            return 0, None

    def wait_ready(self) -> None:
        """Wait until the API reports that workers consume."""
        wait_for(lambda: self.call("GET", "/readyz")[0] == 200, what="/readyz")

    def order(self, **request: Any) -> str:
        """Place an order with the fields of `request`, and return its id."""
        status, order = self.call("POST", "/v1/orders", request)
        assert status == 202, order
        return str(order["id"])

    def get(self, order_id: str) -> Any:
        """Return the order as the API shows it."""
        return self.call("GET", f"/v1/orders/{order_id}")[1]

    def wait_until(self, order_id: str, *states: str, within_s: float = 90) -> Any:
        """Wait until the order is in one of the states, and return it."""

        def order_in_state() -> Any:
            order = self.get(order_id)
            if order and order["state"] in states:
                return order
            return None

        return wait_for(order_in_state, within_s, f"order {order_id} in {states}")


def _decoded(response: Any) -> Any:
    body = response.read()
    if "json" in response.headers.get("Content-Type", ""):
        return json.loads(body)
    return body
