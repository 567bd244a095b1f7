"""What caMicroscope 3 is sent: marks or a heat map, in parts, as its viewer and server read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import OrderError
from broker.orders.algorithm_card import ClassCard
from demo.camicroscope_rules import check_document
from tests.support.destinations import a_destination
from tests.support.results import AREA, FRAME, a_card, a_result, around, nuclei, objects
from worker.delivery.destinations.camicroscope import heat_map, marks, parts
from worker.delivery.payload import Payload
from worker.geometry.frame import Frame
from worker.results.objects import Objects
from worker.results.result import Result

SLIDE = "5f9ad1c8f4a3b2001d2c1e77"


def payload_of(tmp_path: Path, *results: Result, **fields: Any) -> Payload:
    given = {"type": "camicroscope", "url": "https://viewer.example/", "slide": SLIDE} | fields
    return a_destination(**given).build_payload(results, tmp_path / "payload")


def documents(payload: Payload) -> list[dict[str, Any]]:
    return [one for part in parts.read(payload.path) for one in part.documents]


def tiles(columns: int, rows: int, size_px: int = 50) -> Objects:
    """Square tiles with two probabilities each."""
    corners = [
        (AREA.x + size_px * x, AREA.y + size_px * y) for y in range(rows) for x in range(columns)
    ]
    square = np.array([(0, 0), (size_px, 0), (size_px, size_px), (0, size_px)], np.float64)
    outlines = tuple(square + corner for corner in corners)
    second = np.linspace(0, 1, len(corners))
    return Objects(
        np.array(corners) + size_px / 2,
        outlines,
        (second > 0.5).astype(np.int64),
        np.maximum(second, 1 - second),
        probabilities=np.stack([1 - second, second], axis=1),
    )


def tile_result(found: Objects, **changed: Any) -> Result:
    return a_result(found, card=a_card("tiles"), **changed)


def test_every_mark_is_one_that_the_viewer_draws(tmp_path: Path) -> None:
    """One for each nucleus: with style, closed, and found by its centre and size."""
    found = documents(payload_of(tmp_path, a_result(), a_result(scan_id="2")))
    assert len(found) == 18
    for mark in found:
        check_document("Mark", mark)
        assert mark["provenance"]["image"]["slide"] == SLIDE
        assert mark["provenance"]["analysis"]["execution_id"] == "slidelane:ord-1"
    assert len({json.dumps(mark["provenance"]["analysis"]) for mark in found}) == 1


def test_y_is_a_share_of_the_height(tmp_path: Path) -> None:
    """The slide is not square: x is divided by its width, y by its height."""
    assert FRAME.width != FRAME.height
    result = a_result(objects([around(1200, 600, 10)]))
    (mark,) = documents(payload_of(tmp_path, result))
    assert mark["x"] == pytest.approx(1200 / FRAME.width)
    assert mark["y"] == pytest.approx(600 / FRAME.height)
    assert mark["footprint"] == pytest.approx(np.pi * 100, rel=0.06)
    style = mark["geometries"]["features"][0]["properties"]["style"]
    assert style["color"] == "#1f6fd6"
    assert mark["properties"]["annotations"]["name"] == "negative"


def test_no_angle_and_no_other_than_ascii_is_sent(tmp_path: Path) -> None:
    """The server removes `<` and `>`, and breaks characters of several bytes."""
    card = a_card().model_copy(update={"title": "Ki-67 <b>\u00b5m</b>"})
    payload = payload_of(tmp_path, a_result(card=card))
    body = payload.path.read_bytes()
    assert body.isascii()
    assert b"<" not in body
    assert b">" not in body
    (name,) = {one["provenance"]["analysis"]["name"] for one in documents(payload)}
    assert name == "Ki-67 \u2039b\u203a\u00b5m\u2039/b\u203a"


def test_parts_stay_within_the_limits(tmp_path: Path) -> None:
    """At most 500 marks and 1 MiB; only the first and the last mark say that they are."""
    payload = payload_of(tmp_path, a_result(nuclei(1203)))
    sizes = [len(part.documents) for part in parts.read(payload.path)]
    assert sizes == [500, 500, 203]
    assert [part.name for part in parts.read(payload.path)] == ["ord-1.0", "ord-1.1", "ord-1.2"]
    about = [one["slidelane"] for one in documents(payload)]
    assert [one["number"] for one in about] == list(range(1203))
    assert [one["number"] for one in about if "first" in one] == [0]
    assert [one["number"] for one in about if "last" in one] == [1202]
    large = payload_of(tmp_path, a_result(objects([around(1300, 700, 150, 4000)] * 40)))
    assert len(list(parts.read(large.path))) > 1
    assert max(map(len, large.path.read_bytes().split(b"\n"))) <= parts.MAX_PART_BYTES + 1000


def test_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    """By a digest it is known what was sent."""
    first = payload_of(tmp_path, a_result()).path.read_bytes()
    assert payload_of(tmp_path, a_result()).path.read_bytes() == first


def test_an_outline_of_very_many_points_is_thinned(tmp_path: Path) -> None:
    """MongoDB stores documents of 16 MB; the ring stays closed."""
    outline = around(1300, 700, 150, marks.MAX_POINTS * 3)
    angles = np.arange(len(outline))
    outline = outline + np.stack([angles % 2, angles % 3], axis=1) * 0.3
    (mark,) = documents(payload_of(tmp_path, a_result(objects([outline]))))
    (ring,) = mark["geometries"]["features"][0]["geometry"]["coordinates"]
    assert len(ring) <= marks.MAX_POINTS + 1
    check_document("Mark", mark)


def test_tiles_are_one_heat_map(tmp_path: Path) -> None:
    """A row for each tile, with the probability of each class; several scans are in one."""
    one = tile_result(tiles(4, 3))
    other = tile_result(tiles(2, 1), scan_id="2")
    (document,) = documents(payload_of(tmp_path, one, other, execution_id="run-1"))
    check_document("Heatmap", document)
    assert document["provenance"]["analysis"]["size"] == [50 / 4000, round(50 / 3000, 8)]
    names = [field["name"] for field in document["provenance"]["analysis"]["fields"]]
    assert names == ["negative", "positive"]
    assert len(document["data"]) == 14
    assert document["data"][0] == [0.25, round(500 / 3000, 8), 1, 0]


def test_a_background_has_no_field(tmp_path: Path) -> None:
    """The map shows what was looked for."""
    background = ClassCard(name="none", color="#ffffff", annotation_type="none", background=True)
    card = a_card("tiles")
    card = card.model_copy(update={"classes": (background, card.classes[1])})
    (document,) = documents(payload_of(tmp_path, a_result(tiles(4, 3), card=card)))
    (field,) = document["provenance"]["analysis"]["fields"]
    assert field["name"] == "positive"
    assert [row[2] for row in document["data"]] == np.round(np.linspace(0, 1, 12), 4).tolist()


def test_a_heat_map_that_is_too_large_is_coarser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tiles become one, with the mean of their values; the area that is covered stays."""
    monkeypatch.setattr(heat_map, "MAX_BYTES", 800)
    (document,) = documents(payload_of(tmp_path, tile_result(tiles(4, 4))))
    check_document("Heatmap", document)
    assert len(document["data"]) == 4
    assert document["provenance"]["analysis"]["size"] == [100 / 4000, round(100 / 3000, 8)]
    second = np.linspace(0, 1, 16).reshape(4, 4)
    assert document["data"][0][3] == pytest.approx(second[:2, :2].mean(), abs=1e-4)
    assert document["data"][3][3] == pytest.approx(second[2:, 2:].mean(), abs=1e-4)


