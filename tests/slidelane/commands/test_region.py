"""Regions as people write them on a command line."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from broker.orders.roi import as_json
from slidelane.commands.region import region

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 0]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,30,40", {"x": 1, "y": 2, "width": 30, "height": 40}),
        ("-5,0,30,40", {"x": -5, "y": 0, "width": 30, "height": 40}),
        ("pct:1,2.5,30,40", {"pct": [1, 2.5, 30, 40]}),
        ("full", "full"),
        ("square", "square"),
        ("0,0 10,0 10,10", {"polygon": [[0, 0], [10, 0], [10, 10]]}),
        ("0,0;10,0;10.5,10", {"polygon": [[0, 0], [10, 0], [10.5, 10]]}),
        (json.dumps(POLYGON), {"geojson": POLYGON}),
        ('{"pct": [0, 0, 50, 50]}', {"pct": [0, 0, 50, 50]}),
    ],
)
def test_a_region_is_what_an_order_has(text: str, expected: Any) -> None:
    """Each form of an order's region, and the short form of people."""
    assert as_json(region(text)) == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    "document",
    [
        POLYGON,
        {"type": "Feature", "properties": {"name": "a"}, "geometry": POLYGON},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": POLYGON}]},
    ],
)
def test_a_geojson_file_is_a_region(tmp_path: Path, document: dict[str, Any]) -> None:
    """As QuPath writes it: a geometry, a feature, or a collection of one."""
    file = tmp_path / "roi.geojson"
    file.write_text(json.dumps(document))
    assert as_json(region(str(file))) == {"geojson": POLYGON}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,2,3", "there is no such file"),
        ("1,2,0,40", "greater than or equal to 1"),
        ("1.5,2,30,40", "whole numbers"),
        ("0,0 1,1 2,2", "its points lie on one line"),
        ('{"type": "Point", "coordinates": [1, 2]}', "no Polygon or MultiPolygon"),
        ('{"type": "FeatureCollection", "features": []}', "one Feature"),
        ("{", "Expecting property name"),
        ("[" * 100, "there is no such file"),
        ("", "there is no such file"),
        ("\x1b[31m", "there is no such file"),
    ],
)
def test_what_is_no_region_is_said(text: str, why: str) -> None:
    """With the reason; no character reaches the terminal as it is."""
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        region(text)
    assert why in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("content", [b"\x00" * 100, b"[" * 200_000, b"null", b'{"type": 7}'])
def test_a_hostile_file_is_no_region(tmp_path: Path, content: bytes) -> None:
    """No file ends the command with a traceback."""
    file = tmp_path / "roi.geojson"
    file.write_bytes(content)
    with pytest.raises(argparse.ArgumentTypeError):
        region(str(file))


def test_a_file_without_end_is_not_read() -> None:
    """A device is no file, and a file larger than any region is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        region("/dev/zero")
