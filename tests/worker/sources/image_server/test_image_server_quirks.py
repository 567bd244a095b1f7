"""An image server that caps, lies, cuts, stalls or sends elsewhere ends in the right pixels or in a
clear problem.
"""

import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broker.errors import OrderError, TemporaryError
from tests.support.downloads import kind_of, status
from tests.support.image_server import Behavior, ImageServer, encoded
from tests.support.image_server_fetch import FORMS, SECRET, ImageServerFetcher, region
from tests.support.slide_server import Answer, Handler, Listener
from tests.support.slides import a_picture
from worker.progress import StopWork

PICTURE = a_picture(500, 300)
CUT = {"info": {"maxWidth": 100}}  # into 15 pieces
PAGE = b"<!doctype html><title>Log in</title>"


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer(PICTURE, Behavior(**CUT)) as origin:
        yield origin


def half(handler: Handler) -> None:
    """Announce a picture and break off in its middle."""
    body = encoded(PICTURE[:100, :100])
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.hang_up()


def stalled(handler: Handler) -> None:
    """Announce a picture and send nothing of it."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.flush()
    handler.server.closing.wait(20)


def ending_early(handler: Handler) -> None:
    """An answer that is whole as HTTP goes and holds half a picture: iipsrv when decoding fails
    under way.
    """
    body = encoded(PICTURE[:100, :100])
    handler.answer(200, body[: len(body) // 2])


@pytest.mark.parametrize(
    "trouble",
    [
        half,
        ending_early,
        status(200),
        status(503),
        status(503, Retry_After="0"),
        status(429),
        status(500),
    ],
)
def test_a_piece_that_failed_is_asked_for_again(
    tmp_path: Path, server: ImageServer, trouble: Answer
) -> None:
    """That one alone; the others stay as they came."""
    server.behavior.first = [trouble]
    assert np.array_equal(ImageServerFetcher(server, tmp_path).pixels(0, 0, 500, 300), PICTURE)
    assert len(server.boxes) == 15 + 1


def test_a_silent_piece_is_asked_for_again(tmp_path: Path, server: ImageServer) -> None:
    """Silence ends after the read timeout."""
    server.behavior.first = [stalled]
    assert np.array_equal(
        ImageServerFetcher(server, tmp_path, read_timeout_s=0.3).pixels(0, 0, 500, 300), PICTURE
    )


@pytest.mark.parametrize(
    ("answer", "kind", "code", "words"),
    [
        (status(404), OrderError, "input_not_found", "404"),
        (status(403), OrderError, "input_expired", "403"),
        (status(500), TemporaryError, "input_unreachable", "500"),
        (half, TemporaryError, "input_unreachable", "cut the connection"),
        (ending_early, OrderError, "slide_unreadable", "ends too early"),
        (status(200), OrderError, "not_a_slide", "an empty file"),
        (status(200, PAGE), OrderError, "not_a_slide", "an HTML page"),
        (status(200, b"II*\0" + bytes(99)), OrderError, "not_a_slide", "neither PNG nor JPEG"),
        (
            status(200, b"\x89PNG\r\n\x1a\n" + bytes(99) + b"IEND\xaeB`\x82"),
            OrderError,
            "slide_unreadable",
            "damaged",
        ),
        (status(200, bytes(3_000_000)), OrderError, "slide_unreadable", "at most"),
    ],
)
def test_what_is_no_picture_is_a_clear_problem(
    tmp_path: Path,
    server: ImageServer,
    answer: Answer,
    kind: type[Exception],
    code: str,
    words: str,
) -> None:
    """Whatever the status says; and nothing of it stays in the slide cache."""
    server.behavior.send = lambda handler, _: answer(handler)
    error = ImageServerFetcher(server, tmp_path).refusal()
    assert (kind_of(error), error.code) == (kind, code)
    assert words in error.detail


def test_a_server_that_asks_for_a_long_pause_gets_it(tmp_path: Path, server: ImageServer) -> None:
    """The order waits in its queue meanwhile, not a thread."""
    server.behavior.send = lambda handler, _: handler.answer(503, b"", Retry_After="120")
    error = ImageServerFetcher(server, tmp_path).refusal()
    assert isinstance(error, TemporaryError)
    assert error.retry_after_s == 120
    assert len(server.boxes) <= 6


@pytest.mark.parametrize("protocol", ["iiif", "iip"])
def test_a_cap_that_shows_is_learned(tmp_path: Path, protocol: str) -> None:
    """Answers made smaller without a word tell the largest that the server gives; the pixels are
    exact all the same.
    """
    with ImageServer(PICTURE, Behavior(cap_px=70)) as origin:
        assert np.array_equal(
            ImageServerFetcher(origin, tmp_path, protocol).pixels(0, 0, 500, 300), PICTURE
        )
        small = [box for box in origin.boxes if max(box[2:]) <= 70]
        assert len(small) >= 8 * 5


def test_a_server_that_goes_on_making_answers_smaller_is_refused(
    tmp_path: Path, server: ImageServer
) -> None:
    """What was learned is tried once."""
    server.behavior.send = lambda handler, body: handler.answer(
        200, encoded(np.asarray(Image.open(BytesIO(body)))[::2, ::2])
    )
    error = ImageServerFetcher(server, tmp_path).refusal()
    assert error.code == "slide_unreadable"
    assert "answered 25 x 13 px where 50 x 25 px" in error.detail


@pytest.mark.parametrize("size", [(101, 100), (100, 50), (500, 300), (60, 100)])
def test_a_picture_of_another_size_is_refused(
    tmp_path: Path, server: ImageServer, size: tuple[int, int]
) -> None:
    """Larger, the whole slide, or of another shape: it shows something else than the box."""
    server.behavior.send = lambda handler, _: handler.answer(
        200, encoded(PICTURE[: size[1], : size[0]])
    )
    error = ImageServerFetcher(server, tmp_path).refusal()
    assert error.code == "slide_unreadable"
    assert f"{size[0]} x {size[1]} px where 100 x 100 px at (0, 0) were asked for" in error.detail


@pytest.mark.parametrize(
    ("width", "height"), [(2048, 1024), (1500, 1500), (1030, 2060), (1800, 1201)]
)
def test_a_whole_slide_in_place_of_a_region_shows(tmp_path: Path, width: int, height: int) -> None:
    """An IIP server that understands no region is found out even where slide and region have the
    same shape.
    """
    with ImageServer(
        np.zeros((height, width, 3), np.uint8), Behavior(ignores_regions=True)
    ) as origin:
        assert ImageServerFetcher(
            origin, tmp_path, "iip", roi=region(x=0, y=0, width=900, height=600)
        ).refusal()
        assert ImageServerFetcher(origin, tmp_path, "iip").refusal()


@pytest.mark.parametrize("protocol", FORMS)
@pytest.mark.parametrize(
    "description",
    [b"", b"{}", b"[" * 50_000, b'{"width": 0, "height": 1}', b'{"width": 9e99, "height": 1}', PAGE, bytes(70_000),
     b"Max-size:0 9\r\n", b"Max-size:99999999999 9", b'<Image TileSize="9" Format="png"/>',
     b'<!DOCTYPE a [<!ENTITY b "c">]><Image TileSize="9" Format="png"><Size Width="9" Height="9"/></Image>',
     b'<Image TileSize="9" Overlap="9" Format="png"><Size Width="9" Height="9"/></Image>',
     b'<Image TileSize="90000" Format="png"><Size Width="90000" Height="90000"/></Image>',
     b'{"width": 90000, "height": 90000, "profile": "level0"}'],
)  # fmt: skip
def test_a_description_that_cannot_be_used_is_refused(
    tmp_path: Path, protocol: str, description: bytes
) -> None:
    """Before any picture is asked for."""
    with ImageServer(PICTURE) as origin:
        origin.answers[FORMS[protocol].partition("?")[0] + "/info.json" * (protocol == "iiif")] = (
            status(200, description)
        )
        error = ImageServerFetcher(origin, tmp_path, protocol).refusal()
        assert (error.code, origin.boxes) == ("slide_unreadable", [])


def test_too_large_a_region_is_refused_before_it_is_asked_for(tmp_path: Path) -> None:
    """By the number of pieces first, by their bytes while they come."""
    with ImageServer(PICTURE, Behavior(info={"width": 10**9, "height": 10**9})) as origin:
        error = ImageServerFetcher(origin, tmp_path).refusal()
        assert (error.code, error.problem.field, origin.boxes) == ("input_too_large", "roi", [])
    with ImageServer(PICTURE, Behavior(**CUT)) as origin:
        assert (
            ImageServerFetcher(origin, tmp_path).refusal(limit_bytes=100_000).code
            == "input_too_large"
        )


def redirected(to: Callable[[Handler], str]) -> Answer:
    return lambda handler: handler.answer(302, b"", Location=to(handler))


def test_redirects_are_followed_to_allowed_hosts_only(tmp_path: Path, server: ImageServer) -> None:
    """To itself it works; to an address that is not allowed, or round in circles,
    it is a problem.
    """
    server.behavior.first = [redirected(lambda handler: handler.path)] * 3
    assert np.array_equal(
        ImageServerFetcher(server, tmp_path / "a").pixels(0, 0, 500, 300), PICTURE
    )
    server.behavior.send = lambda handler, _: redirected(
        lambda _: f"http://169.254.169.254/?{SECRET}"
    )(handler)
    assert ImageServerFetcher(server, tmp_path / "b").refusal().code == "host_not_allowed"
    server.behavior.send = lambda handler, _: redirected(lambda handler: handler.path)(handler)
    assert ImageServerFetcher(server, tmp_path / "c").refusal().code == "input_not_found"


def test_stop_ends_the_threads(tmp_path: Path, server: ImageServer) -> None:
    """Once the work was stopped no request is sent any more, and nothing stays in the slide cache."""
    server.behavior.send = lambda handler, _: stalled(handler)
    began = time.monotonic()
    with pytest.raises(StopWork):
        ImageServerFetcher(server, tmp_path, read_timeout_s=1).fetch(
            progress=Listener(lambda _: len(server.boxes) >= 4)
        )
    assert time.monotonic() - began < 5
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("image-server")
    ]
    assert not list((tmp_path / "parts").iterdir())
