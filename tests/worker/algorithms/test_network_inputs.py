"""What a network of model.json is given, pixel for pixel, and where its answers are looked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from broker.errors import OrderError
from broker.settings.config import ConfigError
from tests.support.networks import Layers, a_model, loaded_model, save_script
from tests.support.slides import a_picture
from worker.algorithms.networks.network_checks import batch_difference
from worker.algorithms.networks.trained_network import TrainedNetwork

BATCH = np.stack([a_picture(64, 64, seed) for seed in range(3)])
NONE = BATCH[:0]
TWO = ["first", "second"]


def answered(model: TrainedNetwork, batch: Any = BATCH, samples: Any = NONE) -> Any:
    return model.calibrate(samples).classify(batch)


class Corner(nn.Module):
    """Answers the three channels of the first pixel, as it was given: as features."""

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last

    def forward(self, pixels: Tensor) -> Tensor:
        if self.channels_last:
            return pixels[:, 0, 0, :].to(torch.float32)
        return pixels[:, :, 0, 0].to(torch.float32)


def an_encoder(folder: Path, **keys: Any) -> TrainedNetwork:
    """A network whose answer is what it was given of the first pixel."""
    module = Corner(channels_last=keys.get("layout") == "NHWC")
    folder = a_model(folder, module, scripted=True, output="embeddings", classes=[], **keys)
    model = loaded_model(folder)
    assert isinstance(model, TrainedNetwork)
    return model


FIRST = BATCH[:, 0, 0, :].astype(np.float64)
MEAN = {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.2, 0.1]}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, FIRST / 255),
        ({"scale": "byte"}, FIRST),
        ({"scale": "uint8"}, FIRST),
        ({"scale": "uint8", "channels": "bgr"}, FIRST[:, ::-1]),
        ({"channels": "bgr"}, FIRST[:, ::-1] / 255),
        ({"layout": "NHWC"}, FIRST / 255),
        ({"layout": "NHWC", "channels": "bgr", "scale": "uint8"}, FIRST[:, ::-1]),
        ({"normalize": MEAN}, (FIRST / 255 - MEAN["mean"]) / MEAN["std"]),
        (
            {"normalize": MEAN, "channels": "bgr"},
            (FIRST[:, ::-1] / 255 - MEAN["mean"]) / MEAN["std"],
        ),
        (
            {"scale": "byte", "normalize": {"mean": [127.5] * 3, "std": [127.5] * 3}},
            FIRST / 127.5 - 1,
        ),
    ],
)
def test_pixels_are_prepared_as_the_file_says(
    tmp_path: Path, keys: dict[str, Any], expected: Any
) -> None:
    """Mean and std are of the channels as the network has them."""
    assert answered(an_encoder(tmp_path / "m", **keys)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_percentiles_are_those_of_the_scan(tmp_path: Path, channels: str) -> None:
    """Of the sample tiles, so that neighbouring tiles agree; without samples of all pixels."""
    normalize = {"percentiles": [0.1, 99.9], "clip": [-0.5, 1.5]}
    model = an_encoder(tmp_path / "m", normalize=normalize, channels=channels)
    samples = np.stack([a_picture(64, 64, seed) // 2 + seed for seed in range(5)])
    low, high = np.percentile(samples.reshape(-1, 3), [0.1, 99.9], axis=0)
    expected = np.clip((FIRST - low) / (high - low), -0.5, 1.5)
    if channels == "bgr":
        expected = expected[:, ::-1]
    assert answered(model, samples=samples) == pytest.approx(expected, abs=1e-4)
    plain = FIRST[:, :: {"rgb": 1, "bgr": -1}[channels]]
    assert answered(model) == pytest.approx(plain / 255, abs=1e-4)


def test_a_plain_scan_divides_by_no_zero(tmp_path: Path) -> None:
    """All percentiles are the same."""
    model = an_encoder(tmp_path / "m", normalize={"percentiles": [0.1, 99.9], "clip": [-0.5, 1.5]})
    white = np.full((2, 64, 64, 3), 255, np.uint8)
    assert np.isfinite(answered(model, white, white)).all()


class HalfLayers(nn.Module):
    """Layers whose weights are of another type: other input is an error."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = Layers().to(dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


