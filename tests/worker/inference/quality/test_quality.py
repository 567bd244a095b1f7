"""A look at the stain and the quality of made and real slides, and what it does to a scan."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest
from tests.support.paths import SLIDES
from tests.support.scans import KI67, Dots, FrequentCheckpoint
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from tests.support.stained_pictures import (
    MISMATCHES,
    blurred,
    folded,
    h_and_e,
    haematoxylin_alone,
    haemorrhage,
    marked,
    marked_h_and_e,
)
from tests.support.tissue_sections import photograph, section
from worker.algorithms import registry
from worker.algorithms.builtin.cards import ki67_card
from worker.algorithms.interface import Algorithm
from worker.geometry.frame import Frame, Pixels
from worker.geometry.mpp_warnings import mpp_warnings
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.inference import pipeline
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.quality.inspection import StainRequest, inspect
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.results.result import Result
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")
H_AND_E_CARD = ki67_card().model_copy(update={"name": "eye", "stains": ("H&E",)})
NO_STAIN_CARD = ki67_card().model_copy(update={"name": "eye", "stains": ()})


def codes(
    pixels: Pixels, card: AlgorithmCard | None = None, request: StainRequest | None = None
) -> list[str]:
    """Return the codes of the warnings about one tile with these pixels, at 0.5 um per pixel."""
    card = card or ki67_card()
    height, width = pixels.shape[:2]
    frame = Frame(width, height, 0.5, 0.5, "slide")
    tiled = card.model_copy(update={"tile_px": width, "halo_px": 0})
    grid = tile_grid(resolve_roi(None, frame), frame, tiled)
    found = inspect(pixels[None], grid, tiled, request or StainRequest())
    return [warning.code for warning in found]


def algorithm(name: str) -> Algorithm:
    if name == "dots":
        return Dots()
    return registry.load(name, KI67, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)


def classified(
    folder: Path, slide: Path, name: str = "ki67", scan: Any = None, **parameters: Any
) -> Result:
    """Classify the whole slide with an order's parameters; `scan` adds fields of the scan."""
    source = {"id": "1", "source": {"type": "path", "path": str(slide)}} | (scan or {})
    request = OrderRequest.model_validate(
        {"algorithm": name, "parameters": parameters, "scans": [source]}, strict=False
    )
    order = Order(
        id="1", state=OrderState.RUNNING, request=request, queue="gpu",
        created_at=1, updated_at=1, expires_at=9, scans=(),
    )  # fmt: skip
    job = pipeline.ScanJob(order, request.scans[0], LocalSlide(slide, "0" * 64, 1))
    done = pipeline.classify(
        job, algorithm(name), FrequentCheckpoint(folder / "1.0.1"), Sandbox(threads=1),
        Stopwatch(), Listener(),
    )  # fmt: skip
    result_folder.save(folder / "result", done.result, done.overlay)
    return result_folder.load(folder / "result")


@pytest.mark.parametrize("seed", [1, 2])
def test_sections_that_fit_have_no_warning(seed: int) -> None:
    """Nor has the photograph."""
    assert codes(section(seed).pixels) == codes(photograph()) == []


def test_a_section_without_positive_nucleus_fits() -> None:
    """Haematoxylin alone is what a Ki-67 slide without dividing cells looks like."""
    assert codes(haematoxylin_alone()) == []


@pytest.mark.parametrize("look", MISMATCHES)
def test_another_stain_is_refused(look: str) -> None:
    """The fault names what the slide looks like, what the card states, and the way out."""
    with pytest.raises(OrderError) as caught:
        codes(MISMATCHES[look]())
    problem = caught.value.problem
    assert (problem.code, problem.blame) == ("stain_unexpected", "input")
    assert f"looks like {look}" in problem.detail
    assert "ki67 works on H-DAB" in problem.detail
    assert "on_stain_mismatch = warn" in problem.hint


@pytest.mark.parametrize("look", MISMATCHES)
def test_an_order_may_warn_or_ignore(look: str) -> None:
    """Then the scan goes on, with the doubt or without it."""
    pixels = MISMATCHES[look]()
    assert "stain_unexpected" in codes(pixels, request=StainRequest(None, "warn"))
    assert "stain_unexpected" not in codes(pixels, request=StainRequest(None, "ignore"))


def test_a_card_for_h_and_e_takes_it_and_refuses_dab() -> None:
    """The same the other way round; haematoxylin alone is a doubt, for eosin may be pale."""
    assert codes(h_and_e(), H_AND_E_CARD) == []
    with pytest.raises(OrderError, match="looks like H-DAB"):
        codes(photograph(), H_AND_E_CARD)
    assert codes(haematoxylin_alone(), H_AND_E_CARD) == ["stain_unexpected"]


def test_a_card_without_stains_judges_none() -> None:
    """But a slide that looks other than its order says is worth a warning."""
    assert codes(h_and_e(), NO_STAIN_CARD) == []
    assert codes(h_and_e(), NO_STAIN_CARD, StainRequest("Ki67")) == ["stain_unexpected"]
    assert codes(h_and_e(), NO_STAIN_CARD, StainRequest("HE")) == []


def test_what_the_order_says_is_compared_with_the_card() -> None:
    """Although the slide looks right."""
    with pytest.raises(OrderError, match="the order says that the stain is 'H&E'"):
        codes(photograph(), request=StainRequest("H&E"))
    assert codes(photograph(), request=StainRequest("H&E", "warn")) == ["stain_unexpected"]
    assert codes(photograph(), request=StainRequest("FHL2")) == []


