"""One order from HTTP to delivered, and its unhappy ways, through real processes."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from demo.annotation import AnnotationReceiver
from demo.bucket import FileBucket
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.gate import Gate
from tests.support.slides import a_slide
from tests.support.stack import Stack, wait_for
from tests.support.stained_pictures import h_and_e

ROI = {"x": 1001, "y": 999, "width": 1500, "height": 1200}


def to_techcyte(receiver: TechcyteReceiver, task: str = "dGFzazoxODU3MTQ=") -> dict[str, Any]:
    return {
        "type": "techcyte",
        "base_url": receiver.url,
        "task_id": task,
        "jwt_token": receiver.jwt_token,
    }


def at_path(slide: Path, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "8946136", "source": {"type": "path", "path": str(slide)}, **more}]


def test_a_whole_slide_by_url_reaches_techcyte_once(
    stack: Stack, techcyte: TechcyteReceiver, bucket: FileBucket
) -> None:
    """The README's order: fetched, classified, delivered, and readable in every form."""
    scans = [{"id": "8946136", "source": {"type": "url", "url": bucket.signed_url}}]
    order_id = stack.order(
        algorithm="ki67",
        scans=scans,
        destination=to_techcyte(techcyte),
        labels={"case": "S26-1234"},
    )
    order = stack.wait_until(order_id, "delivered", "failed", "undelivered")
    assert order["state"] == "delivered", order
    nuclei = order["scans"][0]["summary"]["nuclei"]
    assert nuclei > 100
    assert [entry.note["features"] for entry in techcyte.ledger] == [nuclei]
    assert order["delivery"]["attempts"][0]["status"] == 201
    _, geojson = stack.call("GET", f"/v1/orders/{order_id}/scans/8946136/features.geojson")
    assert len(geojson["features"]) == nuclei
    status, payload = stack.call("GET", f"/v1/orders/{order_id}/payload")
    assert status == 200
    assert payload["scanResults"][0]["scanId"] == "8946136"
    assert stack.call("GET", f"/v1/orders/{order_id}/scans/8946136/overlay.png")[1].startswith(
        b"\x89PNG"
    )
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    assert (
        log.index("queued")
        < log.index("running")
        < log.index("delivering")
        < log.rindex("delivered")
    )
    assert "signature=" not in json.dumps(order) + log


def test_a_region_by_path_reaches_the_annotation_loader(
    stack: Stack, loader: AnnotationReceiver, slide: Path
) -> None:
    """Everything found lies inside the region, in level-0 pixels."""
    destination = {"type": "annotation", "url": f"{loader.url}/submitZipOrder", "case_id": "CASE-1"}
    order_id = stack.order(algorithm="ki67", scans=at_path(slide, roi=ROI), destination=destination)
    assert stack.wait_until(order_id, "delivered", "failed", "undelivered")["state"] == "delivered"
    assert loader.cases == ["CASE-1"]
    _, results = stack.call("GET", f"/v1/orders/{order_id}/scans/8946136/results.json")
    assert results["area"] == ROI


def test_several_scans_make_one_post(stack: Stack, techcyte: TechcyteReceiver, slide: Path) -> None:
    """Techcyte completes a task with its first post, so all scans travel in it."""
    scans = [scan | {"id": str(n)} for n in range(3) for scan in at_path(slide)]
    order_id = stack.order(algorithm="grid", scans=scans, destination=to_techcyte(techcyte))
    assert stack.wait_until(order_id, "delivered", "failed", "undelivered")["state"] == "delivered"
    assert [entry.note["scans"] for entry in techcyte.ledger] == [["0", "1", "2"]]


def failed(stack: Stack, **asked: Any) -> dict[str, Any]:
    order = stack.wait_until(stack.order(algorithm="grid", **asked), "failed", "delivered")
    assert order["state"] == "failed", order
    return dict(order["scans"][0]["error"])


