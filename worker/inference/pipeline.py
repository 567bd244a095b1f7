"""The path of one scan from a local slide to its result.

Knows no states of orders, no queues and no destinations.
"""

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

from broker.orders.order import Order, ScanWarning
from broker.orders.request import ScanRequest
from broker.orders.result_files import OUTPUT_LOG
from broker.orders.stains import on_mismatch
from worker.algorithms.interface import (
    Algorithm,
    FileAlgorithm,
    ScanAlgorithm,
    TileAlgorithm,
)
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.algorithms.python.algorithm import PythonAlgorithm
from worker.geometry.frame import Area
from worker.geometry.mpp_warnings import mpp_warnings
from worker.geometry.roi import check_limits, resolve_roi
from worker.inference.case.encoding import is_encoded, part_for, with_picture
from worker.inference.checkpoint import Checkpoint
from worker.inference.code_result import CodeResult
from worker.inference.image_function import process_image
from worker.inference.programs.run_on_scan import ProgramSite, ScanToRun, run_on_scan
from worker.inference.quality.inspection import StainRequest
from worker.inference.scan_context import ScanContext
from worker.inference.scan_files import scratch_folder, secrets_of, with_files
from worker.inference.tile_inference import Counts, TileJob, run_tiles
from worker.progress import Progress, Stopwatch
from worker.results.overlay import drawing
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.result import Findings, Result
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.reader import ReadableSlide
from worker.slides.sandbox.client import Sandbox

_SCRATCH: Final = "slidelane-programs"


@dataclass(frozen=True, slots=True)
class ScanJob:
    """One scan to classify: its order, what is requested for it, and its slide on this disk.

    `produced` says when and with what the result is made. `site` is what a program has of its
    worker; None = a folder for temporary files, and nothing else.
    """

    order: Order
    request: ScanRequest
    slide: LocalSlide
    produced: Mapping[str, Any] = field(default_factory=dict)
    site: ProgramSite | None = None


@dataclass(frozen=True, slots=True)
class ClassifiedScan:
    """The result of a scan, and its overlay, which may still be being drawn.

    The result's objects must not be moved before the overlay is drawn. `timings` holds seconds by
    stage and some counts, as the record of the scan lists them.
    """

    result: Result
    overlay: OverlayDrawing
    timings: dict[str, float]


def classify(
    job: ScanJob,
    algorithm: Algorithm,
    checkpoint: Checkpoint,
    sandbox: Sandbox,
    clock: Stopwatch,
    progress: Progress,
) -> ClassifiedScan:
    """Run the algorithm on the requested area of the slide and begin to draw the overlay.

    Goes on from `checkpoint` where an earlier attempt was lost; the objects stay in its folder.

    Raises OrderError where the slide or the request is at fault, TemporaryError where another try
    may succeed, StopWork where `progress` says so.
    """
    started_at = monotonic()
    with ExitStack() as stack:
        with clock.measure("open"):
            slide = stack.enter_context(_open_slide(sandbox, job))
        area = resolve_roi(job.request.roi, slide.frame)
        check_limits(area, slide.frame, job.order.request.roi_limits)
        found = _find(algorithm, _OpenScan(job, slide, area), checkpoint, clock, progress)
        classify_s = monotonic() - started_at
        progress.report("drawing", 0, 1)
        with clock.measure("read"):
            picture = slide.overview(area, drawing.MAX_PX)
        result = Result(
            order_id=job.order.id,
            scan_id=job.request.id,
            card=found.card,
            parameters=dict(job.order.request.parameters),
            findings=found.findings,
            provenance=_provenance(job, slide),
            warnings=(*_slide_warnings(slide), *found.warnings),
            produced=_produced(job, algorithm, found.findings),
            slide_name=job.request.source.file_stem or job.request.id,
            files=found.files,
        )
        if is_encoded(found.card):
            result = with_picture(result, picture)
        overlay = OverlayDrawing(picture, result)  # begins while the decoder process ends
    timings = _rates(dict(found.counts), classify_s) | clock.timings
    return ClassifiedScan(result, overlay, timings)


@dataclass(frozen=True, slots=True)
class _OpenScan:
    """A scan whose slide is open, and the area that was ordered."""

    job: ScanJob
    slide: ReadableSlide
    area: Area


def _find(
    algorithm: Algorithm,
    scan: _OpenScan,
    checkpoint: Checkpoint,
    clock: Stopwatch,
    progress: Progress,
) -> CodeResult:
    """Run the algorithm, whatever it works on."""
    if algorithm.works_on == "area":
        progress.report("classifying", 0, 1)
        with clock.measure("model"):
            findings = algorithm.report(scan.slide.frame, scan.area)
        return CodeResult(findings, algorithm.card)
    if algorithm.works_on == "scan":
        return _run_code(algorithm, scan, checkpoint, clock, progress)
    if algorithm.works_on == "program":
        return _run_program(algorithm, scan, checkpoint, clock, progress)
    return _run_tiles(part_for(algorithm, scan.job.order), scan, checkpoint, clock, progress)