@pytest.mark.parametrize(
    "colour", [(30, 120, 60), (30, 60, 170), (25, 25, 30), (190, 30, 40)], ids=str
)
def test_a_pen_is_a_warning_and_no_other_stain(colour: tuple[int, int, int]) -> None:
    """Green, blue, black and red ink."""
    assert codes(marked(colour)) == ["pen_marks"]


@pytest.mark.parametrize(
    "colour", [(30, 120, 60), (30, 60, 170), (25, 25, 30), (190, 30, 40), (220, 40, 60)], ids=str
)
def test_a_pen_on_h_and_e_is_a_warning(colour: tuple[int, int, int]) -> None:
    """Also red ink, which is denser, purer and more even than blood."""
    assert codes(marked_h_and_e(colour), H_AND_E_CARD) == ["pen_marks"]


def test_blood_is_no_pen() -> None:
    """A lake of erythrocytes in H&E."""
    assert codes(haemorrhage(), H_AND_E_CARD) == []


def test_blur_and_folds_are_warnings() -> None:
    """A fold is so dark that some of it may be ink as well."""
    assert codes(blurred()) == ["slide_blurred"]
    assert "tissue_folds" in codes(folded())


def test_a_speck_is_little_tissue() -> None:
    """Nine nuclei on glass, and no tiles at all."""
    pixels = np.full((512, 512, 3), 243, np.uint8)
    pixels[100:140, 100:140] = haematoxylin_alone()[:40, :40]
    assert codes(pixels) == ["little_tissue"]


def test_pixels_that_are_too_large_or_taken_on_trust_are_warnings() -> None:
    """A little enlargement is not; nor is a slide that states its own resolution."""
    card = ki67_card()

    def warned(mpp: float, source: Any) -> list[str]:
        return [one.code for one in mpp_warnings(Frame(9, 9, mpp, mpp, source), card)]

    assert warned(0.25, "slide") == warned(0.5, "tiff") == warned(0.6, "slide") == []
    assert warned(0.5, "order") == warned(0.5, "locator") == ["mpp_not_from_slide"]
    assert warned(0.9, "slide") == ["mpp_far_from_model"]
    assert warned(2.6, "tiff") == ["mpp_far_from_model"]


def test_smaller_pixels_are_no_warning_unless_no_objective_has_them() -> None:
    """They are averaged, which loses nothing."""

    def warned(mpp: float) -> list[str]:
        frame = Frame(9, 9, mpp, mpp, "slide")
        return [one.detail for one in mpp_warnings(frame, ki67_card())]

    assert warned(0.1) == warned(0.06) == []
    assert "which no objective resolves" in warned(0.02)[0]


def test_warnings_are_kept_with_the_result(tmp_path: Path) -> None:
    """In results.json and in what deliveries read, the size of the pixels first."""
    slide = a_slide(tmp_path / "a.svs", h_and_e(), mpp=None)
    result = classified(tmp_path, slide, scan={"mpp": 0.5}, on_stain_mismatch="warn")
    assert [one.code for one in result.warnings] == ["mpp_not_from_slide", "stain_unexpected"]
    content = json.loads((tmp_path / "result" / "results.json").read_bytes())
    assert content["warnings"] == [one.model_dump() for one in result.warnings]


def test_a_scan_of_another_stain_fails_before_it_is_classified(tmp_path: Path) -> None:
    """With the default of the parameter, and nothing is written."""
    with pytest.raises(OrderError, match="looks like H&E"):
        classified(tmp_path, a_slide(tmp_path / "a.svs", h_and_e()))
    assert not (tmp_path / "result").exists()


def test_an_algorithm_without_stains_gets_the_other_warnings(tmp_path: Path) -> None:
    """Noise of no stain passes; glass alone is too little to count."""
    noise = classified(tmp_path, a_slide(tmp_path / "a.svs", a_picture(256, 256)), "dots")
    assert "stain_unexpected" not in [one.code for one in noise.warnings]
    glass = np.full((256, 256, 3), 243, np.uint8)
    empty = classified(tmp_path / "b", a_slide(tmp_path / "b.svs", glass), "dots")
    assert [one.code for one in empty.warnings] == ["little_tissue"]


@real_slides
class TestRealSlides:
    @pytest.mark.parametrize(
        ("name", "mpp"),
        [
            ("CMU-1-Small-Region.svs", None),
            ("synth-he-8k.svs", None),
            ("tcga-cr-7395-01a-01-ts1.svs", 0.5),
            ("stardist-histo.jpg", 0.5),
            ("instanseg-HE_example.tif", 0.5),
            ("histolab-high-nuclei-score-level0.png", 0.5),
        ],
    )
    def test_h_and_e_is_refused(self, tmp_path: Path, name: str, mpp: float | None) -> None:
        """Skin on which `ki67` counted a labelling index of 94 %, and five others."""
        with pytest.raises(OrderError, match="looks like H&E") as caught:
            classified(tmp_path, SLIDES / name, scan={"mpp": mpp or 0.5})
        assert caught.value.code == "stain_unexpected"

    @pytest.mark.parametrize(
        "name",
        ["CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs", "instanseg-HE_example.tif"],
    )
    def test_h_and_e_has_no_ink(self, tmp_path: Path, name: str) -> None:
        """Although eosin and blood are red."""
        result = classified(tmp_path, SLIDES / name, scan={"mpp": 0.5}, on_stain_mismatch="ignore")
        assert "pen_marks" not in [one.code for one in result.warnings]

    def test_immunohistochemistry_passes_without_a_warning(self, tmp_path: Path) -> None:
        """A photograph, of which only the order knows the resolution."""
        result = classified(tmp_path, SLIDES / "skimage-ihc.png", scan={"mpp": 0.5})
        assert [one.code for one in result.warnings] == ["mpp_not_from_slide"]
