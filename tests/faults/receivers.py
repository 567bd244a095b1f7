"""The servers of a run that give slides and take results, with faults at random.

They run in the test's own process and are never killed.
"""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

from demo.annotation import JOB, AnnotationReceiver
from demo.bucket import FileBucket
from demo.camicroscope import CaMicroscopeReceiver
from demo.camicroscope_rules import names
from demo.faults import Fault, Faults
from demo.http_server import Answer, Request
from demo.receivers import Entry, Receiver
from demo.techcyte import EVALUATIONS, TechcyteReceiver
from demo.webhook import WebhookReceiver

POST_FAULTS = (
    (0.05, Fault(status=503)),
    (0.03, Fault(status=429, retry_after="1")),
    (0.02, Fault(slow_s=1.5)),
    (0.015, Fault(slow_s=4.5)),  # longer than a courier waits for an answer; taken all the same
    (0.015, Fault(slow_s=7.0)),  # taken after the courier has asked, and was told no, several times
    (0.02, Fault(cut="before")),
    (0.02, Fault(cut="after")),
    (0.015, Fault(page="instead")),
    (0.015, Fault(page="after")),
)
GET_FAULTS = ((0.03, Fault(status=503)), (0.01, Fault(slow_s=1.5)), (0.02, Fault(cut="before")))
QUESTION_FAULTS = (*GET_FAULTS, (0.05, Fault(page="instead")))
"""What may go wrong when a destination is asked what it has."""
QUESTIONS = (f"GET {EVALUATIONS}", "GET /data/", f"GET {JOB}")
PARTIAL_SHARE = 0.1
"""Of the arrays that are inserted, how many are stored by halves."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """A request that met a fault. `at` is seconds since 1970."""

    at: float
    line: str
    fault: Fault


class RandomFaults(Faults):
    """Faults at random while `is_active`, with a record of them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = Random(seed)
        self._lock = threading.Lock()
        self.is_active = True
        self.made: list[RequestFault] = []

    def next(self, line: str) -> Fault:
        """Return the fault of this request, or one that does nothing."""
        shares = GET_FAULTS
        if line.startswith("POST"):
            shares = POST_FAULTS
        elif line.startswith(QUESTIONS):
            shares = QUESTION_FAULTS
        with self._lock:
            chance = self._rng.random()
            for share, fault in shares:
                if self.is_active and chance < share:
                    self.made.append(RequestFault(time.time(), line, fault))
                    return fault
                chance -= share
        return Fault()


class HalvingSite(CaMicroscopeReceiver):
    """Stores the first documents of some arrays and answers 500, while its faults are active."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = Random(seed)

    def answer(self, request: Request) -> Answer:
        """Answer like the data API."""
        is_active = getattr(self.faults, "is_active", False)
        is_insert = request.method == "POST"
        if is_active and is_insert and self._rng.random() < PARTIAL_SHARE:
            self.stored_before_failure = [self._rng.randrange(4)]
        return super().answer(request)


class Receivers:
    """A Techcyte, an annotation loader, a caMicroscope, a webhook, and a bucket for each slide."""

    def __init__(self, slides: list[Path], seed: int) -> None:
        self.lab = TechcyteReceiver(any_task=True)
        self.loader = AnnotationReceiver()
        self.site = HalvingSite(seed)
        self.inbox = WebhookReceiver()
        self.buckets = [FileBucket(path) for path in slides]
        self._stack = ExitStack()
        self._faults = [
            _add_faults(receiver, seed + number) for number, receiver in enumerate(self._all)
        ]

    @property
    def _all(self) -> list[Receiver]:
        return [self.lab, self.loader, self.site, self.inbox, *self.buckets]

    def __enter__(self) -> Self:
        for receiver in self._all:
            self._stack.enter_context(receiver)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop_faults(self) -> None:
        """Answer every request without a fault from now on."""
        for faults in self._faults:
            faults.is_active = False

    @property
    def faults(self) -> list[RequestFault]:
        """Return the faults of all receivers, in no order."""
        return [made for faults in self._faults for made in faults.made]

    def effects(self) -> dict[str, list[Entry]]:
        """Return what was taken, by tag.

        That is a task's number at Techcyte, a case at the loader, a slide at caMicroscope, a label
        in an event.
        """
        found: dict[str, list[Entry]] = {}
        for entry in [*self.lab.ledger, *self.loader.ledger]:
            tag = str(entry.note.get("task") or entry.note["case"])
            found.setdefault(tag, []).append(entry)
        for entry in self.inbox.ledger:
            found.setdefault(entry.note["event"]["data"]["labels"]["tag"], []).append(entry)
        for slide in {names(one)[0] for each in self.site.documents.values() for one in each}:
            found[slide] = self.site.runs(slide)
        return found


def _add_faults(receiver: Receiver, seed: int) -> RandomFaults:
    faults = RandomFaults(seed)
    receiver.faults = faults
    receiver._server.faults = faults
    return faults
