"""Other IIIF viewers: a page of another site shows a slide by a link alone."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import quote

import numpy as np
import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from services.page.files import FOLDER
from tests.browser.conftest import HEIGHT, KEY, WIDTH
from tests.support.browser import Site
from tests.support.slides import a_slide

_OPENSEADRAGON: Final = FOLDER / "vendor" / "openseadragon.js"
_PAGE: Final = b"""<!doctype html>
<title>Another site</title>
<link rel="icon" href="data:,">
<div id="slide" style="width: 1000px; height: 750px"></div>
<p id="state">waits</p>
<script src="openseadragon.js"></script>
<script>
  const state = document.getElementById("state");
  const viewer = OpenSeadragon({
    id: "slide",
    tileSources: decodeURIComponent(location.hash.slice(1)),
    crossOriginPolicy: "Anonymous",
    drawer: "canvas",
    showNavigationControl: false,
    animationTime: 0,
    immediateRender: true,
  });
  viewer.addHandler("open-failed", ({ message }) => { state.textContent = `failed: ${message}`; });
  viewer.addHandler("open", () => {
    viewer.world.getItemAt(0).addHandler("fully-loaded-change", ({ fullyLoaded }) => {
      if (fullyLoaded) requestAnimationFrame(() => { state.textContent = "shown"; });
    });
  });
</script>
"""
_SHOWN = """
() => {
  const { x, y } = viewer.source.dimensions;
  const context = viewer.drawer.canvas.getContext('2d');
  const { width, height } = viewer.drawer.canvas;
  const { data } = context.getImageData(0, 0, width, height);
  const at = (across, down) => {
    const first = 4 * (Math.floor(down * height) * width + Math.floor(across * width));
    return [...data.slice(first, first + 4)];
  };
  return { size: [x, y], corners: [at(0.02, 0.02), at(0.98, 0.02), at(0.02, 0.98)] };
}
"""


class OtherSite(BaseHTTPRequestHandler):
    """A page with OpenSeadragon, and nothing of ours."""

    def do_GET(self) -> None:
        """Answer with the page or with OpenSeadragon."""
        if self.path == "/openseadragon.js":
            self._answer("text/javascript", _OPENSEADRAGON.read_bytes())
        else:
            self._answer("text/html", _PAGE)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def other_site() -> Iterator[str]:
    """The address of a page of another site: `localhost` is another one than 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of a browser that has neither a key nor a session."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def slope(slides: Path) -> str:
    """The name of a slide that is redder to the right and greener downwards."""
    across, down = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    pixels = np.stack([across, down, np.full_like(across, 90)], axis=2).astype(np.uint8)
    return a_slide(slides / "slope.svs", pixels, levels=(1, 2, 4)).name


def linked(site: Site, slide: str) -> str:
    """Look at a slide with a key, and return the link that opens it without one."""
    source = {"type": "path", "path": str(site.slides / slide)}
    bearer = {"Authorization": f"Bearer {KEY}"}
    looked = requests.post(
        f"{site.url}/v1/slides", json={"source": source}, headers=bearer, timeout=60
    )
    assert looked.status_code == 201, looked.text
    address = f"{site.url}/v1/slides/{looked.json()['id']}/link"
    link = requests.post(address, headers=bearer, timeout=60)
    assert link.status_code == 201, link.text
    return str(link.json()["url"])


def test_openseadragon_alone_shows_a_slide_by_its_link(
    keyed_site: Site, other_site: str, page: Page, slope: str
) -> None:
    """From another origin: it opens, its pixels may be read there, and they are the slide's."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    link = linked(keyed_site, slope)
    page.goto(f"{other_site}#{quote(link, safe='')}")
    expect(page.locator("#state")).to_have_text("shown", timeout=60_000)
    shown = page.evaluate(_SHOWN)
    assert shown["size"] == [WIDTH, HEIGHT]
    left, right, low = shown["corners"]
    assert right[0] - left[0] > 200  # red grows to the right
    assert low[1] - left[1] > 150  # green grows downwards
    assert abs(low[0] - left[0]) < 20
    assert [corner[3] for corner in shown["corners"]] == [255] * 3
    assert faults == []


@pytest.mark.parametrize("change", ["no token", "token of another slide"])
def test_without_its_link_a_slide_stays_closed(
    keyed_site: Site, other_site: str, page: Page, slope: str, change: str
) -> None:
    """No page of another site can show it."""
    link = linked(keyed_site, slope)
    if change == "no token":
        wrong = link.partition("?")[0]
    else:
        other = linked(keyed_site, "Canary Smith.svs")
        wrong = f"{link.partition('?')[0]}?{other.partition('?')[2]}"
    page.goto(f"{other_site}#{quote(wrong, safe='')}")
    expect(page.locator("#state")).to_contain_text("failed:", timeout=60_000)