def test_a_network_of_half_precision_gets_what_it_takes(tmp_path: Path) -> None:
    """Its weights stay what they are, and summaries say so."""
    folder = tmp_path / "m"
    a_model(folder, Layers(), dtype="bfloat16")
    module = HalfLayers(torch.bfloat16)
    save_script(module, folder / "torchscript_model.pt", dtype=torch.bfloat16)
    scan = loaded_model(folder).calibrate(NONE)
    assert scan.precision == "bfloat16"
    full = answered(loaded_model(a_model(tmp_path / "full", Layers())))
    assert scan.classify(BATCH) == pytest.approx(full, abs=0.05)


class Exactly(nn.Module):
    """Fails for any other number of tiles."""

    def __init__(self, tiles: int) -> None:
        super().__init__()
        self.tiles = tiles

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.shape[0] != self.tiles:
            raise ValueError("another batch")
        return 10 * pixels.mean(dim=(2, 3))


def test_a_network_of_a_fixed_batch_always_gets_it(tmp_path: Path) -> None:
    """The last batch is filled up with copies, whose answers are left out."""
    model = loaded_model(a_model(tmp_path / "a", Exactly(5), scripted=True, batch=5))
    free = loaded_model(
        a_model(tmp_path / "b", Exactly(3), scripted=True, batch=3, mpp_tolerance=2)
    )
    assert model.batch_tiles == 5
    likely = answered(model)
    assert likely.shape == (3, 3)
    assert likely == pytest.approx(answered(free))
    with pytest.raises(ConfigError, match=r"the network fails with .*another batch"):
        loaded_model(a_model(tmp_path / "c", Exactly(5), scripted=True))


