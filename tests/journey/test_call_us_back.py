"""docs/call-us-back.md: its settings and its commands, from two orders to two calls."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from broker.orders.destinations import END_EVENTS, WebhookDestination
from broker.settings.config import Config
from tests.support.pages import blocks, read, table
from tests.support.stack import Stack, free_port
from tests.support.walks import run_walk, walk_folder

PAGE = read("docs/call-us-back.md")
COMMANDS = "\n".join(blocks(PAGE, "sh"))
SERVED_AT = "localhost:8000"
STANDS_IN_AT = "8084"


def test_the_settings_of_the_page_can_work() -> None:
    """They are accepted as they stand, and every event is in the table."""
    settings, webhook = blocks(PAGE, "json")
    assert Config(**json.loads(settings)).services.notify == "inbox"
    assert TypeAdapter(WebhookDestination).validate_json(webhook).events
    assert {name for name in table(PAGE) if name.startswith("order.")} == set(END_EVENTS)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_two_orders_become_two_calls(stack: Stack, slide: Path, tmp_path: Path) -> None:
    """A shell runs the commands of the page; only ports and the slide's folder are changed."""
    commands = (
        COMMANDS.replace(SERVED_AT, stack.url.removeprefix("http://"))
        .replace(STANDS_IN_AT, str(free_port()))
        .replace("$PWD/data/sample", str(slide.parent))
    )
    folder = walk_folder(slide, tmp_path)
    run_walk(commands, folder)
    data = folder / "data"
    good = json.loads((data / "good.json").read_text())["id"]
    bad = json.loads((data / "bad.json").read_text())["id"]
    called = {
        entry["note"]["id"]: entry["note"]["event"]["data"]
        for entry in json.loads((data / "ledger.json").read_text())
    }
    assert set(called) == {f"{good}_order_delivered", f"{bad}_order_failed"}
    (scan,) = called[f"{bad}_order_failed"]["scans"]
    assert scan["error"]["code"] == "roi_outside_slide"
    assert stack.wait_until(good, "delivered")["state"] == "delivered"
    assert stack.get(bad)["notify"]["events"] == ["order.failed"]
