"""A slide that a caller sends in, through real processes."""

import os
import socket
from pathlib import Path

import httpx2

from tests.support.stack import Stack, wait_for
from tests.support.tus import OCTETS, TusCaller, id_of


def test_an_uploaded_slide_is_ordered_twice_and_outlives_its_upload(
    stack: Stack, slide: Path
) -> None:
    """Sent in two pieces, ordered, its results are there; the second order finds it cached."""
    content = slide.read_bytes()
    half = len(content) // 2
    with httpx2.Client(base_url=stack.url, timeout=60) as http:
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


def test_a_killed_api_loses_nothing_that_it_acknowledged(stack: Stack) -> None:
    """Killed in the middle of a PATCH: what was answered is there, and the rest follows it."""
    content = os.urandom(6_000_000)
    first = 2_500_000
    with httpx2.Client(base_url=stack.url, timeout=60) as http:
        tus = TusCaller(http)
        address = tus.create(len(content)).headers["location"]
        assert tus.patch(address, 0, content[:first]).status_code == 204
        head = (
            f"PATCH {address} HTTP/1.1\r\nHost: 127.0.0.1:{stack.port}\r\n"
            f"Tus-Resumable: 1.0.0\r\nUpload-Offset: {first}\r\nContent-Type: {OCTETS}\r\n"
            f"Content-Length: {len(content) - first}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", stack.port), timeout=60) as wire:
            wire.sendall(head.encode() + content[first : first + 2_000_000])
            wait_for(lambda: tus.offset(address) > first, what="the first piece")
            stack.kill("api")
    stack.start("api")
    stack.wait_ready()
    with httpx2.Client(base_url=stack.url, timeout=60) as http:
        tus = TusCaller(http)
        offset = tus.offset(address)
        assert first < offset <= first + 2_000_000
        assert tus.patch(address, offset, content[offset:]).status_code == 204
    (sent,) = (stack.data / "uploads" / id_of(address).partition("-")[0] / "files").iterdir()
    assert sent.read_bytes() == content
