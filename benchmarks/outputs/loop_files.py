"""Joins what the shares of the yardstick found, and writes the file that its users expect."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import h5py
import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.outputs.loop import Found, Share, mask_files
from benchmarks.outputs.networks import CORE_PX, MPP

NUCLEI: Final = ("haematoxylin", "dab")
RADIUS_PX: Final = 6.25 / MPP
HALF_PX: Final = RADIUS_PX
_CORNERS: Final = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])


def write(share: Share, found: Sequence[Found]) -> int:
    """Write the file of this output for all shares; return how many objects or vectors it has."""
    return WRITERS[share.output](share, found)


def _tiles(share: Share, found: Sequence[Found]) -> int:
    features = []
    for (x, y), probabilities in (one for part in found for one in part):
        right = x + CORE_PX
        bottom = y + CORE_PX
        ring = [(x, y), (right, y), (right, bottom), (x, bottom), (x, y)]
        best = int(np.argmax(probabilities))
        measured = {
            f"prob_{name}": value for name, value in zip("abcd", probabilities, strict=True)
        }
        features.append(_feature([ring], "tile", "abcd"[best], measured))
    return _save(share, features)


def _mask(share: Share, _found: Sequence[Found]) -> int:
    classes, likely = mask_files(Path(share.scratch), "r")
    features = []
    for number, name in enumerate(NUCLEI, start=1):
        is_class = (classes == number).astype(np.uint8)
        count, parts = cv2.connectedComponents(is_class, connectivity=8, ltype=cv2.CV_32S)
        flat = parts.ravel()
        sizes_px = np.bincount(flat, minlength=count)
        sums = np.bincount(flat, likely.ravel(), count)
        rings, hierarchy = cv2.findContours(is_class, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for polygon in _polygons(rings, hierarchy):
            x, y = polygon[0][0]
            part = parts[y, x]
            measured = {
                "area_um2": float(sizes_px[part]) * MPP**2,
                "score": float(sums[part] / sizes_px[part] / 255),
            }
            features.append(_feature(polygon, "annotation", name, measured))
    return _save(share, features)


def _polygons(rings: Sequence[Any], hierarchy: Any) -> Iterator[list[list[list[int]]]]:
    """Yield outline and holes of each part, closed; parts of one or two points are left out."""
    if not len(rings):
        return
    for ring, (_, _, child, parent) in zip(rings, hierarchy[0].tolist(), strict=True):
        if parent >= 0 or len(ring) < 3:
            continue
        polygon = [_closed(ring)]
        hole = child
        while hole >= 0:
            if len(rings[hole]) > 2:
                polygon.append(_closed(rings[hole]))
            hole = hierarchy[0][hole][0]
        yield polygon


def _closed(ring: NDArray[Any]) -> list[list[int]]:
    points: list[list[int]] = ring[:, 0].tolist()
    return [*points, points[0]]


def _labels(share: Share, found: Sequence[Found]) -> int:
    features = []
    for _, ring, _, score in (one for part in found for one in part):
        points = ring.tolist()
        area_um2 = cv2.contourArea(ring.astype(np.float32)) * MPP**2
        measured = {"score": score, "area_um2": area_um2}
        features.append(_feature([[*points, points[0]]], "detection", "nucleus", measured))
    return _save(share, features)


def _centres(share: Share, found: Sequence[Found]) -> int:
    batches = [batch for part in found for batch in part]
    places = np.concatenate([batch[0] for batch in batches])
    classes = np.concatenate([batch[1] for batch in batches])
    scores = np.concatenate([batch[2] for batch in batches])
    kept = _suppressed(places, scores)
    rings = (places[kept][:, None] + HALF_PX * _CORNERS).round(1).tolist()
    kinds = classes[kept].tolist()
    features = [
        _feature([ring], "detection", NUCLEI[kind], {"score": score})
        for ring, kind, score in zip(rings, kinds, scores[kept].tolist(), strict=True)
    ]
    return _save(share, features)


def _suppressed(places: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers of the peaks that stay, in falling order of score."""
    order = np.argsort(-scores, kind="stable")
    pairs = cKDTree(places).query_pairs(RADIUS_PX, output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    starts = np.searchsorted(both[:, 0], np.arange(len(places) + 1)).tolist()
    near = both[:, 1]
    is_left = np.ones(len(places), np.bool_)
    kept = []
    for number in order.tolist():
        if is_left[number]:
            kept.append(number)
            is_left[near[starts[number] : starts[number + 1]]] = False
    return np.array(kept, np.int64)


def _embeddings(share: Share, found: Sequence[Found]) -> int:
    """Write the file as TRIDENT does: all vectors at once, a chunk for each."""
    corners, vectors = _joined(found)
    with h5py.File(Path(share.scratch) / "embeddings.h5", "w") as file:
        for name, rows in (("features", vectors), ("coords", corners)):
            file.create_dataset(
                name, data=rows, chunks=(1, rows.shape[1]), maxshape=(None, rows.shape[1])
            )
    return len(corners)


def _slide(share: Share, found: Sequence[Found]) -> int:
    """Ask the network for slides, and write the vectors, the attention and the probabilities."""
    corners, vectors = _joined(found)
    file = Path(share.folder).with_name("slide") / "torchscript_model.pt"
    network: Any = torch.jit.load(str(file))
    with torch.inference_mode():
        logits, attention = network(torch.from_numpy(vectors)[None])
    rows = np.column_stack([corners, attention[0].numpy()])
    np.savetxt(Path(share.scratch) / "attention.csv", rows, "%.8g", ",")
    answer = {"probabilities": torch.softmax(logits[0], dim=0).tolist()}
    (Path(share.scratch) / "results.json").write_bytes(orjson.dumps(answer))
    return _embeddings(share, found)


def _joined(found: Sequence[Found]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    batches = [batch for part in found for batch in part]
    corners = np.concatenate([batch[0] for batch in batches])
    return corners, np.concatenate([batch[1] for batch in batches])


def _feature(
    rings: Sequence[Any], kind: str, name: str, measured: Mapping[str, float]
) -> dict[str, Any]:
    properties = {
        "objectType": kind,
        "classification": {"name": name},
        "measurements": measured,
    }
    geometry = {"type": "Polygon", "coordinates": rings}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _save(share: Share, features: Sequence[dict[str, Any]]) -> int:
    collection = {"type": "FeatureCollection", "features": features}
    (Path(share.scratch) / "features.geojson").write_bytes(orjson.dumps(collection))
    return len(features)


WRITERS: Final[Mapping[str, Callable[[Share, Sequence[Found]], int]]] = {
    "tiles": _tiles,
    "mask": _mask,
    "labels": _labels,
    "centres": _centres,
    "embeddings": _embeddings,
    "slide": _slide,
}