class Several(nn.Module):
    """Answers a tuple: a number, scores of 2 classes, and something for 3."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = pixels.mean(dim=(2, 3))
        return means[:, 0], 10 * means[:, :2], means


class Named(nn.Module):
    """The same as a dictionary."""

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        means = pixels.mean(dim=(2, 3))
        return {"other": means, "scores": 10 * means[:, :2]}


class Listed(nn.Module):
    """The same as a list."""

    def forward(self, pixels: Tensor) -> list[Tensor]:
        means = pixels.mean(dim=(2, 3))
        return [means, 10 * means[:, :2]]


@pytest.mark.parametrize(("module", "place"), [(Several(), 1), (Named(), "scores"), (Listed(), 1)])
def test_a_role_is_found_where_the_file_says(tmp_path: Path, module: Any, place: Any) -> None:
    """In a tuple or list by number, in a dictionary by name."""
    folder = a_model(tmp_path / "m", module, scripted=True, outputs={"logits": place}, classes=TWO)
    scores = 10 * (BATCH / 255).mean(axis=(1, 2))[:, :2]
    powers = np.exp(scores)
    likely = powers / powers.sum(axis=1, keepdims=True)
    assert answered(loaded_model(folder)) == pytest.approx(likely, abs=1e-4)


@pytest.mark.parametrize(
    ("module", "outputs", "message"),
    [
        (Several(), {"logits": 7}, "outputs.logits is 7, and the network answers a tuple of 3"),
        (Several(), {"logits": "a"}, "outputs.logits is 'a', and the network answers a tuple of 3"),
        (Named(), {"logits": "a"}, "answers a dictionary of 'other', 'scores'"),
        (Named(), None, "outputs.logits is 0, and the network answers a dictionary"),
        (Several(), None, r"outputs\.logits has shape \(1,\); classes says 2"),
        (Corner(), {"logits": 1}, r"answers one tensor of shape \(1, 3\)"),
    ],
)
def test_a_role_that_is_not_there_is_told(
    tmp_path: Path, module: Any, outputs: Any, message: str
) -> None:
    """With what the network answers in its place."""
    folder = a_model(tmp_path / "m", module, scripted=True, outputs=outputs, classes=TWO)
    with pytest.raises(ConfigError, match=f"net: model.json: (tiles: )?.*{message}"):
        loaded_model(folder)


def test_tiles_with_a_halo_are_the_core(tmp_path: Path) -> None:
    """The network is given input_px, the card says the rest; samples get a rim for the test."""
    model = loaded_model(a_model(tmp_path / "m", Layers(), halo_px=8), tolerance=0.5)
    assert (model.card.tile_px, model.card.halo_px) == (48, 8)
    core = BATCH[:, 8:-8, 8:-8]
    assert answered(model, BATCH, core).shape == (3, 3)


def test_several_labels_are_sigmoids_of_their_own(tmp_path: Path) -> None:
    """They need not add up to 1."""
    model = loaded_model(a_model(tmp_path / "m", Layers(), multi_label=True))
    scores = Layers()(torch.from_numpy(BATCH / 255).permute(0, 3, 1, 2).float())
    expected = torch.sigmoid(scores).detach().numpy()
    assert answered(model) == pytest.approx(expected, abs=1e-4)
    assert not np.allclose(expected.sum(axis=1), 1, atol=0.05)


class Raises(nn.Module):
    """Fails for yellow tiles, with a message of several lines and a path."""

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(2, 3))
        if bool((means[:, 1].mean() - means[:, 2].mean() > 0.9).item()):
            raise ValueError("first line\nno /opt/secret/folder/weights.bin of mine")
        return 10 * means


def test_an_error_of_a_network_is_told_in_one_line(tmp_path: Path) -> None:
    """The last one, without folders, which are the machine's."""
    scan = loaded_model(a_model(tmp_path / "m", Raises(), scripted=True)).calibrate(NONE)
    yellow = np.full((1, 64, 64, 3), 255, np.uint8)
    yellow[..., 2] = 0
    with pytest.raises(OrderError) as failed:
        scan.classify(yellow)
    assert (failed.value.code, failed.value.blame) == ("algorithm_raised", "algorithm")
    assert failed.value.detail.endswith("no weights.bin of mine")
    assert "/" not in failed.value.detail
    assert "\n" not in failed.value.detail


class Together(nn.Module):
    """Answers that depend on the other tiles of the batch, as in training mode."""

    def forward(self, pixels: Tensor) -> Tensor:
        means = 10 * pixels.mean(dim=(2, 3))
        return means - means.mean(dim=0, keepdim=True)


def test_a_tile_that_depends_on_its_batch_is_found(tmp_path: Path) -> None:
    """A batch of 3 is compared with 3 of 1."""
    right = loaded_model(a_model(tmp_path / "a", Layers()))
    assert batch_difference(right.calibrate(NONE), 64) < 1e-5
    wrong = loaded_model(a_model(tmp_path / "b", Together(), activation="softmax"))
    assert batch_difference(wrong.calibrate(NONE), 64) > 0.01


def test_a_file_of_weights_alone_is_refused_by_name(tmp_path: Path) -> None:
    """It is never unpickled."""
    folder = a_model(tmp_path / "m", Layers(), file="weights.pt")
    torch.save(Layers().state_dict(), folder / "weights.pt")
    with pytest.raises(ConfigError, match=r"net: weights.pt: does not run: .*no TorchScript"):
        loaded_model(folder)


def test_a_named_network_is_the_one_that_runs(tmp_path: Path) -> None:
    """Also where a file with a default name lies beside it."""
    folder = a_model(tmp_path / "m", Layers(), file="ours.ts")
    save_script(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), folder / "ours.ts")
    scores = (BATCH / 255).mean(axis=(1, 2))
    powers = np.exp(scores)
    with pytest.raises(ConfigError, match="seems to end in a sigmoid"):
        loaded_model(folder)
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"activation": "softmax"}))
    assert answered(loaded_model(folder)) == pytest.approx(
        powers / powers.sum(axis=1, keepdims=True), abs=1e-4
    )
