"""A slide at a URL that somebody looks at and orders, through real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.bucket import FileBucket
from tests.support.slide_server import File, SlideServer
from tests.support.stack import Stack, wait_for

REGION = {"x": 512, "y": 512, "width": 1024, "height": 1024}


@pytest.fixture
def viewing(stack: Stack) -> Iterator[Stack]:
    """The service with its viewer."""
    stack.start("viewer")
    yield stack
    stack.kill("viewer", signal.SIGTERM)
    del stack.processes["viewer"]


def _looked_at(stack: Stack, url: str) -> str:
    source = {"type": "url", "url": url}
    status, slide = stack.call("POST", "/v1/slides", {"source": source})
    assert (status, slide["state"]) == (202, "fetching"), slide
    return str(slide["id"])


def _when_ready(stack: Stack, slide_id: str) -> dict[str, Any]:
    """Return the slide once it can be seen; the viewer may still be starting."""

    def ended() -> dict[str, Any] | None:
        status, slide = stack.call("GET", f"/v1/slides/{slide_id}")
        if status == 503:
            assert slide["code"] == "viewer_unavailable"
            return None
        if slide["state"] == "fetching":
            return None
        return dict(slide)

    slide: dict[str, Any] = wait_for(ended, within_s=180, what="the slide")
    assert slide["state"] == "ready", slide
    return slide


def test_a_slide_is_looked_at_and_a_region_of_it_ordered(
    viewing: Stack, bucket: FileBucket
) -> None:
    """Fetched, seen, planned, ordered by its id; the order's slide is seen the same way."""
    slide = _when_ready(viewing, _looked_at(viewing, bucket.signed_url))
    assert (slide["width"], slide["height"]) == (3072, 2560)
    scans = [{"id": "1", "source": {"type": "slide", "slide": slide["id"]}, "roi": REGION}]
    body = {"algorithm": "ki67", "scans": scans}
    status, preflight = viewing.call("POST", "/v1/orders?validate_only=true", body)
    assert status == 200, preflight
    assert (preflight["scans"][0]["width"], preflight["scans"][0]["tiles"] >= 1) == (3072, True)
    order_id = viewing.order(**body)
    order = viewing.wait_until(order_id, "delivered", "failed")
    assert order["state"] == "delivered", order
    with httpx.Client(base_url=viewing.url, timeout=60) as http:
        for base in (slide["iiif"], f"/v1/orders/{order_id}/scans/1/iiif"):
            info = http.get(base, follow_redirects=True).json()
            assert (info["id"], info["profile"]) == (f"{viewing.url}{base}", "level1")
            tile = http.get(f"{base}/0,0,512,512/256,256/0/default.jpg")
            assert tile.headers["content-type"] == "image/jpeg"
            assert tile.content.startswith(b"\xff\xd8")
    secret = bucket.signed_url.partition("?")[2]
    for role in ("api", "courier", "viewer"):
        assert secret not in (viewing.data / f"{role}.log").read_text()


def test_a_courier_that_is_killed_over_a_slide_is_replaced(viewing: Stack, slide: Path) -> None:
    """The next courier fetches it from the beginning, and nobody has to ask again."""
    with SlideServer() as server:
        file = File(slide.read_bytes(), until=server.closing.is_set, ranges=False)
        server.answers["/slide.svs"] = file
        slide_id = _looked_at(viewing, server.url("/slide.svs"))
        assert file.half_sent.wait(120)
        viewing.kill("courier")
        file.until = lambda: True
        viewing.start("courier")
        assert _when_ready(viewing, slide_id)["width"] == 3072
