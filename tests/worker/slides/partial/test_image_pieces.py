"""A slide that is near in pieces reads as the whole would, and never shows what was not fetched."""

import json
from pathlib import Path

import numpy as np
import pytest

from broker.errors import OrderError
from tests.support.image_server import encoded
from tests.support.reader_suite import HEIGHT, WIDTH, ReaderSuite
from tests.support.slides import a_picture
from worker.geometry.frame import Area, Pixels
from worker.slides.partial import manifest
from worker.slides.partial.image_pieces import open_cutout
from worker.slides.reader import SlideReader
from worker.slides.slide import Slide

BOXES = [Area(0, 0, 130, 90), Area(120, 0, 83, 90), Area(0, 80, 64, 71), Area(64, 90, 139, 61)]
"""They overlap, as tiles of DeepZoom do."""


def pieces(
    folder: Path, pixels: Pixels, boxes: list[Area], kind: str = "PNG", mpp: float | None = None
) -> Path:
    """Write a slide in pieces, all of which may be read, and its manifest; the manifest."""
    height, width = pixels.shape[:2]
    listed = []
    for number, box in enumerate(boxes):
        name = f"p{number}.{'png' if kind == 'PNG' else 'jpg'}"
        part = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
        (folder / name).write_bytes(encoded(part, kind))
        listed.append(manifest.Piece(file=name, box=box))
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = (
        max(box.x + box.width for box in boxes),
        max(box.y + box.height for box in boxes),
    )
    within = Area(left, top, right - left, bottom - top)
    listing = manifest.Pieces(width=width, height=height, mpp_x=mpp, mpp_y=mpp, within=within, pieces=tuple(listed),
                             server="iiif 3")  # fmt: skip
    path = folder / manifest.NAME
    path.write_bytes(manifest.dumped(listing))
    return path


class TestPieces(ReaderSuite):
    def make(self, folder: Path, pixels: Pixels) -> Path:
        return pieces(folder, pixels, BOXES)

    def open(self, path: Path) -> SlideReader:
        return open_cutout(path)


class TestJpegPieces(TestPieces):
    tolerance = 2

    def make(self, folder: Path, pixels: Pixels) -> Path:
        pixels[:] = 200 - 20 * (np.arange(WIDTH) >= 120)[None, :, None]
        return pieces(
            folder, pixels, [Area(0, 0, 120, HEIGHT), Area(120, 0, WIDTH - 120, HEIGHT)], "JPEG"
        )


def test_what_was_not_fetched_is_refused(tmp_path: Path) -> None:
    """A region that reaches out of what is near is an error, also by one pixel; what lies off the slide is not."""
    pixels = a_picture(WIDTH, HEIGHT)
    pyramid = open_cutout(pieces(tmp_path, pixels, [Area(50, 0, 100, 90)]))
    assert np.array_equal(
        np.asarray(pyramid.read_region((50, -9), 0, (100, 99)))[9:, :, :3], pixels[:90, 50:150]
    )
    for location, size in [
        ((49, 0), (9, 9)),
        ((140, 0), (11, 9)),
        ((60, 80), (9, 11)),
        ((0, 0), (WIDTH, HEIGHT)),
    ]:
        with pytest.raises(OrderError, match="Only a part of the slide is here"):
            pyramid.read_region(location, 0, size)


@pytest.mark.parametrize(("kind", "words"), [("PNG", "(iiif 3, PNG)"), ("JPEG", "(iiif 3, JPEG)")])
def test_the_reader_s_name_tells_server_and_format(tmp_path: Path, kind: str, words: str) -> None:
    """JPEG has lost something, so results say that it was JPEG."""
    assert words in open_cutout(pieces(tmp_path, a_picture(WIDTH, HEIGHT), BOXES, kind)).name


def test_the_server_s_microns_are_believed_as_its_own(tmp_path: Path) -> None:
    """Before the order's; where it says nothing, or what screens say, the order's count."""
    for mpp, believed in [(0.25, (0.25, "server")), (None, (0.5, "order")), (84.7, (0.5, "order"))]:
        with Slide.open(
            pieces(tmp_path, a_picture(WIDTH, HEIGHT), BOXES, mpp=mpp), mpp=0.5
        ) as slide:
            assert (slide.frame.mpp_x, slide.frame.mpp_source) == believed


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x89PNG\r\n\x1a\n", encoded(a_picture(130, 90))[:9000], encoded(a_picture(9, 9))],
)
def test_a_damaged_piece_is_an_order_error(tmp_path: Path, damage: bytes) -> None:
    """Empty, cut short or of another size; the message does not tell where the shelf is."""
    path = pieces(tmp_path, a_picture(WIDTH, HEIGHT), BOXES)
    (tmp_path / "p0.png").write_bytes(damage)
    with pytest.raises(OrderError) as caught:
        open_cutout(path).read_region((0, 0), 0, (9, 9))
    assert caught.value.code == "slide_unreadable"
    assert "p0.png" in caught.value.detail
    assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize(
    "change", [{"file": "p0.tif"}, {"file": "../p0.png"}, {"box": [0, 0, 2**15, 2**15]}]
)
def test_a_manifest_that_asks_too_much_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """Other formats, other folders, pieces that no memory holds."""
    path = pieces(tmp_path, a_picture(WIDTH, HEIGHT), BOXES)
    manifest = json.loads(path.read_bytes())
    manifest["pieces"][0] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(OrderError, match=r"cannot be read|is damaged"):
        open_cutout(path)
