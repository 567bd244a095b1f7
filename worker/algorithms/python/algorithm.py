"""An algorithm of the kind `python`: its process, kept from scan to scan, and one scan in it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from broker.errors import OrderError, TemporaryError
from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.settings.config import ConfigError
from slidelane.algorithms import AnswerError, Class
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.interface import TileAnswers
from worker.algorithms.output_settings import MaskSettings, ObjectsSettings, OutputSettings
from worker.algorithms.own_classes import class_cards
from worker.algorithms.python.api_card import PALETTE, output_settings
from worker.algorithms.python.description import Description
from worker.algorithms.python.found import unpacked
from worker.algorithms.python.host_process import HostProcess
from worker.algorithms.python.open_scan import OpenScan, Waiting
from worker.geometry.frame import Area, Frame, Pixels
from worker.process.cgroup_limits import granted_cores, granted_memory_bytes
from worker.results.objects import Objects

_MEMORY_SHARE = 0.9
"""Of the memory that the worker is granted, a site's code may take so much."""


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """What an `ImageFunction` has found in a scan, in level-0 pixels; the classes are as found."""

    objects: Objects
    classes: tuple[ClassCard, ...]
    measurements: tuple[str, ...]
    summary: dict[str, Any] | None
    headline: str
    warnings: tuple[tuple[str, str], ...]
    files: Mapping[str, Path]
    posted: Path | None
    """The scan's entry in a post to Techcyte, where that was the answer."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How an algorithm runs: on `device`, with the order's `parameters`, defaults filled in."""

    device: str
    parameters: Mapping[str, Any]
    batch_tiles: int
    memory_bytes: int | None = None


class NoScan:
    """Waits for code to be loaded where there is no scan: whoever asks sets the limit."""

    still_s = 0.0
    stall_limit_s = float("inf")

    def check(self) -> None:
        """Never stop."""


class Host:
    """The process for one entry on one device. It is made anew where the last one cannot go on."""

    def __init__(self, entry: str, device: str, memory_bytes: int | None) -> None:
        """`memory_bytes`: the most that the process may take; None is a share of ours."""
        self._entry = entry
        self._device = device
        self._memory_bytes = memory_bytes or int(_MEMORY_SHARE * granted_memory_bytes())
        self._digest = ""
        self._process: HostProcess | None = None

    def process(self, api: Description, scan: Waiting) -> HostProcess:
        """Return the process with the code loaded. Raises OrderError, TemporaryError, StopWork."""
        if self._process is not None and self._digest == api.digest and self._process.is_alive:
            return self._process
        self.end()
        process = HostProcess(self._entry, api.threads, granted_cores(), self._memory_bytes)
        self._process = process
        fields, _ = process.ask({"do": "load", "device": self._device}, scan)
        if fields["digest"] != api.digest:
            self.end()
            raise TemporaryError(
                "algorithm_unavailable",
                f"the files of {self._entry} have changed since they were looked at",
                hint="the scan is begun again with the new ones",
            )
        self._digest = api.digest
        return process

    def end(self) -> None:
        """End the process, so that the next scan has a new one."""
        if self._process is not None:
            self._process.end()
        self._process = None


@lru_cache(maxsize=4)
def host_of(entry: str, device: str, memory_bytes: int | None) -> Host:
    """Return the host of an entry on a device, which is kept from order to order."""
    return Host(entry, device, memory_bytes)


