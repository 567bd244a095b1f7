"""`python -m worker.commands.run_image REQUEST.json`: what `slidelane run` starts.

Writes events to stdout, and the files of the result into the folder `result` of the request's
scratch folder.
"""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from broker.errors import OrderError, Problem, TemporaryError
from broker.orders.request import ScanRequest
from broker.settings.config import Config, ConfigError, load
from worker.commands.algorithm_reference import find_algorithm
from worker.commands.events import EventWriter
from worker.commands.image_scan import ImageScan, classify_image, load_algorithm
from worker.inference.pipeline import ClassifiedScan


class RunRequest(BaseModel):
    """One image to run an algorithm on: the content of the request's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: str
    scan: ScanRequest
    parameters: dict[str, JsonValue]
    scratch: Path


def main() -> None:
    """Run the request of the file that the command line names, and write what comes of it."""
    events = EventWriter.take_stdout()
    request = RunRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        classified = _run(request, load(), events)
    except (OrderError, TemporaryError) as error:
        events.failed(error.problem, getattr(error, "__notes__", ()))
    except ConfigError as error:
        events.failed(Problem("algorithm_unavailable", str(error), "correct the setting or model"))
    else:
        events.write("done", **_shown(classified))


def _run(request: RunRequest, config: Config, events: EventWriter) -> ClassifiedScan:
    events.report("loading", 0, 1)
    settings = config.worker
    named = find_algorithm(request.algorithm, settings.algorithms)
    algorithm, parameters = load_algorithm(named, dict(request.parameters), settings)
    scan = ImageScan(request.scan, parameters, request.scratch)
    return classify_image(scan, algorithm, settings, events)


def _shown(classified: ClassifiedScan) -> dict[str, Any]:
    """Return what the command line shows of a result."""
    result = classified.result
    return {
        "headline": result.findings.headline,
        "warnings": [warning.model_dump() for warning in result.warnings],
        "timings": classified.timings,
    }


if __name__ == "__main__":
    main()
