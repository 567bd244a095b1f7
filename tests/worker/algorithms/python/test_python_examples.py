"""The published examples of Python code, as they are written, and masks of every form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.python_scans import code, dotted, entry, features, results, run
from tests.support.slides import a_slide

HOVER = """
import numpy as np, torch
from slidelane.algorithms import Card, Class, Found
from my_lab.hover import watershed, ring                      # theirs
class HoVer:
    card = Card(title="HoVer-Net", output="objects", mpp=0.25, input_px=256, halo_px=46, classes=(
        Class("tumor", "#d55e00"), Class("lymphocyte", "#0072b2")))
    def load(self, device):
        self.device, self.net = device, torch.jit.load("FOLDER/model.ts", map_location=device).eval()
    def classify(self, batch):                                # uint8 (N, 256, 256, 3)
        with torch.inference_mode():
            out = self.net(torch.as_tensor(batch, device=self.device).permute(0, 3, 1, 2) / 255)
        maps = zip(out["nucleus_prediction"], out["horizontal_vertical"], out["type_prediction"])
        return [[Found(x + 46, y + 46, kind, score, outline=ring(part) + 46)
                 for part, x, y, kind, score in watershed(*tile)] for tile in maps]
"""
THEIRS = """
import cv2, numpy as np

def watershed(nuclei, _directions, types):
    count, numbers, _, centres = cv2.connectedComponentsWithStats(
        (nuclei[1] > nuclei[0]).numpy().astype(np.uint8), connectivity=4)
    for number in range(1, count):
        part = numbers == number
        kind = types.argmax(dim=0).numpy()[part].max() - 1
        yield part, *(centres[number] + 0.5), kind, np.float32(0.875)

def ring(part):
    rows, columns = part.nonzero()
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
"""
FOLLICLES = """
from slidelane.algorithms import Card, Class, Parameter
CARD = Card(title="Follicles", output="objects",
    classes=(Class("follicle", "#009e73", annotation_type="follicle"),),
    parameters=(Parameter("least_um2", 500.0, minimum=0, maximum=1e6, unit="um2",
                          title="Smallest follicle"),))
def process_image(path, context):
    x, y, w, h = context.roi.box                               # level-0 pixels
    features = []
    for tile in context.tiles(mpp=2.0, size_px=512):          # only tissue
        for ring in find(tile.pixels, context.parameters["least_um2"]):
            features.append({"type": "Feature", "geometry": {"type": "Polygon",
                "coordinates": [tile.level0(ring)]},
                "properties": {"classification": {"name": "follicle"}}})
        context.progress(tile.number + 1, tile.count)          # raises Stop when cancelled
    return {"type": "FeatureCollection", "features": features}
process_image.card = CARD

import cv2, numpy as np
def find(pixels, least_um2):
    assert pixels.shape == (512, 512, 3)
    dark = (pixels.mean(axis=2) < 120).astype(np.uint8)
    for ring in cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        if 4 * cv2.contourArea(ring) >= least_um2:
            yield np.concatenate([ring[:, 0], ring[:1, 0]])
"""
MASKS = """
import numpy as np
from slidelane.algorithms import Card, Class
PIXELS = dict(mpp=0.5, input_px=128, halo_px=16)
DARK = Class("dark", "#d55e00")

class Bools:
    card = Card("Dark", "mask", (DARK,), **PIXELS)
    def classify(self, batch):
        return batch.mean(axis=3) < 120

class Numbers(Bools):
    def classify(self, batch):
        return super().classify(batch).astype(np.uint8)

class Classes(Bools):
    card = Card("Dark", "mask", (Class("rest", background=True), DARK), **PIXELS)

class Shares(Bools):
    card = Card("Dark", "mask", (DARK,), post={"min_area_um2": 20}, overlap_px=32, **PIXELS)
    def classify(self, batch):
        return super().classify(batch)[:, None, 8:-8, 8:-8].astype(np.float32)