def test_objects_without_a_class_give_the_area(tmp_path: Path) -> None:
    """Tiles with embeddings are nothing to draw: the area is, with the figures."""
    result = a_result(tiles(2, 2), card=a_card("embeddings"), summary={"tiles": 4})
    (mark,) = documents(payload_of(tmp_path, result))
    check_document("Mark", mark)
    assert mark["properties"]["annotations"]["tiles"] == 4
    assert mark["footprint"] == AREA.width * AREA.height


def test_nothing_found_is_nothing_sent(tmp_path: Path) -> None:
    """No mark claims to be a finding."""
    assert documents(payload_of(tmp_path, a_result(nuclei(0)))) == []


def test_two_regions_of_one_slide_may_have_other_digests(tmp_path: Path) -> None:
    """Of a slide behind a URL only the tiles of a region are fetched; the digest is theirs."""
    other = a_result(provenance={"slide_digest": "cd" * 32}, scan_id="2")
    assert len(documents(payload_of(tmp_path, a_result(), other))) == 18


def test_scans_of_several_slides_are_refused(tmp_path: Path) -> None:
    """The destination names one slide; marks of another one would lie on it."""
    other = a_result(frame=Frame(4000, 3100, 0.25, 0.25, "slide"))
    with pytest.raises(OrderError) as caught:
        payload_of(tmp_path, a_result(), other)
    assert (caught.value.code, caught.value.blame) == ("parcel_invalid", "input")
