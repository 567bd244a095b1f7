"""Single objects from tiles to the area: each once, none cut, the same however they come."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.decoded_networks import DecodedNetwork, a_card, a_class, an_objects_network
from tests.support.scans import FrequentCheckpoint
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Area, Pixels
from worker.inference.tile_inference import TileJob, run_tiles
from worker.progress import Stopwatch, StopWork
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects, joined
from worker.results.result import Findings
from worker.slides.slide import Slide

# Tiles of 32 px: in the middle of one, on a border, at the corner of four, beside borders.
PLACES = [(16, 16), (32, 48), (64, 64), (95, 20), (33, 97), (96, 96), (61, 100), (110, 63)]
RADIUS = 5
EDGE = 128


def discs(places: list[tuple[int, int]], radius: int = RADIUS) -> Pixels:
    """White with a disc at each place, whose red tells which: 1, 2, 3 …"""
    picture = np.full((EDGE, EDGE, 3), 255, np.uint8)
    y, x = np.mgrid[:EDGE, :EDGE] + 0.5
    for number, (column, row) in enumerate(places, start=1):
        picture[(x - column) ** 2 + (y - row) ** 2 < radius**2] = (number, 100, 100)
    return picture


def labels(pixels: Tensor) -> Answers:
    """A label map as InstanSeg answers it, (N, 1, h, w): other numbers in every tile."""
    red = pixels[:, :1]
    shift = red.amin(dim=(1, 2, 3), keepdim=True)
    return {"labels": torch.where(red == 255, 0, 300 - red - shift)}


def hot(pixels: Tensor) -> Answers:
    """Heat that falls off from the middle of each disc, exact at any place of the tile."""
    inside = (pixels[:, :1] < 255).float()
    total = torch.nn.functional.conv2d(inside, torch.ones(1, 1, 11, 11), padding=5)
    return {"heat": total / 128}


def around(pixels: Tensor) -> Answers:
    """The box of each disc with the sum of its pixels as score, padded to 30 rows."""
    boxes = torch.full((len(pixels), 30, 4), float("nan"))
    scores = torch.zeros(len(pixels), 30)
    for tile, red in enumerate(pixels[:, 0]):
        for row, number in enumerate(red[red < 255].unique()):
            y, x = (red == number).nonzero(as_tuple=True)
            boxes[tile, row] = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
            scores[tile, row] = 0.5 + len(x) / 1000
    return {"boxes": boxes, "scores": scores}


STYLES: dict[str, Any] = {"labels": labels, "centres": hot, "boxes": around}


def a_network(style: Any, batch_tiles: int = 4, **changed: Any) -> DecodedNetwork:
    settings = ObjectsSettings(style=style, **changed)
    card = a_card("disc", halo_px=12)
    return an_objects_network(card, settings, STYLES[style], batch_tiles=batch_tiles)


def merged(
    folder: Path, model: DecodedNetwork, picture: Pixels, area: Area | None = None
) -> Findings:
    """What the model finds on a slide with this picture."""
    folder.mkdir(exist_ok=True)
    path = folder / "a.svs"
    if not path.exists():
        a_slide(path, picture)
    with Slide.open(path) as slide:
        job = TileJob(model, slide, area or Area(0, 0, EDGE, EDGE), "x")
        checkpoint = FrequentCheckpoint(folder / "1.0.1")
        return run_tiles(job, checkpoint, Stopwatch(), Listener())[0]


def objects_of(findings: Findings) -> Objects:
    return joined(list(findings.objects.chunks()))


def places(findings: Findings) -> list[tuple[float, float]]:
    return sorted((x, y) for x, y in objects_of(findings).centres.tolist())


@pytest.mark.parametrize("style", ["labels", "centres", "boxes"])
def test_each_object_is_found_once_where_it_is(tmp_path: Path, style: str) -> None:
    """On borders and on the corner of four tiles too; the summary counts them."""
    findings = merged(tmp_path / style, a_network(style), discs(PLACES))
    assert places(findings) == [(float(x), float(y)) for x, y in sorted(PLACES)]
    area_mm2 = (EDGE * 0.0005) ** 2
    assert findings.summary == {
        "objects": 8,
        "objects_by_class": {"disc": 8},
        "area_mm2": pytest.approx(area_mm2),
        "objects_per_mm2": pytest.approx(8 / area_mm2),
        "objects_per_mm2_by_class": {"disc": pytest.approx(8 / area_mm2)},
        "precision": "float32",
    }
    assert findings.headline == "disc: 8 objects, 1,953.1 per mm²"


def test_outlines_of_labels_are_those_of_the_pixels(tmp_path: Path) -> None:
    found = objects_of(merged(tmp_path, a_network("labels"), discs(PLACES)))
    picture = discs(PLACES)
    for (x, y), outline in zip(found.centres, found.outlines, strict=True):
        column, row = int(x), int(y)
        assert (
            cv2.contourArea(outline.astype(np.float32))
            == (picture[..., 0] == picture[row, column, 0]).sum()
        )


@dataclass
class LostAt:
    """Progress that ends the work once so many tiles are classified."""

    tiles: int

    def report(self, stage: str, done: int, total: int) -> None:
        if stage == "classifying" and done >= self.tiles:
            raise StopWork


@pytest.mark.parametrize("style", ["labels", "centres", "boxes"])
def test_batches_and_resuming_change_no_byte(tmp_path: Path, style: str) -> None:
    """Also where the work was lost between the tiles that share an object."""
    picture = discs(PLACES)
    whole = stored(merged(tmp_path / "8", a_network(style, 8), picture))
    assert stored(merged(tmp_path / "3", a_network(style, 3), picture)) == whole
    with Slide.open(tmp_path / "8" / "a.svs") as slide:
        slide.threads = 1
        job = TileJob(a_network(style, 1), slide, Area(0, 0, EDGE, EDGE), "x")
        for lost_at in (4, 8, 15):
            first = FrequentCheckpoint(tmp_path / f"{lost_at}.0.1")
            with pytest.raises(StopWork):
                run_tiles(job, first, Stopwatch(), LostAt(lost_at))
            second = FrequentCheckpoint(tmp_path / f"{lost_at}.0.2")
            findings, counts, _ = run_tiles(job, second, Stopwatch(), Listener())
            assert counts["tiles_resumed"] > 0
            assert stored(findings) == whole


def stored(findings: Findings) -> dict[str, bytes]:
    """The files of the objects."""
    assert isinstance(findings.objects, ObjectStore)
    return {path.name: path.read_bytes() for path in findings.objects.folder.iterdir()}


@pytest.mark.parametrize("style", ["labels", "centres", "boxes"])
def test_an_object_is_in_a_region_where_its_centre_is(tmp_path: Path, style: str) -> None:
    """On the left and upper edge of a box too, and its outline is not cut; strictly inside of a
    polygon."""
    box = Area(16, 16, 48, 81)
    inside = merged(tmp_path, a_network(style), discs(PLACES), box)
    assert places(inside) == [(16, 16), (32, 48)]
    assert min(outline.min() for outline in objects_of(inside).outlines) < 16
    corners = ((16.0, 16.0), (80.0, 16.0), (80.0, 110.0), (16.0, 110.0))
    polygon = Area(16, 16, 64, 94, ((corners,),))
    (tmp_path / "1.0.1").rename(tmp_path / "done")
    found = places(merged(tmp_path, a_network(style), discs(PLACES), polygon))
    assert found == [(32, 48), (33, 97), (61, 100), (64, 64)]


def test_what_the_edge_of_the_slide_cuts_is_delivered(tmp_path: Path) -> None:
    """Its centre is that of the part that is seen."""
    found = merged(tmp_path, a_network("labels"), discs([(2, 64), (64, 127), (126, 2)]))
    assert len(found.objects) == 3
    outlines = objects_of(found).outlines
    assert min(outline.min() for outline in outlines) == 0
    assert max(outline.max() for outline in outlines) == EDGE


def test_what_the_rim_of_a_tile_cuts_is_not_delivered(tmp_path: Path) -> None:
    """An object larger than halo and core would be delivered in pieces."""
    picture = discs([(20, 20)])
    picture[62:66, 4:125] = (9, 100, 100)  # through all tiles
    picture[70:74, 0:40] = (8, 100, 100)  # from the slide's edge, into the next tile but one's rim
    model = a_network("labels")
    assert places(merged(tmp_path, model, picture)) == [(20.0, 20.0), (20.0, 72.0)]


def test_a_network_that_answers_the_middle_of_a_tile_at_a_stride(tmp_path: Path) -> None:
    """At a stride of 4, without the outer 4 px: objects are exact to that."""

    def coarse(pixels: Tensor) -> Answers:
        return {"labels": labels(pixels)["labels"][..., 4:-4:4, 4:-4:4]}

    settings = ObjectsSettings(style="labels", output_stride=4)
    card = a_card("disc", halo_px=12)
    squares = np.full((EDGE, EDGE, 3), 255, np.uint8)
    for number, (column, row) in enumerate([(4, 4), (28, 28), (60, 92), (112, 120)], start=1):
        squares[row : row + 8, column : column + 8] = (number, 100, 100)
    found = merged(tmp_path, an_objects_network(card, settings, coarse), squares)
    assert places(found) == [(8, 8), (32, 32), (64, 96), (116, 124)]
    assert {cv2.contourArea(o.astype(np.float32)) for o in objects_of(found).outlines} == {64}


def test_a_nucleus_and_its_cell_are_two_objects(tmp_path: Path) -> None:
    """Although both have one centre, also on borders; each layer has its class."""

    def two(pixels: Tensor) -> Answers:
        cell = labels(pixels)["labels"]
        inner = torch.nn.functional.max_pool2d((cell == 0).float(), 5, 1, 2) == 0
        return {"labels": torch.cat([cell * inner, cell], dim=1)}

    settings = ObjectsSettings(style="labels", layers=("nucleus", "cell"))
    card = a_card("nucleus", "cell", halo_px=12)
    findings = merged(tmp_path, an_objects_network(card, settings, two), discs(PLACES))
    assert findings.summary["objects_by_class"] == {"nucleus": 8, "cell": 8}
    twice = sorted((float(x), float(y)) for x, y in PLACES * 2)
    assert places(findings) == twice


def test_the_settings_leave_out_objects(tmp_path: Path) -> None:
    """By size in um2, the limits included, by score, and of the background class."""
    picture = discs(PLACES[:6])
    size_um2 = float((picture[..., 0] == 1).sum()) * 0.25
    cases: list[tuple[dict[str, Any], int]] = [
        ({"min_area_um2": size_um2}, 6),
        ({"min_area_um2": size_um2 + 0.25}, 0),
        ({"max_area_um2": size_um2}, 6),
        ({"max_area_um2": size_um2 - 0.25}, 0),
        ({"threshold": 0.9}, 3),
    ]

    def scored(pixels: Tensor) -> Answers:
        scores = torch.where(pixels[:, 0] % 2 == 0, 0.9, 0.25)
        return {"labels": labels(pixels)["labels"], "scores": scores}

    for number, (changed, expected) in enumerate(cases):
        settings = ObjectsSettings(style="labels", **changed)
        model = an_objects_network(a_card("disc", halo_px=12), settings, scored)
        assert len(merged(tmp_path / str(number), model, picture).objects) == expected

    def typed(pixels: Tensor) -> Answers:
        return {"labels": labels(pixels)["labels"], "classes": (pixels[:, 0] % 2).long()}

    card = a_card("disc", a_class("imposter", 1, background=True), halo_px=12)
    model = an_objects_network(card, ObjectsSettings(style="labels"), typed)
    findings = merged(tmp_path / "typed", model, picture)
    assert findings.summary["objects_by_class"] == {"disc": 3}


def test_simplified_outlines_have_fewer_points(tmp_path: Path) -> None:
    """And deviate by less than `simplify_um`."""
    exact = objects_of(merged(tmp_path / "0", a_network("labels"), discs(PLACES)))
    model = a_network("labels", simplify_um=0.6)
    simple = objects_of(merged(tmp_path / "1", model, discs(PLACES)))
    assert simple.centres.tolist() == exact.centres.tolist()
    for one, other in zip(simple.outlines, exact.outlines, strict=True):
        assert 4 <= len(one) < len(other) / 2
        sizes = [cv2.contourArea(ring.astype(np.float32)) for ring in (one, other)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.15)


def test_two_peaks_across_a_border_compete(tmp_path: Path) -> None:
    """Whichever tile they lie in: of 31 and 35 px the hotter one stays, of 96 and 101 too."""

    def exactly(pixels: Tensor) -> Answers:
        return {"heat": (255 - pixels[:, 0]) / 255}

    picture = np.full((EDGE, EDGE, 3), 255, np.uint8)
    for x, y, red in ((30, 40, 60), (34, 40, 20), (95, 63, 10), (95, 68, 50), (10, 10, 100)):
        picture[y, x, 0] = red
    settings = ObjectsSettings(style="centres", nms_radius_um=3)
    model = an_objects_network(a_card("a", halo_px=12), settings, exactly)
    findings = merged(tmp_path, model, picture)
    assert places(findings) == [(10.5, 10.5), (34.5, 40.5), (95.5, 63.5)]
    assert findings.summary["objects"] == 3
