"""What a program may post, compared with the stand-in's own reading of the same documents."""

from typing import Any

import orjson
import pytest

from demo.techcyte_rules import check_results
from worker.results.techcyte_rules.posted import PostRefusedError, parse_posted

RING = [[0, 0], [0, 9], [9, 9], [9, 0], [0, 0]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}


def feature(geometry: Any = None, **properties: Any) -> dict[str, Any]:
    """A feature with an annotation type."""
    return {
        "type": "Feature",
        "geometry": geometry or POLYGON,
        "properties": {"annotation_type": "tumor", **properties},
    }


def annotated(*features: Any) -> dict[str, Any]:
    """A scan with these annotations."""
    return {"geojson": {"type": "FeatureCollection", "features": list(features)}}


def reported(**report: Any) -> dict[str, Any]:
    """A scan with this report."""
    return {"workflow": {"model_name": "m", "key": "only a key", "report": report}}


POINT = {"x": 1, "y": 2.5, "score": 0.5, "type": "anything"}
BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
REGION = feature(annotation_type="region")
SEGMENT_FEATURE = {"type": "Feature", "geometry": POLYGON, "properties": {"name": "Mitosis"}}
NOTHING = {"type": "FeatureCollection", "features": []}

GOOD: dict[str, dict[str, Any]] = {
    "scan alone": {},
    "free results": {"results": {"report": {"rois": [1]}, "external_url": 7}},
    "quality passed": {"qcFailReasons": []},
    "quality left alone": {"qcFailReasons": None},
    "polygon": annotated(feature()),
    "points": annotated(feature({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]})),
    "heat map": annotated(
        feature(
            {"type": "GeometryCollection", "geometries": [POLYGON, POLYGON]},
            contour_colors=["#AA0000", "#ff0000"],
        )
    ),
    "segment without annotation type": reported(
        type="Basic",
        results=[{"name": "a", "result": "1"}],
        segments=[
            {
                "name": "Mitosis",
                "result": "",
                "feature_collection": {"type": "FeatureCollection", "features": [SEGMENT_FEATURE]},
            }
        ],
    ),
    "whole slide": reported(
        type="WholeSlideDifferential", points=[POINT], scores={"a": 1}, positivity_threshold=0.5
    ),
    "areas": reported(
        type="AreaDifferential",
        scores={},
        positivity_threshold=1,
        regions=[{"region": REGION, "weight": 1, "score": 0.1, "points": [POINT]}],
    ),
    "semi-quantitative": reported(type="SemiQuantitativeDifferential", points=[], scores={}),
    "counting": reported(type="RegionCounting", objects=[BOX], regions=[REGION]),
    "mitoses": reported(type="AiMitosisCounting", objects=[], regions=[]),
    "cellularity": reported(
        type="TumorCellularity",
        threshold_map={
            "TC": {
                "tumor_cellularity": 0.5,
                "counts": [{"label": "a", "count": 1}],
                "region": REGION,
                "area": 2,
            }
        },
    ),
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "summary": ({"results": {"summary": 1}}, "scanResults[0].results.summary"),
    "reasons": ({"qcFailReasons": "blurred"}, "scanResults[0].qcFailReasons"),
    "annotation type": (
        annotated(feature(annotation_type="")),
        "scanResults[0].geojson.features[0]: properties.annotation_type",
    ),
    "open ring": (
        annotated(feature(), feature({"type": "Polygon", "coordinates": [RING[:-1]]})),
        "scanResults[0].geojson.features[1]: geometry: every ring must be closed",
    ),
    "no geometry": (
        annotated({"type": "Feature", "properties": {"annotation_type": "x"}}),
        "geometry must be an object",
    ),
    "unknown geometry": (annotated(feature({"type": "Circle"})), "'Circle' is no geometry"),
    "colour": (annotated(feature(contour_colors=["red"])), "contour_colors"),
    "report type": (reported(type="Other"), "'Other' is no report type"),
    "result is a number": (
        reported(type="Basic", results=[{"name": "a", "result": 1}]),
        "results[0].result",
    ),
    "ruo": ({"workflow": {"ruo": "yes"}}, "workflow.ruo"),
    "point without score": (
        reported(type="SemiQuantitativeDifferential", points=[{"x": 1, "y": 2}], scores={}),
        "points[0].score",
    ),
    "boxes missing": (reported(type="RegionCounting", regions=[]), "objects"),
    "threshold missing": (
        reported(type="WholeSlideDifferential", points=[], scores={}),
        "positivity_threshold",
    ),
}


def body(scan: dict[str, Any]) -> bytes:
    """The post with one scan."""
    return orjson.dumps({"scanResults": [{"scanId": "1", **scan}]})


@pytest.mark.parametrize("name", GOOD)
def test_what_techcyte_takes_is_taken(name: str) -> None:
    """Both readings of the rules agree."""
    assert parse_posted(body(GOOD[name])) == check_results(body(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_what_techcyte_refuses_is_refused_and_the_place_is_named(name: str) -> None:
    """Both readings of the rules agree; ours says where it is."""
    scan, place = BAD[name]
    with pytest.raises(ValueError, match=r".+"):
        check_results(body(scan))
    with pytest.raises(PostRefusedError) as refusal:
        parse_posted(body(scan))
    assert place in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'{"scanResults": NaN}', b"[" * 100_000, b'{"scanResults": {}}'],
    ids=["empty", "null", "list", "NaN", "nested", "object"],
)
def test_a_body_that_is_no_post_is_refused(content: bytes) -> None:
    """Whatever comes, the answer is a reason."""
    with pytest.raises(PostRefusedError):
        parse_posted(content)


def test_numbers_of_many_faults_are_summed_up() -> None:
    """A slide has 100,000 features; the answer stays short."""
    wrong = [feature(annotation_type="") for _ in range(500)]
    with pytest.raises(PostRefusedError) as refusal:
        parse_posted(body(annotated(*wrong)))
    assert "and 497 more" in str(refusal.value)
    assert len(str(refusal.value)) < 1000
