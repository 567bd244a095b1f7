"""What a trained network answers: probabilities where scores are needed, errors, another stain."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from broker.errors import OrderError
from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.networks import CLASSES, Ends, Layers, Redness, a_config, a_network
from tests.support.networks import an_exported_network as exported
from tests.support.scans import scan
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from tests.support.stained_pictures import h_and_e
from worker.algorithms import registry
from worker.algorithms.networks.trained_network import TrainedNetwork
from worker.geometry.frame import Floats
from worker.inference.parallel_tiles import MAX_BATCH_BYTES

BATCH = np.stack([a_picture(64, 64, seed) // 2 + 60 for seed in range(3)])


def loaded(folder: Path, **settings: Any) -> TrainedNetwork:
    """The algorithm `zoo` of this folder, on the CPU."""
    entries = {"zoo": AlgorithmSettings(kind="weights", folder=folder, **settings)}
    model = registry.load("zoo", entries, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert isinstance(model, TrainedNetwork)
    return model


def answers(model: TrainedNetwork) -> Floats:
    return model.calibrate(BATCH[:0]).classify(BATCH)


@pytest.mark.parametrize("stated", [{}, {"activation": "softmax"}])
@pytest.mark.parametrize("make", [a_network, exported])
def test_a_network_that_ends_in_a_softmax_is_not_given_another(
    tmp_path: Path, stated: dict[str, Any], make: Any
) -> None:
    """Probabilities of 0.98 and 0.02 would become 0.57 and 0.43."""
    folder = make(tmp_path / "zoo", Ends("softmax"), **stated)
    with pytest.raises(ConfigError, match=r"ends in a softmax.*state .activation.: .none."):
        loaded(folder)


def test_a_network_that_ends_in_a_softmax_is_taken_at_its_word(tmp_path: Path) -> None:
    """With `"activation": "none"` its answers are the probabilities."""
    scores = answers(loaded(a_network(tmp_path / "scores", Ends("log_softmax"))))
    likely = answers(loaded(a_network(tmp_path / "likely", Ends("softmax"), activation="none")))
    assert likely == pytest.approx(scores, abs=1e-5)
    assert likely.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


class OneOf(Ends):
    """One class of the layers, as a network of two classes has it."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels)[:, :1]


def test_a_network_that_ends_in_a_sigmoid_is_not_given_another(tmp_path: Path) -> None:
    """0.02 would become 0.505."""
    one = {"num_classes": 1, "class_names": ["tumour"]}
    with pytest.raises(ConfigError, match=r"seems to end in a sigmoid.*.activation.: .none."):
        loaded(a_network(tmp_path / "a", OneOf("sigmoid"), **one))
    with pytest.raises(ConfigError, match="seems to end in a sigmoid"):
        loaded(a_network(tmp_path / "b", Ends("sigmoid")))
    likely = answers(loaded(a_network(tmp_path / "c", OneOf("sigmoid"), **one, activation="none")))
    sure = answers(loaded(a_network(tmp_path / "d", OneOf("sigmoid"), **one, activation="sigmoid")))
    assert 1 / (1 + np.exp(-likely)) == pytest.approx(sure, abs=1e-5)


def test_probabilities_that_are_promised_are_checked(tmp_path: Path) -> None:
    """Scores are none, and several sigmoids do not add up to 1."""
    with pytest.raises(ConfigError, match="are no probabilities, which lie between 0 and 1"):
        loaded(a_network(tmp_path / "a", Redness(), activation="none"))
    with pytest.raises(ConfigError, match="off a sum of 1"):
        loaded(a_network(tmp_path / "b", Ends("sigmoid"), activation="none"))


@pytest.mark.parametrize(("classes", "activation"), [(3, "sigmoid"), (1, "softmax"), (3, "tanh")])
def test_an_activation_that_cannot_give_such_probabilities_is_refused(
    tmp_path: Path, classes: int, activation: str
) -> None:
    """Several sigmoids do not add up to 1, and the softmax of one class is always 1."""
    folder = a_network(tmp_path / "zoo")
    config = a_config(num_classes=classes, class_names=CLASSES[:classes], activation=activation)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"config\.json: activation: "):
        loaded(folder)


class Fails(nn.Module):
    """Fails for every batch, or only for tiles that are yellow."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(2, 3))
        is_yellow = bool((means[:, 1].mean() > 1.5).item()) and bool(
            (means[:, 2].mean() < -3).item()
        )
        if self.always or is_yellow:
            raise IndexError("no such organ")
        return means


def scripted(folder: Path, module: nn.Module) -> Path:
    """A folder with a network that is compiled from its source, with its branches."""
    a_network(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
        torch.jit.save(torch.jit.script(module), str(folder / "torchscript_model.pt"))
    return folder


def test_an_error_inside_of_a_network_is_its_fault(tmp_path: Path) -> None:
    """The message is the network's, and bounded; nothing is a bug of the worker."""
    with pytest.raises(
        ConfigError, match=r"zoo: torchscript_model.pt: the network fails with \w+"
    ) as refused:
        loaded(scripted(tmp_path / "a", Fails(always=True)))
    assert len(str(refused.value)) < 500


