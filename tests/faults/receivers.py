"""Who gives slides and takes results during a run, in trouble now and then. They live in the harness, unharmed."""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

from demo.annotation import AnnotationReceiver
from demo.bucket import FileBucket
from demo.faults import Fault, Faults
from demo.receivers import Entry, Receiver
from demo.techcyte import TechcyteReceiver

POST_FAULTS = (
    (0.05, Fault(status=503)),
    (0.03, Fault(status=429, retry_after="1")),
    (0.02, Fault(slow_s=1.5)),
    (0.015, Fault(slow_s=4.5)),  # longer than a courier listens; taken all the same
    (0.02, Fault(cut="before")),
    (0.02, Fault(cut="after")),
)
GET_FAULTS = ((0.03, Fault(status=503)), (0.01, Fault(slow_s=1.5)), (0.02, Fault(cut="before")))


@dataclass(frozen=True, slots=True)
class Hit:
    """A request that was befallen. `at` is seconds since 1970."""

    at: float
    line: str
    fault: Fault


class Trouble(Faults):
    """Faults that come by chance, for as long as `lasts`, and are remembered."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng, self._one = Random(seed), threading.Lock()
        self.lasts = True
        self.hits: list[Hit] = []

    def next(self, line: str) -> Fault:
        """What befalls this request, if anything."""
        with self._one:
            chance = self._rng.random()
            for share, fault in POST_FAULTS if line.startswith("POST") else GET_FAULTS:
                if self.lasts and chance < share:
                    self.hits.append(Hit(time.time(), line, fault))
                    return fault
                chance -= share
        return Fault()


class Receivers:
    """A Techcyte, an annotation loader, and a bucket for each slide."""

    def __init__(self, slides: list[Path], seed: int) -> None:
        self.lab = TechcyteReceiver(any_task=True)
        self.loader = AnnotationReceiver()
        self.buckets = [FileBucket(path) for path in slides]
        self._stack = ExitStack()
        self._troubles = [_troubled(one, seed + number) for number, one in enumerate(self._all)]

    @property
    def _all(self) -> list[Receiver]:
        return [self.lab, self.loader, *self.buckets]

    def __enter__(self) -> Self:
        for receiver in self._all:
            self._stack.enter_context(receiver)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def calm(self) -> None:
        """No more trouble."""
        for trouble in self._troubles:
            trouble.lasts = False

    @property
    def hits(self) -> list[Hit]:
        """All that went wrong here, in no order."""
        return [hit for trouble in self._troubles for hit in trouble.hits]

    def effects(self) -> dict[str, list[Entry]]:
        """What was taken, by tag: a task's number at Techcyte, a case at the loader."""
        found: dict[str, list[Entry]] = {}
        for entry in [*self.lab.ledger, *self.loader.ledger]:
            found.setdefault(str(entry.note.get("task") or entry.note["case"]), []).append(entry)
        return found


def _troubled(receiver: Receiver, seed: int) -> Trouble:
    trouble = Trouble(seed)
    receiver.faults = receiver._server.faults = trouble
    return trouble
