"""Parameters of image requests on slides of real sizes: what a browser's tiles come to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import OrderError
from worker.geometry.frame import Frame
from worker.viewer.iiif import MOST_PX, TILE_PX, ImageRequest, check_form, info, parse

SLIDE = Frame(100_001, 50_003, 0.25, 0.25, "slide")
REFUSALS = ("image_request_invalid", "not_implemented")
SIZES = st.integers(1, 300_000)


def answered(region: str, size: str, frame: Frame) -> ImageRequest | None:
    """Return the request, None where it is refused with a code of the specification."""
    try:
        return parse(region, size, frame)
    except OrderError as refused:
        if refused.code not in REFUSALS:
            raise
        return None


@pytest.mark.parametrize(
    ("region", "size", "expected"),
    [
        ("full", "max", ImageRequest(0, 0, 100_001, 50_003, 4096, 2048)),
        ("full", "4096,", ImageRequest(0, 0, 100_001, 50_003, 4096, 2048)),
        ("full", ",2048", ImageRequest(0, 0, 100_001, 50_003, 4096, 2048)),
        ("full", ",1", ImageRequest(0, 0, 100_001, 50_003, 2, 1)),
        ("square", "512,", ImageRequest(24_999, 0, 50_003, 50_003, 512, 512)),
        ("99999,49999,512,512", "max", ImageRequest(99_999, 49_999, 2, 4, 2, 4)),
        ("0,0,9999999999,9999999999", "max", ImageRequest(0, 0, 100_001, 50_003, 4096, 2048)),
        ("pct:99.9999,0,50,100", "max", ImageRequest(100_001 - 1, 0, 1, 50_003, 1, 4096)),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_picture_of_a_large_slide_is_made_no_larger_than_4096_px(
    region: str, size: str, expected: ImageRequest
) -> None:
    """`max` is the largest that is answered, and proportions stay; no side vanishes."""
    assert parse(region, size, SLIDE) == expected


@pytest.mark.parametrize("size", ["4097,", ",2049", "4096,4097", "9999999999,1"])
def test_a_larger_picture_is_refused(size: str) -> None:
    """One request would decode a gigapixel; info.json says the limit."""
    with pytest.raises(OrderError) as refused:
        parse("full", size, SLIDE)
    assert (refused.value.code, refused.value.field) == ("image_request_invalid", "size")


@given(SIZES, SIZES)
def test_every_tile_that_info_json_offers_is_answered(width: int, height: int) -> None:
    """Of each zoom step, the first and the last tile, in the size that OpenSeadragon asks for."""
    frame = Frame(width, height, None, None, "none")
    (tiles,) = info("x", frame)["tiles"]
    for scale in tiles["scaleFactors"]:
        edge = TILE_PX * scale
        for x, y in ((0, 0), ((width - 1) // edge * edge, (height - 1) // edge * edge)):
            box_width = min(edge, width - x)
            box_height = min(edge, height - y)
            asked = f"{math.ceil(box_width / scale)},{math.ceil(box_height / scale)}"
            answered = parse(f"{x},{y},{box_width},{box_height}", asked, frame)
            assert (answered.x, answered.y) == (x, y)
            assert max(answered.width_px, answered.height_px) <= TILE_PX
    assert max(width, height) / tiles["scaleFactors"][-1] <= TILE_PX


@given(SIZES, SIZES, st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_asked_for_is_a_box_inside_the_slide_or_refused(
    width: int, height: int, region: str, size: str
) -> None:
    """No parameter reads beyond the slide, makes a picture too large, or fails in another way."""
    frame = Frame(width, height, None, None, "none")
    for asked in ((region, "max"), ("full", size), (region, size)):
        found = answered(*asked, frame)
        if found is None:
            continue
        assert 0 <= found.x < found.x + found.width <= width
        assert 0 <= found.y < found.y + found.height <= height
        assert 1 <= found.width_px <= min(found.width, MOST_PX)
        assert 1 <= found.height_px <= min(found.height, MOST_PX)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_any_rotation_quality_and_format_is_answered_or_refused(
    rotation: str, quality: str, image_format: str
) -> None:
    """With a code of the specification, whatever the text."""
    for asked in (
        (rotation, "default", "jpg"),
        ("0", quality, "jpg"),
        ("0", "default", image_format),
    ):
        try:
            check_form(*asked)
        except OrderError as refused:
            if refused.code not in REFUSALS:
                raise
