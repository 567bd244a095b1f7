"""The page in a browser without a graphics processor: outlines, frames while panning, first paint.

Each row is measured in one run with its yardstick: the bar that it has to reach, or the same slide
without findings. Without a browser there is no row, and the reason is reported.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.comparison import Comparison
from benchmarks.page.many_findings import write_findings
from benchmarks.page.painted_slide import tissue, write_slide
from benchmarks.page.stage_server import StageSite, stage_site

WIDTH: Final = 10_240
HEIGHT: Final = 5_760
PITCH_PX: Final = 25
COUNT: Final = (WIDTH // PITCH_PX) * (HEIGHT // PITCH_PX)
SHOWN_BAR_S: Final = 0.6
FIRST_PAINT_BAR_S: Final = 0.5
_PANEL_PX: Final = 280
_LARGE: Final = {"width": 2560 + _PANEL_PX, "height": 1440}
_USUAL: Final = {"width": 1280, "height": 760}
_STEPS: Final = 80
_WAIT_MS: Final = 120_000
_DRAWN: Final = '.viewer-view[data-findings="drawn"]'
_OPEN: Final = '.viewer[data-open="true"]'
_SHOW: Final = """async ([x, y, z]) => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const view = document.querySelector(".viewer-view");
  const start = performance.now();
  stage.commands.current.goTo({x, y, z});
  await frame();
  await frame();
  while (view.dataset.findings !== "drawn") await frame();
  return (performance.now() - start) / 1000;
}"""
_PAN: Final = """async ([x, y, z, steps]) => {
  const frames = [];
  let last = performance.now();
  for (let step = 0; step < steps; step++) {
    stage.commands.current.goTo({x: x + 4 * step / z, y: y + 2 * step / z, z});
    await new Promise((resolve) => requestAnimationFrame(resolve));
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  frames.sort((one, other) => one - other);
  return frames[Math.floor((frames.length - 1) * 0.95)];
}"""
_PAINT: Final = """async () => {
  for (;;) {
    const paints = performance.getEntriesByName("first-contentful-paint");
    if (paints.length > 0) return paints[0].startTime / 1000;
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
}"""


def measure(rounds: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return the rows of the page, or none where no browser can be driven."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        report("page: left out, no chromium is installed")
        return []
    with tempfile.TemporaryDirectory(prefix="slidelane-page-") as made, _site(Path(made)) as site:
        return _measured(chromium, site, rounds, report)


@contextmanager
def _site(folder: Path) -> Iterator[StageSite]:
    slide = write_slide(folder / "tissue.tiff", WIDTH, HEIGHT, tissue())
    (folder / "result").mkdir()
    found = write_findings(folder / "result", WIDTH, HEIGHT, COUNT, PITCH_PX)
    with stage_site(folder / "data", {"tissue": slide}, {"nuclei": found}) as site:
        yield site


def _measured(
    chromium: str, site: StageSite, rounds: int, report: Callable[[str], None]
) -> list[Comparison]:
    from playwright.sync_api import sync_playwright  # only this part needs a browser

    shown: list[float] = []
    pans: list[tuple[float, float]] = []
    paints: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for number in range(rounds):
            shown.append(_time_to_show(browser, site))
            pans.append((_pan_ms(browser, site, "nuclei"), _pan_ms(browser, site, None)))
            paints.append(_first_paint_s(browser, site))
            report(
                f"page, round {number + 1}: {COUNT:,} outlines shown in {shown[-1]:.2f} s, frames "
                f"{pans[-1][0]:.1f} and {pans[-1][1]:.1f} ms, first paint {paints[-1]:.2f} s"
            )
        browser.close()
    ratios = tuple(with_findings / without for with_findings, without in pans)
    return [
        Comparison(
            f"{COUNT:,} outlines shown at 2560 x 1440",
            "s",
            median(shown),
            "the bar",
            SHOWN_BAR_S,
            tuple(one / SHOWN_BAR_S for one in shown),
        ),
        Comparison(
            "p95 of a frame while panning over findings",
            "ms",
            median(one for one, _ in pans),
            "the slide alone",
            median(other for _, other in pans),
            ratios,
        ),
        Comparison(
            "first paint of the page",
            "s",
            median(paints),
            "the bar",
            FIRST_PAINT_BAR_S,
            tuple(one / FIRST_PAINT_BAR_S for one in paints),
        ),
    ]


def _time_to_show(browser: Any, site: StageSite) -> float:
    """Return the seconds from asking for the whole slide until all its outlines are drawn."""
    page = browser.new_page(viewport=_LARGE)
    page.goto(f"{site.address}/?slide=tissue&findings=nuclei&view=200,200,4")
    page.locator(_DRAWN).wait_for(timeout=_WAIT_MS)
    took = float(page.evaluate(_SHOW, [WIDTH / 2, HEIGHT / 2, 0.25]))
    page.close()
    return took


def _pan_ms(browser: Any, site: StageSite, findings: str | None) -> float:
    page = browser.new_page(viewport=_USUAL)
    query = "slide=tissue&view=3000,2500,0.5"
    waited_for = _OPEN
    if findings is not None:
        query += f"&findings={findings}"
        waited_for = _DRAWN
    page.goto(f"{site.address}/?{query}")
    page.locator(waited_for).wait_for(timeout=_WAIT_MS)
    # Once to fetch and draw what is passed, once to measure frames alone.
    page.evaluate(_PAN, [3000, 2500, 0.5, _STEPS])
    page.wait_for_timeout(1500)
    took = float(page.evaluate(_PAN, [3000, 2500, 0.5, _STEPS]))
    page.close()
    return took


def _first_paint_s(browser: Any, site: StageSite) -> float:
    page = browser.new_page(viewport=_USUAL)
    page.goto(f"{site.address}/page.html", wait_until="commit")
    took = float(page.evaluate(_PAINT))
    page.close()
    return took
