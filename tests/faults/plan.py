"""What is ordered in a run: small orders of every kind, the same ones for the same seed."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from demo.annotation import SUBMIT
from demo.slide import make_sample_slide
from tests.faults.receivers import Receivers

SLIDES = 3
PRIORITIES = ("normal", "normal", "low", "high", "urgent")
NEAR, KI67 = 0.7, 0.04


@dataclass(frozen=True, slots=True)
class Wanted:
    """One order to place. `tag` is by what its receiver knows it, empty where nothing is delivered."""

    key: str
    tag: str
    body: dict[str, Any]


def make_slides(folder: Path) -> list[Path]:
    """A few small slides."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.svs" for number in range(SLIDES)]
    for number, path in enumerate(paths):
        make_sample_slide(path, width_px=1024, height_px=768, seed=number)
    return paths


def plan(count: int, seed: int, slides: list[Path], receivers: Receivers) -> list[Wanted]:
    """`count` orders of one to three scans for all destinations, by path and by URL, in all priorities."""
    rng = Random(seed)
    return [
        _wanted(f"{seed % 10**6}{number:06d}", rng, slides, receivers) for number in range(count)
    ]


def _wanted(tag: str, rng: Random, slides: list[Path], receivers: Receivers) -> Wanted:
    destination = _destination(tag, rng, receivers)
    ki67 = rng.random() < KI67
    scans = [
        _scan(str(number), rng, slides, receivers, ki67=ki67)
        for number in range(rng.choice((1, 1, 2, 3)))
    ]
    body = {
        "algorithm": "ki67" if ki67 else "grid",
        "scans": scans,
        "destination": destination,
        "priority": rng.choice(PRIORITIES),
        "labels": {"tag": tag},
    }
    return Wanted(f"key-{tag}", "" if destination["type"] == "none" else tag, body)


def _scan(
    name: str, rng: Random, slides: list[Path], receivers: Receivers, *, ki67: bool
) -> dict[str, Any]:
    which = rng.randrange(len(slides))
    source = {"type": "path", "path": str(slides[which])}
    if rng.random() > NEAR:
        source = {"type": "url", "url": receivers.buckets[which].signed_url}
    roi = (
        {"x": 256, "y": 256, "width": 512, "height": 384}
        if ki67
        else {"x": 100, "y": 50, "width": 300, "height": 200}
    )
    return {"id": name, "source": source, "roi": roi}


def _destination(tag: str, rng: Random, receivers: Receivers) -> dict[str, Any]:
    kind = rng.choices(("techcyte", "annotation", "none"), weights=(6, 3, 1))[0]
    if kind == "techcyte":
        lab = receivers.lab
        return {"type": kind, "base_url": lab.url, "task_id": tag, "jwt_token": lab.jwt_token}
    if kind == "annotation":
        return {"type": kind, "url": receivers.loader.url + SUBMIT, "case_id": tag}
    return {"type": "none"}
