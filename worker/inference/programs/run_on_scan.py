"""Runs a program of a site on one scan, and makes findings of what it has posted."""

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from broker.orders.order import Order, ScanWarning
from broker.orders.request import ScanRequest, TechcyteDestination
from broker.orders.result_files import DEBUG_ZIP, OUTPUT_LOG, OWN_FILES, POSTED
from broker.secret_forms import masked
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import inside
from worker.inference.checkpoint import Checkpoint
from worker.inference.code_result import CodeResult
from worker.inference.programs.posted_findings import headline_of, summary_of
from worker.inference.programs.posted_objects import posted_objects
from worker.inference.programs.problems import ProgramFailedError, problem_of, warnings_of
from worker.inference.programs.scratch import program_scratch
from worker.inference.programs.slide_file_list import slide_files
from worker.inference.scan_files import secrets_of
from worker.programs.durations import Durations
from worker.programs.environment import is_development, parameter_variables
from worker.programs.output import LineLog, NoLog
from worker.programs.printed_results import printed_results
from worker.programs.results_receiver.received import RunIdentity
from worker.programs.run import ProgramOutcome, ProgramScan, run_program
from worker.progress import Progress, Stopwatch
from worker.results.object_store import ObjectStore
from worker.results.result import Findings
from worker.results.techcyte_rules.posted import PostRefusedError
from worker.slide_cache.local_slide import LocalSlide

STEP: Final = "running"
_NO_HOST: Final = "slidelane.invalid"
"""What a program is told of Techcyte's host where the order has none: a name that leads nowhere."""
TRIAGE: Final = "triage"
"""The figure of a summary by which an algorithm states what the case is to be set to."""
_PICTURE: Final = "result.png"


@dataclass(frozen=True, slots=True)
class ProgramSite:
    """What a run of a program has of its worker.

    `scratch` is a folder on a disk with room for a slide, `log` takes what the program prints, and
    `durations` remembers how long runs take; None where nothing is remembered.
    """

    scratch: Path
    log: LineLog = field(default_factory=NoLog)
    durations: Durations | None = None


@dataclass(frozen=True, slots=True)
class ScanToRun:
    """One scan for a program: its order, what is requested, its slide, frame and area."""

    order: Order
    request: ScanRequest
    slide: LocalSlide
    frame: Frame
    area: Area


def run_on_scan(
    algorithm: ProgramAlgorithm,
    scan: ScanToRun,
    site: ProgramSite,
    checkpoint: Checkpoint,
    clock: Stopwatch,
    progress: Progress,
) -> CodeResult:
    """Run the program and return what it has posted, as findings, with its files.

    Objects outside of the area are dropped and counted in the warning `outside_roi`; what was
    posted stays whole in `posted.json`. Raise `ProgramFailedError` where no valid results came,
    with the files that tell why, `OrderError` where it cannot be started, `StopWork`.
    """
    progress.report(STEP, 0, 0)
    store, _ = checkpoint.begin(_work(algorithm, scan), 0)
    kept = store.folder.parent / OWN_FILES
    kept.mkdir(exist_ok=True)
    told = _program_scan(algorithm, scan)
    with program_scratch(site.scratch) as scratch, clock.measure("model"):
        running = _Running(progress, _median_s(algorithm, site))
        outcome = run_program(
            algorithm.program, told, algorithm.isolation, scratch, running, site.log
        )
        files = _kept_files(algorithm, outcome, told, kept)
    problem = problem_of(outcome, algorithm.program, has_results=POSTED in files)
    if problem:
        raise ProgramFailedError(problem, files)
    if site.durations:
        site.durations.add(algorithm.card.name, outcome.took_s)
    with clock.measure("merge"):
        found = _found(algorithm, scan, files, store)
    if outcome.received.triage:
        found.findings.summary[TRIAGE] = dict(outcome.received.triage)
    return CodeResult(
        found.findings,
        found.card,
        {},
        (*warnings_of(outcome), *found.warnings),
        files,
    )


def _found(
    algorithm: ProgramAlgorithm, scan: ScanToRun, files: Mapping[str, Path], store: ObjectStore
) -> CodeResult:
    """Return the findings of what was posted; its objects are appended to the store."""
    posted = orjson.loads(files[POSTED].read_bytes())
    (posted_scan,) = posted["scanResults"]
    found = posted_objects(posted_scan, algorithm.card.classes, scan.frame)
    objects = found.objects.selected(inside(found.objects.centres, scan.area))
    for chunk in objects.chunks():
        store.append(chunk)
    names = [one.name for one in found.classes]
    counts = dict(zip(names, objects.counts(len(names)), strict=True))
    findings = Findings(
        scan.frame,
        scan.area,
        store,
        summary_of(posted_scan, counts, scan.frame, scan.area),
        headline_of(posted_scan, counts),
    )
    dropped = len(found.objects) - len(objects)
    warnings = _warnings(dropped, len(found.objects), found.not_drawn)
    card = algorithm.card.model_copy(update={"classes": found.classes})
    return CodeResult(findings, card, {}, tuple(warnings))


