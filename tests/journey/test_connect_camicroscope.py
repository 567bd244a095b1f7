"""docs/connect-camicroscope-3.md: its settings and its commands, from an order to its marks."""

import json
import shutil
from pathlib import Path

import pytest

from broker.settings.config import Config
from demo.camicroscope_rules import check_document
from tests.support.pages import blocks, read, table
from tests.support.stack import Stack, free_port
from tests.support.walks import run_walk, walk_folder

PAGE = read("docs/connect-camicroscope-3.md")
COMMANDS = "\n".join(blocks(PAGE, "sh"))
SERVED_AT = "localhost:8000"
STANDS_IN_AT = "8085"


def test_the_settings_of_the_page_can_work() -> None:
    """They are accepted as they stand."""
    settings = json.loads(blocks(PAGE, "json")[0])
    assert Config(**settings).services.destinations["viewer"]
    assert set(table(PAGE)) == {"url", "slide", "token", "execution_id", "replace"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the page use curl")
def test_an_order_becomes_a_layer_once(stack: Stack, slide: Path, tmp_path: Path) -> None:
    """A shell runs the commands of the page; only ports and the slide's folder are changed. The
    same order once more replaces the marks."""
    commands = (
        COMMANDS.replace(SERVED_AT, stack.url.removeprefix("http://"))
        .replace(STANDS_IN_AT, str(free_port()))
        .replace("$PWD/data/sample", str(slide.parent))
    )
    again = commands[commands.index("token=") :]
    folder = walk_folder(slide, tmp_path)
    run_walk(f"{commands}\ncp data/marks.json data/first.json\n{again}", folder)
    first = json.loads((folder / "data" / "first.json").read_text())
    second = json.loads((folder / "data" / "marks.json").read_text())
    order = stack.get(json.loads((folder / "data" / "order.json").read_text())["id"])
    assert order["state"] == "delivered", order
    assert len(first) == len(second) == order["scans"][0]["summary"]["nuclei"]
    assert {mark["slidelane"]["order"] for mark in second} == {order["id"]}
    for mark in second:
        check_document("Mark", mark)