def _run_tiles(
    algorithm: TileAlgorithm,
    scan: _OpenScan,
    checkpoint: Checkpoint,
    clock: Stopwatch,
    progress: Progress,
) -> CodeResult:
    inputs = _inputs(scan.job, scan.slide)
    stain = _stain_request(scan.job, algorithm)
    tile_job = TileJob(algorithm, scan.slide, scan.area, inputs, stain)
    findings, counts, warnings = run_tiles(tile_job, checkpoint, clock, progress)
    warnings = (*mpp_warnings(scan.slide.frame, algorithm.card), *warnings)
    return CodeResult(findings, algorithm.card, counts, warnings)


def _run_code(
    algorithm: ScanAlgorithm,
    scan: _OpenScan,
    checkpoint: Checkpoint,
    clock: Stopwatch,
    progress: Progress,
) -> CodeResult:
    """Run code of the site in its own process: on tiles, or on the slide as a whole.

    Whatever it printed is a file of the result.
    """
    if not isinstance(algorithm, PythonAlgorithm):
        raise TypeError(f"{type(algorithm).__name__} is not run in a process of its own")
    with scratch_folder() as folder:
        context = ScanContext(scan.job.order, scan.job.request, algorithm.card, folder, progress)
        context.open(scan.job.slide.path, scan.slide, scan.area)
        log = folder / OUTPUT_LOG
        with context.reading(), algorithm.begun(context, log) as code:
            if code.is_tile_model:
                found = _run_tiles(code, scan, checkpoint, clock, context)
            else:
                found = process_image(code, context, checkpoint, clock)
        return with_files(found, context, log, secrets_of(scan.job.order.request))


def _run_program(
    algorithm: FileAlgorithm,
    scan: _OpenScan,
    checkpoint: Checkpoint,
    clock: Stopwatch,
    progress: Progress,
) -> CodeResult:
    """Run a program of the site on the slide's file."""
    if not isinstance(algorithm, ProgramAlgorithm):
        raise TypeError(f"{type(algorithm).__name__} is no program")
    job = scan.job
    site = job.site or ProgramSite(Path(tempfile.gettempdir()) / _SCRATCH)
    to_run = ScanToRun(job.order, job.request, job.slide, scan.slide.frame, scan.area)
    return run_on_scan(algorithm, to_run, site, checkpoint, clock, progress)


def _slide_warnings(slide: ReadableSlide) -> tuple[ScanWarning, ...]:
    return tuple(
        ScanWarning(code=warning.code, detail=warning.detail) for warning in slide.warnings
    )


def _open_slide(sandbox: Sandbox, job: ScanJob) -> AbstractContextManager[ReadableSlide]:
    """Open the slide, with the order's mpp or the case locator's in case it states none."""
    if job.request.mpp is None and job.slide.mpp is not None:
        return sandbox.open(job.slide.path, job.slide.mpp, "locator")
    return sandbox.open(job.slide.path, job.request.mpp, "order")


def _stain_request(job: ScanJob, algorithm: Algorithm) -> StainRequest:
    parameters = job.order.request.parameters
    return StainRequest(job.request.stain, on_mismatch(parameters, algorithm.card))


def _inputs(job: ScanJob, slide: ReadableSlide) -> list[object]:
    """Return what the findings depend on besides the algorithm, the area and the tiles."""
    return [job.order.request.parameters, _provenance(job, slide)]


def _provenance(job: ScanJob, slide: ReadableSlide) -> dict[str, object]:
    return {
        "reader": slide.reader,
        "slide_digest": job.slide.digest,
        "slide_bytes": job.slide.bytes,
    }


def _produced(job: ScanJob, algorithm: Algorithm, findings: Findings) -> dict[str, Any]:
    """Return when and with what the result is made, and in which precision it was computed."""
    precision = None
    if algorithm.works_on not in ("area", "program"):
        precision = findings.summary.get("precision", "float32")
    return {**job.produced, "precision": precision}


def _rates(counts: Counts, classify_s: float) -> dict[str, float]:
    """Return the counts with the seconds that classifying took, and tiles per second."""
    timings = {"classify_s": round(classify_s, 3), **counts}
    if "tiles" in counts:
        tiles = counts["tiles"] - counts["tiles_resumed"]
        timings["tiles_per_s"] = round(tiles / max(classify_s, 1e-9), 2)
    return timings
