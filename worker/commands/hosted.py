"""`python -m worker.commands.hosted REQUEST.json`: what `slidelane hosted` starts.

Runs the one scan that the environment states, and posts its results to Techcyte. Writes events to
stdout, the files of the result into the folder `result` of the request's scratch folder, and the
body of the post into its file `post.json`.
"""

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

import requests
from pydantic import BaseModel, ConfigDict

from broker.errors import OrderError, Problem, TemporaryError
from broker.orders.result_files import OUTPUT_LOG, OVERLAY, RESULTS_JSON
from broker.settings.config import Config, ConfigError, load
from worker.algorithms.interface import Algorithm
from worker.backoff import backoff_s
from worker.commands.algorithm_reference import find_algorithm
from worker.commands.events import EventWriter
from worker.commands.hosted_delivery import HostedDelivery
from worker.commands.hosted_task import HostedTask, forget_secrets
from worker.commands.image_scan import ImageScan, classify_image, classify_slide, load_algorithm
from worker.context import create_sandbox
from worker.delivery.debug_file import DebugFile
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.follow_up import DEBUG_FILE_NOT_UPLOADED, TRIAGE_NOT_SET, TRIES, pause_s
from worker.delivery.payload import Receipt
from worker.http_session import session
from worker.inference.pipeline import ClassifiedScan
from worker.results import result_folder
from worker.slide_cache.cache import SlideCache
from worker.sources.fetch import SlideFetcher

POST: Final = "post.json"
_LOG: Final = "hosted.log"
_FETCHES: Final = 5
_FIRST_FETCH_PAUSE_S: Final = 2.0
_LONGEST_FETCH_PAUSE_S: Final = 30.0


