"""`python -m worker.commands.check_algorithm FILE`: what `slidelane algorithm check` starts.

FILE is the request. Writes each step as an event, and check.json and overlay.png into the folder
`result` of the request's scratch folder.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from broker.errors import OrderError, Problem, TemporaryError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.request import ScanRequest
from broker.orders.result_files import OVERLAY
from broker.orders.roi import Rectangle
from broker.orders.source import PathSource
from broker.settings.config import Config, ConfigError, WorkerSettings, load
from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.algorithms.python.algorithm import PythonAlgorithm
from worker.commands.algorithm_reference import find_algorithm
from worker.commands.drawn_picture import draw_tissue, tiff
from worker.commands.events import EventWriter
from worker.commands.image_scan import (
    ImageScan,
    Unwatched,
    classify_image,
    load_algorithm,
    opened_code,
)
from worker.commands.tile_checks import Step, TileChecks
from worker.context import create_sandbox
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.http_session import product_version
from worker.inference import tissue

_LEAST_PICTURE_PX: Final = 1024
_MOST_PICTURE_PX: Final = 4096
_DEFAULT_MPP: Final = 0.5
_TILES_ACROSS: Final = 3
_SCHEMA: Final = "slidelane.check/1"


class CheckRequest(BaseModel):
    """The algorithm to check: the content of the request's file. `image`: None = a drawn one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str
    image: Path | None
    scratch: Path


def main() -> None:
    """Check the algorithm of the request's file; write the steps, and whether all are good."""
    events = EventWriter.take_stdout()
    request = CheckRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        check = AlgorithmCheck(request, load())
    except OrderError as error:
        events.failed(error.problem)
        return
    except ConfigError as error:
        problem = Problem("algorithm_unavailable", str(error), "correct the model file or code")
        events.failed(problem)
        return
    steps = []
    for step in check.steps():
        steps.append(step)
        events.write("step", **step.as_dict())
    check.write_report(steps)
    events.write("done", good=_is_good(steps))


