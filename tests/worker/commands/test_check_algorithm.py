"""Checks of an algorithm: what `slidelane algorithm new` writes is good, and each fault is found."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from broker.errors import OrderError
from broker.settings.config import Config, load
from slidelane.commands.new_algorithm import OUTPUTS, write_algorithm
from tests.support.networks import loaded_model
from tests.support.slides import a_slide
from worker.commands.algorithm_reference import find_algorithm
from worker.commands.check_algorithm import AlgorithmCheck, CheckRequest
from worker.commands.drawn_picture import draw_tissue, tiff
from worker.commands.tile_checks import Step, TileChecks
from worker.slides.slide import Slide


@pytest.fixture(scope="module")
def config() -> Config:
    return load(worker={"device": "cpu", "threads": 1})


def checked(
    algorithm: Path | str, scratch: Path, config: Config, image: Path | None = None
) -> dict[str, Step]:
    """Return the steps of a check by their names; it leaves its report in `scratch`."""
    scratch.mkdir(exist_ok=True)
    request = CheckRequest(algorithm=str(algorithm), image=image, scratch=scratch)
    check = AlgorithmCheck(request, config)
    steps = list(check.steps())
    check.write_report(steps)
    return {step.name: step for step in steps}


def changed(folder: Path, network: nn.Module) -> Path:
    """Put another network into a folder."""
    edge = json.loads((folder / "model.json").read_text())["input_px"]
    with torch.no_grad():
        script = torch.jit.trace(network.eval(), torch.rand(2, 3, edge, edge), check_trace=False)
    script.save(str(folder / "torchscript_model.pt"))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "output"),
    [(kind, output) for kind in OUTPUTS for output in OUTPUTS[kind] if kind != "container"],
)
def test_a_new_algorithm_is_good(kind: str, output: str, tmp_path: Path, config: Config) -> None:
    """Of each kind and output, as it was written; it finds what the drawn picture shows."""
    entry = write_algorithm(tmp_path / "My model", kind, output)
    assert list(entry) == ["my-model"]
    steps = checked(tmp_path / "My model", tmp_path / "scratch", config)
    assert {step.name: step.text for step in steps.values() if step.state == "failed"} == {}
    report = json.loads((tmp_path / "scratch" / "result" / "check.json").read_text())
    assert report["good"]
    assert report["algorithm"]["name"] == "my-model"
    assert (tmp_path / "scratch" / "result" / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert " 0 objects" not in steps["drawn picture"].text
    assert {path.name for path in (tmp_path / "My model").iterdir()} >= {
        "README.md",
        "test_algorithm.py",
    }


def test_a_new_container_says_how_its_image_is_built(tmp_path: Path) -> None:
    """The program is that of a command; the entry names the image, which nobody has built yet."""
    folder = tmp_path / "My image"
    entry = write_algorithm(folder, "container", "report")
    assert entry == {"my-image": {"kind": "container", "image": "my-image:1"}}
    assert "build -t my-image:1" in (folder / "README.md").read_text()
    assert "ARG BASE=" in (folder / "Dockerfile").read_text()
    compile((folder / "main.py").read_text(), "main.py", "exec")
    named = find_algorithm(str(folder), {})
    assert (named.name, named.entry.image) == ("my-image", "my-image:1")


class OfItsBatch(nn.Module):
    """Answers for a tile by the mean of its batch."""

    def forward(self, pixels: Tensor) -> Tensor:
        darkness = (1 - pixels).mean() + 0 * pixels[:, 0, 0, 0]
        return 5 * torch.stack([0.5 - darkness, darkness - 0.5], dim=1)


class OnWhite(nn.Module):
    """Finds bright spots, as no head should."""

    def forward(self, pixels: Tensor) -> Tensor:
        return 60 * (nn.functional.avg_pool2d(pixels.mean(dim=1, keepdim=True), 4, 4) - 0.9)


class Twice(nn.Module):
    """Answers probabilities of pixels."""

    def forward(self, pixels: Tensor) -> Tensor:
        dark = 1 - pixels.mean(dim=1, keepdim=True)
        return torch.cat([1 - dark, dark], dim=1)


class Tiled(nn.Module):
    """Answers by where in the tile a pixel is."""

    def forward(self, pixels: Tensor) -> Tensor:
        across = torch.linspace(-9, 9, 512) + 0 * pixels[:, :1]
        return torch.cat([across, -across], dim=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("output", "network", "name", "state"),
    [
        ("tiles", OfItsBatch(), "batch of 3 = 3 of 1", "failed"),
        ("objects", OnWhite(), "edge of the slide", "failed"),
        ("mask", Twice(), "softmax twice", "warning"),
        ("mask", Tiled(), "halo", "failed"),
    ],
)
def test_each_fault_is_found(
    output: str,
    network: nn.Module,
    name: str,
    state: str,
    tmp_path: Path,
    config: Config,
) -> None:
    """In its own step, with what to do."""
    write_algorithm(tmp_path / "model", "weights", output)
    changed(tmp_path / "model", network)
    steps = checked(tmp_path / "model", tmp_path / "scratch", config)
    assert steps[name].state == state, steps[name].text
    report = json.loads((tmp_path / "scratch" / "result" / "check.json").read_text())
    assert report["good"] == (state != "failed")


CODE = """
import numpy as np
from slidelane.algorithms import Card, Class, Found

