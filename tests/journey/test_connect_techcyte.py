"""docs/connect-techcyte.md: its settings and its commands, from a posted task to one post of results."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config
from tests.support.pages import blocks, read
from tests.support.paths import ROOT
from tests.support.stack import Stack, free_port
from tests.support.walks import run_walk, walk_folder

PAGE = read("docs/connect-techcyte.md")
SETTINGS = [json.loads(block) for block in blocks(PAGE, "json")]
COMMANDS = "\n".join(blocks(PAGE, "sh"))
SERVED_AT = "localhost:8000"
STANDS_IN_AT = "8082"
BUCKET_AT = "8083"


@pytest.fixture
def results_port(running: Stack) -> Iterator[int]:
    """The port to which the webhook of the page sends results; the API has that webhook."""
    port = free_port()
    (webhook,) = SETTINGS[1]["services"]["techcyte"]["webhooks"]
    webhooks = json.dumps([webhook]).replace(STANDS_IN_AT, str(port))
    running.kill("api", signal.SIGTERM)
    running.start("api", SLIDELANE_SERVICES__TECHCYTE__WEBHOOKS=webhooks)
    running.wait_ready()
    yield port
    running.kill("api", signal.SIGTERM)
    running.start("api")
    running.wait_ready()


@pytest.fixture
def folder(slide: Path, tmp_path: Path) -> Path:
    """A working folder as `make serve` leaves it: a Python in `.venv`, a sample slide in `data`."""
    return walk_folder(slide, tmp_path)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_settings_of_the_page_can_work(settings: dict[str, Any]) -> None:
    """Both are accepted as they stand."""
    assert Config(**settings).services.techcyte.webhooks


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_a_task_becomes_one_post_of_results(
    running: Stack, results_port: int, folder: Path
) -> None:
    """A shell runs the commands of the page; only ports are changed. The same commands once more
    end with the same order and no second post."""
    assert COMMANDS.count(SERVED_AT) == 2
    commands = (
        COMMANDS.replace(SERVED_AT, running.url.removeprefix("http://"))
        .replace(STANDS_IN_AT, str(results_port))
        .replace(BUCKET_AT, str(free_port()))
    )
    again = commands[commands.index("token=") :].replace("5160ed", "0ddba11")
    run_walk(f"{commands}\ncp data/taken.json data/first.json\n{again}", folder)
    first = json.loads((folder / "data" / "first.json").read_text())
    second = json.loads((folder / "data" / "taken.json").read_text())
    assert second["order_id"] == first["order_id"]
    order = running.get(first["order_id"])
    assert (order["state"], order["created_by"]) == ("delivered", "techcyte"), order
    (entry,) = json.loads((folder / "data" / "ledger.json").read_text())
    assert (entry["note"]["task"], entry["note"]["scans"]) == ("185714", ["8946136"])
    task = commands.partition("<< TASK\n")[2].partition("\nTASK")[0]
    (folder / "data" / "task.json").write_text(task.replace("$token", "an-older-token"))
    pasted = subprocess.run(
        [sys.executable, "-m", "slidelane", "order", "--techcyte", "data/task.json"],
        cwd=folder,
        env=running.env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert first["order_id"] in pasted.stdout
    assert "accepted before" in pasted.stdout
