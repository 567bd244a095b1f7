"""The published examples of model.json, with small networks in place of the large ones."""

import json
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.networks import loaded_model, save_script
from tests.support.scans import scan
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.algorithms import registry
from worker.algorithms.check import LoadCheck

KATHER = {
    "slidelane": 1, "output": "tiles", "mpp": 0.5, "input_px": 224, "activation": "none",
    "tissue_only": True, "stains": ["H&E"],
    "classes": [{"name": "BACK", "background": True}, "NORM", "DEB", "TUM", "ADI", "MUC", "MUS",
                "STR", "LYM"],
    "keep_background": False,
}  # fmt: skip
GLANDS = {
    "slidelane": 1, "output": "mask", "mpp": 1.0, "input_px": 512, "halo_px": 64, "overlap_px": 32,
    "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "classes": [{"name": "other", "background": True}, {"name": "gland", "color": "#009e73"},
                {"name": "tumor", "color": "#d55e00", "annotation_type": "tumor_region"}],
    "min_area_um2": 500, "fill_holes_um2": 500, "simplify_um": 1,
    "report": {"type": "TumorCellularity", "tumor": ["tumor"]},
}  # fmt: skip
MITOSES = {
    "slidelane": 1, "output": "objects", "style": "centres", "mpp": 0.25, "input_px": 512,
    "halo_px": 32, "stains": ["H&E"], "activation": "none",
    "classes": [{"name": "mitosis", "color": "#d55e00", "annotation_type": "mitotic_figure"},
                {"name": "imposter", "background": True}],
    "threshold": 0.6, "nms_radius_um": 7.5, "object_um": 12.5,
    "report": {"type": "AiMitosisCounting", "mitosis": "mitosis"},
}  # fmt: skip


class Nine(nn.Module):
    """Nine probabilities of which the fourth grows with red, and the first with white."""

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(2, 3))
        scores = torch.zeros(means.shape[0], 9)
        scores[:, 0] = 20 * (means.min(dim=1)[0] - 0.9)
        scores[:, 3] = 20 * (means[:, 0] - means[:, 2])
        return torch.softmax(scores, dim=1)


class Colours(nn.Module):
    """Scores of each pixel: other, gland where it is green, tumour where it is red."""

    def forward(self, pixels: Tensor) -> Tensor:
        red = pixels[:, 0]
        green = pixels[:, 1]
        clearly = 1.5  # more than pink is
        gland = 9 * (green - red - clearly)
        tumour = 9 * (red - green - clearly)
        return torch.stack([torch.zeros_like(red), gland, tumour], dim=1)


class Spots(nn.Module):
    """A heat of 1 where a pixel is black (mitosis) or blue (imposter), else 0; none in white."""

    def forward(self, pixels: Tensor) -> Tensor:
        dark = (pixels[:, 0] < 0.25) & (pixels[:, 1] < 0.25)
        blue = pixels[:, 2] > 0.75
        return torch.stack([dark & ~blue, dark & blue], dim=1).to(torch.float32)


def a_folder(folder: Path, description: dict[str, Any], module: nn.Module) -> Path:
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(description))
    edge = description["input_px"]
    save_script(module, folder / "torchscript_model.pt", scripted=True, edge=edge)
    return folder


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_bytes())["summary"])


def features_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "features.geojson").read_bytes())["features"])


def stained(height: int, width: int) -> Any:
    """A pale pink section, which no stain contradicts."""
    return np.full((height, width, 3), (225, 190, 215), np.uint8)


def test_tiles_that_a_network_answers_as_probabilities(tmp_path: Path) -> None:
    """9.1: its forward ends in a softmax, so the activation is none."""
    model = loaded_model(a_folder(tmp_path / "kather", KATHER, Nine()))
    assert (model.card.tile_px, model.card.stains) == (224, ("H&E",))
    pixels = stained(448, 672)
    pixels[224:, 448:] = (230, 40, 40)
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=0.5)
    scan(model, slide, tmp_path, 1, Listener())
    counts = summary_of(tmp_path / "1")["tiles_by_class"]
    assert counts["TUM"] >= 1
    assert sum(counts.values()) == 6
    without = {key: value for key, value in KATHER.items() if key != "activation"}
    with pytest.raises(ConfigError, match="softmax twice"):
        loaded_model(a_folder(tmp_path / "auto", without, Nine()))


