"""Picking up results that lie in a bucket, whole and in part."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import Config, load
from services.app import create_app
from tests.support.s3 import BUCKET, S3Server, by_environment

WHOLE = bytes(range(256)) * 40_000


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with by_environment() as server:
        yield server


@pytest.fixture
def away(config: Config, server: S3Server) -> Config:
    """Settings that name a bucket."""
    return load(
        **config.model_dump()
        | {"broker": config.broker.model_dump() | {"storage": f"s3://{BUCKET}"}}
    )


@pytest.fixture
def bucket_api(away: Config, announced: OrderStore) -> TestClient:
    return TestClient(
        create_app(away, announced), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    )


@pytest.fixture
def overlay(away: Config, announced: OrderStore) -> str:
    """The address of a picture that a worker put there."""
    scans = [{"id": "a", "source": {"type": "path", "path": "/slides/a.svs"}}]
    request = OrderRequest.model_validate({"algorithm": "ki67", "scans": scans}, strict=False)
    order_id = announced.create(request, queue="gpu").order_id
    key, kept = f"results/{order_id}/0.2", open_storage(away.broker)
    (kept.folder / key).mkdir(parents=True)
    (kept.folder / key / "overlay.png").write_bytes(WHOLE)
    kept.share(key, lambda _done, _total: None)
    steps: list[tuple[Any, str, dict[str, Any]]] = [
        ("fetch", "staged", {}),
        ("classify", "classified", {"result": key}),
    ]
    for stage, to, fields in steps:
        claim = announced.claim(f"{order_id}.0", stage, "w1")
        assert claim
        announced.finish(claim, to, fields)
    return f"/v1/orders/{order_id}/scans/a/overlay.png"


def test_a_result_in_a_bucket_is_served_byte_for_byte(bucket_api: TestClient, overlay: str) -> None:
    """With its length, its media type, and a tag for the next time."""
    answer = bucket_api.get(overlay)
    assert (answer.status_code, answer.content == WHOLE) == (200, True)
    assert answer.headers["content-length"] == str(len(WHOLE))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    ("range_header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=4194300-4194310", 4_194_300, 4_194_311),
        ("bytes=10239990-", 10_239_990, len(WHOLE)),
        ("bytes=-7", len(WHOLE) - 7, len(WHOLE)),
        ("bytes=-99999999", 0, len(WHOLE)),
        ("bytes=10-99999999", 10, len(WHOLE)),
    ],
)
def test_a_range_is_served_as_it_was_asked_for(
    bucket_api: TestClient, overlay: str, range_header: str, start: int, end: int
) -> None:
    """First byte, across the seam of two pieces, an open end, the last bytes, and more than there
    is."""
    answer = bucket_api.get(overlay, headers={"Range": range_header})
    assert (answer.status_code, answer.content == WHOLE[start:end]) == (206, True)
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(WHOLE)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("range_header", ["bytes=10240000-", "bytes=10240000-10240001", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(
    bucket_api: TestClient, overlay: str, range_header: str
) -> None:
    """416, so that a caller who goes on with a download sees that it is done."""
    answer = bucket_api.get(overlay, headers={"Range": range_header})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(WHOLE)}")


@pytest.mark.parametrize(
    "range_header", ["bytes=5-2", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=²-"]
)
def test_what_is_no_single_range_gets_the_whole(
    bucket_api: TestClient, overlay: str, range_header: str
) -> None:
    """As RFC 9110 allows; nothing of it is an error."""
    answer = bucket_api.get(overlay, headers={"Range": range_header.encode()})
    assert (answer.status_code, len(answer.content)) == (200, len(WHOLE))


def test_a_download_goes_on_only_with_the_same_content(
    bucket_api: TestClient, overlay: str
) -> None:
    """`If-Range` with the tag gets the part, with any other the whole."""
    tag = bucket_api.get(overlay).headers["etag"]
    for given, status in ((tag, 206), ('"another"', 200)):
        assert (
            bucket_api.get(overlay, headers={"Range": "bytes=1-", "If-Range": given}).status_code
            == status
        )


def test_a_result_that_the_bucket_lost_is_a_404_and_a_bucket_that_is_lost_a_503(
    bucket_api: TestClient,
    overlay: str,
    away: Config,
    announced: OrderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One is no longer kept; the other may come back, and is no `no`."""
    answer = bucket_api.get(overlay.replace("overlay.png", "results.json"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    lost = TestClient(
        create_app(away, announced), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    )
    answer = lost.get(overlay)
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unreachable")
    assert int(answer.headers["retry-after"]) > 0
