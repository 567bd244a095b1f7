"""The README's order on a sample slide: its commands as they are, and with its destination."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.techcyte import TechcyteReceiver
from tests.support.pages import readme_commands, readme_destination, readme_order
from tests.support.stack import Stack

SERVED_AT = "localhost:8000"


@pytest.fixture
def folder(slide: Path) -> Path:
    """A working folder with the sample slide where `make serve` puts it; orders may read it."""
    sample = slide.parent / "data" / "sample" / "sample.svs"
    if not sample.exists():
        sample.parent.mkdir(parents=True)
        shutil.copy(slide, sample)
    return slide.parent


def test_the_order_of_the_readme_is_delivered(stack: Stack, folder: Path) -> None:
    """Its region, ids, task and token reach the receiver as printed, once."""
    order = json.loads(readme_order(str(folder))) | json.loads(readme_destination())
    with TechcyteReceiver(any_task=True, jwt_token=order["destination"]["jwt_token"]) as receiver:
        del order["destination"]["host"]
        order["destination"]["base_url"] = receiver.url
        ended = stack.wait_until(stack.order(**order), "delivered", "failed", "undelivered")
        assert ended["state"] == "delivered", ended
        assert ended["scans"][0]["summary"]["nuclei"] > 0
        (entry,) = receiver.ledger
    assert (entry.note["task"], entry.note["scans"]) == ("185714", [order["scans"][0]["id"]])


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's commands use curl")
def test_the_commands_of_the_readme_work_as_pasted(stack: Stack, folder: Path) -> None:
    """A shell runs them against the service and gets the overlay; only the port is changed."""
    assert SERVED_AT in readme_commands()
    commands = readme_commands().replace(SERVED_AT, stack.url.removeprefix("http://"))
    subprocess.run(["bash", "-eu", "-c", commands], cwd=folder, check=True, timeout=90)
    assert (folder / "data" / "overlay.png").read_bytes().startswith(b"\x89PNG")
