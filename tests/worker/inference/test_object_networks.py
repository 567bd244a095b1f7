"""Folders with a model.json whose networks find single objects, from the file to the features.

The networks answer by colour, so what is right is known to the pixel.
"""

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.results import a_result
from tests.support.scans import FrequentCheckpoint
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.algorithms import registry
from worker.algorithms.networks.trained_network import TrainedNetwork
from worker.geometry.frame import Area, Pixels
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.quality.inspection import StainRequest
from worker.inference.tile_inference import TileJob, run_tiles
from worker.progress import Stopwatch
from worker.results.files import object_files
from worker.results.objects import Objects, joined
from worker.results.result import Result
from worker.slides.slide import Slide

WIDTH, HEIGHT = 520, 460
TISSUE = (235, 200, 220)


def a_section(*discs: tuple[int, int, int, int]) -> Pixels:
    """Pale tissue with a disc for each x, y, radius and red."""
    picture = np.full((HEIGHT, WIDTH, 3), TISSUE, np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for column, row, radius, red in discs:
        picture[(x - column) ** 2 + (y - row) ** 2 < radius**2] = (red, 80, 120)
    return picture


class LikeInstanSeg(nn.Module):
    """Answers (N, 1, h, w), float32, and has further arguments that nobody gives."""

    def forward(
        self,
        x: Tensor,
        min_size: int = 10,
        mask_threshold: float = 0.53,
        precision: str = "f32",
    ) -> Tensor:
        red = torch.round(235 - x[:, :1] * 235)
        return red * (red > 0)


class LikeAMitosisDetector(nn.Module):
    """Heat of two classes: how many pixels of dark red, and of light red, lie around a pixel."""

    def forward(self, x: Tensor) -> Tensor:
        red = torch.round(x[:, :1] * 255)
        kernel = torch.ones(1, 1, 11, 11) / 121
        mitosis = nn.functional.conv2d((red < 100).float(), kernel, padding=5)
        other = nn.functional.conv2d(((red >= 100) & (red < 200)).float(), kernel, padding=5)
        return torch.cat([mitosis, other], dim=1)


class LikeTorchvision(nn.Module):
    """Takes a list of pictures; answers losses, and boxes, scores and labels for each picture.

    Every box is answered twice, the second one a pixel away and less sure.
    """

    def forward(self, images: list[Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        losses: dict[str, Tensor] = {}
        found: list[dict[str, Tensor]] = []
        for image in images:
            red = torch.round(image[0] * 255)
            boxes: list[Tensor] = []
            labels: list[int] = []
            for number in range(20):
                places = torch.nonzero(red == number)
                if len(places) > 0:
                    low = places.min(0)[0]
                    high = places.max(0)[0] + 1
                    boxes.append(torch.stack([low[1], low[0], high[1], high[0]]).float())
                    labels.append(1 + number % 2)
            rows = torch.zeros(0, 4)
            if len(boxes) > 0:
                rows = torch.stack(boxes)
            scores = torch.full((len(boxes),), 0.875)
            kinds = torch.tensor(labels, dtype=torch.int64)
            found.append(
                {
                    "boxes": torch.cat([rows, rows + 1]),
                    "scores": torch.cat([scores, scores - 0.25]),
                    "labels": torch.cat([kinds, kinds]),
                }
            )
        return losses, found


def a_folder(path: Path, network: nn.Module, **keys: Any) -> Path:
    """A model folder with the scripted network."""
    path.mkdir()
    (path / "model.json").write_text(json.dumps({"slidelane": 1, "output": "objects"} | keys))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        script: Any = torch.jit.script(network.eval())
        script.save(str(path / keys.get("file", "torchscript_model.pt")))
    return path


def loaded(folder: Path) -> TrainedNetwork:
    entries = {"net": AlgorithmSettings(kind="weights", folder=folder)}
    model = registry.load("net", entries, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert isinstance(model, TrainedNetwork)
    return model


def result_of(model: TrainedNetwork, folder: Path, picture: Pixels, mpp: float) -> Result:
    """The result of the whole slide."""
    with Slide.open(a_slide(folder / "a.svs", picture, mpp=mpp)) as slide:
        drawn = StainRequest(None, "ignore")  # no stain that a scanner ever saw
        job = TileJob(model, slide, Area(0, 0, WIDTH, HEIGHT), "x", drawn)
        checkpoint = FrequentCheckpoint(folder / "1.0.1")
        findings = run_tiles(job, checkpoint, Stopwatch(), Listener())[0]
    return a_result(
        findings.objects,
        card=model.card,
        frame=findings.frame,
        area=findings.area,
        summary=findings.summary,
    )


def objects_of(result: Result) -> Objects:
    return joined(list(result.findings.objects.chunks()))


INSTANSEG: dict[str, Any] = {
    "style": "labels",
    "file": "instanseg.pt",
    "mpp": 0.5,
    "input_px": 512,
    "halo_px": 80,
    "normalize": {"percentiles": [0.1, 99.9], "clip": [-0.5, 1.5]},
    "layers": ["nucleus"],
    "classes": [{"name": "nucleus", "color": "#0072b2"}],
    "min_area_um2": 5,
    "max_area_um2": 400,
}
"""The published worked example 9.3."""
NUCLEI = [(60, 60), (352, 100), (100, 352), (352, 352), (349, 200), (515, 455), (2, 300)]
MITOSES: dict[str, Any] = {
    "style": "centres",
    "mpp": 0.25,
    "input_px": 512,
    "halo_px": 32,
    "stains": ["H&E"],
    "activation": "none",
    "classes": [
        {"name": "mitosis", "color": "#d55e00", "annotation_type": "mitotic_figure"},
        {"name": "imposter", "background": True},
    ],
    "threshold": 0.6,
    "nms_radius_um": 7.5,
    "object_um": 12.5,
    "report": {"type": "AiMitosisCounting", "mitosis": "mitosis"},
}
"""The published worked example 9.4."""


def test_an_instanseg_release_with_a_model_json_finds_each_nucleus_once(tmp_path: Path) -> None:
    """On borders and corners of tiles and at the slide's edge; the large and the tiny one are left
    out; features are detections with score and area."""
    model = loaded(a_folder(tmp_path / "net", LikeInstanSeg(), **INSTANSEG))
    discs = [(x, y, 5, 5 * number) for number, (x, y) in enumerate(NUCLEI, start=1)]
    picture = a_section(*discs, (220, 220, 30, 0), (300, 60, 2, 100))
    result = result_of(model, tmp_path, picture, 0.5)
    found = objects_of(result)
    inside = [tuple(centre) for centre in found.centres.tolist() if tuple(centre) in NUCLEI]
    assert sorted(inside) == sorted((float(x), float(y)) for x, y in NUCLEI[:6])
    assert len(found) == 7  # the one at the slide's edge too
    object_files.write(tmp_path, result)
    collection = json.loads((tmp_path / "features.geojson").read_bytes())
    feature = collection["features"][0]
    assert feature["properties"]["objectType"] == "detection"
    assert feature["properties"]["classification"]["name"] == "nucleus"
    pixels = int((picture[..., 0] == 5).sum())
    assert feature["properties"]["measurements"] == {"score": 1.0, "area_um2": pixels * 0.25}
    with (tmp_path / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:10] == [
        *("id", "class", "x", "y", "score", "area_um2", "minx", "miny", "width", "height")
    ]
    assert {row["class"] for row in rows} == {"nucleus"}
    assert rows[0]["x"] == "60.0"


def test_mitoses_are_found_and_imposters_dropped(tmp_path: Path) -> None:
    """Of two within 7.5 um the hotter one stays, across the border of tiles; a mark is 50 px."""
    model = loaded(a_folder(tmp_path / "net", LikeAMitosisDetector(), **MITOSES))
    picture = a_section(
        (100, 100, 5, 50),
        (448, 200, 5, 50),  # on a border of tiles
        (440, 60, 5, 50),
        (456, 60, 6, 50),  # hotter, in the next tile
        (300, 300, 5, 150),  # the imposter
        (200, 400, 3, 50),  # too small
    )
    result = result_of(model, tmp_path, picture, 0.25)
    found = objects_of(result)
    assert sorted(found.centres.round(1).tolist()) == [[100, 100], [448, 200], [456, 60]]
    assert np.ptp(found.outlines[0], axis=0).tolist() == [50, 50]
    summary = result.findings.summary
    assert summary["objects_by_class"] == {"mitosis": 3}
    area_mm2 = WIDTH * HEIGHT * 0.25**2 / 1e6
    assert summary["objects_per_mm2"] == pytest.approx(3 / area_mm2)


def test_a_torchvision_detector_is_scripted_and_used_as_it_is(tmp_path: Path) -> None:
    """Called with a list; class 0 is its background; one box of each pair stays."""
    keys = {
        "style": "boxes",
        "batch_form": "list",
        "label_offset": 1,
        "mpp": 0.5,
        "input_px": 256,
        "halo_px": 32,
        "classes": ["even", "odd"],
    }
    model = loaded(a_folder(tmp_path / "net", LikeTorchvision(), **keys))
    places = [(40, 40), (192, 100), (192, 192), (384, 192), (250, 300), (500, 440)]
    discs = [(x, y, 6, number) for number, (x, y) in enumerate(places, start=1)]
    found = objects_of(result_of(model, tmp_path, a_section(*discs), 0.5))
    assert sorted(map(tuple, found.centres.tolist())) == sorted(places)
    assert set(found.scores.tolist()) == {0.875}
    kinds = dict(zip(map(tuple, found.centres.tolist()), found.classes.tolist(), strict=True))
    assert [kinds[place] for place in places] == [1, 0, 1, 0, 1, 0]


def test_layers_that_are_no_classes_disable_the_algorithm(tmp_path: Path) -> None:
    """The reason names the key and the layer."""
    folder = a_folder(tmp_path / "net", LikeInstanSeg(), **(INSTANSEG | {"layers": ["cell"]}))
    with pytest.raises(ConfigError, match=r"layers: .*'cell'"):
        loaded(folder)