def test_a_slide_in_another_stain_fails_or_carries_its_warning_everywhere(
    stack: Stack, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """H&E ordered as Ki-67: no figure without a doubt beside it, wherever it is read."""
    scans = at_path(a_slide(slide.with_name("he.svs"), h_and_e()))
    refused = stack.wait_until(
        stack.order(algorithm="ki67", scans=scans, destination=to_techcyte(techcyte)),
        "failed",
        "delivered",
    )
    assert refused["scans"][0]["error"]["code"] == "stain_unexpected"
    assert not techcyte.ledger
    order_id = stack.order(
        algorithm="ki67",
        parameters={"on_stain_mismatch": "warn"},
        scans=scans,
        destination=to_techcyte(techcyte),
    )
    order = stack.wait_until(order_id, "delivered", "failed", "undelivered")
    (warning,) = order["scans"][0]["warnings"]
    assert warning["code"] == "stain_unexpected"
    assert order["warnings"] == [warning | {"scan": "8946136"}]
    _, results = stack.call("GET", f"/v1/orders/{order_id}/scans/8946136/results.json")
    assert results["warnings"] == [warning]
    _, payload = stack.call("GET", f"/v1/orders/{order_id}/payload")
    summary = payload["scanResults"][0]["results"]["summary"]
    assert summary.startswith("WARNING stain_unexpected: ")
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    assert f"warning stain_unexpected: {warning['detail']}" in log


def test_a_source_that_is_not_there_fails_the_scan(stack: Stack, bucket: FileBucket) -> None:
    """S3 answers 403 to an expired URL; the error says so and blames the input."""
    gone = bucket.signed_url.replace("signature=", "signature=x")
    error = failed(stack, scans=[{"id": "1", "source": {"type": "url", "url": gone}}])
    assert (error["code"], error["blame"]) == ("input_expired", "input")


def test_a_file_that_is_no_slide_fails_the_scan(stack: Stack, slide: Path) -> None:
    """And the worker goes on with the next order."""
    page = slide.with_name("page.svs")
    page.write_text("<html>not a slide</html>")
    assert failed(stack, scans=at_path(page))["code"] == "not_a_slide"


def test_a_region_outside_the_slide_fails_the_scan(stack: Stack, slide: Path) -> None:
    """Only the slide can tell, so it fails in the worker, with the slide's size in the message."""
    error = failed(stack, scans=at_path(slide, roi={"x": 90000, "y": 0, "width": 10, "height": 10}))
    assert error["code"] == "roi_outside_slide"
    assert "3072" in error["detail"]


def test_a_receiver_that_is_down_gets_its_results_when_it_is_up(
    stack: Stack, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """503 twice, then 201: one evaluation, three attempts on record."""
    techcyte.faults.add(Fault(status=503, times=2))
    order_id = stack.order(
        algorithm="grid", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    order = stack.wait_until(order_id, "delivered", "undelivered")
    assert [attempt["status"] for attempt in order["delivery"]["attempts"]] == [503, 503, 201]
    assert len(techcyte.ledger) == 1


def test_a_refusal_is_final_and_keeps_the_results(stack: Stack, slide: Path) -> None:
    """A task the receiver does not know: undelivered, with its own words, and the payload is
    there."""
    with TechcyteReceiver({"1": {"8946136"}}) as strict:
        order_id = stack.order(
            algorithm="grid", scans=at_path(slide), destination=to_techcyte(strict, task="2")
        )
        order = stack.wait_until(order_id, "delivered", "undelivered")
    assert order["error"]["code"] == "destination_refused"
    assert "no task" in order["error"]["detail"]
    assert stack.call("GET", f"/v1/orders/{order_id}/payload")[0] == 200


def test_a_lost_answer_makes_no_second_evaluation(
    stack: Stack, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """The receiver kept the results and cut the line: asked first, it says so, and nothing is sent
    again."""
    techcyte.faults.add(Fault(cut="after"))
    order_id = stack.order(
        algorithm="grid", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    order = stack.wait_until(order_id, "delivered", "undelivered")
    assert order["state"] == "delivered"
    assert len(techcyte.ledger) == 1


def test_where_nobody_can_say_the_order_ends_undelivered(
    stack: Stack, loader: AnnotationReceiver, slide: Path
) -> None:
    """The loader cannot be asked; a possible double is not risked unless configured."""
    loader.faults.add(Fault(cut="after"))
    destination = {"type": "annotation", "url": f"{loader.url}/submitZipOrder", "case_id": "CASE-1"}
    order_id = stack.order(algorithm="grid", scans=at_path(slide), destination=destination)
    order = stack.wait_until(order_id, "delivered", "undelivered")
    assert (order["state"], order["error"]["code"]) == ("undelivered", "delivery_unknown")
    assert len(loader.ledger) == 1


@pytest.mark.timeout(300)
def test_a_worker_killed_while_classifying_costs_only_time(
    gate: Gate, stack: Stack, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """The lease runs out, another worker takes the scan, and the results arrive once."""
    gate.close(after=1)
    order_id = stack.order(
        algorithm="ki67", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    wait_for(
        lambda: stack.get(order_id)["scans"][0]["progress"]["stage"] == "classifying",
        what="classifying",
    )
    wait_for(gate.held, what="a tile at the gate")
    stack.kill("worker")
    gate.open()
    stack.start("worker")
    order = stack.wait_until(order_id, "delivered", "failed", "undelivered", within_s=180)
    assert order["state"] == "delivered"
    assert len(techcyte.ledger) == 1
    assert "lost by" in stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()


@pytest.mark.timeout(300)
def test_a_courier_killed_after_the_receiver_kept_the_results_delivers_once(
    stack: Stack, slide: Path
) -> None:
    """Between the receiver's commit and our record of it: the next courier asks before it sends."""
    kept, killed = threading.Event(), threading.Event()

    class Holding(TechcyteReceiver):
        def answer(self, request: Any) -> Any:
            reply = super().answer(request)
            if request.method == "POST":
                kept.set()
                killed.wait(30)
            return reply

    with Holding(any_task=True) as receiver:
        order_id = stack.order(
            algorithm="grid", scans=at_path(slide), destination=to_techcyte(receiver)
        )
        assert kept.wait(60)
        stack.kill("courier")
        killed.set()
        stack.start("courier")
        order = stack.wait_until(order_id, "delivered", "undelivered")
        assert order["state"] == "delivered"
        assert len(receiver.ledger) == 1


def test_killing_everything_loses_no_order(
    stack: Stack, techcyte: TechcyteReceiver, slide: Path
) -> None:
    """API, courier, worker and Redis by SIGKILL; started again, the order goes on."""
    order_id = stack.order(
        algorithm="ki67", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    for role in tuple(stack.processes):
        stack.kill(role)
    assert stack.redis.process
    stack.redis.process.kill()
    stack.redis.process.wait()
    stack.redis.start()
    for role in tuple(stack.processes):
        stack.start(role)
    stack.wait_ready()
    assert (
        stack.wait_until(order_id, "delivered", "failed", "undelivered", within_s=150)["state"]
        == "delivered"
    )
    assert len(techcyte.ledger) == 1
