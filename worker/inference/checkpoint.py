"""How far a scan has come, on the disk: who takes over a scan and sees it goes on from there, not from tile 0.

Owns the folders of unfinished work. Must not know what is found nor how. Each attempt writes into a folder of its own,
because a worker that was only thought dead may still be writing into its own. Whoever knows that an attempt is over may
remove its folder.

    WORK.FENCE/found/       the spool
    WORK.FENCE/point.json   how much of it counts: written last, so that what lies behind it is left out
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from time import monotonic
from typing import Annotated, Final

from pydantic import Field, FiniteFloat, TypeAdapter

from worker.disk import sync_folder
from worker.results.object_store import ObjectStore

UNFINISHED: Final = Path("results", ".unfinished")
"""Below the storage's folder; on one disk with the results, so that what was found only has to be moved."""
EVERY_S: Final = 10.0
_POINT: Final = "point.json"
_NO_ROOM: Final = frozenset({ENOSPC, EDQUOT})
_log = logging.getLogger(__name__)
_Count = Annotated[int, Field(ge=0, strict=True)]


@dataclass(frozen=True, slots=True)
class Point:
    """So many tiles are done, so many objects of the spool count; `seams` is what the merger must still know."""

    work: str
    tiles: _Count
    objects: _Count
    seams: Sequence[tuple[int, FiniteFloat, FiniteFloat]]


_POINTS: Final = TypeAdapter(Point)


class Checkpoint:
    """The unfinished work of one attempt at one piece of work, in `folder`: `…/WORK.FENCE`.

    Attempts with a fence below `since` were made before somebody asked for the work once more. This machine may still
    hold what they found, and nobody goes on from it: it may be why they failed.
    """

    def __init__(self, folder: Path, every_s: float = EVERY_S, *, since: int = 0) -> None:
        work, _, fence = folder.name.rpartition(".")
        self._folder, self._work, self._fence, self._since = folder, work, int(fence), since
        self._every_s, self._marked_at, self._begun = every_s, monotonic(), False

    def begin(self, work: str, tiles: int) -> tuple[ObjectStore, Point]:
        """An empty spool; or, where an earlier attempt came further with the same `work`, a copy of what it found.

        `work` names all that the result depends on: objects of other parameters or another slide must not be mixed in.
        It has so many `tiles`.
        """
        self._begun = True
        self._remove(self._folder)
        earlier = [folder for folder in self._earlier() if int(folder.suffix[1:]) > self._since]
        points = [
            (point, folder)
            for folder in earlier
            if (point := _point(folder)) and point.work == work
        ]
        for point, folder in sorted(points, key=lambda one: one[0].tiles, reverse=True):
            spool = self._copied(folder, point.objects) if 0 < point.tiles <= tiles else None
            if spool:
                return spool, point
        return ObjectStore.begin(self._folder / "found"), Point(work, 0, 0, ())

    def due(self) -> bool:
        """Whether the last mark is so long ago that another one is worth its time."""
        return monotonic() - self._marked_at >= self._every_s

    def mark(self, spool: ObjectStore, point: Point) -> None:
        """Remember that the scan has come so far. Where the disk refuses, the scan goes on without."""
        try:
            self._write(spool, point)
        except FileNotFoundError:
            raise  # nobody wants this attempt any longer
        except OSError as error:
            _log.warning(
                "how far %s has come could not be kept: %s", self._folder.name, error.strerror
            )
        else:
            self._remove(*self._earlier())  # all that they found is here by now
        self._marked_at = monotonic()

    def clear(self) -> None:
        """Nothing unfinished of this work is needed any more, whoever began it."""
        self._remove(*self._earlier(), self._folder)

    @property
    def gone(self) -> bool:
        """Whether the folder was removed after `begin`: somebody knows that this attempt is over."""
        return self._begun and not self._folder.exists()

    def _earlier(self) -> list[Path]:
        """The folders of attempts before this one."""
        folders = self._folder.parent.glob(f"{self._work}.*")
        return [
            folder
            for folder in folders
            if (fence := folder.suffix[1:]).isdecimal() and int(fence) < self._fence
        ]

    def _copied(self, theirs: Path, objects: int) -> ObjectStore | None:
        """What another attempt found, or None where it cannot be had: its worker may live and end it meanwhile."""
        spool = ObjectStore.begin(self._folder / "found")
        try:
            spool.copy(ObjectStore(theirs / "found"), objects)
        except (OSError, ValueError) as error:
            self._remove(self._folder)
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise  # to begin at tile 0 would need as much
            _log.warning("what %s holds cannot be gone on with: %s", theirs.name, error)
            return None
        return spool

    def _write(self, spool: ObjectStore, point: Point) -> None:
        spool.settle()
        beside = self._folder / "point.new"
        with beside.open("wb") as file:
            file.write(_POINTS.dump_json(point))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / _POINT)
        sync_folder(self._folder)

    def _remove(self, *folders: Path) -> None:
        for folder in folders:
            with suppress(
                OSError
            ):  # first of all its point: of a folder that is half removed nothing counts
                (folder / _POINT).unlink()
            shutil.rmtree(folder, ignore_errors=True)


def _point(folder: Path) -> Point | None:
    """How far that attempt came; None where it does not say, or not as `mark` does."""
    try:
        return _POINTS.validate_json((folder / _POINT).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s is not read: %s", folder / _POINT, type(error).__name__)
        return None


def unfinished(storage: Path) -> Iterator[tuple[Path, str]]:
    """Every folder of unfinished work below the storage's folder, and the work that it belongs to."""
    for folder in (storage / UNFINISHED).glob("*.*.*"):
        if named := re.fullmatch(r"([^.]+\.\d+)\.\d+", folder.name, re.ASCII):
            yield folder, named[1]
