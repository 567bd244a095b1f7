"""From settings and orders to algorithms."""

import subprocess
import sys
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from broker.errors import OrderError
from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.tissue_sections import SETTINGS
from worker.algorithms import registry
from worker.algorithms.torch_device.device import describe, resolve
from worker.geometry.frame import Area, Frame
from worker.inference.parallel_tiles import MAX_BATCH_BYTES

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("ki67", {"positive_threshold": 3}, "parameters.positive_threshold"),
    ("ki67", {"positive_threshold": "0.2"}, "parameters.positive_threshold"),
    ("ki67", {"positive_threshold": True}, "parameters.positive_threshold"),
    ("ki67", {"min_nucleus_um2": 1}, "parameters.min_nucleus_um2"),
    ("ki67", {"haematoxylin_threshold": -1}, "parameters.haematoxylin_threshold"),
    ("ki67", {"threshold": 1}, "parameters.threshold"),
    ("grid", {"rows": 0}, "parameters.rows"),
    ("grid", {"columns": 65}, "parameters.columns"),
    ("grid", {"rows": 2.5}, "parameters.rows"),
]


def test_the_cards_announce_what_can_be_ordered() -> None:
    """One card for each entry, with two classes for `ki67` and a digest of what makes the
    result."""
    cards = registry.cards_without_model(SETTINGS)
    assert sorted(cards) == ["grid", "ki67"]
    assert [c.name for c in cards["ki67"].classes] == ["negative", "positive"]
    assert (cards["ki67"].mpp, cards["ki67"].output) == (0.5, "objects")
    assert len({card.digest for card in cards.values()} - {""}) == 2
    assert cards["ki67"].tile_px % 8 == cards["ki67"].halo_px % 8 == 0


def test_cards_need_no_torch() -> None:
    """Announcing loads neither torch nor OpenCV, so that a courier stays small."""
    code = (
        "import sys; from broker.settings.config import WorkerSettings; from worker.algorithms import registry;"
        "registry.cards_without_model(WorkerSettings().algorithms); sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(("name", "given", "field"), WRONG)
def test_a_wrong_parameter_is_refused_by_schema_and_load_alike(
    name: str, given: dict[str, Any], field: str
) -> None:
    """What the card's schema refuses, `load` refuses too, and names the field."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, registry.cards_without_model(SETTINGS)[name].parameters)
    with pytest.raises(OrderError) as refused:
        registry.load(name, SETTINGS, given, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert (refused.value.code, refused.value.field) == ("parameters_invalid", field)
    assert field in refused.value.detail


@pytest.mark.parametrize("name", ["ki67", "grid"])
def test_the_defaults_of_a_schema_are_valid(name: str) -> None:
    """An order filled up from the card's schema passes the schema, and every number in it has
    bounds and a meaning."""
    schema = registry.cards_without_model(SETTINGS)[name].parameters
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({key: one["default"] for key, one in schema["properties"].items()}, schema)
    assert schema["additionalProperties"] is False
    for one in schema["properties"].values():
        assert one["description"]
        kinds = one.get("anyOf", [one])
        numbers = [kind for kind in kinds if kind["type"] not in ("null", "string")]
        assert all({"minimum", "maximum"} <= set(kind) for kind in numbers)


def test_a_sites_own_entry_changes_name_queue_limit_and_defaults() -> None:
    """The card of an entry carries the site's words; the kind's own card stays as it was."""
    own = AlgorithmSettings(
        kind="ki67", queue="cpu", time_limit_s=60, parameters={"positive_threshold": 0.3}
    )
    card = registry.card("ki67-strict", own)
    assert (card.name, card.queue, card.time_limit_s) == ("ki67-strict", "cpu", 60)
    assert card.parameters["properties"]["positive_threshold"]["default"] == 0.3
    assert (
        registry.cards_without_model(SETTINGS)["ki67"].parameters["properties"][
            "positive_threshold"
        ]["default"]
        == 0.15
    )


def test_an_order_overrides_the_sites_defaults() -> None:
    """Site's defaults hold where the order is silent."""
    settings = {"grid": AlgorithmSettings(kind="grid", parameters={"rows": 3, "columns": 5})}
    report = registry.load("grid", settings, {"rows": 1}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert report.works_on == "area"
    findings = report.report(Frame(1000, 600, 0.5, 0.5, "slide"), Area(0, 0, 1000, 600))
    sizes = {tuple(np.ptp(box, axis=0)) for box in findings.objects.outlines}
    assert len(findings.objects) == 5
    assert sizes == {(200.0, 600.0)}


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "her2",
            {"kind": "her2"},
            "worker.algorithms.her2: config: kind: there is no kind 'her2'; there are: command, container, grid, ki67, python, weights",
        ),
        (
            "ki67",
            {"kind": "ki67", "parameters": {"positive_threshold": 9}},
            "ki67: config: parameters.positive_threshold: ",
        ),
        (
            "ki67",
            {"kind": "ki67", "parameters": {"colour": 1}},
            "worker.algorithms.ki67: config: parameters.colour: ",
        ),
        ("Ki 67", {"kind": "ki67"}, "worker.algorithms.Ki 67: "),
        (
            "ki67",
            {"kind": "ki67", "sha256": "0" * 64},
            "worker.algorithms.ki67: config: sha256: the kind 'ki67' has no file",
        ),
    ],
)
def test_settings_that_cannot_work_are_named(
    name: str, entry: dict[str, Any], message: str
) -> None:
    """A wrong kind, parameter or name is told with the key; whoever needs no model leaves it
    out."""
    wrong = AlgorithmSettings.model_validate(entry)
    with pytest.raises(ConfigError) as refused:
        registry.card(name, wrong)
    assert message in str(refused.value)
    assert list(registry.cards_without_model(SETTINGS | {name: wrong})) == [
        known for known in SETTINGS if known != name
    ]


def test_an_unknown_algorithm_is_the_orders_fault() -> None:
    """The message says which, the hint what there is."""
    with pytest.raises(OrderError) as refused:
        registry.load("her2", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert (refused.value.code, refused.value.hint) == ("algorithm_unknown", "it has: grid, ki67")


def test_an_algorithm_that_was_removed_is_the_operators_fault() -> None:
    """It was there when the order was accepted, so its caller can do nothing."""
    with pytest.raises(OrderError) as refused:
        registry.load("her2", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert refused.value.problem.blame == "platform"


def test_auto_is_a_gpu_where_there_is_one() -> None:
    """`auto` takes the first GPU torch sees, else the CPU; records can name it."""
    device = resolve("auto")
    assert device.torch.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert {"device", "name"} <= set(describe(device))


def test_a_gpu_that_is_not_there_is_told() -> None:
    """Asking for one GPU more than there are names the setting and what to do."""
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"worker.device: cuda:{count} .* use auto or cpu"):
        resolve(f"cuda:{count}")


def test_results_can_name_the_device_and_torch() -> None:
    """Whoever compares two results sees what they were computed with."""
    assert registry.device_and_torch("cpu") == ("cpu", torch.__version__)


def test_a_parameter_that_there_is_not_is_said_in_words_of_an_order() -> None:
    """With the parameters that there are, for a slip of the pen."""
    with pytest.raises(OrderError) as refused:
        registry.load("ki67", SETTINGS, {"treshold": 1}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert refused.value.detail == "parameters.treshold: there is no such parameter"
    assert "positive_threshold" in refused.value.hint
