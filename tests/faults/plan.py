"""The orders of a run: small ones of every kind, the same for the same seed."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from demo.annotation import JOB, SUBMIT
from demo.bucket import FileBucket
from demo.slide import make_sample_slide
from tests.faults.receivers import Receivers

SLIDES = 3
PRIORITIES = ("normal", "normal", "low", "high", "urgent")
PATH_SHARE = 0.7
KI67_SHARE = 0.04
SEVERAL_PARTS_SHARE = 0.3
"""Of the orders for caMicroscope, how many have more marks than are sent at a time."""


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """One order to place.

    `tag` is what its receiver knows it by, empty where nothing is delivered.
    """

    key: str
    tag: str
    body: dict[str, Any]


def make_slides(folder: Path) -> list[Path]:
    """Write a few small slides and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.svs" for number in range(SLIDES)]
    for number, path in enumerate(paths):
        make_sample_slide(path, width_px=1024, height_px=768, seed=number)
    return paths


def plan(count: int, seed: int, slides: list[Path], receivers: Receivers) -> list[PlannedOrder]:
    """Return `count` orders of one to three scans.

    They have all destinations and priorities, and slides by path and by URL.
    """
    rng = Random(seed)
    tags = [f"{seed % 10**6}{number:06d}" for number in range(count)]
    return [_order(tag, rng, slides, receivers) for tag in tags]


def _order(tag: str, rng: Random, slides: list[Path], receivers: Receivers) -> PlannedOrder:
    destination = _destination(tag, rng, receivers)
    is_ki67 = rng.random() < KI67_SHARE
    chosen = rng.choices(range(len(slides)), k=rng.choice((1, 1, 2, 3)))
    if destination["type"] == "camicroscope":
        chosen = chosen[:1] * len(chosen)  # it names one slide
    scans = [
        _scan(str(index), rng, slides[number], receivers.buckets[number], is_ki67=is_ki67)
        for index, number in enumerate(chosen)
    ]
    algorithm = "ki67" if is_ki67 else "grid"
    parameters = {}
    if destination["type"] == "camicroscope" and not is_ki67 and rng.random() < SEVERAL_PARTS_SHARE:
        parameters = {"rows": 23, "columns": 23}
    body = {
        "algorithm": algorithm,
        "parameters": parameters,
        "scans": scans,
        "destination": destination,
        "priority": rng.choice(PRIORITIES),
        "labels": {"tag": tag},
    }
    if destination["type"] == "none":
        return PlannedOrder(f"key-{tag}", "", body)
    return PlannedOrder(f"key-{tag}", tag, body)


def _scan(
    name: str, rng: Random, slide: Path, bucket: FileBucket, *, is_ki67: bool
) -> dict[str, Any]:
    source = {"type": "path", "path": str(slide)}
    if rng.random() > PATH_SHARE:
        source = {"type": "url", "url": bucket.signed_url}
    roi = {"x": 100, "y": 50, "width": 300, "height": 200}
    if is_ki67:
        roi = {"x": 256, "y": 256, "width": 512, "height": 384}
    return {"id": name, "source": source, "roi": roi}


def _destination(tag: str, rng: Random, receivers: Receivers) -> dict[str, Any]:
    kinds = ("techcyte", "annotation", "camicroscope", "webhook", "none")
    kind = rng.choices(kinds, weights=(5, 3, 4, 1, 1))[0]
    if kind == "techcyte":
        lab = receivers.lab
        return {"type": kind, "base_url": lab.url, "task_id": tag, "jwt_token": lab.jwt_token}
    if kind == "annotation":
        return _annotation(tag, rng, receivers)
    if kind == "camicroscope":
        site = receivers.site
        return {"type": kind, "url": site.url, "slide": tag, "token": site.token}
    if kind == "webhook":
        return {"type": kind, "url": receivers.inbox.url, "secret": receivers.inbox.secret}
    return {"type": "none"}


def _annotation(tag: str, rng: Random, receivers: Receivers) -> dict[str, Any]:
    """Return the loader, half of the times with its importer's word."""
    loader = receivers.loader
    destination = {"type": "annotation", "url": loader.url + SUBMIT, "case_id": tag}
    if rng.random() < 0.5:
        destination["confirm_url"] = f"{loader.url}{JOB}{{id}}"
    return destination
