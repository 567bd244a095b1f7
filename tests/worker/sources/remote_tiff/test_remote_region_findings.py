"""What is found in a region that was fetched alone, against what is found in it
in the whole file.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from broker.orders.roi import GeoJson, GeoJsonMultiPolygon, Polygon, Rectangle, Roi, as_json
from tests.support.remote_regions import RegionFetcher
from tests.support.results import same
from tests.support.slide_server import Listener
from tests.support.tissue_sections import SETTINGS, section
from worker.algorithms import registry
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.pipeline import ClassifiedScan, ScanJob, classify
from worker.progress import Stopwatch
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

SCAN = {"id": "1", "source": {"type": "path", "path": "/slide.tif"}}
HOLED = GeoJson(
    geojson=GeoJsonMultiPolygon(
        type="MultiPolygon",
        coordinates=(
            (
                ((-50, -50), (500.5, -50), (500, 500), (-50, 500)),
                ((100, 100), (100, 400), (400, 400), (400, 100)),
            ),
            (((600, 100), (800, 100), (700, 300)),),
        ),
    )
)


def a_stained_slide(path: Path) -> bytes:
    """A pyramid of a section repeated 4 x 4 times, uncompressed: 2048 px square, 0.5 microns per
    pixel.
    """
    pixels = np.tile(section(seed=1).pixels, (4, 4, 1))
    layout = {
        "tile": (128, 128),
        "photometric": "rgb",
        "resolution": (20_000, 20_000),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, metadata=None, **layout)
        tiff.write(np.ascontiguousarray(pixels[::4, ::4]), metadata=None, subfiletype=1, **layout)
    return path.read_bytes()


def classified(
    slide: LocalSlide, roi: Roi, algorithm: str, folder: Path, sandbox: Sandbox
) -> ClassifiedScan:
    asked = SCAN | {"roi": as_json(roi)}
    request = OrderRequest.model_validate({"algorithm": algorithm, "scans": [asked]}, strict=False)
    order = Order(id="1", state=OrderState.RUNNING, request=request, queue="gpu", created_at=1, updated_at=1,
                  expires_at=9, scans=())  # fmt: skip
    model = registry.load(algorithm, SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    job = ScanJob(order, request.scans[0], replace(slide, digest="0" * 64, bytes=1))
    return classify(job, model, Checkpoint(folder / "0.1"), sandbox, Stopwatch(), Listener())


@pytest.mark.parametrize(
    ("algorithm", "roi"),
    [
        ("ki67", Rectangle(x=300, y=250, width=500, height=450)),
        ("ki67", Polygon(polygon=((300.5, 200), (800, 420.25), (500, 700)))),
        ("ki67", Rectangle(x=-200, y=-250, width=500, height=650)),
        ("ki67", HOLED),
        ("grid", Rectangle(x=300, y=250, width=500, height=450)),
    ],
)
def test_findings_are_those_of_the_whole_file(tmp_path: Path, algorithm: str, roi: Roi) -> None:
    """Every outline, class, score and summary is the same to the last bit, and so
    is the picture.
    """
    sandbox = Sandbox(threads=1)
    with RegionFetcher.open(tmp_path / "cache", sandbox) as fetcher:
        content = a_stained_slide(tmp_path / "whole.tif")
        fetcher.roi, fetcher.card = roi, registry.card(algorithm, SETTINGS[algorithm])
        part = fetcher.fetch(fetcher.serve(content))
        assert part
        whole = LocalSlide(tmp_path / "whole.tif", "", 0)
        one, other = (
            classified(copy, roi, algorithm, tmp_path / name, sandbox)
            for copy, name in ((part, "a"), (whole, "b"))
        )
    assert (
        one.result.provenance["reader"]
        == f"{other.result.provenance['reader']}, from ranges of the file"
    )
    assert same(replace(one.result, provenance={}), replace(other.result, provenance={}))
    assert one.overlay.png() == other.overlay.png()
    assert sum(one.result.counts().values())


def test_in_a_hole_nothing_is_found(tmp_path: Path) -> None:
    """What is found in the polygons is what is found in the box around them, less the holes."""
    sandbox = Sandbox(threads=1)
    a_stained_slide(tmp_path / "whole.tif")
    whole = LocalSlide(tmp_path / "whole.tif", "", 0)
    some = classified(whole, HOLED, "ki67", tmp_path / "a", sandbox).result.findings
    centres = np.concatenate([objects.centres for objects in some.objects.chunks()])
    x, y = centres.T
    in_square = (x < 501) & (y < 500)
    in_hole = (x > 100) & (x < 400) & (y > 100) & (y < 400)
    in_triangle = (x > 600) & (x < 800) & (y > 100) & (y < 300)
    assert len(centres) > 100
    assert (in_square | in_triangle).all()
    assert not in_hole.any()
    assert in_triangle.any()
    assert some.area.as_dict() == {
        "x": 0,
        "y": 0,
        "width": 800,
        "height": 500,
        "polygons": [[list(map(list, ring)) for ring in rings] for rings in HOLED.polygons],
    }
