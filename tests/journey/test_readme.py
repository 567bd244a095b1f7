"""The README's order, sent as it is printed; only the places it names are exchanged for ones that are here."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from demo.bucket import FileBucket
from demo.techcyte import TechcyteReceiver
from tests.support.pages import readme_order
from tests.support.stack import Stack

EDGE_PX = 512


def a_large_slide(path: Path, roi: dict[str, int]) -> None:
    """As large as the region needs; every tile holds the same few nuclei on glass, so that it is written at once."""
    columns, rows = (
        -(-(roi["x"] + roi["width"]) // EDGE_PX),
        -(-(roi["y"] + roi["height"]) // EDGE_PX),
    )
    tile = np.full((EDGE_PX, EDGE_PX, 3), 240, np.uint8)
    for x, y in ((100, 100), (250, 180), (400, 400)):
        cv2.circle(tile, (x, y), 8, (120, 70, 40), -1)
    encoded = cv2.imencode(".jpg", tile[..., ::-1])[1].tobytes()
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(
            (encoded for _ in range(rows * columns)), shape=(rows * EDGE_PX, columns * EDGE_PX, 3), dtype="uint8",
            tile=(EDGE_PX, EDGE_PX), photometric="ycbcr", subsampling=(2, 2), compression="jpeg", metadata=None,
            resolution=(20000, 20000), resolutionunit="CENTIMETER",
        )  # fmt: skip


@pytest.fixture
def large_bucket(tmp_path: Path) -> Iterator[FileBucket]:
    a_large_slide(tmp_path / "slide.tif", json.loads(readme_order())["scans"][0]["roi"])
    with FileBucket(tmp_path / "slide.tif") as bucket:
        yield bucket


def test_the_order_of_the_readme_is_delivered(stack: Stack, large_bucket: FileBucket) -> None:
    """Its region, ids, task and token reach the receiver as printed, once."""
    order = json.loads(readme_order())
    with TechcyteReceiver(any_task=True, jwt_token=order["destination"]["jwt_token"]) as receiver:
        order["scans"][0]["source"]["url"] = large_bucket.signed_url
        del order["destination"]["host"]
        order["destination"]["base_url"] = receiver.url
        ended = stack.wait_until(stack.order(**order), "delivered", "failed", "undelivered")
        assert ended["state"] == "delivered", ended
        assert ended["scans"][0]["summary"]["nuclei"] > 0
        (entry,) = receiver.ledger
    assert (entry.note["task"], entry.note["scans"]) == ("185714", [order["scans"][0]["id"]])
