"""A slide that a caller sends in, through real processes."""

from pathlib import Path

import httpx

from tests.support.stack import Stack
from tests.support.tus import TusCaller, id_of


def test_an_uploaded_slide_is_ordered_twice_and_outlives_its_upload(
    stack: Stack, slide: Path
) -> None:
    """Sent in two pieces, ordered, its results are there; the second order finds it cached."""
    content = slide.read_bytes()
    half = len(content) // 2
    with httpx.Client(base_url=stack.url, timeout=60) as http:
        tus = TusCaller(http)
        address = tus.create(len(content), "S26-1234.svs").headers["location"]
        assert tus.patch(address, 0, content[:half]).status_code == 204
        scans = [{"id": "1", "source": {"type": "upload", "upload": id_of(address)}}]
        status, problem = stack.call("POST", "/v1/orders", {"algorithm": "ki67", "scans": scans})
        assert (status, problem["code"]) == (409, "upload_incomplete")
        assert problem["field"] == "scans[0].source.upload"
        assert tus.patch(address, half, content[half:]).status_code == 204
        orders = [stack.order(algorithm="ki67", scans=scans) for _ in range(2)]
        for order_id in orders:
            order = stack.wait_until(order_id, "delivered", "failed")
            assert order["state"] == "delivered", order
            assert order["scans"][0]["source"] == scans[0]["source"]
        assert tus.delete(address).status_code == 204
        status, problem = stack.call("POST", "/v1/orders", {"algorithm": "ki67", "scans": scans})
        assert (status, problem["code"]) == (404, "upload_not_found")
