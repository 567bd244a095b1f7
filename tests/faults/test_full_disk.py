"""A disk that is full when the results are written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, log, order_body
from tests.support.stack import ROOT, wait_for

ON_A_FULL_DISK = """
mount -t tmpfs -o size=1m full "$0" &&
(head -c 2m /dev/zero > "$0/filler" || true) &&
exec "$@"
"""


def test_results_that_find_no_room_are_made_again_when_there_is_some(
    fleet: Fleet, lab: TechcyteReceiver, slides: Path
) -> None:
    """The scan is retried: no partial result is visible, and the order is delivered."""
    results = fleet.data / "results"
    results.mkdir(exist_ok=True)
    _skip_unless_mountable(results)
    for worker in ("worker-1", "worker-2"):
        fleet.kill(worker)
    order_id = fleet.order(**order_body(slides, lab))
    pid = _start_on_a_full_disk(fleet, results)
    try:
        wait_for(lambda: "is full" in log(fleet, order_id), what="the full disk")
        assert not list(Path(f"/proc/{pid}/root{results}").glob("*/[!.]*"))
    finally:
        fleet.kill("worker-1")
    fleet.tend()
    delivered(fleet, order_id)
    assert len(lab.ledger) == 1


def _skip_unless_mountable(folder: Path) -> None:
    """Skip the test without the right to mount a small disk in a namespace of its own."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "full", str(folder)]
    if (
        not shutil.which("unshare")
        or subprocess.run(trial, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount")


def _start_on_a_full_disk(fleet: Fleet, folder: Path) -> int:
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        ON_A_FULL_DISK,
        str(folder),
        sys.executable,
        "-m",
        "worker",
        "gpu",
    ]
    with (fleet.data / "worker-1.log").open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=fleet.env, stdout=out, stderr=out, start_new_session=True
        )
    fleet.processes["worker-1"] = process
    return process.pid
