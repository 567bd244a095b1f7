"""Runs an algorithm on one slide of this machine, as a worker does, without an order and Redis."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.errors import OrderError
from broker.orders.order import Order, OrderState
from broker.orders.request import OrderRequest, ScanRequest
from broker.orders.result_files import OUTPUT_LOG
from broker.orders.source import PathSource
from broker.settings.config import WorkerSettings
from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.algorithms.python.algorithm import PythonAlgorithm, PythonScan
from worker.commands.algorithm_reference import NamedAlgorithm
from worker.context import create_sandbox
from worker.geometry.roi import resolve_roi
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.pipeline import ClassifiedScan, ScanJob
from worker.inference.production import produced_with
from worker.inference.programs.run_on_scan import ProgramSite
from worker.inference.scan_context import ScanContext
from worker.progress import Progress, Stopwatch
from worker.results import result_folder
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.sources.linked_companions import with_expected_names
from worker.sources.path import find_slide

_UNMARKED_S: Final = 10.0**9
"""The interval of checkpoints: nobody goes on with a scan that is stopped."""


@dataclass(frozen=True, slots=True)
class ImageScan:
    """One image, what is asked of it, and a scratch folder on the disk of its result.

    `order_id` is what the result carries in place of the id of an order.
    """

    request: ScanRequest
    parameters: dict[str, Any]
    scratch: Path
    order_id: str = "run"

    @property
    def result(self) -> Path:
        """The folder into which the result is written."""
        return self.scratch / "result"


def load_algorithm(
    named: NamedAlgorithm, parameters: dict[str, Any], settings: WorkerSettings
) -> tuple[Algorithm, dict[str, Any]]:
    """Return the algorithm, and the parameters with their defaults, as an order would have them.

    Raise `OrderError` for a wrong parameter, `ConfigError` for an algorithm that cannot be loaded.
    """
    card = registry.card(named.name, named.entry)
    filled = card.with_defaults(parameters)
    algorithm = registry.load(
        named.name,
        named.settings,
        filled,
        settings.device,
        max_batch_bytes=MAX_BATCH_BYTES,
    )
    return algorithm, filled


@contextmanager
def opened_code(
    request: ScanRequest, algorithm: PythonAlgorithm, scratch: Path, settings: WorkerSettings
) -> Iterator[PythonScan]:
    """Yield code of a site in its process, with the image open, before it has looked at it.

    Raise as `classify_image`.
    """
    folder = scratch / "code"
    folder.mkdir()
    order = _order(ImageScan(request, {}, scratch), algorithm)
    path = Path(_path_of(request))
    with create_sandbox(settings).open(path, request.mpp) as slide:
        context = ScanContext(order, request, algorithm.card, folder, Unwatched())
        context.open(path, slide, resolve_roi(None, slide.frame))
        with context.reading(), algorithm.begun(context, folder / OUTPUT_LOG) as code:
            yield code


def classify_image(
    scan: ImageScan, algorithm: Algorithm, settings: WorkerSettings, progress: Progress
) -> ClassifiedScan:
    """Classify the image and save its result into `scan.result`, with every file of a result.

    The same image, algorithm and parameters give the bytes that an order gives, but for the id of
    the order, which is part of results.json and of the ids of GeoJSON's features.

    Raise `OrderError` where image or request are at fault, `TemporaryError` where another try may
    succeed, `OSError` where the disk refuses.
    """
    with ExitStack() as pins:
        slide = find_slide(_path_of(scan.request), [Path("/")])
        cache = SlideCache(scan.scratch / "links", settings.slides.max_bytes)
        slide = with_expected_names(slide, cache, pins)
        return classify_slide(scan, slide, algorithm, settings, progress)


def classify_slide(
    scan: ImageScan,
    slide: LocalSlide,
    algorithm: Algorithm,
    settings: WorkerSettings,
    progress: Progress,
) -> ClassifiedScan:
    """Classify a slide that is on this disk, wherever it came from; else as `classify_image`."""
    order = _order(scan, algorithm)
    produced = produced_with(algorithm, settings.device)
    site = ProgramSite(scan.scratch / "programs")
    job = ScanJob(order, scan.request, slide, produced, site)
    checkpoint = Checkpoint(scan.scratch / f"{scan.order_id}.0.1", _UNMARKED_S)
    sandbox = create_sandbox(settings)
    classified = pipeline.classify(job, algorithm, checkpoint, sandbox, Stopwatch(), progress)
    progress.report("storing", 0, 1)
    result_folder.save(scan.result, classified.result, classified.overlay)
    return classified


class Unwatched:
    """A progress that nobody looks at."""

    def report(self, step: str, done: int, total: int, /) -> None:
        """Do nothing."""


def _path_of(request: ScanRequest) -> str:
    if not isinstance(request.source, PathSource):
        raise OrderError("request_invalid", "the image is a file of this machine", field="source")
    return request.source.path


def _order(scan: ImageScan, algorithm: Algorithm) -> Order:
    request = OrderRequest(
        algorithm=algorithm.card.name, parameters=scan.parameters, scans=(scan.request,)
    )
    return Order(
        id=scan.order_id,
        state=OrderState.RUNNING,
        request=request,
        queue=algorithm.card.queue,
        created_at=0,
        updated_at=0,
        expires_at=0,
        scans=(),
    )
