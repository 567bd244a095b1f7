"""The order that is made of a job: slide, region, destination and what comes from the settings."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from broker.order_store import OrderStore
from broker.orders.roi import as_json
from broker.settings.services.destinations import fields_of_type
from broker.settings.services.kue import KueSettings
from services.kue.job_order import order_document
from services.kue.sent_job import job_of
from tests.services.kue.conftest import LOADER, Job, sent, shown


def ordered(job: Any, **kind: Any) -> dict[str, Any]:
    """Return the order of a job of the type `analysisJob`."""
    settings = KueSettings.model_validate({"types": {"analysisJob": {"algorithm": "ki67"} | kind}})
    loader = {name: SecretStr(value) for name, value in LOADER.items()}
    return order_document(7, job_of(job, is_told=False), settings, {"loader": loader})


def test_an_order_of_the_viewer(viewer_job: Job) -> None:
    """The case by the locator, the region in level-0 pixels, the run under the viewer's name."""
    order = ordered(
        viewer_job(), parameters={"positive_threshold": 0.3}, destination="loader", mpp=0.25
    )
    assert order | {"destination": None} == {
        "algorithm": "ki67",
        "parameters": {"positive_threshold": 0.3},
        "scans": [
            {
                "id": "CMU1",
                "source": {"type": "case", "case_id": "CMU1"},
                "roi": {"x": 23198, "y": 15209, "width": 207, "height": 141},
                "mpp": 0.25,
            }
        ],
        "destination": None,
        "priority": "normal",
        "labels": {"kue": "7", "case": "CMU1", "execution": "seg:r1:w0.8:l3:u10:k20:j0"},
    }


@pytest.mark.parametrize(
    ("roi", "region"),
    [
        ({"x": "1", "y": "2", "w": "30", "h": "40"}, {"x": 1, "y": 2, "width": 30, "height": 40}),
        ({"x": 1, "y": 2.0, "w": " 30 ", "h": "40.0"}, {"x": 1, "y": 2, "width": 30, "height": 40}),
        (
            {"x": -5, "y": "-6", "width": "30", "height": 40},
            {"x": -5, "y": -6, "width": 30, "height": 40},
        ),
        ({"full": "true", "x": "1"}, "full"),
        ({"full": True}, "full"),
        ({"square": "true", "full": "false"}, "square"),
        (
            {"pct": "true", "x": "10", "y": "20.5", "w": "30", "h": "40"},
            {"pct": [10.0, 20.5, 30.0, 40.0]},
        ),
        ({"pct": True, "x": 0, "y": 0, "w": 100, "h": 50}, {"pct": [0.0, 0.0, 100.0, 50.0]}),
    ],
)
def test_regions(
    door: TestClient, store: OrderStore, viewer_job: Job, roi: dict[str, Any], region: Any
) -> None:
    """In each form that the viewer has, with numbers as texts; the order takes them all."""
    number = sent(door, viewer_job({"roi": roi}))
    (order,) = store.find(labels={"kue": str(number)}).orders
    assert as_json(order.request.scans[0].roi) == region


def test_without_a_region_it_is_the_whole_slide(viewer_job: Job) -> None:
    """An empty one does not come through a form of PHP at all."""
    job = viewer_job()
    del job["data"]["order"]["roi"]
    assert "roi" not in ordered(job)["scans"][0]
    assert "roi" not in ordered(viewer_job({"roi": []}))["scans"][0]


@pytest.mark.parametrize(
    ("roi", "field"),
    [
        ({"x": "a", "y": "2", "w": "3", "h": "4"}, "data.order.roi.x"),
        ({"x": "1", "y": "2.5", "w": "3", "h": "4"}, "data.order.roi.y"),
        ({"x": "1", "y": "2", "h": "4"}, "data.order.roi.w"),
        ({"x": "1", "y": "2", "w": "3", "h": None}, "data.order.roi.h"),
        ({"x": "1", "y": "2", "w": "0", "h": "4"}, "scans[0].roi.width"),
        ({"x": "1", "y": "2", "w": "9" * 15, "h": "4"}, "scans[0].roi.width"),
        ({"pct": "true", "x": "nan", "y": "2", "w": "3", "h": "4"}, "data.order.roi.x"),
        ({"pct": "true", "x": "1", "y": "2", "w": "300", "h": "4"}, "scans[0].roi.pct"),
        ({"x": True, "y": "2", "w": "3", "h": "4"}, "data.order.roi.x"),
    ],
)
def test_impossible_regions_fail_the_job(
    door: TestClient, viewer_job: Job, roi: dict[str, Any], field: str
) -> None:
    """With an error that names the field."""
    job = shown(door, sent(door, viewer_job({"roi": roi})))
    assert job["state"] == "failed"
    assert field in job["error"]


@pytest.mark.parametrize(
    ("given", "site", "mpp"),
    [
        ("0.5", 0.25, 0.5),
        (0.5, None, 0.5),
        (None, 0.25, 0.25),
        ("", None, None),
        ("0", None, None),
        ("N", 0.25, 0.25),
        ("inf", None, None),
    ],
)
def test_microns_per_pixel(viewer_job: Job, given: Any, site: float | None, mpp: Any) -> None:
    """Those of the job (`pm`), else those of the settings; used where the slide has none."""
    assert ordered(viewer_job({"pm": given}), mpp=site)["scans"][0].get("mpp") == mpp


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("loader", {"name": "loader", "case_id": "CMU1"}),
        ({"name": "loader", "case_id": "fixed"}, {"name": "loader", "case_id": "fixed"}),
        (dict(LOADER), LOADER | {"case_id": "CMU1"}),
        ("none", {"type": "none"}),
        ({"type": "none"}, {"type": "none"}),
    ],
)
def test_destinations_get_what_they_lack(viewer_job: Job, setting: Any, expected: Any) -> None:
    """Case, subject and run, where a destination of the type takes them and the settings do not
    say them."""
    destination = ordered(viewer_job(), destination=setting)["destination"]
    added = {"subject_id": "CMU1", "execution_id": "seg:r1:w0.8:l3:u10:k20:j0"}
    if expected != {"type": "none"}:
        takes = fields_of_type("annotation")
        expected = expected | {name: value for name, value in added.items() if name in takes}
    assert destination == expected


def test_other_data_make_no_order(viewer_job: Job) -> None:
    """A case that is a number is its text; a name that no scan can have is given another."""
    order = ordered(viewer_job({"image": {"case_id": 17}}))
    assert order["scans"][0]["id"] == "17"
    spaced = ordered(viewer_job({"image": {"case_id": "CMU 1 (a)"}}))
    assert spaced["scans"][0]["id"] == "1"
    assert spaced["scans"][0]["source"]["case_id"] == "CMU 1 (a)"


def test_the_run_may_stand_in_the_order(viewer_job: Job) -> None:
    """As in `execution`; one that is too long for a label is none."""
    job = viewer_job({"execution": {"execution_id": "run-2"}})
    del job["data"]["execution_id"]
    assert ordered(job)["labels"]["execution"] == "run-2"
    job["data"]["execution_id"] = "r" * 300
    assert "execution" not in ordered(job)["labels"]
