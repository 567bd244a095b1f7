"""A wrong algorithm disables itself alone: a real service with many wrong entries, and one whose
model folder is replaced while it runs."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.order_store import OrderStore
from broker.order_store.announced.workers import ABSENT_AFTER_S
from broker.settings.config import BrokerSettings
from tests.support.networks import Answers, Layers, a_network
from tests.support.paths import ROOT
from tests.support.stack import Stack, wait_for

WRONG = {
    "misspelt": "there is no kind 'wieghts'",
    "nowhere": "model.json: there is no folder",
    "empty": "config.json: file: the folder holds none of torchscript_model.pt",
    "other-file": "and " + "0" * 64 + " is required",
    "wrong-shape": "outputs.logits has shape (1, 2)",
    "half-copied": "torchscript_model.pt: does not run",
    "strict": "worker.algorithms.strict: config: parameters.positive_threshold",
    "mitosis": "worker.algorithms.mitosis: config: class: large has 2 GPUs",
    "Ki 67": "worker.algorithms.Ki 67: config: name: String should match pattern",
}
"""Of each algorithm that cannot work: a part of the reason."""


def entries(models: Path) -> dict[str, dict[str, Any]]:
    """Return settings with one right network and every wrong entry."""
    right = a_network(models / "right")
    empty = a_network(models / "empty")
    (empty / "torchscript_model.pt").unlink()
    wrong_shape = a_network(models / "wrong-shape", Answers(2))
    half = a_network(models / "half-copied")
    file = half / "torchscript_model.pt"
    file.write_bytes(file.read_bytes()[:1000])
    return {
        "tumour": {"kind": "weights", "folder": str(right)},
        "misspelt": {"kind": "wieghts"},
        "nowhere": {"kind": "weights", "folder": str(models / "nowhere")},
        "empty": {"kind": "weights", "folder": str(empty)},
        "other-file": {"kind": "weights", "folder": str(right), "sha256": "0" * 64},
        "wrong-shape": {"kind": "weights", "folder": str(wrong_shape)},
        "half-copied": {"kind": "weights", "folder": str(half)},
        "strict": {"kind": "ki67", "parameters": {"positive_threshold": 9}},
        "mitosis": {
            "kind": "container",
            "image": "lab/mitosis:3",
            "class": "large",
            "env": {"LICENSE": "a-secret"},
        },
        "Ki 67": {"kind": "ki67"},
    }


def stack_with(data: Path, slide: Path, algorithms: dict[str, Any], **env: str) -> Stack:
    data.mkdir()
    stack = Stack(data, [slide.parent])
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    stack.env["SLIDELANE_WORKER__CLASSES"] = '{"large": {"gpus": 2, "memory": "64GB"}}'
    stack.env |= env
    return stack


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("mixed")
    with stack_with(folder / "data", slide, entries(folder / "models")) as stack:
        # it loads three networks first, each in a process of its own
        wait_for(lambda: stack.call("GET", "/readyz")[0] == 200, 300, "/readyz")
        yield stack


def scans(slide: Path) -> list[dict[str, Any]]:
    roi = {"x": 2000, "y": 1500, "width": 512, "height": 512}
    return [{"id": "1", "source": {"type": "path", "path": str(slide)}, "roi": roi}]


def reasons(stack: Stack) -> dict[str, str]:
    body = stack.call("GET", "/readyz")[1] or {}
    return {one["algorithm"]: one["reason"] for one in body.get("unavailable", [])}


def card(stack: Stack, name: str) -> dict[str, Any]:
    return dict(stack.call("GET", f"/v1/algorithms/{name}")[1])


def test_readyz_lists_the_wrong_ones_and_is_ready(mixed: Stack) -> None:
    """Each with the setting or the file; those that work are not in the list."""
    told = reasons(mixed)
    assert told.keys() == WRONG.keys()
    for name, part in WRONG.items():
        assert part in told[name]


def test_the_list_of_algorithms_says_which_can_be_ordered(mixed: Stack) -> None:
    """`available` of each, a `reason` only of those that are not."""
    told = {one["name"]: one for one in mixed.call("GET", "/v1/algorithms")[1]["algorithms"]}
    assert {name for name, one in told.items() if one["available"]} == {"ki67", "grid", "tumour"}
    assert {name: one["reason"] for name, one in told.items() if not one["available"]} == reasons(
        mixed
    )
    assert "reason" not in told["tumour"]
    assert card(mixed, "nowhere") == told["nowhere"]


def test_a_worker_announces_its_programs_images_and_classes(mixed: Stack) -> None:
    """Those of the settings, one of which is unavailable; no value of a variable is among them."""
    wait_for(lambda: mixed.call("GET", "/v1/classes")[1]["classes"])
    (container,) = mixed.call("GET", "/v1/containers")[1]["containers"]
    assert (container["name"], container["class"]) == ("mitosis", "large")
    assert container["variables"] == ["LICENSE"]
    assert WRONG["mitosis"] in container["reason"]
    (image,) = mixed.call("GET", "/v1/images")[1]["images"]
    assert (image["image"], image["containers"]) == ("lab/mitosis:3", ["mitosis"])
    assert image["machines"][0]["machine"] == os.uname().nodename
    (one,) = mixed.call("GET", "/v1/classes")[1]["classes"]
    assert (one["name"], one["memory_bytes"], one["workers"]) == ("large", 64 * 10**9, 1)
    assert "a-secret" not in json.dumps(mixed.call("GET", "/v1/containers")[1])


def test_metrics_say_it_too(mixed: Stack) -> None:
    """1 for those that can be ordered, 0 for the others, with the reason."""
    lines = mixed.call("GET", "/metrics")[1].decode().splitlines()
    assert 'slidelane_algorithm_available{algorithm="tumour"} 1.0' in lines
    assert 'slidelane_algorithm_available{algorithm="misspelt"} 0.0' in lines
    assert any("unavailable_info" in line and WRONG["misspelt"] in line for line in lines)


def test_doctor_says_it_too(mixed: Stack) -> None:
    """In one row with those that work; the status is 1, because they have to be corrected."""
    done = subprocess.run(
        [sys.executable, "-m", "slidelane", "doctor"],
        cwd=ROOT,
        env=mixed.env,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 1
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("models ")]
    assert row.split()[1] == "failed"
    assert "the workers offer grid 1.0.0, ki67 1.0.0, tumour " in row
    assert all(part in row for part in WRONG.values())


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_order_for_a_wrong_one_is_refused(mixed: Stack, slide: Path, name: str) -> None:
    """409 with the reason; a name that nobody has is another refusal."""
    request = {"algorithm": name, "scans": scans(slide)}
    status, problem = mixed.call("POST", "/v1/orders", request)
    if name == "Ki 67":  # the text is no name of an algorithm
        assert status in (409, 422)
        return
    assert (status, problem["code"]) == (409, "algorithm_unavailable")
    assert WRONG[name] in problem["detail"]
    request["algorithm"] = "never-heard-of"
    assert mixed.call("POST", "/v1/orders", request)[1]["code"] == "algorithm_unknown"


@pytest.mark.parametrize("name", ["grid", "ki67", "tumour"])
def test_the_right_ones_work_beside_them(mixed: Stack, slide: Path, name: str) -> None:
    """The same worker and courier that hold the wrong entries deliver their orders."""
    order_id = mixed.order(algorithm=name, scans=scans(slide))
    mixed.wait_until(order_id, "delivered")
    assert all(mixed.processes[role].poll() is None for role in mixed.roles)


@pytest.fixture
def broken(tmp_path: Path, slide: Path) -> Iterator[Stack]:
    """A service that can load nothing on its device."""
    models = a_network(tmp_path / "models")
    algorithms = {"tumour": {"kind": "weights", "folder": str(models)}}
    device = {"SLIDELANE_WORKER__DEVICE": "cuda:99"}
    with stack_with(tmp_path / "data", slide, algorithms, **device) as stack:
        stack.wait_ready()
        yield stack


def test_a_gpu_that_is_not_there_disables_what_needs_one(broken: Stack, slide: Path) -> None:
    """The worker goes on for the algorithm that needs none."""
    told = reasons(broken)
    assert told.keys() == {"ki67", "tumour"}
    assert all(
        "worker.device: cuda:99 is a GPU that torch does not see" in one for one in told.values()
    )
    broken.wait_until(broken.order(algorithm="grid", scans=scans(slide)), "delivered")
    assert broken.processes["worker"].poll() is None


class Swapping(Stack):
    """A service with one network, whose folder the test replaces."""

    models: Path

    def current(self) -> Path:
        return self.models / "current"

    def version(self) -> str:
        told = card(self, "tumour")
        if not told.get("available"):
            return ""
        return str(told["version"])


@pytest.fixture(scope="module")
def swapping(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Swapping]:
    folder = tmp_path_factory.mktemp("swapping")
    data = folder / "data"
    data.mkdir()
    stack = Swapping(data, [slide.parent])
    stack.models = folder / "models"
    a_network(stack.models / "one", Layers())
    a_network(stack.models / "two", Layers(), architecture="second")
    stack.current().symlink_to("one")
    entry = {"kind": "weights", "folder": str(stack.current())}
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps({"tumour": entry})
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        stack.wait_ready()
        yield stack


def digest_of(folder: Path) -> str:
    """Return the digest that a card of this folder states."""
    description = (folder / "config.json").read_bytes()
    network = (folder / "torchscript_model.pt").read_bytes()
    return hashlib.sha256(description + network).hexdigest()


def made_with(stack: Stack, slide: Path) -> str:
    """Order once, and return the digest that results.json states."""
    order_id = stack.order(algorithm="tumour", scans=scans(slide))
    order = stack.wait_until(order_id, "delivered")
    results = stack.call("GET", order["scans"][0]["links"]["results.json"])[1]
    return str(results["algorithm"]["digest"])


@pytest.mark.timeout(300)
def test_a_folder_that_is_replaced_is_announced_with_its_new_version(
    swapping: Swapping, slide: Path
) -> None:
    """By a new target of a link at once; a copy that is half done disables it until it is whole."""
    one, two = digest_of(swapping.models / "one"), digest_of(swapping.models / "two")
    assert swapping.version() == one[:12]
    assert made_with(swapping, slide) == one
    link = swapping.models / "next"
    link.symlink_to("two")
    link.replace(swapping.current())
    wait_for(lambda: swapping.version() == two[:12], what="the second version")
    assert made_with(swapping, slide) == two

    network = swapping.models / "two" / "torchscript_model.pt"
    whole = network.read_bytes()
    network.write_bytes(whole[: len(whole) // 2])
    wait_for(lambda: "does not run" in reasons(swapping).get("tumour", ""), what="the reason")
    assert (
        swapping.call("POST", "/v1/orders", {"algorithm": "tumour", "scans": scans(slide)})[0]
        == 409
    )
    network.write_bytes(whole)
    wait_for(lambda: swapping.version() == two[:12], what="the whole folder")
    assert made_with(swapping, slide) == two


@pytest.mark.timeout(300)
def test_an_order_that_was_accepted_waits_and_says_why(swapping: Swapping, slide: Path) -> None:
    """Its algorithm is gone before its scan is claimed; no attempt is used up, and it goes on when
    the folder is back.

    The courier, which fetches its slide meanwhile, needs no folder.
    """
    wait_for(swapping.version, what="a version that can be ordered")
    model = swapping.current().resolve()
    os.killpg(swapping.processes["worker"].pid, signal.SIGSTOP)
    order_id = swapping.order(algorithm="tumour", scans=scans(slide))
    shutil.move(model, swapping.models / "away")
    os.killpg(swapping.processes["worker"].pid, signal.SIGCONT)

    def waiting() -> str:
        scan = swapping.get(order_id)["scans"][0]
        return str(scan.get("waiting", {}).get("reason", ""))

    wait_for(lambda: "the algorithm tumour is unavailable" in waiting(), what="the reason")
    assert swapping.get(order_id)["scans"][0]["state"] == "staged"
    shutil.move(swapping.models / "away", model)
    order = swapping.wait_until(order_id, "delivered", "failed")
    assert order["state"] == "delivered"


def test_a_courier_alone_makes_what_needs_no_model_orderable(tmp_path: Path, slide: Path) -> None:
    """Orders may be placed before the first worker is started; a model folder is a worker's to
    announce, and the courier starts without it."""
    algorithms = {"tumour": {"kind": "weights", "folder": str(tmp_path / "nowhere")}}
    stack = stack_with(tmp_path / "data", slide, algorithms)
    stack.roles = ("api", "courier")  # type: ignore[misc]
    with stack:
        wait_for(lambda: stack.call("GET", "/v1/algorithms")[0] == 200, what="the API")
        listed = wait_for(
            lambda: stack.call("GET", "/v1/algorithms")[1]["algorithms"], what="an algorithm"
        )
        assert {one["name"]: one["available"] for one in listed} == {"grid": True, "ki67": True}
        order_id = stack.order(algorithm="grid", scans=scans(slide))
        wait_for(lambda: stack.get(order_id)["scans"][0]["state"] == "staged", what="the slide")
        waiting = stack.get(order_id)["scans"][0]["waiting"]
        assert waiting["reason"] == "no worker consumes the queue gpu"


def test_a_worker_that_was_killed_is_not_counted_for_long(stack: Stack, slide: Path) -> None:
    """After kill -9 its heartbeat ends by itself, in `ABSENT_AFTER_S`; queues and readiness say so."""
    store = OrderStore.connect(BrokerSettings(data=stack.data))
    worker = f"gpu-{stack.processes['worker'].pid}@"
    wait_for(lambda: presences(store, "gpu-") == [worker], what="no other worker")
    stack.kill("worker", signal.SIGKILL)
    wait_for(
        lambda: stack.call("GET", "/readyz")[0] == 503,
        within_s=ABSENT_AFTER_S + 5,
        what="its absence",
    )
    assert (
        "no worker consumes a queue for classifying" in (stack.call("GET", "/readyz")[1]["detail"])
    )
    assert presences(store, "gpu-") == []
    courier = f"courier-{stack.processes['courier'].pid}@"
    wait_for(lambda: presences(store, "courier-") == [courier], what="no other courier")
    stack.order(algorithm="grid", scans=scans(slide))
    listeners = {
        queue["name"]: queue["workers"] for queue in stack.call("GET", "/v1/queues")[1]["queues"]
    }
    assert listeners.get("gpu", 0) == 0
    assert listeners["fetch"] == 1


def presences(store: OrderStore, role: str) -> list[str]:
    """Return the names, up to the host, of the workers that the store counts for a role."""
    names = [worker.name.partition("@")[0] + "@" for worker in store.workers()]
    return [name for name in names if name.startswith(role)]
