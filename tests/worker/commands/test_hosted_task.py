"""The variables of a hosted scan: Techcyte's, ours, and what is wrong with them."""

from typing import Any

import pytest

from broker.errors import OrderError
from worker.commands.hosted_task import DEV_SCAN_ID, HostedTask, forget_secrets

IMAGE = "/input/image.svs"
GIVEN = {
    "SCAN_URL": "https://bucket.example/slide.svs?X-Amz-Signature=5160ed",
    "HOST": "ci.techcyte.com",
    "TASK_ID": "dGFzazoxODU3MTQ=",
    "SCAN_ID": "8946136",
    "JWT_TOKEN": "eyJ0b28.b2xk.eA",
    "PATH": "/bin",
}


def task(**changed: str) -> HostedTask:
    """Return the task of the usual variables; an empty one counts as absent."""
    return HostedTask.of(GIVEN | changed, IMAGE)


def test_techcytes_variables_are_a_scan_and_its_task() -> None:
    """As they are set for every image; nothing of ours is needed."""
    hosted = task()
    assert (hosted.algorithm, hosted.parameters, hosted.scan.id) == ("", {}, "8946136")
    assert hosted.destination is not None
    assert (hosted.destination.host, hosted.destination.task_id) == (
        "ci.techcyte.com",
        "dGFzazoxODU3MTQ=",
    )
    assert [name for name, _ in hosted.scan.source.addresses] == ["url"]  # type: ignore[union-attr]
    assert "eyJ0" not in repr(hosted)
    assert "5160ed" not in repr(hosted)


def test_a_dicom_slide_comes_as_a_zip() -> None:
    """Only the zip has all of its files."""
    source: Any = task(SCAN_URL_ZIP="https://bucket.example/series.zip?X=1").scan.source
    assert [name for name, _ in source.addresses] == ["zip_url"]


def test_our_variables_say_what_is_run() -> None:
    """Parameters together or one by one, a region in either form, and what follows."""
    hosted = task(
        ALGORITHM="/models/tumor",
        PARAMETERS='{"positive_threshold": 0.2, "smooth": true}',
        PARAMETER_POSITIVE_THRESHOLD="0.3",
        PARAMETER_NOTE="as text",
        ROI="10, 20,300,400",
        MPP="0.25",
        STAIN="Ki67",
        TRIAGE='{"score": "labelling_index_pct"}',
        CASE_RESULTS="true",
        DEBUG_FILE_UPLOAD_URL="https://bucket.example/debug.zip?X=1",
    )
    assert hosted.algorithm == "/models/tumor"
    assert hosted.parameters == {"positive_threshold": 0.3, "smooth": True, "note": "as text"}
    assert hosted.scan.model_dump(exclude={"id", "source"}) == {
        "roi": {"x": 10, "y": 20, "width": 300, "height": 400},
        "mpp": 0.25,
        "stain": "Ki67",
    }
    assert hosted.destination is not None
    assert hosted.destination.triage is not None
    assert hosted.destination.case_results is True
    assert task(ROI="square").scan.roi == "square"
    assert task(ROI='{"pct": [0, 0, 50, 50]}').scan.roi is not None


def test_a_host_with_a_scheme_is_the_whole_address() -> None:
    """For tests against a stand-in."""
    destination = task(HOST="http://127.0.0.1:8082/").destination
    assert destination is not None
    assert destination.base_url is not None
    assert destination.base_url.get_secret_value() == "http://127.0.0.1:8082"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"SCAN_URL": ""}, "SCAN_URL"),
        ({"HOST": "", "TASK_ID": " "}, "HOST, TASK_ID"),
        ({"SCAN_ID": ""}, "SCAN_ID"),
        ({"JWT_TOKEN": ""}, "JWT_TOKEN (or API_KEY_ID and API_KEY_SECRET)"),
        ({"JWT_TOKEN": "", "API_KEY_ID": "me"}, "JWT_TOKEN (or API_KEY_ID and API_KEY_SECRET)"),
    ],
    ids=["slide", "task", "scan", "token", "half a key"],
)
def test_a_missing_variable_is_named(changed: dict[str, str], named: str) -> None:
    """Before anything is fetched."""
    with pytest.raises(OrderError) as caught:
        task(**changed)
    assert caught.value.detail == f"variables are missing: {named}"
    assert caught.value.code == "request_invalid"


@pytest.mark.parametrize(
    "changed",
    [
        {"SCAN_URL": "ftp://bucket.example/s3cr3t"},
        {"HOST": "a b s3cr3t"},
        {"DEBUG_FILE_UPLOAD_URL": "s3cr3t"},
        {"PARAMETERS": "[1]"},
        {"ROI": "everything"},
        {"MPP": "-1"},
        {"TRIAGE": "{}"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_wrong_variable_is_refused_and_not_repeated(changed: dict[str, str]) -> None:
    """A value may be a secret."""
    with pytest.raises(OrderError) as caught:
        task(**changed)
    assert caught.value.code == "request_invalid"
    assert "s3cr3t" not in caught.value.detail


def test_dev_needs_nothing_and_sends_nothing() -> None:
    """As the first images for Techcyte had it."""
    hosted = HostedTask.of({"DEV": "1", "JWT_TOKEN": "x"}, IMAGE)
    assert (hosted.destination, hosted.scan.id) == (None, DEV_SCAN_ID)
    assert hosted.scan.source.path == IMAGE  # type: ignore[union-attr]


def test_the_same_work_has_the_same_id() -> None:
    """Signatures and tokens change with each start; another scan or algorithm is other work."""
    first = task().order_id("digest")
    again = task(
        SCAN_URL="https://bucket.example/slide.svs?X=2", JWT_TOKEN="other", TASK_ID="185714"
    )
    assert again.order_id("digest") == first
    assert task(SCAN_ID="2").order_id("digest") != first
    assert task(PARAMETER_A="1").order_id("digest") != first
    assert task(ROI="square").order_id("digest") != first
    assert task().order_id("other") != first


def test_code_of_the_site_inherits_no_secret() -> None:
    """What is secret leaves the environment; the rest stays."""
    environment = GIVEN | {"API_KEY_SECRET": "x", "DEBUG_FILE_UPLOAD_URL": "y"}
    forget_secrets(environment)
    assert sorted(environment) == ["HOST", "PATH", "SCAN_ID", "TASK_ID"]
