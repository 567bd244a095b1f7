"""The zip that DynamicServices-style loaders import."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from broker.errors import OrderError
from demo.quip_rules import check_zip
from tests.support.results import AREA, a_result, around, nuclei, objects
from worker.delivery.destinations.quip import archive
from worker.delivery.destinations.quip.archive import Names
from worker.geometry.frame import Area, Frame, Pixels
from worker.results.polygons import rings
from worker.results.result import Result


def zipped(results: Sequence[Result], case_id: str) -> bytes:
    file = io.BytesIO()
    archive.write(results, Names(case_id, case_id), file)
    return file.getvalue()


def members(*results: Result, case_id: str = "CMU1") -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(zipped(results, case_id))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def prefix_of(files: dict[str, bytes]) -> str:
    (prefix,) = {name.rpartition("-")[0] for name in files}
    return prefix


def mask_of(files: dict[str, bytes]) -> Pixels:
    content = next(content for name, content in files.items() if name.endswith("-seg.png"))
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("counts", [(9,), (0,), (3, 0, 5)])
def test_an_independent_reader_of_the_format_agrees(counts: tuple[int, ...]) -> None:
    """The demo's loader, written independently of this code, reads every polygon."""
    results = [a_result(nuclei(count), scan_id=str(number)) for number, count in enumerate(counts)]
    assert check_zip(zipped(results, "CMU1")) == sum(counts)


def test_the_members_are_named_as_the_importer_expects() -> None:
    """Flat, SUBJECT.CASE.TOKEN_mpp_M_xX_yY and the four endings."""
    files = members(a_result())
    prefix = prefix_of(files)
    assert prefix.startswith("CMU1.CMU1.")
    assert prefix.endswith("_mpp_0.25_x1000_y500")
    endings = {name.removeprefix(prefix) for name in files}
    assert endings == {"-algmeta.json", "-algmeta.csv", "-features.csv", "-seg.png"}


def test_the_metadata_is_one_line_with_the_slides_size() -> None:
    """The importer reads one line and divides by the slide's size, not by the region's."""
    files = members(a_result())
    prefix = prefix_of(files)
    line = files[f"{prefix}-algmeta.json"]
    assert line.count(b"\n") == 1
    about = json.loads(line)
    assert (about["image_width"], about["image_height"], about["mpp"]) == (4000, 3000, 0.25)
    assert (about["tile_minx"], about["patch_height"]) == (1000, 400)
    assert about["out_file_prefix"] == prefix
    header, row = csv.reader(io.StringIO(files[f"{prefix}-algmeta.csv"].decode()))
    assert dict(zip(header, row, strict=True)) == {key: str(value) for key, value in about.items()}


def test_the_table_holds_level_0_polygons() -> None:
    """Area first, polygon last, numbers between, and the polygon is the ring itself."""
    result = a_result()
    files = members(result)
    header, *rows = csv.reader(io.StringIO(files[f"{prefix_of(files)}-features.csv"].decode()))
    assert (header[0], header[-1]) == ("AreaInPixels", "Polygon")
    for row, ring in zip(rows, rings(result.findings), strict=True):
        numbers = [float(text) for text in row[-1][1:-1].split(":")]
        assert np.array_equal(np.reshape(numbers, (-1, 2)), ring.points)
        assert float(row[0]) == pytest.approx(ring.area_px2, abs=0.01)


def test_the_mask_covers_the_nuclei_of_the_area() -> None:
    """The mask has the area's size and is 255 where a nucleus is, 0 elsewhere."""
    mask = mask_of(
        members(a_result(objects([around(1200, 600, 10, 40), around(1500, 800, 20, 40)])))
    )
    assert mask.shape == (AREA.height, AREA.width)
    assert set(np.unique(mask).tolist()) == {0, 255}
    assert mask[100, 200] == 255
    assert mask[0, 0] == 0
    assert (mask > 0).sum() == pytest.approx(np.pi * (10**2 + 20**2), rel=0.06)


def test_nothing_found_gives_the_mask_alone() -> None:
    """As the original does: no metadata and no table, only a black mask."""
    (name,) = files = members(a_result(nuclei(0)))
    assert name.endswith("-seg.png")
    assert not mask_of(files).any()


def test_a_whole_slide_has_no_mask_of_gigapixels() -> None:
    """A large area with objects gets no mask; one without objects gets a small black one."""
    frame = Frame(60_000, 40_000, 0.25, 0.25, "slide")
    whole = Area(0, 0, 60_000, 40_000)
    found = members(a_result(frame=frame, area=whole))
    assert not any(name.endswith("-seg.png") for name in found)
    empty = a_result(nuclei(0), frame=frame, area=whole)
    assert mask_of(members(empty)).size <= archive.MASK_MAX_PX
    assert check_zip(zipped([empty], "CMU1")) == 0


def test_the_same_results_are_the_same_bytes() -> None:
    """No clock and no chance is in the zip, and two scans never share a name."""
    results = [a_result(), a_result(scan_id="2")]
    assert zipped(results, "CMU1") == zipped(results, "CMU1")
    assert len(members(*results)) == 8


def test_other_parameters_are_another_layer() -> None:
    """The viewer groups by analysis id: it follows from algorithm, version and parameters."""
    same, other = a_result(order_id="ord-2"), a_result(parameters={"positive_threshold": 0.2})
    assert archive.analysis_id(a_result()) == archive.analysis_id(same)
    assert archive.analysis_id(a_result()) != archive.analysis_id(other)


def test_subject_and_analysis_are_those_of_the_order() -> None:
    """They are in the metadata, and the subject is in the names of the members."""
    file = io.BytesIO()
    archive.write([a_result()], Names("CMU1", "PATIENT-7", "seg:r1"), file)
    assert check_zip(file.getvalue()) == 9
    with zipfile.ZipFile(file) as content:
        (name,) = [name for name in content.namelist() if name.endswith("-algmeta.json")]
        about = json.loads(content.read(name))
    assert name.startswith("PATIENT-7.CMU1.")
    assert (about["case_id"], about["subject_id"], about["analysis_id"]) == (
        "CMU1",
        "PATIENT-7",
        "seg:r1",
    )


def test_every_ring_is_closed() -> None:
    """The importer overwrites the last point of a large ring with the first."""
    result = a_result(objects([around(1200, 600, 10, 40), around(1500, 800, 20, 5)]))
    files = members(result)
    _, *rows = csv.reader(io.StringIO(files[f"{prefix_of(files)}-features.csv"].decode()))
    for row in rows:
        numbers = row[-1][1:-1].split(":")
        assert numbers[:2] == numbers[-2:]


def test_a_slide_without_pixel_size_cannot_be_imported() -> None:
    """The importer needs microns per pixel; none is made up."""
    frame = Frame(4000, 3000, None, None, "none")
    with pytest.raises(OrderError) as caught:
        zipped([a_result(frame=frame)], "CMU1")
    assert caught.value.code == "mpp_missing"
