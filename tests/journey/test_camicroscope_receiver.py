"""The caMicroscope stand-in takes no mark that the viewer could not draw, and stores as MongoDB does."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import requests

from demo.camicroscope import CHUNK_BYTES, CaMicroscopeReceiver

RING = [[0.5, 0.4], [0.51, 0.4], [0.51, 0.42], [0.5, 0.4]]


@pytest.fixture
def site() -> Iterator[CaMicroscopeReceiver]:
    with CaMicroscopeReceiver() as receiver:
        yield receiver


def mark(number: int = 0, **changed: Any) -> dict[str, Any]:
    style = {"color": "#ff0000", "isFill": False}
    polygon = {"type": "Polygon", "coordinates": [RING]}
    feature = {"properties": {"style": style}, "geometry": polygon, "bound": polygon}
    analysis = {"source": "computer", "execution_id": "run", "computation": "segmentation"}
    whole = {
        "provenance": {"image": {"slide": "s1"}, "analysis": analysis},
        "geometries": {"type": "FeatureCollection", "features": [feature]},
        "footprint": 90.5,
        "x": 0.505,
        "y": 0.41,
        "bbox": [0.5, 0.4, 0.51, 0.42],
        "slidelane": {"number": number, "part": "o.0"},
    }
    return deepcopy(whole | changed)


def post(site: CaMicroscopeReceiver, body: Any) -> requests.Response:
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {site.token}"}
    return requests.post(f"{site.url}/data/Mark/post", body, headers=headers, timeout=10)


def found(site: CaMicroscopeReceiver, **query: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {site.token}"}
    answer = requests.get(f"{site.url}/data/Mark/find", params=query, headers=headers, timeout=10)
    return list(answer.json())


def test_an_array_is_inserted_and_counted(site: CaMicroscopeReceiver) -> None:
    """The answer is that of `insertMany`; equality is of texts only."""
    answer = post(site, [mark(0), mark(1)])
    assert (answer.status_code, answer.json()["insertedCount"]) == (200, 2)
    assert len(found(site, **{"provenance.image.slide": "s1"})) == 2
    assert found(site, **{"provenance.image.slide": "s2"}) == []
    assert found(site, footprint="90.5") == []


def without_style(one: dict[str, Any]) -> None:
    del one["geometries"]["features"][0]["properties"]["style"]


def with_open_ring(one: dict[str, Any]) -> None:
    one["geometries"]["features"][0]["geometry"]["coordinates"][0].pop()


def with_text(one: dict[str, Any]) -> None:
    one["x"] = "0.505"


def in_pixels(one: dict[str, Any]) -> None:
    one["geometries"]["features"][0]["geometry"]["coordinates"][0][1] = [510, 400]


def without_slide(one: dict[str, Any]) -> None:
    del one["provenance"]["image"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_style, "style"),
        (with_open_ring, "closed"),
        (with_text, "x must be a number"),
        (in_pixels, "no share"),
        (without_slide, "image.slide"),
    ],
    ids=["style", "ring", "text", "pixels", "slide"],
)
def test_a_mark_that_cannot_be_drawn_stops_the_rest(
    site: CaMicroscopeReceiver, spoil: Any, words: str
) -> None:
    """Those before it are stored, as an ordered insert does."""
    bad = mark(1)
    spoil(bad)
    answer = post(site, [mark(0), bad, mark(2)])
    assert answer.status_code == 500
    assert words in answer.json()["error"]
    assert len(site.documents["Mark"]) == 1


def test_a_character_on_the_border_of_two_chunks_breaks(site: CaMicroscopeReceiver) -> None:
    """And `<` and `>` are removed, or refused."""
    text = json.dumps(mark(creator="<b>"))
    padded = text[:-1] + ',"note":"'
    padded += " " * (CHUNK_BYTES - len(padded) - 1) + '\u00b5"}'
    assert post(site, padded.encode()).status_code == 200
    (stored,) = site.documents["Mark"]
    assert "\ufffd" in stored["note"]
    assert stored["creator"] == "b"
    site.refuses_angles = True
    assert post(site, [mark(creator="<b>")]).status_code == 400