class HostedRequest(BaseModel):
    """Where to work, and what is meant where the environment does not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scratch: Path
    algorithm: str
    dev_image: str


class LoggedEvents(EventWriter):
    """Writes the events, and keeps their lines for the debug file."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.log = ""

    def line(self, text: str) -> None:
        """Write one line for people."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.log += f"{at} {text}\n"
        super().line(text)


def main() -> None:
    """Run the scan of the environment, and write what comes of it."""
    events = LoggedEvents.take_stdout()
    request = HostedRequest.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        task = HostedTask.of(os.environ, request.dev_image)
        forget_secrets()
        HostedRun(request, task, load(), events).run()
    except (OrderError, TemporaryError) as error:
        events.failed(error.problem)
    except ConfigError as error:
        events.failed(Problem("algorithm_unavailable", str(error), "correct the setting or model"))


@dataclass(frozen=True, slots=True)
class HostedRun:
    """One scan from its URL to Techcyte."""

    request: HostedRequest
    task: HostedTask
    config: Config
    events: LoggedEvents

    def run(self) -> None:
        """Classify the scan and deliver its result; the debug file is uploaded in any case.

        Raise `OrderError`, `TemporaryError` or `ConfigError`.
        """
        destination = self._destination()
        try:
            order_id = self._classify()
            if destination is not None:
                self._deliver(destination, order_id)
        except (OrderError, TemporaryError, ConfigError) as error:
            self.events.line(f"failed: {error}")
            raise
        finally:
            if destination is not None:
                self._put_debug_file(destination)
        self.events.write("done", posted=destination is not None)

    def _destination(self) -> Techcyte | None:
        if self.task.destination is None:
            return None
        http = self._session(encrypted_only=True)
        return Techcyte(self.task.destination, http, self.config.worker.deliver)

    def _classify(self) -> str:
        """Save the result into the scratch folder; return the id that it carries."""
        self.events.report("loading", 0, 1)
        settings = self.config.worker
        reference = self.task.algorithm or self.request.algorithm
        named = find_algorithm(reference, settings.algorithms)
        algorithm, parameters = load_algorithm(named, dict(self.task.parameters), settings)
        order_id = self.task.order_id(algorithm.card.digest)
        scan = ImageScan(self.task.scan, parameters, self.request.scratch, order_id)
        if self.task.destination is None:
            classified = classify_image(scan, algorithm, settings, self.events)
        else:
            classified = self._fetch_and_classify(scan, algorithm)
        for one in classified.result.warnings:
            self.events.line(f"warning {one.code}: {one.detail}")
        self.events.line(classified.result.findings.headline)
        return order_id

    def _fetch_and_classify(self, scan: ImageScan, algorithm: Algorithm) -> ClassifiedScan:
        settings = self.config.worker
        cache = SlideCache(self.request.scratch / "slides", settings.slides.max_bytes)
        http = self._session(encrypted_only=False)
        fetcher = SlideFetcher(cache, http, create_sandbox(settings), settings)
        with ExitStack() as pins:
            for number in range(_FETCHES):
                try:
                    fetched = fetcher.fetch(scan.request, algorithm.card, self.events)
                    slide = pins.enter_context(fetched)
                    break
                except TemporaryError as error:
                    if number + 1 == _FETCHES:
                        raise
                    self._wait_for_another_fetch(number, error)
            return classify_slide(scan, slide, algorithm, settings, self.events)

    def _wait_for_another_fetch(self, number: int, error: TemporaryError) -> None:
        pause_s = backoff_s(_FIRST_FETCH_PAUSE_S, _LONGEST_FETCH_PAUSE_S, number)
        if error.retry_after_s is not None:
            pause_s = min(error.retry_after_s, _LONGEST_FETCH_PAUSE_S)
        self.events.line(f"fetched again in {pause_s:.0f} s: {error.detail}")
        time.sleep(pause_s)

    def _deliver(self, destination: Techcyte, order_id: str) -> None:
        """Post the result, and set the triage of its case where that is wanted."""
        result = result_folder.load(self.request.scratch / "result")
        self.events.report("posting", 0, 1)
        payload = destination.build_payload([result], self.request.scratch / POST)
        limit_s = self.config.worker.limits.deliver_s
        delivery = HostedDelivery(destination, self.config.worker.deliver, limit_s, self.events)
        self.events.line(delivery.deliver(payload, order_id))
        receipt = Receipt("later")
        for number in range(TRIES):
            self._pause_before(number, receipt)
            receipt = destination.set_triage([result.findings.summary])
            if receipt.outcome in ("accepted", "refused"):
                break
        self._warn_unless_accepted(TRIAGE_NOT_SET, receipt)

    def _put_debug_file(self, destination: Techcyte) -> None:
        """Upload what there is, also of a scan that failed: it is for whoever looks for the fault.

        A debug file that cannot be made or uploaded changes nothing else.
        """
        if destination.request.debug_file_upload_url is None:
            return
        file = self.request.scratch / "debug.zip"
        try:
            self._write_debug_file(file)
        except OSError as error:
            self._warn_unless_accepted(
                DEBUG_FILE_NOT_UPLOADED,
                Receipt("refused", detail=f"it could not be made ({type(error).__name__})"),
            )
            return
        receipt = Receipt("later")
        for number in range(TRIES):
            self._pause_before(number, receipt)
            receipt = destination.put_debug_file(file)
            if receipt.outcome in ("accepted", "refused"):
                break
        self._warn_unless_accepted(DEBUG_FILE_NOT_UPLOADED, receipt)

    def _write_debug_file(self, file: Path) -> None:
        result = self.request.scratch / "result"
        with DebugFile(file, self.config.worker.deliver.techcyte.debug_max_bytes) as debug:
            debug.add_text(_LOG, self.events.log)
            made = [result / name for name in (RESULTS_JSON, OUTPUT_LOG, OVERLAY)]
            for one in (*made, self.request.scratch / POST):
                if one.is_file() and debug.may_hold(one.name, one.stat().st_size):
                    debug.add_file(one.name, one)

    def _pause_before(self, number: int, last: Receipt) -> None:
        if number:
            time.sleep(pause_s(self.config.worker.deliver, number, last))

    def _warn_unless_accepted(self, code: str, receipt: Receipt) -> None:
        if receipt.outcome != "accepted":
            said = receipt.detail or f"answered {receipt.status}"
            self.events.line(f"warning {code}: {said}")

    def _session(self, *, encrypted_only: bool) -> requests.Session:
        deliver = self.config.worker.deliver
        return session(
            self.config.broker.allow_hosts,
            connect_timeout_s=deliver.connect_timeout_s,
            read_timeout_s=deliver.read_timeout_s,
            http=self.config.worker.http,
            encrypted_only=encrypted_only,
        )


if __name__ == "__main__":
    main()
