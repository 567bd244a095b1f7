"""What an algorithm would read, as the viewer answers it: the same tiles as a worker's."""

import json
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.slides import a_picture, a_slide
from tests.support.viewer import UnixConnection, Viewer, running_viewer, viewer_config
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Area, Frame
from worker.geometry.tile_grid import tile_grid

CARD = ki67_card().model_copy(update={"tile_px": 50})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    a_slide(folder / "a.svs", a_picture(300, 200))
    return folder


@pytest.fixture(scope="module")
def viewer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with running_viewer(viewer_config(tmp_path_factory.mktemp("data"), folder)) as running:
        yield running


def _ask(viewer: Viewer, slide: Path, body: bytes) -> tuple[int, Any]:
    connection = UnixConnection(viewer.path)
    try:
        connection.request("POST", "/tiles", body, {"Slide-Path": quote(str(slide))})
        answer: HTTPResponse = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _question(**more: Any) -> bytes:
    return json.dumps({"card": CARD.model_dump(mode="json"), **more}).encode()


def test_the_tiles_are_those_that_a_worker_reads(viewer: Viewer, folder: Path) -> None:
    """Of the whole slide and of a region, with the slide's own resolution."""
    frame = Frame(300, 200, 0.5, 0.5, "slide")
    for roi, area in (
        (None, Area(0, 0, 300, 200)),
        ({"x": 10, "y": 10, "width": 120, "height": 30}, Area(10, 10, 120, 30)),
    ):
        status, answer = _ask(viewer, folder / "a.svs", _question(roi=roi, mpp=0.25))
        assert status == 200
        assert answer["tiles"] == len(tile_grid(area, frame, CARD).tiles)
        assert (answer["mpp_x"], answer["mpp_source"], answer["warnings"]) == (0.5, "slide", [])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b"{}", 422, "request_invalid", id="no-card"),
        pytest.param(b"[", 422, "request_invalid", id="no-json"),
        pytest.param(b" " * (2**21 + 1), 413, "body_too_large", id="too-large"),
        pytest.param(_question(more=1), 422, "request_invalid", id="more"),
        pytest.param(
            _question(roi={"x": 400, "y": 0, "width": 5, "height": 5}),
            422,
            "roi_outside_slide",
            id="beside",
        ),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(
    viewer: Viewer, folder: Path, body: bytes, status: int, code: str
) -> None:
    """With the codes of an order."""
    answered, problem = _ask(viewer, folder / "a.svs", body)
    assert (answered, problem["code"]) == (status, code)
