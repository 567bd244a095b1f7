"""What one run has posted, and whether it is what Techcyte would take."""

import base64
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final

from worker.results.techcyte_rules.posted import PostRefusedError, check_triage, parse_posted

_MOST_BRACKETS: Final = 6_000_000
_MOST_COMMAS: Final = 20_000_000
"""A slide with 100,000 outlines has 2 million brackets and 4 million commas in 32 MB. As Python
objects a bracket takes 60 bytes and more, so a body of brackets alone would take gigabytes."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What one run is called, as its program is told: all of it is in its environment.

    `host` is Techcyte's, such as `app.techcyte.com`; the program posts to `api.HOST`. `token` is
    made for this run, and nobody else takes it.
    """

    host: str
    task_id: str
    scan_id: str
    token: str = field(repr=False)

    @property
    def api_host(self) -> str:
        """Return the name of the host that the program posts to."""
        return f"api.{self.host}"

    def is_task(self, text: str) -> bool:
        """Return whether a text names the task: as it was given, or as its number."""
        return _plain_task(text) == _plain_task(self.task_id)


class Received:
    """What the program of one run has sent so far. Threads share it.

    The first results that are valid count; a second post of valid ones is taken and ignored, as a
    program does not know that its first answer was lost.
    """

    def __init__(self, run: RunIdentity, folder: Path) -> None:
        """Keep what comes in `folder`."""
        self.posts = 0
        """Valid results that were posted."""
        self.refusals: list[str] = []
        """Why posts were refused, the last ones."""
        self.triage: dict[str, Any] = {}
        self.unreachable: set[str] = set()
        """Hosts that the program wanted to reach and may not."""
        self._run = run
        self._posted = folder / "posted.json"
        self._debug = folder / "debug.zip"
        self._lock = Lock()

    @property
    def posted(self) -> Path | None:
        """The results as they were posted, byte by byte; None as long as there are none."""
        if self.posts:
            return self._posted
        return None

    @property
    def debug(self) -> Path | None:
        """The debug file of the program; None where it sent none."""
        if self._debug.exists():
            return self._debug
        return None

    def take_results(self, body: Path) -> None:
        """Take the results in the file. Raise `PostRefusedError` for results that break a rule."""
        with self._lock:  # one body at a time is held in memory
            try:
                self._check(body.read_bytes())
            except PostRefusedError as refusal:
                self.refuse(str(refusal))
                raise
            self.posts += 1
            if self.posts == 1:
                shutil.move(body, self._posted)

    def refuse(self, reason: str) -> None:
        """Note why a post was refused."""
        self.refusals = [*self.refusals[-4:], reason[:500]]

    def take_triage(self, body: bytes) -> None:
        """Take what the case should be set to. Raise `PostRefusedError`."""
        fields = check_triage(body)
        with self._lock:
            self.triage.update(fields)

    def take_debug(self, body: Path) -> None:
        """Take a debug file; the last one counts."""
        with self._lock:
            shutil.move(body, self._debug)

    def want(self, host: str) -> None:
        """Note that the program wanted to reach a host that it may not."""
        if len(self.unreachable) < 20:
            self.unreachable.add(host[:200])

    def _check(self, body: bytes) -> None:
        if body.count(b"[") + body.count(b"{") > _MOST_BRACKETS or body.count(b",") > _MOST_COMMAS:
            raise PostRefusedError("the body has too many values")
        posted = parse_posted(body)
        scans = [scan["scanId"] for scan in posted["scanResults"]]
        for scan in scans:
            if scan != self._run.scan_id:
                raise PostRefusedError(
                    f"scanResults: the scan {scan[:100]!r} does not belong to this run, whose "
                    f"SCAN_ID is {self._run.scan_id!r}"
                )
        if len(scans) > 1:
            raise PostRefusedError("scanResults: the scan is there twice")


def _plain_task(task: str) -> str:
    """Return the number where the task is the base64 of `task:NUMBER`, else the task itself."""
    try:
        text = base64.b64decode(task, validate=True)
    except ValueError:
        return task
    match = re.fullmatch(rb"task:(\d+)", text)
    if match:
        return match[1].decode()
    return task
