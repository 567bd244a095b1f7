"""`POST /v1/orders?validate_only=true`, with the real viewer: what an order would be."""

import asyncio
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.request import OrderRequest, ScanRequest
from broker.settings.config import BrokerSettings
from broker.settings.viewer import viewer_socket
from services.slides.preflight.check import PLANS_S, Planner
from services.slides.viewer_process.client import ANSWER_S, MOST_WAITING_THREADS, ViewerClient
from tests.services.slides.conftest import HEIGHT, TILED, WIDTH

VALIDATE = "/v1/orders?validate_only=true"
URL = "https://bucket.example.org/a.svs?X-Amz-Signature=f00dfeed"


def _scan(folder: Path, name: str = "a.svs", **more: Any) -> dict[str, Any]:
    return {"id": "1", "source": {"type": "path", "path": str(folder / name)}, **more}


def _planned(client: TestClient, scan: dict[str, Any], algorithm: str = "tiled") -> dict[str, Any]:
    answer = client.post(VALIDATE, json={"algorithm": algorithm, "scans": [scan]})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["algorithm"] == algorithm
    (planned,) = document["scans"]
    return dict(planned)


def test_a_slide_on_disk_is_looked_at(seeing: TestClient, folder: Path, store: OrderStore) -> None:
    """Size, resolution and tiles as a worker would have them; nothing is placed."""
    planned = _planned(seeing, _scan(folder))
    assert planned == {
        "id": "1",
        "width": WIDTH,
        "height": HEIGHT,
        "mpp": 0.5,
        "mpp_source": "slide",
        "tiles": 5 * 4,
        "expected_s": None,
        "warnings": [],
    }
    part = _planned(seeing, _scan(folder, roi={"x": 0, "y": 0, "width": 65, "height": 64}))
    assert part["tiles"] == 2
    corner = {"polygon": [[0, 0], [63, 0], [0, 63]]}
    assert _planned(seeing, _scan(folder, roi=corner))["tiles"] == 1
    assert _planned(seeing, _scan(folder), "whole")["tiles"] is None
    assert store.find().entries == ()


def test_a_slide_that_was_looked_at_is_named(seeing: TestClient, folder: Path) -> None:
    """Also where the case locator said how large its pixels are."""
    source = {"type": "path", "root": 0, "path": "a.svs"}
    slide = seeing.post("/v1/slides", json={"source": source}).json()
    assert (slide["state"], slide["width"], slide["vendor"]) == ("ready", WIDTH, "aperio")
    named = {"id": "1", "source": {"type": "slide", "slide": slide["id"]}}
    assert _planned(seeing, named)["tiles"] == 20
    tile = seeing.get(f"{slide['iiif']}/0,0,64,64/64,64/0/default.jpg")
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/jpeg")
    info = seeing.get(f"{slide['iiif']}/info.json").json()
    assert (info["profile"], info["id"]) == ("level1", f"http://127.0.0.1:8000{slide['iiif']}")


def test_a_missing_resolution_is_a_warning_at_its_field(seeing: TestClient, folder: Path) -> None:
    """An order would be accepted and then fail; with `mpp` it says whose word counts."""
    planned = _planned(seeing, _scan(folder, "no-mpp.svs"))
    assert (planned["mpp"], planned["mpp_source"], planned["tiles"]) == (None, "none", None)
    (warning,) = planned["warnings"]
    assert (warning["code"], warning["field"]) == ("mpp_missing", "scans[0].mpp")
    stated = _planned(seeing, _scan(folder, "no-mpp.svs", mpp=0.25))
    assert (stated["mpp"], stated["mpp_source"], stated["tiles"]) == (0.25, "order", 3 * 2)
    assert [one["code"] for one in stated["warnings"]] == ["mpp_not_from_slide"]


def test_a_slide_that_is_not_here_was_not_looked_at(seeing: TestClient) -> None:
    """Nulls and a warning that says how to look at it."""
    planned = _planned(seeing, {"id": "1", "source": {"type": "url", "url": URL}})
    assert [planned[name] for name in ("width", "mpp", "tiles", "expected_s")] == [None] * 4
    (warning,) = planned["warnings"]
    assert (warning["code"], warning["field"]) == ("not_looked_at", "scans[0].source")
    assert "POST /v1/slides" in warning["detail"]


