"""What comes from an image server is the slide, pixel by pixel, whichever protocol it speaks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.image_server import Behavior, ImageServer
from tests.support.image_server_fetch import SECRET, ImageServerFetcher, region
from tests.support.slides import a_picture

WIDTH, HEIGHT = 403, 287
V3 = {
    "@context": "http://iiif.io/api/image/3/context.json",
    "type": "ImageService3",
    "profile": "level2",
}
TILES = {"tiles": [{"width": 64, "scaleFactors": [1, 2, 4]}]}
OSS_LITE = {"width": str(WIDTH), "height": str(HEIGHT), "maxWidth": 150}
LEVEL_0 = {"profile": "level0", "maxWidth": 64} | TILES
SERVERS = {
    "iiif 2, tiles": (
        "iiif",
        Behavior(tile=64, info=TILES | {"profile": ["level2", {"maxWidth": 150}]}),
        "",
    ),
    "iiif 2, tiles of two edges": (
        "iiif",
        Behavior(info={"tiles": [{"width": 96, "height": 32}], "maxArea": 9000}),
        "",
    ),
    "iiif 2, oss-lite": ("iiif", Behavior(info=OSS_LITE), f"/iiif/slide/info.json?{SECRET}"),
    "iiif 2, own tiles only": ("iiif", Behavior(info=LEVEL_0), ""),
    "iiif 2, iipsrv": (
        "iiif",
        Behavior(kind="PNG", info=TILES),
        f"/iipsrv.fcgi?{SECRET}&IIIF=/slide.svs",
    ),
    "iiif 3": ("iiif", Behavior(info=V3 | {"maxWidth": 300, "maxHeight": 100}), ""),
    "iiif 3, tiles": ("iiif", Behavior(info=V3 | TILES | {"maxArea": 20_000}), ""),
    "iiif 3, own tiles only": ("iiif", Behavior(info=V3 | LEVEL_0), ""),
    "iip": ("iip", Behavior(tile=64), ""),
    "iip, one that cuts fractions off": ("iip", Behavior(tile=100, cuts_off=True), ""),
    "deepzoom": ("deepzoom", Behavior(tile=64), ""),
    "deepzoom, overlapping": ("deepzoom", Behavior(tile=62, overlap=1), ""),
    "deepzoom, iipsrv": (
        "deepzoom",
        Behavior(tile=256),
        f"/iipsrv.fcgi?DeepZoom=/slide.svs.dzi&{SECRET}",
    ),
}
EDGES = {
    "top left": (0, 0, 70, 70),
    "top right": (WIDTH - 65, 0, 65, 64),
    "bottom left": (0, HEIGHT - 1, 130, 1),
    "bottom right": (WIDTH - 100, HEIGHT - 90, 100, 90),
    "inside": (63, 127, 201, 66),
    "one pixel": (64, 64, 1, 1),
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_whole_slide_is_stitched_to_its_very_pixels(tmp_path: Path, server: str) -> None:
    """In tiles that do not divide it every pixel is the source's, and the token goes with every
    request.
    """
    protocol, behavior, path = SERVERS[server]
    pixels = a_picture(WIDTH, HEIGHT)
    with ImageServer(pixels, behavior) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path, protocol, path)
        assert np.array_equal(fetcher.pixels(0, 0, WIDTH, HEIGHT), pixels)
        assert all(SECRET in asked for asked, _ in origin.asked)
        assert len(origin.boxes) > (0 if protocol == "iip" or "iipsrv" in server else 5)


@pytest.mark.parametrize("server", SERVERS)
def test_a_region_at_any_edge_is_the_source_s_pixels(tmp_path: Path, server: str) -> None:
    """At every edge and corner, inside, and down to one pixel."""
    protocol, behavior, path = SERVERS[server]
    pixels = a_picture(WIDTH, HEIGHT)
    with ImageServer(pixels, behavior) as origin:
        for name, (x, y, width, height) in EDGES.items():
            fetcher = ImageServerFetcher(
                origin,
                tmp_path / name,
                protocol,
                path,
                region(x=x, y=y, width=width, height=height),
            )
            assert np.array_equal(
                fetcher.pixels(x, y, width, height), pixels[y : y + height, x : x + width]
            ), name


@pytest.mark.parametrize("cuts_off", [False, True])
@pytest.mark.parametrize(
    ("width", "height"), [(262_144, 9), (9, 262_144), (199_999, 11), (65_537, 7)]
)
def test_iip_fractions_land_on_the_pixel(
    tmp_path: Path, width: int, height: int, cuts_off: bool
) -> None:
    """In 32 bits, rounded or cut off, at the far end of the longest slides."""
    pixels = np.zeros((height, width, 3), np.uint8)
    corner = width - min(width, 1500), height - min(height, 1500)
    part = pixels[corner[1] :, corner[0] :]
    part[:] = a_picture(part.shape[1], part.shape[0])
    roi = region(x=corner[0], y=corner[1], width=part.shape[1], height=part.shape[0])
    with ImageServer(pixels, Behavior(tile=256, cuts_off=cuts_off)) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path, "iip", roi=roi)
        assert np.array_equal(fetcher.pixels(*corner, part.shape[1], part.shape[0]), part)
        assert len(origin.boxes) <= 4


def test_pieces_are_the_server_s_own_tiles(tmp_path: Path) -> None:
    """So that it decodes none twice: every piece begins and ends where tiles do, or where the
    region does.
    """
    behavior = Behavior(info={"tiles": [{"width": 240, "height": 300}]})
    with ImageServer(a_picture(2500, 900), behavior) as origin:
        ImageServerFetcher(origin, tmp_path).fetch()
        assert {(x, y) for x, y, _, _ in origin.boxes} == {(0, 0), (960, 0), (1920, 0)}
        assert {(width, height) for _, _, width, height in origin.boxes} == {(960, 900), (580, 900)}


def test_only_what_is_read_is_asked_for(tmp_path: Path) -> None:
    """A region with half a percent of the slide costs about as much of its bytes."""
    with ImageServer(a_picture(2400, 2400), Behavior(info={"maxWidth": 100})) as origin:
        ImageServerFetcher(
            origin, tmp_path, roi=region(x=1000, y=1000, width=150, height=150)
        ).fetch()
        asked_px = sum(width * height for _, _, width, height in origin.boxes)
        assert 150 * 150 < asked_px < 3 * 150 * 150


@pytest.mark.parametrize(
    ("roi", "box"),
    [
        ({"polygon": [(100, 50), (220, 60), (130, 180)]}, (100, 50, 120, 130)),
        ({"polygon": [(-50, -20), (220, 60), (-20, 180)]}, (0, 0, 220, 180)),
        ({"x": -40, "y": -9, "width": 99, "height": 99}, (0, 0, 59, 90)),
        (
            {
                "geojson": {
                    "type": "MultiPolygon",
                    "coordinates": [
                        [[[100, 50], [160, 60], [130, 80]], [[125, 60], [130, 60], [130, 65]]],
                        [[[200, 90], [220, 90], [210, 180]]],
                    ],
                }
            },
            (100, 50, 120, 130),
        ),
        ({"pct": [25, 50, 10, 20]}, (101, 144, 40, 57)),
    ],
)
def test_polygons_and_percents_bring_their_box(
    tmp_path: Path, roi: dict[str, Any], box: tuple[int, ...]
) -> None:
    """They are worked out with the size that the server tells."""
    pixels, (x, y, width, height) = a_picture(WIDTH, HEIGHT), box
    with ImageServer(pixels, Behavior(info={"maxWidth": 100})) as origin:
        assert np.array_equal(
            ImageServerFetcher(origin, tmp_path, roi=region(**roi)).pixels(x, y, width, height),
            pixels[y : y + height, x : x + width],
        )


def test_jpeg_is_taken_where_there_is_nothing_better(tmp_path: Path) -> None:
    """The pieces are near the source, and the manifest tells what they are."""
    pixels = np.full((200, 300, 3), 190, np.uint8)
    with ImageServer(
        pixels, Behavior("JPEG", info={"profile": ["level1", {"formats": ["jpg"]}]})
    ) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path)
        assert np.abs(fetcher.pixels(0, 0, 300, 200).astype(int) - 190).max() <= 2
        assert all(path.endswith(f".jpg?{SECRET}") for path, _ in origin.asked[1:])


@pytest.mark.parametrize(
    ("protocol", "path"),
    [("iip", "/iipsrv.fcgi?IIIF=/a.svs"), ("deepzoom", "/slide.svs"), ("deepzoom", "/slide")],
)
def test_a_url_of_another_kind_is_refused(tmp_path: Path, protocol: str, path: str) -> None:
    """It is the order's to mend, and no request is made."""
    with ImageServer(a_picture(9, 9)) as origin:
        error = ImageServerFetcher(origin, tmp_path, protocol, path).refusal()
        assert (error.code, error.problem.field, origin.asked) == (
            "request_invalid",
            "source.url",
            [],
        )