"""


class DarkNuclei(nn.Module):
    """The maps of HoVer-Net for the inner 164 of 256 pixels: nuclei are dark, tumour is red."""

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        inner = pixels[:, :, 46:210, 46:210]
        nuclei = 100 * (0.5 - inner.mean(dim=1))
        red = 100 * (inner[:, 0] - inner[:, 2])
        nothing = torch.zeros_like(red)
        return {
            "nucleus_prediction": torch.stack([nothing, nuclei], dim=1),
            "horizontal_vertical": torch.stack([nothing, nothing], dim=1),
            "type_prediction": torch.stack([nothing - 1000, red, -red], dim=1),
        }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("halo", "left"), [(46, 100), (86, 150)])
def test_hovernet_with_a_watershed_of_the_site(halo: int, left: int, tmp_path: Path) -> None:
    """Objects with outlines from arrays, whose class is numpy's number.

    The network answers nothing for a rim of 46 px. With no more halo than that it shows nothing
    beyond a core, so only one with room for an object has those once that lie on a border.
    """
    torch.jit.script(DarkNuclei()).save(str(tmp_path / "model.ts"))  # type: ignore[no-untyped-call]
    (tmp_path / "my_lab").mkdir()
    code(tmp_path / "my_lab", THEIRS, "hover.py")
    text = HOVER.replace("FOLDER", str(tmp_path)).replace("halo_px=46", f"halo_px={halo}")
    pixels = np.full((400, 400, 3), (230, 180, 210), np.uint8)
    pixels[left : left + 30, left : left + 30] = (120, 10, 40)
    pixels[340:360, 340:370] = (40, 10, 120)
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=0.25)
    found = run(entry(code(tmp_path, text, "algorithm.py"), "HoVer"), slide, tmp_path)
    assert results(found)["summary"]["objects_by_class"] == {"tumor": 1, "lymphocyte": 1}
    tumour = features(found)[0]
    ring = tumour["geometry"]["coordinates"][0]
    assert ring[:2] == [[left, left], [left + 30, left]]
    assert tumour["properties"]["measurements"]["score"] == 0.875


def test_a_function_that_reads_tiles_and_answers_geojson(tmp_path: Path) -> None:
    """With a parameter in square microns that an order may set."""
    file = code(tmp_path, FOLLICLES, "follicles.py")
    pixels = np.full((600, 600, 3), (230, 180, 210), np.uint8)
    pixels[200:280, 300:400] = (60, 40, 90)
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=0.5)
    found = run(entry(file, "process_image"), slide, tmp_path)
    (follicle,) = features(found)
    assert follicle["properties"]["classification"]["name"] == "follicle"
    corners = np.array(follicle["geometry"]["coordinates"][0])
    assert np.abs(corners.min(axis=0) - (300, 200)).max() <= 4
    assert np.abs(corners.max(axis=0) - (400, 280)).max() <= 4
    large = run(
        entry(file, "process_image"), slide, tmp_path, fence=2, parameters={"least_um2": 5000}
    )
    assert not features(large)


@pytest.mark.parametrize("name", ["Bools", "Numbers", "Classes", "Shares"])
def test_masks_become_polygons(name: str, tmp_path: Path) -> None:
    """The same nine of whole pixels, of numbers, truth values or shares, cropped or not."""
    file = code(tmp_path, MASKS, "masks.py")
    found = run(entry(file, name), dotted(tmp_path), tmp_path)
    summary = results(found)["summary"]
    assert summary["polygons_by_class"] == {"dark": 9}
    assert summary["area_mm2_by_class"]["dark"] == pytest.approx(9 * 25e-6)
    assert summary["precision"] == "float32"
    assert {one["properties"]["objectType"] for one in features(found)} == {"annotation"}


def test_squares_of_a_function_have_no_probabilities(tmp_path: Path) -> None:
    """A function that answers tiles says a class and a score; the columns stay where they are."""
    text = """
        from slidelane.algorithms import Card, Class, Found
        CARD = Card("Squares", "tiles", (Class("a"), Class("b")))
        def process_image(path, context):
            return [Found(100, 100, "b", 0.5, [(90, 90), (110, 90), (110, 110), (90, 110)])]
    """
    file = code(tmp_path, text, "squares.py")
    found = run(entry(file, "process_image"), dotted(tmp_path), tmp_path)
    header, row = (found / "objects.csv").read_text().splitlines()
    assert header == "minx,miny,width,height,prob_a,prob_b,class,score"
    assert row == "90,90,20,20,,,b,0.5"
