"""Place the orders of the tests of single faults, and see which worker holds them."""

from pathlib import Path
from typing import Any

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.support.stack import wait_for


def order_body(
    slides: Path, lab: TechcyteReceiver, *, algorithm: str = "grid", slide: str = "small.svs"
) -> dict[str, Any]:
    """Return the body of an order with one scan by path, delivered to the lab."""
    destination = {
        "type": "techcyte",
        "base_url": lab.url,
        "task_id": "185714",
        "jwt_token": lab.jwt_token,
    }
    scans = [{"id": "1", "source": {"type": "path", "path": str(slides / slide)}}]
    return {"algorithm": algorithm, "scans": scans, "destination": destination}


def delivered(fleet: Fleet, order_id: str, within_s: float = 60) -> dict[str, Any]:
    """Return the order at its end, which must be `delivered`."""
    order = fleet.wait_until(order_id, "delivered", "undelivered", "failed", within_s=within_s)
    assert order["state"] == "delivered", order
    return dict(order)


def log(fleet: Fleet, order_id: str) -> str:
    """Return the order's log as text."""
    return str(fleet.call("GET", f"/v1/orders/{order_id}/log")[1].decode())


def classifying(fleet: Fleet, order_id: str) -> str:
    """Return the role of the worker that classifies the order's scan now."""

    def busy() -> str:
        (scan,) = fleet.store.get(order_id).scans
        return scan.worker if scan.state == "classifying" else ""

    return role_of(fleet, wait_for(busy, what="classifying"))


def held(fleet: Fleet, order_id: str) -> str:
    """The role of the worker that has the order's scan at the gate, which the test has closed."""
    role = classifying(fleet, order_id)
    wait_for(lambda: fleet.gate.held() & fleet.children(role), what="a tile at the gate")
    return role


def role_of(fleet: Fleet, worker: str) -> str:
    """Return the role of the process that a worker's name, `gpu-PID@HOST`, stands for."""
    pid = int(worker.partition("@")[0].rpartition("-")[2])
    (role,) = [role for role, process in fleet.processes.items() if process.pid == pid]
    return role
