"""Finds out which algorithms of its settings a worker can run, and notices a changed model folder.

A thread of the worker's parent process. It loads no torch: see `check`.
"""

import logging
import time
from pathlib import Path
from threading import Event
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard, Announcement
from broker.settings.config import AlgorithmSettings, ConfigError, WorkerSettings
from worker.algorithms import registry
from worker.algorithms.check import LoadCheck, one_line
from worker.algorithms.model_folder.reading import watched_files
from worker.algorithms.model_texts import texts_of
from worker.algorithms.python.description import fingerprint as source_fingerprint
from worker.process.heartbeat import Heartbeat

POLL_S: Final = 1.0
"""How often the files of model folders are looked at, and how long they must stay the same."""
_FIRST_RETRY_S: Final = 60.0
_LONGEST_RETRY_S: Final = 3600.0
_log = logging.getLogger(__name__)
Fingerprint = tuple[tuple[int, ...], ...]
"""Of each watched file: inode, size in bytes, time of the last change of its content and of its
status, in nanoseconds. Empty for a file that is not there or cannot be read."""


class AlgorithmMonitor:
    """The algorithms of one worker. Each change is handed to the worker's heartbeat.

    Algorithms whose scans wait on the queues of other workers are not looked at.
    """

    def __init__(self, settings: WorkerSettings, device_fault: str, heartbeat: Heartbeat) -> None:
        """Look at every algorithm once, without loading one.

        `device_fault`: why the device of the settings cannot be used, or an empty string.
        """
        self._heartbeat = heartbeat
        self._watched: list[_Algorithm] = []
        for name, entry in settings.algorithms.items():
            if registry.queue_of(entry) not in settings.queues:
                continue
            fault = ""
            if registry.needs_device(entry):
                fault = device_fault
            self._watched.append(_Algorithm(name, entry, settings.device, fault))
        self._announce()

    def run(self, stopped: Event) -> None:
        """Load the model folders once, and again whenever they change, until `stopped` is set."""
        while not stopped.is_set():
            for algorithm in self._watched:
                self._look_at(algorithm, stopped)
            stopped.wait(POLL_S)

    def _look_at(self, algorithm: "_Algorithm", stopped: Event) -> None:
        before = algorithm.state
        if algorithm.must_be_checked():
            if algorithm.state != before:
                self._announce()  # a check takes seconds; meanwhile no scan may be claimed
                before = algorithm.state
            algorithm.check(stopped)
        if algorithm.state != before and not stopped.is_set():
            algorithm.log()
            self._announce()

    def _announce(self) -> None:
        cards = []
        checking = []
        unavailable = {}
        texts = {}
        for algorithm in self._watched:
            if algorithm.reason:
                unavailable[algorithm.name] = algorithm.reason
            elif algorithm.card:
                cards.append(algorithm.card)
                texts[algorithm.name] = algorithm.texts
            else:
                checking.append(algorithm.name)
        self._heartbeat.announce(Announcement(tuple(cards), tuple(checking), unavailable, texts))


class _Algorithm:
    """One algorithm of the settings: its card, or the reason why it cannot be run.

    It has neither of them until it was checked for the first time.
    """

    def __init__(self, name: str, entry: AlgorithmSettings, device: str, device_fault: str) -> None:
        self.name = name
        self.card: AlgorithmCard | None = None
        self.texts: dict[str, str] = {}
        self.reason = device_fault
        self._entry = entry
        self._device = device
        self._is_watched = registry.needs_check(entry) and not device_fault
        self._seen: Fingerprint | None = None
        self._checked: Fingerprint | None = None
        self._retry_at = float("inf")
        self._retry_s = _FIRST_RETRY_S
        if not self._is_watched and not device_fault:
            self._read_card()
        if self.reason:
            self.log()

    @property
    def state(self) -> tuple[str, str]:
        """The digest of the card and the reason, to compare with later."""
        if self.card:
            return self.card.digest, self.reason
        return "", self.reason

    @property
    def _place(self) -> str:
        """The key of the entry that names the files, as reasons state it."""
        if self._entry.entry is not None:
            return ": entry"
        return ".folder"

    def must_be_checked(self) -> bool:
        """Return whether the files have changed since the last check and are whole now.

        They count as whole when they stay the same from one look to the next. Until then the
        algorithm is unavailable. Also true when a check that failed is to be repeated.
        """
        if not self._is_watched:
            return False
        found = _fingerprint(self._entry)
        last = self._seen
        self._seen = found
        if found == self._checked:
            return time.monotonic() >= self._retry_at
        if last is None:
            return True  # at the start nothing waits for the second look
        self.card = None
        self.reason = f"worker.algorithms.{self.name}{self._place}: its files are being changed"
        self._checked = None
        self._retry_s = _FIRST_RETRY_S
        return found == last

    def check(self, stopped: Event) -> None:
        """Read the folder and load the network; set the card or the reason."""
        found = self._seen
        self._retry_at = float("inf")
        self._read_card()
        if self.card:
            checked = LoadCheck(self.card, self._entry, self._device).run(stopped)
            if checked.card:
                self.card = checked.card
            else:
                self.card = None
                self.reason = checked.fault
                # The same files may load later, when there is more memory or time.
                self._retry_at = time.monotonic() + self._retry_s
                self._retry_s = min(_LONGEST_RETRY_S, 2 * self._retry_s)
        if _fingerprint(self._entry) == found:
            self._checked = found

    def log(self) -> None:
        """Write one line that says how the algorithm stands."""
        if self.reason:
            _log.warning("the algorithm %s is unavailable here: %s", self.name, self.reason)
        elif self.card:
            _log.info("the algorithm %s is available, version %s", self.name, self.card.version)

    def _read_card(self) -> None:
        try:
            self.card = registry.card(self.name, self._entry)
            self.texts = texts_of(self._entry)
            self.reason = ""
        except ConfigError as error:
            self.card = None
            self.reason = one_line(error)
        except Exception as error:  # noqa: BLE001 - one wrong entry must not stop the others
            _log.exception("a fault in Slidelane: no card can be made of %s", self.name)
            self.card = None
            self.reason = f"worker.algorithms.{self.name}: {one_line(error)}"


def _fingerprint(entry: AlgorithmSettings) -> Fingerprint:
    if entry.entry is not None:
        return tuple((size, changed) for _, size, changed in source_fingerprint(entry.entry))
    if entry.folder is None:
        return ()
    files = watched_files(entry.folder, entry.encoders)
    return tuple(_fingerprint_of_file(file) for file in files)


def _fingerprint_of_file(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