SPOTS = dict(mpp=1.0, input_px=256, halo_px=32, classes=(Class("spot"),))

class OfItsBatch:
    card = Card("Of its batch", "tiles", (Class("light"), Class("dark")), mpp=1.0, input_px=256)
    def classify(self, batch):
        dark = np.full(len(batch), (batch < 120).mean())
        return np.stack([1 - dark, dark], axis=1)

class OnWhite:
    card = Card("On white", "objects", **SPOTS)
    def classify(self, batch):
        return [[Found(x, 128, 0) for x in range(8, 256, 16) if tile[128, x].min() > 252]
                for tile in batch]

class Tiled:
    card = Card("Tiled", "mask", (Class("left", background=True), Class("right")), mpp=1.0,
                input_px=256, halo_px=32)
    def classify(self, batch):
        found = np.zeros(batch.shape[:3], np.int64)
        found[:, :, 128:] = 1
        return found

class Raises:
    card = Card("Raises", "objects", **SPOTS)
    def classify(self, batch):
        return self.missing
"""


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("OfItsBatch", "batch of 3 = 3 of 1"),
        ("OnWhite", "edge of the slide"),
        ("Tiled", "halo"),
        ("Raises", "tiles"),
    ],
)
def test_each_fault_of_code_is_found(name: str, step: str, tmp_path: Path, config: Config) -> None:
    """In the same steps as a network's, but for the softmax: nothing activates its answers."""
    file = tmp_path / "own.py"
    file.write_text(CODE)
    steps = checked(f"{file}:{name}", tmp_path / "scratch", config)
    assert steps[step].state == "failed", steps[step].text
    assert "softmax twice" not in steps
    if name == "Raises":
        line = CODE.splitlines().index("        return self.missing") + 1
        assert steps[step].lines[0] == f"own.py:{line}, in classify"
        assert steps[step].as_dict()["lines"][-1].startswith("AttributeError: ")
        return
    assert {"speed", "batch of 3 = 3 of 1", "halo", "edge of the slide"} <= steps.keys()


class Fixed(nn.Module):
    """Scores that only a batch of the exported size has."""

    def __init__(self, tiles: int) -> None:
        super().__init__()
        self.tiles = tiles

    def forward(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[0] == self.tiles
        return 9 * pixels.mean(dim=(2, 3))[:, :2] - 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tiles", [1, 2])
def test_a_network_of_a_fixed_batch_is_given_no_larger_one(tiles: int, tmp_path: Path) -> None:
    """Batches are compared as far as it takes some."""
    description = {"slidelane": 1, "mpp": 0.5, "input_px": 64, "classes": ["a", "b"]}
    (tmp_path / "model.json").write_text(json.dumps({**description, "batch": tiles}))
    script = torch.jit.script(Fixed(tiles))  # type: ignore[no-untyped-call]
    script.save(str(tmp_path / "model.ts"))
    step = TileChecks(loaded_model(tmp_path)).batch()
    assert step.state == "ok", step.text


def test_a_part_of_a_slide_is_looked_at(tmp_path: Path, config: Config) -> None:
    """Three by three tiles around one in the middle of the list of those with tissue, not all."""
    slide = a_slide(tmp_path / "slide.svs", draw_tissue(4096, 0.25), mpp=0.25)
    write_algorithm(tmp_path / "model", "weights", "tiles")
    steps = checked(tmp_path / "model", tmp_path / "scratch", config, slide)
    assert steps["slide.svs"].state == "ok", steps["slide.svs"].text
    assert "2048 x 3072 px" in steps["slide.svs"].text


@pytest.mark.parametrize("mpp", [0.25, 0.5, 2.0])
def test_the_drawn_picture_states_its_resolution(mpp: float, tmp_path: Path) -> None:
    """So that the overlay of a check warns of nothing that is no fault of the algorithm."""
    drawn = tmp_path / "drawn.tif"
    picture = draw_tissue(1024, mpp)
    drawn.write_bytes(tiff(picture, mpp))
    with Slide.open(drawn) as slide:
        assert slide.frame.mpp_x == pytest.approx(mpp)
        assert slide.frame.mpp_source not in ("order", "locator")
        assert (slide.frame.width, slide.frame.height) == (1024, 1024)


def test_code_that_is_not_named_is_asked_for(tmp_path: Path) -> None:
    """A file alone does not say which class or function is meant."""
    file = tmp_path / "dots.py"
    file.write_text("class Dots: ...")
    with pytest.raises(OrderError) as refused:
        find_algorithm(str(file), {})
    assert refused.value.code == "algorithm_unknown"
    assert refused.value.hint == f"name the class or function: {file}:NAME"


def test_a_wrong_model_file_is_named(tmp_path: Path, config: Config) -> None:
    """The key, and the image that is none; nothing is raised."""
    write_algorithm(tmp_path / "model", "weights", "tiles")
    (tmp_path / "text.svs").write_text("no slide")
    steps = checked(tmp_path / "model", tmp_path / "scratch", config, tmp_path / "text.svs")
    assert "not_a_slide" in steps["text.svs"].text
    (tmp_path / "model" / "torchscript_model.pt").write_bytes(b"no network")
    steps = checked(tmp_path / "model", tmp_path / "again", config)
    assert list(steps) == ["card", "load"]
    assert "torchscript_model.pt" in steps["load"].text