class AlgorithmCheck:
    """One algorithm that is loaded and tried out."""

    def __init__(self, request: CheckRequest, config: Config) -> None:
        """Read the card. Raise `OrderError` and `ConfigError` for an algorithm without one."""
        self._request = request
        self._settings: WorkerSettings = config.worker
        self._named = find_algorithm(request.algorithm, self._settings.algorithms)
        self._card = registry.card(self._named.name, self._named.entry)
        self._result = request.scratch / "result"

    def steps(self) -> Iterator[Step]:
        """Yield the steps; a step that fails so that no other can follow is the last."""
        yield Step("card", "ok", _described(self._card))
        began_at = time.monotonic()
        try:
            algorithm, parameters = load_algorithm(self._named, {}, self._settings)
        except (ConfigError, OrderError) as error:
            yield _failed("load", error)
            return
        took_s = time.monotonic() - began_at
        yield Step("load", "ok", f"{took_s:.1f} s", round(took_s, 3))
        yield from self._tile_steps(algorithm)
        yield from _isolation_steps(algorithm)
        yield self._image(algorithm, parameters)
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield Step("memory", "ok", f"{memory_mb:,.0f} MB at most", round(memory_mb))

    def _tile_steps(self, algorithm: Algorithm) -> Iterator[Step]:
        """Yield what is looked at on single tiles; nothing for what is given none."""
        try:
            if isinstance(algorithm, PythonAlgorithm):
                # what looks at a slide as a whole has no tiles
                with opened_code(
                    self._drawn(), algorithm, self._request.scratch, self._settings
                ) as code:
                    if code.is_tile_model:
                        yield from TileChecks(code).of_code()
            elif algorithm.works_on == "tiles":
                yield from TileChecks(algorithm).of_network()
        except (OrderError, TemporaryError) as error:
            yield _failed("tiles", error)

    def _image(self, algorithm: Algorithm, parameters: dict[str, Any]) -> Step:
        """Run the algorithm on the image as `slidelane run` does, or on a part of a large one."""
        name = "drawn picture"
        try:
            if self._request.image is None:
                request = self._drawn()
                if "on_stain_mismatch" in parameters:
                    # The drawing is no stain.
                    parameters = {**parameters, "on_stain_mismatch": "ignore"}
            else:
                name = self._request.image.name
                request = self._part_of(self._request.image)
            scan = ImageScan(request, parameters, self._request.scratch)
            began_at = time.monotonic()
            classified = classify_image(scan, algorithm, self._settings, Unwatched())
        except (OrderError, TemporaryError) as error:
            return _failed(name, error)
        took_s = time.monotonic() - began_at
        headline = classified.result.findings.headline or "done"
        area = classified.result.findings.area
        text = (
            f"{headline}, in {took_s:.1f} s, {area.width} x {area.height} px at {area.x},{area.y}"
        )
        return Step(name, "ok", text, round(took_s, 3))

    def _drawn(self) -> ScanRequest:
        card = self._card
        edge_px = min(max(2 * card.tile_px, _LEAST_PICTURE_PX), _MOST_PICTURE_PX)
        mpp = card.mpp or _DEFAULT_MPP
        file = self._request.scratch / "drawn.tif"
        file.write_bytes(tiff(draw_tissue(edge_px, mpp), mpp))
        return ScanRequest(id="1", source=PathSource(type="path", path=str(file)), mpp=mpp)

    def _part_of(self, image: Path) -> ScanRequest:
        """Return the request for three by three tiles in the middle of the tissue of the image."""
        source = PathSource(type="path", path=str(image.absolute()))
        whole = ScanRequest(id="1", source=source, mpp=self._card.mpp)
        if self._card.mpp is None or not image.is_file():
            return whole
        with create_sandbox(self._settings).open(image, self._card.mpp) as slide:
            grid = tile_grid(resolve_roi(None, slide.frame), slide.frame, self._card)
            found = tissue.tissue_tiles(slide, grid)
            if len(found.tiles) <= _TILES_ACROSS**2:
                return whole
            middle = found.tiles[len(found.tiles) // 2]
            x = round(middle.x - found.tiles.step_x)
            y = round(middle.y - found.tiles.step_y)
            width = round(_TILES_ACROSS * found.tiles.width)
            height = round(_TILES_ACROSS * found.tiles.height)
        return whole.model_copy(update={"roi": Rectangle(x=x, y=y, width=width, height=height)})

    def write_report(self, steps: list[Step]) -> None:
        """Leave check.json, and overlay.png where the image was classified, in the result."""
        self._result.mkdir(exist_ok=True)
        for path in self._result.iterdir():
            if path.is_file() and path.name != OVERLAY:
                path.unlink()
        report = {
            "schema": _SCHEMA,
            "algorithm": {
                "name": self._card.name,
                "version": self._card.version,
                "digest": self._card.digest,
            },
            "good": _is_good(steps),
            "steps": [step.as_dict() for step in steps],
            "device": self._settings.device,
            "slidelane": product_version(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        text = json.dumps(report, indent=2, ensure_ascii=False, default=_plain)
        (self._result / "check.json").write_text(text + "\n")


def _isolation_steps(algorithm: Algorithm) -> Iterator[Step]:
    """Yield what this machine grants of the isolation of a program."""
    if not isinstance(algorithm, ProgramAlgorithm):
        return
    for grant in algorithm.isolation.granted():
        if grant.is_granted:
            yield Step(grant.name, "ok", "granted")
        else:
            yield Step(grant.name, "warning", grant.lost)


def _is_good(steps: list[Step]) -> bool:
    return all(step.state != "failed" for step in steps)


def _described(card: AlgorithmCard) -> str:
    parts = [f"{card.name} {card.version}: {card.title}", card.output]
    if card.classes:
        parts.append("classes " + ", ".join(entry.name for entry in card.classes))
    if card.mpp is not None:
        parts.append(f"tiles of {card.tile_px} px at {card.mpp:g} um, halo {card.halo_px} px")
    return "; ".join(parts)


def _failed(name: str, error: Exception) -> Step:
    """Return the step that ended with an error, with the lines of code of the site that raised."""
    text = str(error)
    if isinstance(error, OrderError | TemporaryError):
        text = f"{error.code}: {error.detail}"
    return Step(name, "failed", text, lines=tuple(getattr(error, "__notes__", ())))


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


if __name__ == "__main__":
    main()
