"""Pictures of a slide over the viewer's socket: every form of the IIIF Image API 3, level 1."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.slides import a_slide, a_slope
from tests.support.viewer import Answer, Viewer, running_viewer, viewer_config

WIDTH = 120
HEIGHT = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slides")


@pytest.fixture(scope="module")
def slide(folder: Path) -> Path:
    """A slide whose red is 2 x and green 2 y: a pixel says where it comes from."""
    return a_slide(folder / "slope.svs", a_slope(WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def viewer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with running_viewer(viewer_config(tmp_path_factory.mktemp("data"), folder)) as running:
        yield running


def picture(answer: Answer) -> np.ndarray:
    """Return the pixels of a JPEG."""
    assert answer.status == 200, answer.body[:500]
    assert answer.headers["content-type"] == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("region", "size", "expected", "middle"),
    [
        pytest.param("full", "max", (120, 100), (60, 50), id="full-max"),
        pytest.param("full", "60,", (60, 50), (60, 50), id="width"),
        pytest.param("full", ",25", (30, 25), (60, 50), id="height"),
        pytest.param("full", "30,50", (30, 50), (60, 50), id="width-and-height"),
        pytest.param("full", "59,", (59, 49), (60, 50), id="rounded"),
        pytest.param("square", "max", (100, 100), (60, 50), id="square"),
        pytest.param("40,20,64,32", "max", (64, 32), (72, 36), id="box"),
        pytest.param("40,20,64,32", "32,", (32, 16), (72, 36), id="box-half"),
        pytest.param("100,90,64,64", "max", (20, 10), (110, 95), id="cut-at-the-edge"),
        pytest.param("pct:50,50,25,50", "max", (30, 50), (75, 75), id="percent"),
        pytest.param("pct:0,0,100,100", "max", (120, 100), (60, 50), id="percent-of-all"),
        pytest.param("119,99,1,1", "1,1", (1, 1), (119, 99), id="one-pixel"),
    ],
)
def test_level_1_requests_give_their_part_of_the_slide(
    viewer: Viewer,
    slide: Path,
    region: str,
    size: str,
    expected: tuple[int, int],
    middle: tuple[int, int],
) -> None:
    """The picture has the size that was asked for, and its middle is that of the region."""
    pixels = picture(viewer.image(slide, region, size))
    assert pixels.shape[1::-1] == expected
    red, green, _ = pixels[expected[1] // 2, expected[0] // 2]
    assert abs(red / 2 - middle[0]) < 4
    assert abs(green / 2 - middle[1]) < 4


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("0,0,0,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("120,0,10,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("-1,0,10,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("1.5,0,10,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("pct:0,0,0,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("pct:0.3,0,0,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("pct:100,0,10,10/max/0/default.jpg", 400, "image_request_invalid"),
        ("whole/max/0/default.jpg", 400, "image_request_invalid"),
        ("full/121,/0/default.jpg", 400, "image_request_invalid"),
        ("full/,101/0/default.jpg", 400, "image_request_invalid"),
        ("full/0,/0/default.jpg", 400, "image_request_invalid"),
        ("full/,/0/default.jpg", 400, "image_request_invalid"),
        ("full/large/0/default.jpg", 400, "image_request_invalid"),
        ("full/max/north/default.jpg", 400, "image_request_invalid"),
        ("full/max/361/default.jpg", 400, "image_request_invalid"),
        ("full/max/0/pretty.jpg", 400, "image_request_invalid"),
        ("full/max/0/default.doc", 400, "image_request_invalid"),
        ("full/^max/0/default.jpg", 501, "not_implemented"),
        ("full/^240,/0/default.jpg", 501, "not_implemented"),
        ("full/pct:50/0/default.jpg", 501, "not_implemented"),
        ("full/!50,50/0/default.jpg", 501, "not_implemented"),
        ("full/max/90/default.jpg", 501, "not_implemented"),
        ("full/max/!0/default.jpg", 501, "not_implemented"),
        ("full/max/0/gray.jpg", 501, "not_implemented"),
        ("full/max/0/default.png", 501, "not_implemented"),
        ("full/max/default.jpg", 404, "not_found"),
        ("full/max/0/default", 404, "not_found"),
    ],
)
def test_other_requests_are_refused_as_the_specification_says(
    viewer: Viewer, slide: Path, address: str, status: int, code: str
) -> None:
    """What cannot be is 400, what other levels offer is 501, another address is 404."""
    answer = viewer.get(f"/iiif/{address}", slide)
    assert (answer.status, answer.code) == (status, code)


def test_info_json_describes_what_is_answered(viewer: Viewer, slide: Path) -> None:
    """A IIIF viewer needs nothing but this document."""
    answer = viewer.get("/iiif/info.json?id=https://lab.example/slides/1/iiif", slide)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/ld+json")
    assert answer.json == {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": "https://lab.example/slides/1/iiif",
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": WIDTH,
        "height": HEIGHT,
        "maxWidth": 4096,
        "maxHeight": 4096,
        "tiles": [{"width": 512, "height": 512, "scaleFactors": [1]}],
        "extraFeatures": ["regionByPct", "sizeByWh"],
        "mpp": 0.5,
        "mpp_source": "slide",
    }


def test_the_image_itself_leads_to_its_description(viewer: Viewer, slide: Path) -> None:
    """The base URI answers 303, as level 1 wants it."""
    answer = viewer.get("/iiif", slide)
    assert (answer.status, answer.headers["location"]) == (303, "/iiif/info.json")


def test_a_picture_is_kept_by_who_has_it(viewer: Viewer, slide: Path) -> None:
    """The ETag is of the slide and the request; a file that may be replaced is asked for again."""
    first = viewer.image(slide, "0,0,64,64", "32,")
    other = viewer.image(slide, "0,0,64,64", "16,")
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["etag"] != other.headers["etag"]
    again = viewer.get(
        "/iiif/0,0,64,64/32,/0/default.jpg",
        slide,
        headers={"If-None-Match": first.headers["etag"]},
    )
    assert (again.status, again.body) == (304, b"")
    assert viewer.image(slide, "0,0,64,64", "32,").body == first.body