class PythonAlgorithm:
    """The code of one entry with an order's parameters."""

    works_on: Literal["scan"] = "scan"

    def __init__(
        self,
        card: AlgorithmCard,
        entry: str,
        api: Description,
        run: RunOptions,
    ) -> None:
        self.card = card
        self._entry = entry
        self._api = api
        self._host = host_of(entry, run.device, run.memory_bytes)
        self._run = run

    @contextmanager
    def begun(self, scan: OpenScan, log: Path) -> Iterator["PythonScan"]:
        """Yield the scan in the process; then forget it there, and end all that it left running.

        What the code prints is written to `log`. A process whose global state the scan has changed,
        or in which it failed in any way that the code did not state, is ended.
        """
        process = self._host.process(self._api, scan)
        process.begin_log(log)
        is_good = False
        try:
            yield PythonScan(self.card, self._api, process, scan, self._run)
            is_good = True
        finally:
            if not self._has_finished(process, scan) or not is_good:
                self._host.end()

    def load_once(self) -> None:
        """Load the code in a process of its own as the first scan would. Raises ConfigError."""
        host = Host(self._entry, self._run.device, self._run.memory_bytes)
        try:
            host.process(self._api, NoScan())
        except OrderError as error:
            setting = f"worker.algorithms.{self.card.name}: entry"
            raise ConfigError(f"{setting}: {error.detail}") from None
        finally:
            host.end()

    def _has_finished(self, process: HostProcess, scan: OpenScan) -> bool:
        """Have the process forget the scan; return whether it is as before."""
        if not process.is_alive:
            process.end_log()
            return False
        changed = ["?"]
        with suppress(Exception):
            changed = process.ask({"do": "finish"}, scan)[0]["changed"]
        process.end_log()
        return not changed


class PythonScan:
    """One scan in the process."""

    def __init__(
        self,
        card: AlgorithmCard,
        api: Description,
        process: HostProcess,
        scan: OpenScan,
        run: RunOptions,
    ) -> None:
        self.card = card
        self.is_tile_model = api.is_tile_model
        self.batch_tiles = run.batch_tiles
        self.works_on: Literal["tiles"] = "tiles"
        self.settings: OutputSettings = output_settings(api.card)
        self._api = api
        self._run = run
        self._process = process
        self._scan = scan

    def calibrate(self, samples: Pixels) -> "PythonTiles":
        """Tell the process about the scan, with its samples."""
        self._begin(samples)
        return PythonTiles(self.card, self.settings, self._process, self._scan)

    def process_image(self) -> ImageFindings:
        """Have the function look at the slide. Raises OrderError, StopWork."""
        self._begin(np.empty((0, 0, 0, 3), np.uint8))
        request = {"do": "process", "path": str(self._scan.path)}
        fields, arrays = self._process.ask_for_long(request, self._scan)
        names: list[str] = fields["names"]
        try:
            objects = unpacked(arrays, len(names))
        except AnswerError as error:
            raise AlgorithmAnswerError(str(error)) from None
        posted = None
        if fields["posted"]:
            posted = Path(fields["posted"])
        return ImageFindings(
            objects=objects,
            classes=_classes(self.card, names),
            measurements=tuple(fields["measured"]),
            summary=fields["summary"],
            headline=fields["headline"],
            warnings=tuple((code, detail) for code, detail in fields["warnings"]),
            files={name: Path(file) for name, file in fields["files"].items()},
            posted=posted,
        )

    def _begin(self, samples: Pixels) -> None:
        shared = self._scan.shared
        request: dict[str, Any] = {"do": "begin", "scan": _described(self._scan, self._run)}
        if shared is None:
            self._process.ask({**request, "pixels_bytes": 0}, self._scan, {"samples": samples})
            return
        request["pixels_bytes"] = shared.size_bytes
        self._process.ask(request, self._scan, {"samples": samples}, shared.fd)


