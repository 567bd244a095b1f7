"""What the comparison with peers runs on can be trusted: slides are what they say, networks are the same each
time."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from benchmarks.peers import networks, synthetic_slides
from benchmarks.peers.bigtiff import TILE_PX
from benchmarks.peers.contestants import Outcome
from benchmarks.peers.runners.model import jit
from benchmarks.peers.summary import Agreement
from benchmarks.peers.workload import stored


@pytest.mark.parametrize("shared", [False, True])
def test_a_drawn_slide_shows_openslide_what_tifffile_decodes_and_holds_tissue_where_it_says(
    tmp_path: Path, *, shared: bool
) -> None:
    """Every tile of the list is read alike by both, in colour; half of the slide is on the list."""
    corners = synthetic_slides.draw(tmp_path / "slide.svs", 6_000, shared=shared)
    with (
        openslide.OpenSlide(tmp_path / "slide.svs") as slide,
        tifffile.TiffFile(tmp_path / "slide.svs") as tiff,
    ):
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.level_dimensions == ((6000, 6000), (1500, 1500))
        assert 0.4 < len(corners) * TILE_PX**2 / 6000**2 < 0.6
        whole = tiff.pages[0].asarray()
        for x, y in corners.tolist():
            seen = np.asarray(slide.read_region((x, y), 0, (TILE_PX, TILE_PX)).convert("RGB"))
            assert (seen == whole[y : y + TILE_PX, x : x + TILE_PX]).all()
            assert np.ptp(seen, axis=2).max() > 50


def test_the_levels_of_a_drawn_slide_show_the_same_picture(tmp_path: Path) -> None:
    """Level 0 shrunk is level 1, but for what JPEG loses twice."""
    synthetic_slides.draw(tmp_path / "slide.svs", 4_096)
    with tifffile.TiffFile(tmp_path / "slide.svs") as tiff:
        fine, coarse = (page.asarray().astype(float) for page in tiff.pages[:2])
    shrunk = fine.reshape(1024, 4, 1024, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - coarse).mean() < 6


def test_a_slide_of_forty_gigapixels_that_shares_its_tiles_takes_less_than_a_hundred_megabytes(
    tmp_path: Path,
) -> None:
    """Offsets of 611,524 tiles point to some thousands of pictures; far corners are read as
    anywhere."""
    path = tmp_path / "slide.svs"
    corners = synthetic_slides.draw(path, 200_000, shared=True)
    assert path.stat().st_size < 100e6
    last = corners[-1:]
    (_, _, offset, length), *_ = stored(path, last).tolist()
    assert path.read_bytes()[offset : offset + length].endswith(b"\xff\xd9")
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (200_000, 200_000)
        seen = np.asarray(
            slide.read_region(tuple(last[0].tolist()), 0, (TILE_PX, TILE_PX)).convert("RGB")
        )
        assert np.ptp(seen, axis=2).max() > 50


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_network_is_the_same_each_time_and_has_learnt_how_dark_a_tile_is(
    name: str, tmp_path: Path
) -> None:
    """One seed, one network. Of sixteen tiles, four of each darkness with noise of their own, most
    are known."""
    rng = np.random.default_rng(0)
    darkness = (np.arange(16) // 4).reshape(16, 1, 1, 1)
    samples = np.clip(rng.normal(230 - 50 * darkness, 8, (16, 32, 32, 3)), 0, 255).astype(np.uint8)
    inputs = (torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    logits, again = (
        _answers(name, tmp_path / folder, samples, inputs) for folder in ("one", "other")
    )
    assert torch.equal(logits, again)
    right = logits.argmax(dim=1) == torch.arange(16) // 4
    assert right.float().mean() > 0.7
    assert torch.softmax(logits, dim=1)[right].amax(dim=1).median() > 0.5


def _answers(
    name: str, folder: Path, samples: NDArray[np.uint8], inputs: torch.Tensor
) -> torch.Tensor:
    networks.save(name, folder, samples)
    with torch.inference_mode():
        answered: torch.Tensor = jit(lambda: torch.jit.load(folder / "torchscript_model.pt"))(
            inputs
        )  # type: ignore[no-untyped-call]
    return answered


def test_agreement_counts_classes_and_the_greatest_difference() -> None:
    """One of two tiles changes its class; its probability moved by 0.3."""
    one, other = (
        Outcome("a", "1", 2, 1.0, 0, np.array([[0.6, 0.4], [0.1, 0.9]], np.float32)),
        Outcome("b", "1", 2, 1.0, 0, np.array([[0.3, 0.7], [0.1, 0.9]], np.float32)),
    )
    agreed = Agreement.of(one, other)
    assert agreed
    assert agreed.same_class_share == 0.5
    assert agreed.most_apart == pytest.approx(0.3)