def test_a_mask_of_several_classes(tmp_path: Path) -> None:
    """9.2: blended over the borders of tiles, one polygon for each connected part."""
    model = loaded_model(a_folder(tmp_path / "gland", GLANDS, Colours()))
    assert (model.card.tile_px, model.card.halo_px, model.card.overlap_px) == (384, 64, 32)
    pixels = stained(800, 1200)
    pixels[100:500, 200:900] = (60, 190, 60)  # across two tiles
    pixels[600:700, 1000:1100] = (220, 40, 40)
    pixels[600:605, 20:25] = (220, 40, 40)  # 25 um2: too small
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=1.0)
    scan(model, slide, tmp_path, 1, Listener())
    summary = summary_of(tmp_path / "1")
    assert summary["polygons_by_class"] == {"gland": 1, "tumor": 1}
    assert summary["area_mm2_by_class"]["gland"] == pytest.approx(0.4 * 0.7, rel=0.02)
    assert summary["area_mm2_by_class"]["tumor"] == pytest.approx(0.01, rel=0.05)
    assert {one["properties"]["objectType"] for one in features_of(tmp_path / "1")} == {
        "annotation"
    }


def test_mitoses_without_imposters(tmp_path: Path) -> None:
    """9.4: each once, also on the border of two tiles; imposters are left out."""
    model = loaded_model(a_folder(tmp_path / "mitosis", MITOSES, Spots()))
    assert (model.card.tile_px, model.card.halo_px) == (448, 32)
    pixels = stained(700, 1000)
    places = [(100, 100), (448, 300), (800, 448)]
    for x, y in places:
        pixels[y - 2 : y + 3, x - 2 : x + 3] = (20, 20, 20)
    pixels[600:605, 300:305] = (20, 20, 240)
    slide = a_slide(tmp_path / "a.tif", pixels, mpp=0.25)
    scan(model, slide, tmp_path, 1, Listener())
    assert summary_of(tmp_path / "1")["objects_by_class"] == {"mitosis": 3}
    found = [np.array(one["geometry"]["coordinates"][0]) for one in features_of(tmp_path / "1")]
    centres = sorted(tuple(ring[:-1].mean(axis=0)) for ring in found)
    assert np.allclose(centres, [(x + 0.5, y + 0.5) for x, y in places], atol=1.5)
    assert all(np.ptp(ring[:, 0]) == pytest.approx(50) for ring in found)


class Inner(nn.Module):
    """A network without padding: it answers the inner part of its tile."""

    def __init__(self, crop_px: int) -> None:
        super().__init__()
        self.crop_px = crop_px

    def forward(self, pixels: Tensor) -> Tensor:
        crop = self.crop_px
        inner = pixels[:, :, crop : pixels.shape[2] - crop, crop : pixels.shape[3] - crop]
        return torch.stack([inner[:, 0], inner[:, 1]], dim=1)


INNER = {
    "slidelane": 1, "output": "mask", "mpp": 1.0, "input_px": 256, "activation": "none",
    "classes": [{"name": "rest", "background": True}, "part"],
}  # fmt: skip


def test_a_network_without_padding_needs_nothing_said(tmp_path: Path) -> None:
    """256 in, 164 out: only loading it tells, so the announced card comes from the load check."""
    folder = a_folder(tmp_path / "inner", INNER, Inner(46))
    entry = AlgorithmSettings(kind="weights", folder=folder)
    before = registry.card("net", entry)
    assert (before.tile_px, before.halo_px) == (192, 32)
    checked = LoadCheck(before, entry, "cpu").run(Event())
    assert checked.fault == ""
    assert checked.card is not None
    assert (checked.card.tile_px, checked.card.halo_px) == (164, 46)
    assert loaded_model(folder).card.tile_px == 164


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"halo_px": 16}, "halo_px: 16 is less than the 46 px"),
        ({"overlap_px": 180}, "overlap_px: it must be less than the core of 164 px"),
        ({"output_stride": 2}, r"outputs\.logits has shape \(1, 2, 164, 164\)"),
    ],
)
def test_keys_that_do_not_go_with_the_answer_are_named(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    """The network's own answer to a blank tile decides."""
    with pytest.raises(ConfigError, match=f"net: model.json: .*{message}"):
        loaded_model(a_folder(tmp_path / "inner", INNER | keys, Inner(46)))