class PythonTiles:
    """A `TileModel` that is set up for one scan. Threads may share it."""

    def __init__(
        self,
        card: AlgorithmCard,
        settings: OutputSettings,
        process: HostProcess,
        scan: OpenScan,
    ) -> None:
        self._card = card
        self._settings = settings
        self._process = process
        self._scan = scan

    def classify(self, batch: Pixels) -> TileAnswers:
        """Return the answers for N tiles. Raises OrderError, StopWork."""
        return self.classify_share(batch, len(batch))

    def classify_share(self, pixels: Pixels, batch_tiles: int) -> TileAnswers:
        """Return the answers for N tiles, in batches of `batch_tiles`. Raises as `classify`.

        One request for all of them: each wakes a thread there and one here, which took a twentieth
        of the time of small batches.
        """
        offset = None
        if self._scan.shared is not None:
            offset = self._scan.shared.offset_of(pixels)
        request: dict[str, Any] = {"do": "classify", "batch_tiles": batch_tiles}
        if offset is None:
            _, arrays = self._process.ask_in_thread(request, self._scan, {"pixels": pixels})
        else:
            request |= {"offset": offset, "shape": pixels.shape}
            _, arrays = self._process.ask_in_thread(request, self._scan)
        self._scan.moved()
        try:
            return self._answers(arrays, len(pixels))
        except (AnswerError, KeyError) as error:
            raise AlgorithmAnswerError(str(error)) from None

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return the figures and the headline that a network of the same output has."""
        from worker.algorithms.decoders.create import create_decoder  # it loads torch

        settings = self._settings
        if isinstance(settings, ObjectsSettings):
            # The style says what a network answers; how objects are counted is the same for all.
            settings = settings.model_copy(update={"style": "centres"})
        if isinstance(settings, MaskSettings):
            return {"precision": "float32"}, ""  # what merges pixels states the rest
        decoder = create_decoder(self._card, settings, "none", "float32")
        return decoder.summarise(counts, frame, area)

    def own_summary(self, counts: Sequence[int]) -> tuple[dict[str, Any], str] | None:
        """Return the figures and the headline of the code itself, None where it has none."""
        names = [entry.name for entry in self._card.classes]
        by_class = dict(zip(names, counts[: len(names)], strict=True))
        fields, _ = self._process.ask({"do": "summarise", "counts": by_class}, self._scan)
        if fields["summary"] is None:
            return None
        return fields["summary"], fields["headline"]

    def _answers(self, arrays: Mapping[str, NDArray[Any]], tiles: int) -> TileAnswers:
        if self._card.output == "objects":
            return _divided(unpacked(arrays, len(self._card.classes)), arrays["counts"], tiles)
        values = arrays["values"]
        if len(values) != tiles:
            raise AnswerError("answer", "its process sent answers for other tiles")
        if values.dtype.kind in "iu":
            if len(self._card.classes) == 1:
                # of the only class where it is 1, as in a mask of bool
                return values[:, None].astype(np.float32)
            return values.astype(np.int64)
        return values


def _divided(objects: Objects, counts: NDArray[Any], tiles: int) -> list[Objects]:
    """Return the objects of each tile."""
    if counts.shape != (tiles,) or counts.sum() != len(objects) or (counts < 0).any():
        raise AnswerError("answer", "its process sent objects of other tiles")
    ends = counts.cumsum()
    return [
        objects.selected(np.arange(end - count, end))
        for count, end in zip(counts.tolist(), ends.tolist(), strict=True)
    ]


def _classes(card: AlgorithmCard, names: Sequence[str]) -> tuple[ClassCard, ...]:
    """Return the card's classes, or where it has none, those that were found."""
    if card.classes:
        return card.classes
    return tuple(class_cards([Class(name) for name in names], PALETTE))


def _described(scan: OpenScan, run: RunOptions) -> dict[str, Any]:
    """Return the fields of a scan that its process is told."""
    return {
        "order_id": scan.order_id,
        "scan_id": scan.scan_id,
        "parameters": dict(run.parameters),
        "labels": dict(scan.labels),
        "stain": scan.stain,
        "device": run.device,
        "folder": str(scan.folder),
        "width": scan.width,
        "height": scan.height,
        "mpp_x": scan.mpp_x,
        "mpp_y": scan.mpp_y,
        "roi": {
            "box": scan.roi.box,
            "polygon": [list(point) for point in scan.roi.polygon],
            "area_px2": scan.roi.area_px2,
        },
    }