@pytest.mark.parametrize(
    ("scan", "algorithm", "refusal"),
    [
        pytest.param(
            {"roi": {"x": 900, "y": 0, "width": 5, "height": 5}},
            "tiled", (422, "roi_outside_slide", "scans[0].roi"), id="beside-the-slide",
        ),
        pytest.param(
            {"roi": {"x": -9, "y": 0, "width": 5, "height": 5}},
            "tiled", (422, "roi_outside_slide", "scans[0].roi"), id="beside-every-slide",
        ),
        pytest.param(
            {"name": "notes.svs"},
            "tiled", (422, "not_a_slide", "scans[0].source.path"), id="no-slide",
        ),
        pytest.param(
            {"name": "absent.svs"},
            "tiled", (404, "input_not_found", "scans[0].source.path"), id="no-file",
        ),
        pytest.param(
            {"name": "../../etc/passwd"},
            "tiled", (422, "path_not_allowed", "scans[0].source.path"), id="elsewhere",
        ),
        pytest.param(
            {}, "coarse", (422, "mpp_unfit", "scans[0].source.path"), id="too-coarse"
        ),
        pytest.param({}, "absent", (422, "algorithm_unknown", "algorithm"), id="no-algorithm"),
    ],
)  # fmt: skip
def test_what_an_order_would_be_refused_for_is_refused(
    seeing: TestClient,
    folder: Path,
    scan: dict[str, Any],
    algorithm: str,
    refusal: tuple[int, str, str],
) -> None:
    """With code and field, also for what only the slide shows."""
    body = {"algorithm": algorithm, "scans": [_scan(folder, **scan)]}
    answer = seeing.post(VALIDATE, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == refusal


def test_the_expected_time_is_that_of_the_last_scans(
    seeing: TestClient, folder: Path, store: OrderStore
) -> None:
    """Seconds at the measured speed; none is invented where nothing was classified."""
    request = OrderRequest.model_validate({"algorithm": "tiled", "scans": (_scan(folder),)})
    timings = [{"tiles": 40, "tiles_resumed": 0, "classify_s": 8.0}]
    timings += [{"tiles": 100, "tiles_resumed": 90, "classify_s": 2.0}]
    for one in timings:
        work = f"{store.create(request, queue='gpu').order_id}.0"
        fetch = store.claim(work, "fetch", "w")
        assert fetch
        store.finish(fetch, "staged")
        classify = store.claim(work, "classify", "w")
        assert classify
        store.finish(classify, "classified", {"timings": one, "result": "results/1"})
    assert _planned(seeing, _scan(folder))["expected_s"] == 20 / (50 / 10)
    assert _planned(seeing, _scan(folder), "whole")["expected_s"] is None


def test_a_stain_that_does_not_fit_is_a_warning_where_the_order_wants_one(
    seeing: TestClient, folder: Path, store: OrderStore
) -> None:
    """Refused like the order with `fail`, said with `warn`."""
    schema = {"properties": {"on_stain_mismatch": {"default": "fail"}}}
    store.announce([TILED.model_copy(update={"stains": ("H-DAB",), "parameters": schema})])
    body: dict[str, Any] = {"algorithm": "tiled", "scans": [_scan(folder, stain="H&E")]}
    assert seeing.post(VALIDATE, json=body).json()["code"] == "stain_unexpected"
    body["parameters"] = {"on_stain_mismatch": "warn"}
    (planned,) = seeing.post(VALIDATE, json=body).json()["scans"]
    assert [one["code"] for one in planned["warnings"]] == ["stain_unexpected"]


def test_without_the_viewer_nothing_is_invented(api: TestClient, announced: OrderStore) -> None:
    """The order could be placed, so that it is not refused: nulls, and why."""
    scan = {"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}
    (warning,) = _planned(api, scan, "ki67")["warnings"]
    assert warning["code"] == "not_looked_at"
    assert "viewer" in warning["detail"]


def test_a_viewer_that_hangs_is_waited_for_briefly(
    api: TestClient, announced: OrderStore, broker_settings: BrokerSettings
) -> None:
    """5 s for all slides together, and then as without it: a thread of all orders waits."""
    path = viewer_socket(broker_settings.data)
    path.parent.mkdir(parents=True, exist_ok=True)
    scans = [
        {"id": str(number), "source": {"type": "path", "path": f"/slides/{number}.svs"}}
        for number in range(10)
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.monotonic()
        answer = api.post(VALIDATE, json={"algorithm": "ki67", "scans": scans})
        spent_s = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    assert PLANS_S <= spent_s < ANSWER_S
    for planned in answer.json()["scans"]:
        (warning,) = planned["warnings"]
        assert warning["code"] == "not_looked_at"
        assert "within 5 s" in warning["detail"]


def test_few_threads_wait_for_the_viewer(broker_settings: BrokerSettings) -> None:
    """One more is not looked at, at once; when another has left it is."""
    client = ViewerClient(broker_settings)
    planner = Planner(client, TILED, None)
    scan = ScanRequest.model_validate({"id": "1", "source": {"type": "url", "url": URL}})

    def plan() -> str:
        (answer,) = asyncio.run(planner.plans([scan], [None]))
        return str(answer)

    with ExitStack() as waiting:
        for _ in range(MOST_WAITING_THREADS):
            waiting.enter_context(client.waiting_thread())
        assert "orders wait for the viewer" in plan()
    assert "POST /v1/slides" in plan()


def test_a_list_of_orders_is_not_looked_at(api: TestClient) -> None:
    """Refused, and none of them is placed."""
    scan = {"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}
    answer = api.post(VALIDATE, json=[{"algorithm": "ki67", "scans": [scan]}])
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert api.get("/v1/orders").json()["orders"] == []


@pytest.mark.parametrize("query", ["validate_only=maybe", "validate_only=true&validate_only=true"])
def test_a_wrong_parameter_is_refused(api: TestClient, query: str) -> None:
    """It must not place an order that was meant to be looked at."""
    scan = {"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}
    answer = api.post(f"/v1/orders?{query}", json={"algorithm": "ki67", "scans": [scan]})
    assert (answer.status_code, answer.json()["field"]) == (422, "validate_only")
