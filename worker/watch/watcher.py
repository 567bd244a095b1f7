"""Looks at watched folders, and takes the slides that have arrived in them.

Every courier runs it; one of them at a time looks at each folder. A slide has arrived when its
files were the same in two looks: copying takes minutes.
"""

import logging
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from broker.errors import SlidelaneError, TemporaryError
from broker.order_store.arrivals import Arrival, Arrivals, Look, folder_id
from broker.settings.services.policies import STAIN_LABEL, WatchedFolder
from worker.slides.dicom.file import dicom_file, parsing
from worker.watch.listing import DICOM, FoundSlide, Listing, list_slides

_MOST_AT_ONCE: Final = 500
"""So many slides are taken in one look at most; the rest in the next ones."""
_LEAD_LOOKS: Final = 3
_SHORTEST_LEAD_S: Final = 2.0
_NOTE_AGAIN_S: Final = 600.0
_MODALITY: Final = 0x00080060
_LONGEST_MODALITY: Final = 16
_log = logging.getLogger(__name__)


class Watcher:
    """Looks at one folder again and again, while it is the courier that does."""

    def __init__(
        self, settings: WatchedFolder, arrivals: Arrivals, courier: str, keep_s: float
    ) -> None:
        self._settings = settings
        self._arrivals = arrivals
        self._courier = courier
        self._keep_s = keep_s
        self._path = settings.path.resolve()
        self._taken: dict[str, str] | None = None
        self._away: set[str] = set()
        self._before: dict[str, str] = {}
        self._fault = ""
        self._noted: Look | None = None
        self._note_again_at = 0.0

    @property
    def folder(self) -> str:
        """Return what the record calls the folder."""
        return folder_id(self._path, self._settings.policy)

    @property
    def interval_s(self) -> float:
        """Return how long to wait between two looks."""
        return self._settings.interval_s

    def look(self) -> int:
        """Take the slides that have arrived, and return how many these are.

        Do nothing while another courier looks at the folder, or where it is not on this machine.
        Raise `TemporaryError`.
        """
        if not self._path.is_dir():
            self._report(f"there is no folder {self._path} on this machine")
            self._forget()
            return 0
        lead_s = max(_SHORTEST_LEAD_S, _LEAD_LOOKS * self.interval_s)
        if not self._arrivals.lead(self.folder, self._courier, lead_s):
            self._forget()
            return 0
        try:
            listing = list_slides(self._path)
        except OSError as error:
            self._note_look(Listing({}, f"it cannot be listed ({error.strerror})"), 0)
            return 0
        self._learn_what_was_taken(listing)
        arrived, arriving = self._sort_out(listing)
        number = sum(self._take(relative, slide) for relative, slide in arrived.items())
        if number:
            # without their names, which may be those of cases
            _log.info("slides have arrived in %s: %d", self._path, number)
        self._note_away(listing)
        self._note_look(listing, arriving)
        return number

    def stop(self) -> None:
        """Let another courier look at the folder. Raise `TemporaryError`."""
        self._arrivals.stop_leading(self.folder, self._courier)

    def _forget(self) -> None:
        """Forget what another courier may change."""
        self._taken = None
        self._before = {}

    def _learn_what_was_taken(self, listing: Listing) -> None:
        """Read the record once; begin it where the folder is watched for the first time."""
        if self._taken is not None:
            return
        taken = self._arrivals.taken(self.folder)
        if taken is None:
            passed_over: dict[str, str] = {}
            if self._settings.existing == "skip":
                passed_over = {path: slide.identity for path, slide in listing.slides.items()}
            self._arrivals.begin(self.folder, passed_over)
            _log.info(
                "%s is watched from now on; %d slides in it are passed over",
                self._path,
                len(passed_over),
            )
            taken = self._arrivals.taken(self.folder) or {}
        self._taken = taken
        self._away = self._arrivals.away(self.folder)

    def _sort_out(self, listing: Listing) -> tuple[dict[str, FoundSlide], int]:
        """Return the slides that have arrived, and how many are not standing still yet."""
        taken = self._taken or {}
        before = self._before
        self._before = {}
        arrived: dict[str, FoundSlide] = {}
        arriving = 0
        for relative, slide in listing.slides.items():
            if taken.get(relative) == slide.identity:
                continue
            self._before[relative] = slide.identity
            if before.get(relative) != slide.identity:
                arriving += 1
            elif len(arrived) < _MOST_AT_ONCE:
                arrived[relative] = slide
        return arrived, arriving

    def _take(self, relative: str, slide: FoundSlide) -> bool:
        labels = self._settings.labels_of(relative)
        stain = labels.pop(STAIN_LABEL, None) or self._settings.stain
        arrival = Arrival(
            folder=self.folder,
            path=slide.main,
            relative=relative,
            identity=slide.identity,
            policy=self._settings.policy,
            stain=stain,
            labels=labels,
            modality=modality_of(Path(slide.main)),
            mpp=self._settings.mpp,
        )
        is_new = self._arrivals.arrive(arrival)
        if self._taken is not None:
            self._taken[relative] = slide.identity
        self._before.pop(relative, None)
        return is_new

    def _note_away(self, listing: Listing) -> None:
        """Note which paths are away.

        Nothing is away where a part was not looked at, or where nothing is there at all: then a
        disk may not be mounted.
        """
        if self._taken is None or listing.fault or not listing.slides:
            return
        missing = self._taken.keys() - listing.slides.keys()
        away = missing - self._away
        back = self._away - missing
        if not missing and not back:
            return
        forgotten = self._arrivals.missed(self.folder, away, back, self._keep_s)
        self._away = set(missing).difference(forgotten)
        for path in forgotten:
            self._taken.pop(path, None)

    def _note_look(self, listing: Listing, arriving: int) -> None:
        self._report(listing.fault)
        look = Look(
            path=str(self._path),
            policy=self._settings.policy,
            slides=len(listing.slides),
            arriving=arriving,
            fault=listing.fault,
        )
        if look != self._noted or monotonic() >= self._note_again_at:
            self._arrivals.note_look(self.folder, look)
            self._noted = look
            self._note_again_at = monotonic() + _NOTE_AGAIN_S

    def _report(self, fault: str) -> None:
        """Log a fault once, and once that it is over."""
        if fault == self._fault:
            return
        self._fault = fault
        if fault:
            _log.warning("worker.watch: %s: %s", self._path, fault)
        else:
            _log.info("worker.watch: %s is looked at again", self._path)


def modality_of(main: Path) -> str | None:
    """Return the modality that a DICOM file states; None for another file, or a damaged one."""
    if main.suffix.lower() != DICOM:
        return None
    try:
        with dicom_file(main, ["Modality"], last=_MODALITY) as file, parsing():
            stated = file.data_set.get("Modality")
    except (SlidelaneError, OSError):
        return None
    if isinstance(stated, str) and 0 < len(stated) <= _LONGEST_MODALITY:
        return stated
    return None


def run_watcher(watcher: Watcher, stopped: Event) -> None:
    """Look at the folder at its interval until `stopped`; go on after an outage of Redis."""
    waits = False
    while not stopped.wait(watcher.interval_s):
        try:
            watcher.look()
        except TemporaryError as error:
            if not waits:
                _log.warning("watched folders wait: %s", error.detail, extra={"code": error.code})
            waits = True
            continue
        except Exception:  # noqa: BLE001 - a thread that ends would stop the looks in silence
            _log.exception("worker.watch: a fault in Slidelane")
        waits = False
    with suppress(TemporaryError):
        watcher.stop()
