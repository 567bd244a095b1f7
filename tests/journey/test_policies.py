"""docs/policies.md: a slide is copied into a watched folder, and its order is delivered."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config
from tests.support.pages import blocks, read
from tests.support.stack import Stack, wait_for
from tests.support.walks import run_walk, walk_folder

PAGE = read("docs/policies.md")
WALK, *OTHERS = blocks(PAGE, "json")
COMMANDS = "\n".join(blocks(PAGE, "sh"))


@pytest.fixture
def watching(slide: Path, tmp_path: Path) -> Iterator[tuple[Stack, Path]]:
    """A service with the settings of the page, and the folder that its commands run in."""
    folder = walk_folder(slide, tmp_path / "walk")
    inbox = folder / "data" / "in"
    inbox.mkdir()
    settings = json.loads(WALK.replace("data/in", str(inbox)))
    settings["worker"]["watch"][0]["interval_s"] = 0.3
    (tmp_path / "data").mkdir()
    service = Stack(tmp_path / "data", [inbox])
    service.env |= {
        "SLIDELANE_SERVICES__POLICIES": json.dumps(settings["services"]["policies"]),
        "SLIDELANE_WORKER__WATCH": json.dumps(settings["worker"]["watch"]),
    }
    with service as stack:
        stack.wait_ready()
        wait_for(
            lambda: b"is watched from now on" in (stack.data / "courier.log").read_bytes(),
            what="the first look",
        )
        yield stack, folder


def orders(stack: Stack) -> list[Any]:
    return list(stack.call("GET", "/v1/orders")[1]["orders"])


def test_a_copied_slide_is_ordered_once_whatever_is_killed(
    watching: tuple[Stack, Path], slide: Path
) -> None:
    """The walk of the page; then a courier and an API that are killed lose nothing and repeat nothing."""
    stack, folder = watching
    run_walk(COMMANDS.replace("http://localhost:8000", stack.url), folder)
    (order,) = json.loads((folder / "data" / "ordered.json").read_text())["orders"]
    assert order["created_by"] == "policy:ki67"
    assert order["labels"] == {"case": "S26-1234", "policy": "ki67"}
    assert order["state"] == "delivered"
    inbox = folder / "data" / "in"
    for number in range(3):
        shutil.copy(slide, inbox / f"S26-{number}_Ki67.svs")
        shutil.copy(slide, inbox / f"S26-{number}_HER2.svs")
        for role in ("courier", "api"):
            stack.kill(role)
            stack.start(role)
    stack.wait_ready()
    wait_for(lambda: len(orders(stack)) >= 4, what="the orders of the slides")
    cases = sorted(order["labels"]["case"] for order in orders(stack))
    assert cases == ["S26-0", "S26-1", "S26-1234", "S26-2"]


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_the_settings_of_the_page_can_work(number: int) -> None:
    """They are accepted as they stand; the order has the form of one by a template."""
    document = json.loads(OTHERS[number])
    if "services" in document:
        assert Config(**document).services
    else:
        assert set(document) == {"template", "scans", "labels"}
