"""An order for a network for slides, from its model folder to the files over HTTP."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.slide_models import EDGE, Gated, a_head, an_encoder
from tests.support.slides import a_picture, a_slide
from tests.support.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    models = tmp_path / "models"
    outputs = {"logits": 0, "attention": 3}
    algorithms = {
        "colours": {"kind": "weights", "folder": str(an_encoder(models / "far" / "uni"))},
        "subtype": {
            "kind": "weights",
            "folder": str(
                a_head(models / "head", Gated(), encoder={"algorithm": "colours"}, outputs=outputs)
            ),
        },
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "slides").mkdir()
    stack = Stack(tmp_path / "data", [tmp_path / "slides"])
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        stack.wait_ready()
        yield stack


def test_both_algorithms_give_their_files(stack: Stack, tmp_path: Path) -> None:
    """The vectors of the encoder's order are those that the network for slides was given."""
    pixels = a_picture(3 * EDGE, 2 * EDGE) // 2
    slide = a_slide(tmp_path / "slides" / "S26-1234.svs", pixels)
    source = {"type": "path", "path": str(slide)}
    ids = [
        stack.order(algorithm=name, scans=[{"id": "1", "source": source}])
        for name in ("subtype", "colours")
    ]
    vectors = []
    scans = []
    for order_id in ids:
        ended = stack.wait_until(order_id, "delivered", "failed", within_s=150)
        assert ended["state"] == "delivered", ended
        scans.append(ended["scans"][0])
        link = scans[-1]["links"]["embeddings.h5"]
        status, content = stack.call("GET", link)
        assert status == 200
        with h5py.File(io.BytesIO(content)) as file:
            vectors.append(file["features"][:])
            assert file["coords"].attrs["name"] == "S26-1234"
            assert file["features"].attrs["encoder"] == "colours"
    judged, encoded = scans
    assert np.array_equal(*vectors)
    assert len(vectors[0]) == judged["summary"]["tiles"] == encoded["summary"]["tiles"]
    assert judged["summary"]["class"] in ("LUAD", "LUSC")
    assert encoded["summary"]["dimensions"] == 3
    assert "attention.csv" not in encoded["links"]
    rows = stack.call("GET", judged["links"]["attention.csv"])[1].decode().splitlines()
    assert len(rows) == 1 + len(vectors[0])
