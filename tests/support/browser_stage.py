"""The middle of the page in a real browser: a page that may not fail, and what can be read of it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from benchmarks.page.stage_server import StageSite
from worker.geometry.frame import Pixels

WAIT_S: Final = 60.0
SIZE: Final = {"width": 1280, "height": 760}
_POLL_MS: Final = 50
_SET_VISIBILITY: Final = """value => {
  const over = ".viewer-corner, .viewer-selected, .viewer-hover, .navigator, .viewer-marks";
  for (const element of document.querySelectorAll(over)) element.style.visibility = value;
}"""


@dataclass
class StagePage:
    """A page that shows the stage alone. `faults`: what a browser complained of."""

    page: Page
    site: StageSite
    faults: list[str] = field(default_factory=list)

    def state(self, expression: str) -> Any:
        """Return a value of the page's state, e.g. `region` or `style.shown`."""
        return self.page.evaluate(f"window.stage.{expression}")

    def until(self, what: Callable[[], object], words: str) -> Any:
        """Return what the function returns once it is true. `words`: what is waited for."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            value = what()
            if value:
                return value
            self.page.wait_for_timeout(_POLL_MS)
        pytest.fail(f"after {WAIT_S} s still not: {words}; {self.faults}")

    def until_open(self) -> None:
        """Wait until the slide can be looked at."""
        self.page.locator('.viewer[data-open="true"]').wait_for(timeout=WAIT_S * 1000)

    def until_drawn(self) -> None:
        """Wait until all findings in view are drawn."""
        drawn = self.page.locator('.viewer-view[data-findings="drawn"]')
        drawn.wait_for(timeout=WAIT_S * 1000)

    def until_still(self) -> Pixels:
        """Return the picture of the slide once it does not change any more."""
        last = self.picture()
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            self.page.wait_for_timeout(400)
            now = self.picture()
            if np.array_equal(last, now):
                return now
            last = now
        pytest.fail("the picture keeps changing")

    def picture(self) -> Pixels:
        """Return what the slide's canvas shows, (height, width, 3), without marks and words.

        A style of the test's own would break the policy of the page.
        """
        self.page.evaluate(_SET_VISIBILITY, "hidden")
        shown = self.page.locator(".openseadragon-canvas").first.screenshot()
        self.page.evaluate(_SET_VISIBILITY, "")
        return np.asarray(Image.open(BytesIO(shown)).convert("RGB"))

    def show(self, x: float, y: float, zoom: float) -> None:
        """Show a place at a zoom in screen pixels per level-0 pixel, without a flight."""
        self.page.evaluate(f"stage.commands.current.goTo({{x: {x}, y: {y}, z: {zoom}}})")

    def key(self, *keys: str) -> None:
        """Press keys on the slide."""
        self.page.locator(".viewer-slide").focus()
        for one in keys:
            self.page.keyboard.press(one)

    def drag(self, start: tuple[int, int], stop: tuple[int, int]) -> None:
        """Drag the mouse from one place of the slide to another, in screen pixels."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        middle = ((start[0] + stop[0]) // 2, (start[1] + stop[1]) // 2)
        mouse.move(*middle)
        mouse.move(*stop)
        mouse.up()

    def words(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.locator(selector).first.inner_text()


@contextmanager
def stage_page(
    browser: Browser,
    site: StageSite,
    query: str,
    *,
    expected_faults: Sequence[str] = (),
    **context: Any,
) -> Iterator[StagePage]:
    """Open the page; fail where the browser complains, or asks another origin.

    `expected_faults`: parts of complaints that the test provokes.
    """
    settings: Mapping[str, Any] = {"viewport": SIZE, **context}
    opened = browser.new_context(**settings)
    page = opened.new_page()
    stage = StagePage(page, site)

    def complained(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            stage.faults.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((site.address, "blob:", "data:")):
            stage.faults.append(f"asked {request.url}")

    page.on("console", complained)
    page.on("pageerror", lambda error: stage.faults.append(str(error)))
    page.on("request", asked)
    try:
        page.goto(f"{site.address}/?{query}", wait_until="load")
        yield stage
        left = [
            fault
            for fault in stage.faults
            if not any(expected in fault for expected in expected_faults)
        ]
        assert left == []
    finally:
        opened.close()
