"""Trained networks from a folder: what they are given, what they say, and which folders are
refused."""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from broker.errors import OrderError
from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.networks import (
    CLASSES,
    TRANSFORM,
    Answers,
    Layers,
    RunsCode,
    a_config,
    a_network,
    an_exported_network,
    change_records,
    pickled,
)
from tests.support.scans import scan
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from worker.algorithms import registry
from worker.algorithms.networks.trained_network import TrainedNetwork
from worker.geometry.frame import Floats, Pixels
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results import result_folder

MEAN = np.array([0.7, 0.6, 0.7])
DEVIATION = np.array([0.2, 0.25, 0.2])


def loaded(folder: Path, **settings: Any) -> TrainedNetwork:
    """The algorithm `zoo` of this folder, on the CPU."""
    model = registry.load(
        "zoo",
        {"zoo": AlgorithmSettings(kind="weights", folder=folder, **settings)},
        {},
        "cpu",
        max_batch_bytes=MAX_BATCH_BYTES,
    )
    assert isinstance(model, TrainedNetwork)
    return model


def answers(model: TrainedNetwork, batch: Pixels) -> Floats:
    return model.calibrate(batch[:0]).classify(batch)


def by_hand(batch: Pixels) -> Floats:
    """What `Redness` says, in double precision."""
    means = 10 * ((batch / 255 - MEAN) / DEVIATION).mean(axis=(1, 2))
    powers = np.exp(means - means.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("make", [a_network, an_exported_network])
@pytest.mark.parametrize("tiles", [1, 3, 40])
def test_it_says_how_likely_each_class_is(tmp_path: Path, make: Any, tiles: int) -> None:
    """Pixels are scaled, normalised and answered as config.json says, whatever the number of
    tiles."""
    batch = np.stack([a_picture(64, 64, seed) // 2 + 60 for seed in range(tiles)])
    assert answers(loaded(make(tmp_path / "zoo")), batch) == pytest.approx(by_hand(batch), abs=1e-4)


def test_tiles_are_read_at_the_size_that_the_network_takes(tmp_path: Path) -> None:
    """128 px of 0.25 um, resized to 64, are 64 px of 0.5 um: the slide is resampled once, from its
    nearest level."""
    card = loaded(a_network(tmp_path / "zoo")).card
    assert (card.mpp, card.tile_px, card.halo_px, card.output) == (0.5, 64, 0, "tiles")
    assert [entry.name for entry in card.classes] == list(CLASSES)
    assert len({entry.color for entry in card.classes}) == 3


def test_threads_get_what_one_gets(tmp_path: Path) -> None:
    """Each has its own buffer."""
    model = loaded(a_network(tmp_path / "zoo", Layers()))
    scorer = model.calibrate(np.empty((0, 64, 64, 3), np.uint8))
    batches = [
        np.stack([a_picture(64, 64, seed + n) for n in range(1 + seed % 5)]) for seed in range(24)
    ]
    expected = [scorer.classify(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert all(
            np.allclose(*both, atol=1e-6)
            for both in zip(expected, pool.map(scorer.classify, batches), strict=True)
        )


def test_it_stays_loaded_between_orders(tmp_path: Path) -> None:
    """The second order's algorithm holds the network of the first; a changed file is loaded
    anew."""
    folder = a_network(tmp_path / "zoo")
    first = loaded(folder)
    assert loaded(folder)._full is first._full
    a_network(folder, Layers())
    assert loaded(folder).card.digest != first.card.digest
    assert loaded(folder)._full is not first._full


def test_half_precision_only_within_the_tolerance(tmp_path: Path) -> None:
    """A network that half precision changes by more than the card allows computes in full; none
    allowed, none tried."""
    folder = a_network(tmp_path / "zoo", Layers())
    samples = np.stack([a_picture(64, 64, seed) for seed in range(3)])
    assert loaded(folder).calibrate(samples).precision == "float32"
    model = loaded(folder, tolerance=1e-9)
    if model._half is None:
        pytest.skip("this processor has no half precision")
    assert model.calibrate(samples).precision == "float32"
    assert loaded(folder, tolerance=0.5).calibrate(samples).precision == "bfloat16"


def test_a_scan_is_squares_with_all_probabilities(tmp_path: Path) -> None:
    """Each tissue tile is one object in level-0 pixels, of its likeliest class; the file says all
    probabilities."""
    pixels = a_picture(512, 384) // 2
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=0.25)
    scan(loaded(a_network(tmp_path / "zoo")), slide, tmp_path, 1, Listener())
    result = result_folder.load(tmp_path / "1")
    (objects,) = result.findings.objects.chunks()
    assert len(objects) == 4 * 3
    assert np.array_equal(objects.outlines[5], [(128, 128), (256, 128), (256, 256), (128, 256)])
    assert objects.probabilities.shape == (12, 3)
    assert objects.classes.tolist() == objects.probabilities.argmax(axis=1).tolist()
    assert sum(result.findings.summary["tiles_by_class"].values()) == 12
    features = json.loads((tmp_path / "1" / "features.geojson").read_bytes())["features"]
    assert features[0]["properties"]["objectType"] == "tile"
    measured = features[0]["properties"]["measurements"]
    assert {f"prob_{name}" for name in CLASSES} | {"score"} == set(measured)
    assert sum(measured[f"prob_{name}"] for name in CLASSES) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"spec_version": "7"}, "spec_version"),
        ({"num_classes": 2}, "2 different ones"),
        ({"class_names": ["a", "a", "b"]}, "3 different ones"),
        ({"spacing_um_px": -1}, "spacing_um_px"),
        ({"patch_size_pixels": 10**9}, "patch_size_pixels"),
        ({"transform": [{"name": "ColorJitter"}]}, "transform.0.name"),
        ({"transform": [{"name": "Resize", "arguments": {"size": [64, 32]}}]}, "squares"),
        (
            {
                "transform": [
                    {"name": "Normalize", "arguments": {"mean": [0, 0, 0], "std": [1, 0, 1]}}
                ]
            },
            "std of 0",
        ),
        ({"transform": []}, "Normalize is missing"),
        ({"transform": TRANSFORM[:2]}, r"Normalize is missing; .* a std of \[1, 1, 1\]"),
        ({"transform": [TRANSFORM[0], TRANSFORM[2]]}, "ToTensor must stand there once"),
        ({"transform": [TRANSFORM[2], TRANSFORM[1]]}, "ToTensor .* before Normalize"),
    ],
)
def test_a_description_that_cannot_work_stops_the_start(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    """The message names the setting, the file and what is wrong."""
    folder = a_network(tmp_path / "zoo")
    (folder / "config.json").write_text(json.dumps(a_config(**changed)))
    with pytest.raises(ConfigError, match=f"worker.algorithms.zoo: config.json: .*{message}"):
        loaded(folder)


def test_a_folder_without_a_network_stops_the_start(tmp_path: Path) -> None:
    """Nothing there, no description, a file that is none; and a kind that has no use for a
    folder."""
    with pytest.raises(
        ConfigError, match=r"model.json: No such file in .*, and no config.json either"
    ):
        loaded(tmp_path)
    folder = a_network(tmp_path / "zoo")
    (folder / "torchscript_model.pt").write_bytes(b"hello")
    with pytest.raises(
        ConfigError, match=r"zoo: torchscript_model.pt: does not run: .*no TorchScript archive"
    ):
        loaded(folder)
    (folder / "torchscript_model.pt").unlink()
    with pytest.raises(
        ConfigError, match=r"config.json: file: .*none of torchscript_model.pt, .*; safetensors"
    ):
        loaded(folder)
    with pytest.raises(ConfigError, match="'ki67' takes none"):
        registry.card("ki67", AlgorithmSettings(kind="ki67", folder=tmp_path))
    with pytest.raises(ConfigError, match="'weights' needs one"):
        registry.card("zoo", AlgorithmSettings(kind="weights"))


def test_only_an_exported_network_can_be_compiled(tmp_path: Path) -> None:
    """TorchScript cannot be compiled, and the start says so."""
    with pytest.raises(ConfigError, match=r"zoo: config: compile: only .pt2 files can be compiled"):
        loaded(a_network(tmp_path / "zoo"), compile=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_network_says_the_same(tmp_path: Path) -> None:
    """Whatever torch.compile makes of it stays within what single precision rounds, for any number
    of tiles."""
    folder = an_exported_network(tmp_path / "zoo")
    model = loaded(folder, compile=True)
    for tiles in (1, 5):
        batch = np.stack([a_picture(64, 64, seed) // 2 + 60 for seed in range(tiles)])
        assert answers(model, batch) == pytest.approx(by_hand(batch), abs=1e-4)


def test_a_missing_transform_is_refused(tmp_path: Path) -> None:
    """It says how pixels become numbers; without it every probability would be another one."""
    folder = a_network(tmp_path / "zoo")
    config = a_config()
    del config["transform"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"zoo: config.json: transform: Field required"):
        loaded(folder)


@pytest.mark.parametrize(
    ("classes", "network", "got", "required"),
    [
        (2, Answers(3), r"has shape \(1, 3\)", r"\(1, 2\)"),
        (3, Answers(2), r"has shape \(1, 2\)", r"\(1, 3\)"),
        (1, Answers(2), r"has shape \(1, 2\)", r"\(1, 1\)"),
        (2, Answers(2, "one"), r"has shape \(1, 2\) for a batch of 2", "must be 2"),
        (2, Answers(2, "integers"), "holds numbers of type torch.int64", "floating-point"),
        (2, Answers(2, "nan"), "holds NaN or infinity", "float32"),
    ],
)
def test_a_network_that_answers_something_else_is_not_used(
    tmp_path: Path, classes: int, network: Answers, got: str, required: str
) -> None:
    """Three outputs of two classes had been delivered, with probabilities that added up to
    0.72. The message says what came and what config.json requires."""
    names = [f"class {number}" for number in range(classes)]
    folder = a_network(tmp_path / "zoo", network, num_classes=classes, class_names=names)
    with pytest.raises(
        ConfigError, match=f"zoo: config.json: tiles: outputs.logits {got}.*{required}"
    ):
        loaded(folder)


@pytest.mark.parametrize("kind", ["logits", "maps"])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_probabilities_of_a_tile_are_those_of_its_classes(
    tmp_path: Path, kind: str, classes: int
) -> None:
    """Several classes add up to 1, one is a sigmoid; a network may end in a convolution."""
    names = [f"class {number}" for number in range(classes)]
    folder = a_network(
        tmp_path / "zoo", Answers(classes, kind), num_classes=classes, class_names=names
    )
    batch = np.stack([a_picture(64, 64, seed) // 2 + 60 for seed in range(3)])
    likely = answers(loaded(folder), batch)
    assert likely.shape == (3, classes)
    if classes > 1:
        assert likely.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    else:
        means = ((batch / 255 - MEAN) / DEVIATION).mean(axis=(1, 2, 3))
        assert likely[:, 0] == pytest.approx(1 / (1 + np.exp(-means)), abs=1e-4)


def test_a_single_class_may_be_answered_without_a_dimension_of_its_own(tmp_path: Path) -> None:
    """(N,) is (N, 1)."""
    network = Answers(1, "flat")
    folder = a_network(tmp_path / "zoo", network, num_classes=1, class_names=["tumour"])
    batch = np.stack([a_picture(64, 64, seed) for seed in range(3)])
    assert answers(loaded(folder), batch).shape == (3, 1)


@pytest.mark.parametrize("classes", [1, 2])
def test_a_tile_without_a_probability_fails_its_scan(tmp_path: Path, classes: int) -> None:
    """A network that is right on blank tiles may answer infinity for others: the algorithm is
    to blame. A sigmoid would make 1.0 of it."""
    names = [f"class {number}" for number in range(classes)]
    folder = a_network(
        tmp_path / "zoo", Answers(classes, "bright"), num_classes=classes, class_names=names
    )
    scorer = loaded(folder).calibrate(np.empty((0, 64, 64, 3), np.uint8))
    dark = np.zeros((2, 64, 64, 3), np.uint8)
    assert scorer.classify(dark).shape == (2, classes)
    with pytest.raises(OrderError, match=r"tiles: outputs\.logits holds NaN or infinity") as failed:
        scorer.classify(np.concatenate([dark, np.full_like(dark, 255)]))
    assert failed.value.problem.code == "algorithm_answer_invalid"
    assert failed.value.problem.blame == "algorithm"


def test_half_precision_without_numbers_is_not_used(tmp_path: Path) -> None:
    """NaN is no small difference: comparisons with it are all false."""
    folder = a_network(tmp_path / "zoo", Answers(3))
    model = loaded(folder, tolerance=0.5)
    model._half = loaded(a_network(tmp_path / "bright", Answers(3, "bright")), tolerance=0.5)._full
    samples = np.full((2, 64, 64, 3), 255, np.uint8)
    assert model.calibrate(samples).precision == "float32"


def test_another_file_than_the_settings_name_is_refused(tmp_path: Path) -> None:
    """The message has both digests; capital letters are the same digest; a file that is
    replaced under the same name and time is noticed."""
    folder = a_network(tmp_path / "zoo")
    file = folder / "torchscript_model.pt"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    loaded(folder, sha256=digest)
    loaded(folder, sha256=digest.upper())
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    a_network(folder, Layers())
    os.utime(file, ns=times)
    actual = hashlib.sha256(file.read_bytes()).hexdigest()
    message = f"zoo: config: sha256: {file.name} has the SHA-256 {actual}, and {digest} is required"
    with pytest.raises(ConfigError, match=message):
        loaded(folder, sha256=digest)


def unpickled(folder: Path) -> Path:
    """A folder that a file in the network's archive makes when it is unpickled."""
    return folder / "was unpickled"


def with_sample_inputs(folder: Path) -> None:
    content = pickled(((RunsCode(unpickled(folder)),), {}))
    change_records(folder / "model.pt2", {"data/sample_inputs/model.pt": content})


def with_a_pickled_weight(folder: Path) -> None:
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        config = json.loads(archive.read(f"model/{name}"))
    payload = next(iter(config["config"].values()))
    payload["use_pickle"] = True
    change_records(
        folder / "model.pt2",
        {
            name: json.dumps(config).encode(),
            f"data/weights/{payload['path_name']}": pickled(RunsCode(unpickled(folder))),
        },
    )


def with_an_opaque_constant(folder: Path) -> None:
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
    config = {"config": {"constant": payload | {"tensor_meta": None}}}
    change_records(
        folder / "model.pt2",
        {
            "data/constants/model_constants_config.json": json.dumps(config).encode(),
            "data/constants/OPAQUE_obj_0": pickle.dumps(RunsCode(unpickled(folder))),
        },
    )


def with_machine_code(folder: Path) -> None:
    change_records(folder / "model.pt2", {"data/aotinductor/model/model.so": b"\x7fELF"})


def change_graph(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the graph in the network's archive."""
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        graph = json.loads(archive.read("model/models/model.json"))
    change(graph)
    change_records(folder / "model.pt2", {"models/model.json": json.dumps(graph).encode()})


def code(folder: Path) -> str:
    return f"__import__('os').mkdir({str(unpickled(folder))!r})"


def with_code_as_a_size(folder: Path) -> None:
    def change(graph: dict[str, Any]) -> None:
        values = graph["graph_module"]["graph"]["tensor_values"].values()
        sizes = [size for value in values for size in value["sizes"] if "as_expr" in size]
        assert sizes
        for size in sizes:
            size["as_expr"]["expr_str"] = code(folder)

    change_graph(folder, change)


def with_code_as_a_guard(folder: Path) -> None:
    change_graph(folder, lambda graph: graph.update(guards_code=[code(folder)]))


def with_a_call_of_python(folder: Path) -> None:
    def change(graph: dict[str, Any]) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.mkdir"

    change_graph(folder, change)


def with_a_call_that_opens_files(folder: Path) -> None:
    def change(graph: dict[str, Any]) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"

    change_graph(folder, change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_code_as_a_size, "more than arithmetic on sizes"),
        (with_code_as_a_guard, "more than arithmetic on sizes"),
        (with_a_call_of_python, "'torch.os.mkdir', which is no operator that computes"),
        (with_a_call_that_opens_files, "from_file.default', which is no operator"),
        (with_sample_inputs, "pickled objects that could run code"),
        (with_a_pickled_weight, "pickled objects that could run code"),
        (with_an_opaque_constant, "'data/constants/OPAQUE_obj_0' holds pickled Python objects"),
        (with_machine_code, "holds compiled machine code"),
    ],
)
def test_an_archive_that_would_run_code_is_refused(
    tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    """`torch.export.load` alone unpickles it, and runs what it names; here nothing has run."""
    folder = an_exported_network(tmp_path / "zoo", Layers())
    change(folder)
    with pytest.raises(ConfigError, match=f"zoo: model.pt2: does not run: .*{reason}"):
        loaded(folder)
    assert not unpickled(folder).exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("change", [with_sample_inputs, with_code_as_a_size, with_code_as_a_guard])
def test_torch_alone_would_run_the_code_of_such_an_archive(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """The archives of the test above are real ones."""
    folder = an_exported_network(tmp_path / "zoo", Layers())
    change(folder)
    with suppress(Exception):
        torch.export.load(folder / "model.pt2").module()(torch.zeros(1, 3, 64, 64))
    assert unpickled(folder).exists()