class _Running:
    """Tells a `Progress` how far a program is: what it says, else the time beside the usual one."""

    def __init__(self, progress: Progress, median_s: float | None) -> None:
        self._progress = progress
        self._median_s = median_s

    def running(self, elapsed_s: float, told: tuple[int, int] | None) -> None:
        """Report how far it is. Raise `StopWork`."""
        if told:
            self._progress.report(STEP, *told)
        elif self._median_s:
            total_s = max(1, round(self._median_s))
            self._progress.report(STEP, min(int(elapsed_s), total_s - 1), total_s)
        else:
            self._progress.report(STEP, int(elapsed_s), 0)


def _median_s(algorithm: ProgramAlgorithm, site: ProgramSite) -> float | None:
    if site.durations is None:
        return None
    return site.durations.median_s(algorithm.card.name)


def _work(algorithm: ProgramAlgorithm, scan: ScanToRun) -> str:
    """Return a digest that no other attempt goes on from: a program begins at the beginning."""
    text = json.dumps([algorithm.card.digest, scan.order.id, scan.request.id, secrets.token_hex()])
    return hashlib.sha256(text.encode()).hexdigest()


def _program_scan(algorithm: ProgramAlgorithm, scan: ScanToRun) -> ProgramScan:
    area = scan.area
    variables = parameter_variables(algorithm.parameters)
    variables["SCAN_ROI"] = f"{area.x},{area.y},{area.width},{area.height}"
    if scan.request.stain:
        variables["SCAN_STAIN"] = scan.request.stain
    return ProgramScan(
        identity=_identity(algorithm, scan),
        slide=slide_files(scan.slide.path),
        variables=variables,
        secrets=frozenset(secrets_of(scan.order.request)),
    )


def _identity(algorithm: ProgramAlgorithm, scan: ScanToRun) -> RunIdentity:
    """Return what the run is called. The token is random: Techcyte's own is never handed out."""
    destination = scan.order.request.destination
    host = algorithm.program.variables.get("HOST", _NO_HOST)
    task_id = _number(scan.order.id)
    if isinstance(destination, TechcyteDestination):
        task_id = destination.task_id
        host = _techcyte_host(destination)
    return RunIdentity(host, task_id, scan.request.id, secrets.token_urlsafe(32))


def _techcyte_host(destination: TechcyteDestination) -> str:
    if destination.host:
        return destination.host
    if destination.base_url is None:
        return _NO_HOST
    name = urlsplit(destination.base_url.get_secret_value()).hostname or _NO_HOST
    return name.removeprefix("api.")


def _number(order_id: str) -> str:
    """Return a number for an order without a task: programs may expect that a task is one."""
    return str(int.from_bytes(hashlib.sha256(order_id.encode()).digest()[:5]))


def _kept_files(
    algorithm: ProgramAlgorithm, outcome: ProgramOutcome, told: ProgramScan, kept: Path
) -> dict[str, Path]:
    """Move what outlives the run into the folder `kept`; return it by its name in a result."""
    files: dict[str, Path] = {}
    received = outcome.received
    if received.posted:
        files[POSTED] = _moved(received.posted, kept / f".{POSTED}")
    elif is_development(algorithm.program.variables):
        body = _printed(outcome, told.identity.scan_id)
        if body is not None:
            files[POSTED] = kept / f".{POSTED}"
            files[POSTED].write_bytes(body)
    if received.debug:
        files[DEBUG_ZIP] = _moved(received.debug, kept / f".{DEBUG_ZIP}")
    if outcome.picture:
        files[f"{OWN_FILES}/{_PICTURE}"] = _moved(outcome.picture, kept / _PICTURE)
    if outcome.output.is_file() and outcome.output.stat().st_size:
        printed = outcome.output.read_text("utf-8", "replace")
        files[OUTPUT_LOG] = kept / f".{OUTPUT_LOG}"
        files[OUTPUT_LOG].write_text(masked(printed, outcome.secrets), "utf-8")
    return files


def _printed(outcome: ProgramOutcome, scan_id: str) -> bytes | None:
    """Return the results that the program has printed; None where they break a rule, too."""
    if not outcome.output.is_file():
        return None
    try:
        return printed_results(outcome.output, scan_id)
    except PostRefusedError as refusal:
        outcome.received.refuse(str(refusal))
        return None


def _moved(source: Path, target: Path) -> Path:
    shutil.move(source, target)
    return target


def _warnings(dropped: int, found: int, not_drawn: int) -> list[ScanWarning]:
    warnings = []
    if dropped:
        detail = f"{dropped} of {found} objects lie outside the region that was ordered"
        warnings.append(ScanWarning(code="outside_roi", detail=detail))
    if not_drawn:
        detail = f"{not_drawn} features are lines or empty, and are in no file but posted.json"
        warnings.append(ScanWarning(code="features_not_drawn", detail=detail))
    return warnings
