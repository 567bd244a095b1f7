"""What ran into a limit is found in the log by its code, in both forms."""

import json
import threading
from pathlib import Path

import pytest

from tests.journey.test_worker_command import ServiceWithoutWorkers, announced, drips_until
from tests.support.slide_server import Handler, SlideServer
from tests.support.stack import wait_for

LIMITS = {
    "SLIDELANE_WORKER__LIMITS__DECODE_S": "1",
    "SLIDELANE_WORKER__LIMITS__STALL_S": "4",
    "SLIDELANE_WORKER__LIMITS__FETCH_S": "8",
    "SLIDELANE_WORKER__DELIVER__READ_TIMEOUT_S": "60",
}


def falls_silent(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**6))
    handler.end_headers()
    handler.wfile.write(b"II*\0" + bytes(1000))
    handler.wfile.flush()
    handler.server.closing.wait(60)


def codes(said: str, form: str, order_id: str) -> list[str]:
    """The codes of the lines about an order, in their order."""
    if form == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        return [
            line["code"] for line in lines if line.get("work") == f"{order_id}.0" and "code" in line
        ]
    lines = [
        line for line in said.splitlines() if f" work={order_id}.0 " in line and " code=" in line
    ]
    return [line.partition(" code=")[2].split()[0] for line in lines]


@pytest.mark.parametrize("form", ["text", "json"])
def test_work_that_breaks_a_limit_is_found_by_its_code(tmp_path: Path, form: str) -> None:
    """A source that falls silent: `slow_stage`, then `stalled`; one that drips without end:
    `time_limit`."""
    with ServiceWithoutWorkers(tmp_path, []) as service, SlideServer() as origin:
        origin.answers |= {
            "/silent.svs": falls_silent,
            "/drips.svs": drips_until(threading.Event()),
        }
        service.worker("courier", "--for", "1h", SLIDELANE_BROKER__LOG=form, **LIMITS)
        wait_for(lambda: service.call("GET", "/healthz")[0] == 200, what="/healthz")
        wait_for(lambda: announced(service), what="an algorithm")
        placed = []
        for name in ("silent", "drips"):
            source = {
                "type": "url",
                "url": f"http://127.0.0.1:{origin.server_port}/{name}.svs?sig=hidden",
            }
            placed.append(service.order(algorithm="grid", scans=[{"id": "1", "source": source}]))
        for order_id in placed:
            service.wait_until(order_id, "failed")
        silent, drips = placed
        wait_for(lambda: "time_limit" in codes(service.said, form, drips), what="the line")
        assert codes(service.said, form, silent)[:2] == ["slow_stage", "stalled"]
        assert "hidden" not in service.said
