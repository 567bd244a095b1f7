"""A folder with a network for slides: its encoder, where its answers are, and what is refused."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from broker.settings.config import ConfigError
from tests.support.networks import a_model, loaded_model
from tests.support.slides import a_picture
from worker.algorithms.interface import TilePlaces
from worker.algorithms.networks.slide_network import SlideNetwork

BATCH = np.stack([a_picture(64, 64, seed) for seed in range(5)])


class MeanColour(nn.Module):
    """The mean colour of each tile, from 0 to 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3))


class Head(nn.Module):
    """Scores of two classes and the attention of each tile, as a tuple."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        attention = torch.softmax(features[:, :, 0], dim=1)
        pooled = (attention.unsqueeze(2) * features).sum(dim=1)
        return 5 * pooled[:, :2], attention


def folders(root: Path, **keys: Any) -> Path:
    """An encoder, and beside it a network for slides that names it."""
    a_model(root / "uni", MeanColour(), output="embeddings", classes=[])
    head = root / "subtype"
    head.mkdir()
    description = {
        "slidelane": 1, "output": "slide", "encoder": "../uni", "classes": ["LUAD", "LUSC"],
        "outputs": {"logits": 0, "attention": 1},
    }  # fmt: skip
    (head / "model.json").write_text(json.dumps(description | keys))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(Head().eval()), str(head / "torchscript_model.pt"))
    return head


def test_a_slide_is_classified_by_what_both_networks_answer(tmp_path: Path) -> None:
    """The vectors are the encoder's; logits and attention stand where the file says."""
    model = loaded_model(folders(tmp_path))
    assert isinstance(model, SlideNetwork)
    assert (model.card.encoder, model.card.mpp, model.card.tile_px) == ("uni", 0.5, 64)
    assert model.card.measurements == ("attention", "attention_rank")
    features = np.asarray(model.calibrate(BATCH[:0]).classify(BATCH), np.float32)
    assert features == pytest.approx((BATCH / 255).mean(axis=(1, 2)), abs=1e-4)
    answer = model.aggregate(features, TilePlaces(np.zeros((5, 2), np.int64), 64))
    attention = np.exp(features[:, 0]) / np.exp(features[:, 0]).sum()
    scores = 5 * (attention[:, None] * features).sum(axis=0)[:2]
    expected = np.exp(scores) / np.exp(scores).sum()
    assert answer.probabilities == pytest.approx(expected, abs=1e-4)
    assert answer.attention is not None
    assert answer.attention[0] == pytest.approx(attention, abs=1e-5)


def test_parameters_of_an_order_reach_the_network(tmp_path: Path) -> None:
    """As for every other output."""
    head = folders(tmp_path, max_tiles=1000)
    assert loaded_model(head).settings.max_tiles == 1000
    assert loaded_model(head, parameters={"max_tiles": 10}).settings.max_tiles == 10


def test_an_encoder_that_does_not_run_is_told(tmp_path: Path) -> None:
    """With the name of the algorithm that needs it."""
    head = folders(tmp_path)
    (tmp_path / "uni" / "torchscript_model.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"algorithms\.net: torchscript_model\.pt: does not run"):
        loaded_model(head)