def test_an_error_for_some_tiles_fails_their_scan(tmp_path: Path) -> None:
    """The test tiles are not all that there are."""
    scorer = loaded(scripted(tmp_path / "b", Fails(always=False))).calibrate(BATCH[:0])
    yellow = np.full((1, 64, 64, 3), 255, np.uint8)
    yellow[..., 2] = 0
    with pytest.raises(OrderError, match=r"\w+: no such organ$") as failed:
        scorer.classify(yellow)
    assert (failed.value.code, failed.value.problem.blame) == ("algorithm_raised", "algorithm")


class Odd(nn.Module):
    """Means as a tensor without numbers, sparse or complex; it prints and switches gradients."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.text = "x" * 50_000

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(2, 3))
        if self.kind == "meta":
            return torch.zeros([means.shape[0], 3], device=torch.device("meta"))
        if self.kind == "sparse":
            return means.to_sparse()
        if self.kind == "complex":
            return means.to(torch.complex64)
        print(self.text)
        torch.set_grad_enabled(False)
        return means


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("meta", "outputs.logits is a tensor on the device meta, without numbers"),
        ("sparse", "outputs.logits is a tensor sparse; a dense one is needed"),
        ("complex", "outputs.logits holds numbers of type torch.complex64"),
    ],
)
def test_a_tensor_that_cannot_be_read_is_the_fault_of_the_network(
    tmp_path: Path, kind: str, reason: str
) -> None:
    """Whatever device, layout or type it has."""
    with pytest.raises(ConfigError, match=reason):
        loaded(scripted(tmp_path / "a", Odd(kind)))


def test_what_a_network_prints_and_switches_is_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 KiB of it reach stdout, which a worker logs, and gradients are as before."""
    model = loaded(scripted(tmp_path / "a", Odd("prints")))
    answers(model)
    text = capsys.readouterr().out
    assert text.endswith("... cut\n")
    assert len(text) < 70_000
    assert torch.is_grad_enabled()


def test_stains_of_the_settings_are_on_the_card(tmp_path: Path) -> None:
    """Then orders may say what becomes of another stain; without stains they may not."""
    folder = a_network(tmp_path / "zoo", Layers())
    card = loaded(folder, stains=("H&E",)).card
    assert card.stains == ("H&E",)
    assert card.parameters["properties"]["on_stain_mismatch"]["default"] == "fail"
    assert loaded(folder).card.stains == ()
    assert set(loaded(folder).card.parameters["properties"]) == {"threshold", "smooth"}
    own = loaded(folder, stains=("HE",), parameters={"on_stain_mismatch": "warn"}).card
    assert own.parameters["properties"]["on_stain_mismatch"]["default"] == "warn"


def test_a_slide_of_another_stain_fails_before_it_is_classified(tmp_path: Path) -> None:
    """As with `ki67`; without stains it is classified."""
    folder = a_network(tmp_path / "zoo", Layers())
    slide = a_slide(tmp_path / "a.svs", h_and_e())
    with pytest.raises(
        OrderError, match=r"looks like H&E .*zoo works on IHC DAB or H-DAB"
    ) as failed:
        scan(loaded(folder, stains=("IHC DAB", "H-DAB")), slide, tmp_path, 1, Listener())
    assert failed.value.code == "stain_unexpected"
    scan(loaded(folder), slide, tmp_path, 2, Listener())
    assert (tmp_path / "2" / "results.json").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "ki67", "stains": ["H&EE"]}, "no stain 'H&EE' is known; there are: H-DAB, H&E"),
        ({"kind": "grid", "stains": ["H&E"]}, "the kind 'grid' does not look at the stain"),
    ],
)
def test_stains_that_would_be_compared_with_nothing_are_refused(
    entry: dict[str, Any], message: str
) -> None:
    """A mistyped stain would switch the comparison off."""
    with pytest.raises(ConfigError, match=f"worker.algorithms.it: config: stains: {message}"):
        registry.card("it", AlgorithmSettings.model_validate(entry))


def test_a_site_may_state_other_stains_of_ki67() -> None:
    """Or none, so that nothing is compared."""
    entries = {
        "any": AlgorithmSettings(kind="ki67", stains=()),
        "ihc": AlgorithmSettings(kind="ki67", stains=("IHC",)),
    }
    cards = registry.cards_without_model(entries)
    assert cards["any"].stains == ()
    assert cards["ihc"].stains == ("IHC",)
