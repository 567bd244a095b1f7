"""A case from its scans to the payload: what the stages make of it, on a folder and a bucket."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.order_store import OrderStore
from broker.orders.order import Order, Stage
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config, SlidesSettings, WorkerSettings
from demo.techcyte_rules import check_results
from tests.support.cases import a_case_head, scans_of, slides_of
from tests.support.results import VIEWER_FILES
from tests.support.s3 import BUCKET, S3Server, by_environment
from worker import tasks
from worker.context import WorkerContext, build_context
from worker.delivery.destinations.techcyte import payload
from worker.delivery.destinations.techcyte.payload import PostOptions
from worker.inference.checkpoint import UNFINISHED
from worker.results import result_folder
from worker.results.result import Result

CASE = {
    "class": "blue",
    "probability": 0.625,
    "probabilities": {"red": 0.375, "blue": 0.625},
    "scans": 3,
    "tiles": 8,
}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with by_environment() as server:
        yield server


def context_of(settings: BrokerSettings, store: OrderStore, folder: Path) -> WorkerContext:
    """A worker that judges cases, and whose slides are in `folder`."""
    worker = WorkerSettings.model_validate(
        {
            "slides": SlidesSettings(roots=(folder,)),
            "device": "cpu",
            "threads": 1,
            "algorithms": {
                "cases": {"kind": "weights", "folder": a_case_head(folder / "models" / "head")}
            },
        }
    )
    return build_context(Config(broker=settings, worker=worker), store)


@pytest.fixture
def context(broker_settings: BrokerSettings, store: OrderStore, tmp_path: Path) -> WorkerContext:
    return context_of(broker_settings, store, tmp_path)


def an_order(context: WorkerContext, folder: Path) -> str:
    """An order of a case of three slides, each of which was fetched."""
    slides = slides_of(folder / "slides")
    request = OrderRequest.model_validate(
        {"algorithm": "cases", "scans": scans_of(slides)}, strict=False
    )
    order_id = context.store.create(request, queue="gpu").order_id
    for index in range(3):
        run(context, order_id, index, "fetch")
    return order_id


def run(context: WorkerContext, order_id: str, index: int, stage: Stage = "classify") -> None:
    """Run a stage of one scan, from its claim to its end."""
    claim = context.store.claim(f"{order_id}.{index}", stage, "w")
    assert claim
    tasks.run_stage(context, claim)


def judged(context: WorkerContext, folder: Path) -> Order:
    """An order of which everything is done but the delivery; the middle scan judges the case."""
    order_id = an_order(context, folder)
    for index in (0, 2, 1, 1):
        run(context, order_id, index)
    return context.store.get(order_id)


def results_of(context: WorkerContext, order: Order) -> list[Result]:
    return [result_folder.load(context.data / scan.result) for scan in order.scans]


def body(results: list[Result], **more: Any) -> dict[str, Any]:
    """The payload for Techcyte, checked by the rules of its stand-in."""
    file = io.BytesIO()
    payload.write(results, file, (), PostOptions(**more))
    return check_results(file.getvalue())


def test_the_record_has_the_answer_with_every_scan(context: WorkerContext, tmp_path: Path) -> None:
    """All at once, in results of their own; nothing unfinished is left."""
    order = judged(context, tmp_path)
    assert order.state == "delivering"
    for index, scan in enumerate(order.scans):
        assert scan.summary["case"] == CASE
        assert scan.summary["headline"] == "case: blue (probability 0.625, 3 scans, 8 tiles)"
        assert scan.result.startswith(f"results/{order.id}/{index}.case.1.")
        assert scan.files == ("embeddings.h5", "attention.csv", *VIEWER_FILES)
        told = json.loads((context.data / scan.result / "results.json").read_bytes())
        assert told["summary"]["case"] == CASE
        assert told["produced"]["case"]["device"] == "cpu"
    assert "case_s" in order.scans[1].timings
    assert "model_s" in order.scans[1].timings
    assert list((context.data / UNFINISHED).iterdir()) == []
    kept = {folder.name for folder in (context.data / "results" / order.id).iterdir()}
    assert kept == {scan.result.rpartition("/")[2] for scan in order.scans}
    texts = [line["text"] for line in context.store.log(order.id)]
    assert any(text.startswith("scan b: judged the case by 8 tiles of 3 scans") for text in texts)


def test_what_a_bucket_keeps_is_judged_too(
    broker_settings: BrokerSettings, store: OrderStore, server: S3Server, tmp_path: Path
) -> None:
    """The vectors come from there, and the record names the files that went there."""
    away = broker_settings.model_copy(update={"storage": f"s3://{BUCKET}"})
    context = context_of(away, store, tmp_path)
    order = judged(context, tmp_path)
    assert order.state == "delivering"
    for scan in order.scans:
        assert scan.summary["case"] == CASE
        assert scan.files == ("embeddings.h5", "attention.csv", *VIEWER_FILES)
        assert {"attention.csv", "embeddings.h5", "overlay.png"} <= server.below(scan.result)
    kept = {name.partition("/")[0] for name in server.below(f"results/{order.id}")}
    assert kept == {scan.result.rpartition("/")[2] for scan in order.scans}


def test_case_results_are_sent_where_the_destination_takes_them(
    context: WorkerContext, tmp_path: Path
) -> None:
    """Once, beside the scans, which hold the answer anyway."""
    results = results_of(context, judged(context, tmp_path))
    without = body(results)
    assert "caseResults" not in without
    for scan in without["scanResults"]:
        assert scan["results"]["measurements"]["case"] == CASE
        lines = {one["name"]: one["result"] for one in scan["workflow"]["report"]["results"]}
        assert (lines["Case class"], lines["Case probabilities blue"]) == ("blue", "0.625")
    sent = body(results, case_results=True)
    assert sent["scanResults"] == without["scanResults"]
    card = results[0].card
    summary = sent["caseResults"].pop("summary")
    assert summary.startswith("WARNING little_tissue: ")
    assert summary.endswith(". case: blue (probability 0.625, 3 scans, 8 tiles)")
    doubts = sent["caseResults"].pop("warnings")
    assert [(one["scan"], one["code"]) for one in doubts] == [(n, "little_tissue") for n in "abc"]
    assert sent["caseResults"] == {
        **CASE,
        "order_id": results[0].order_id,
        "algorithm": {"name": "cases", "version": card.version, "digest": card.digest},
        "ruo": True,
    }


def test_a_model_that_was_replaced_judges_no_case(context: WorkerContext, tmp_path: Path) -> None:
    """The order fails and says what to do; nothing is answered by halves of two models."""
    order_id = an_order(context, tmp_path)
    run(context, order_id, 0)
    run(context, order_id, 1)
    a_case_head(tmp_path / "models" / "head", title="another", version="2")
    run(context, order_id, 2)
    run(context, order_id, 2)
    order = context.store.get(order_id)
    assert order.state == "failed"
    assert order.scans[2].error
    assert order.scans[2].error["code"] == "case_scans_differ"
    assert "scan a was encoded by cases" in order.scans[2].error["detail"]
    a_case_head(tmp_path / "models" / "head", scope="scan")
    context.store.retry(order_id)
    run(context, order_id, 2)
    error = context.store.get(order_id).scans[2].error
    assert error
    assert "judges no cases" in error["detail"]
