"""What an image server gives at most is learned from its answers, and not from what it gives for
everything.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.support.image_server import Behavior, ImageServer, encoded
from tests.support.image_server_fetch import ImageServerFetcher, region
from tests.support.slides import a_picture

PICTURE = a_picture(300, 300)


def test_the_limit_is_not_read_off_a_thin_box(tmp_path: Path) -> None:
    """A region that begins just before a tile's edge has slivers first; the server is asked a few
    dozen times.
    """
    with ImageServer(PICTURE, Behavior(cap_px=70)) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path, roi=region(x=60, y=4, width=200, height=280))
        assert np.array_equal(fetcher.pixels(60, 4, 200, 280), PICTURE[4:284, 60:260])
        assert len(origin.boxes) < 60


def test_one_picture_for_every_box_is_not_taken_for_the_slide(tmp_path: Path) -> None:
    """A server that knows no regions answers each with the same square thumbnail: refused, also on
    the second try.
    """
    with ImageServer(PICTURE) as origin:
        origin.behavior.send = lambda handler, _: handler.answer(200, encoded(PICTURE[:64, :64]))
        error = ImageServerFetcher(origin, tmp_path).refusal()
    assert error.code == "slide_unreadable"
    assert "answered 64 x 64 px" in error.detail


def test_a_thumbnail_of_the_whole_slide_is_not_taken_for_a_piece(tmp_path: Path) -> None:
    """Whatever the slide's shape: no piece has it, so that a picture of it all has another size
    than was asked for.
    """
    with ImageServer(PICTURE[:150]) as origin:
        origin.behavior.send = lambda handler, _: handler.answer(200, encoded(PICTURE[:32, :64]))
        error = ImageServerFetcher(origin, tmp_path).refusal()
    assert "answered 64 x 32 px where 64 x 16 px" in error.detail


def test_a_stream_of_nothing_known_is_ended_at_its_beginning(tmp_path: Path) -> None:
    """What does not begin as a picture is not waited for, however much there is of it."""
    with ImageServer(PICTURE) as origin:
        origin.behavior.send = lambda handler, _: handler.answer(200, b"junk" * 50_000)
        error = ImageServerFetcher(origin, tmp_path).refusal()
    assert error.code == "not_a_slide"


@pytest.mark.parametrize("tile", [2**13])
def test_tiles_too_large_to_be_held_are_refused(tmp_path: Path, tile: int) -> None:
    """A server of fixed tiles may say any size; each answer would be taken in whole."""
    with ImageServer(PICTURE, Behavior(tile=tile)) as origin:
        error = ImageServerFetcher(origin, tmp_path, "deepzoom").refusal()
    assert error.code == "slide_unreadable"
    assert "8192 x 8192 px only" in error.detail
